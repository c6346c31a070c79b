//! Side-by-side measurements, from the command line.

use std::process::ExitCode;

use clap::Parser;
use seckill_benches::{Cli, Command};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let Some(command) = cli.command else {
        return seckill_benches::everything(cli.everything).await;
    };
    match command {
        Command::Grabs(args) => seckill_benches::grabs(args).await,
        Command::Views(args) => seckill_benches::views(args).await,
        Command::Rivals(args) => seckill_benches::rivals(args).await,
        Command::Crowd(args) => seckill_benches::crowd(args).await,
        Command::Queries(args) => seckill_benches::queries(args).await,
        Command::Start(args) => seckill_benches::start(args).await,
        Command::Scale(args) => seckill_benches::scale(args).await,
        Command::Takeover(args) => seckill_benches::takeover(args).await,
        Command::Grow(args) => seckill_benches::grow(args).await,
        Command::GrowStep(args) => seckill_benches::grow_step(args).await,
    }
}
