//! The one binary: the whole system in one process, each role alone, and the tools around it.

mod api;
mod app;
mod background;
mod bar;
mod check;
mod disk;
mod engines;
mod file;
mod given;
mod history;
mod node;
mod quarantine;
mod ready;
mod rebuild;
mod repair;
mod replay;
mod roles;
mod settings;
mod shell;
mod simulate;
mod told;
mod up;
mod upgrade;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use seckill_drill::DrillArgs;
use seckill_load::{LoadArgs, Verdict};
use seckill_log::LogError;
use seckill_projector::VerifyError;
use seckill_views::ViewsError;

use crate::given::{AdminArgs, CommandArgs, EmbeddedArgs, Given, ProjectorArgs, QueryArgs};
use crate::settings::Role;

/// The exit code where nothing was judged: no log, no views, a system that is not reached, a drill that did not come to its end.
const UNDECIDED: u8 = 2;

/// How long calls that block may go on at the very end.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Flash sales on an event log: a limited number of coupons, a crowd in the same second,
/// strict order, nothing oversold, nothing lost.
///
/// `seckill up` runs everything in one process, with nothing installed, and keeps its data in
/// ./data. With --kafka and --cql it runs on Kafka and on ScyllaDB or Cassandra instead.
#[derive(Parser)]
#[command(name = "seckill", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

impl Cli {
    /// What these arguments say, and the file that they name.
    fn given(args: &[OsString]) -> anyhow::Result<Self> {
        Ok(Self::from_arg_matches(&file::matches(Self::command(), args)?)?)
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Run everything in one process
    Up(Box<Given>),
    /// Run a command node alone: takes grabs, decides them, owns partitions (needs --kafka)
    Command(Box<CommandArgs>),
    /// Run the operator's API alone: creates and changes promotions (needs --kafka)
    Admin(Box<AdminArgs>),
    /// Run a projector alone: writes the views from the log (needs --kafka and --cql)
    Projector(Box<ProjectorArgs>),
    /// Run a query gateway alone: reads the views (needs --kafka and --cql)
    Query(Box<QueryArgs>),
    /// Send load to a running system, then audit what it said
    Load(Box<LoadArgs>),
    Verify(verify::VerifyArgs),
    Rebuild(rebuild::RebuildArgs),
    Quarantine(quarantine::QuarantineArgs),
    Replay(replay::ReplayArgs),
    Export(replay::ExportArgs),
    Import(replay::ImportArgs),
    Repair(repair::RepairArgs),
    /// Make the embedded log of an earlier version one of this version; the old one is kept
    Upgrade(EmbeddedArgs),
    Simulate(simulate::SimulateArgs),
    Drill(DrillArgs),
    /// Ask a URL; exit code 0 when it answers 2xx (for health checks of containers)
    Health {
        /// For example http://127.0.0.1:8080/readyz
        #[arg(value_parser = given::base_url)]
        url: String,
    },
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

impl Verb {
    /// Whether it says if promises are kept.
    fn judges(&self) -> bool {
        matches!(self, Self::Load(_) | Self::Verify(_) | Self::Simulate(_) | Self::Drill(_))
    }
}

fn main() -> ExitCode {
    raise_open_files();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let args: Vec<_> = std::env::args_os().collect();
    let mut judges = false;
    let ended = runtime.block_on(async {
        let verb = Cli::given(&args)?.verb;
        judges = verb.judges();
        run(verb).await
    });
    // Everything is done or given up by now; a question to an absent broker keeps nobody waiting.
    runtime.shutdown_timeout(LAST_MOMENT);
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}"); // nobody may be reading
            let undecided = engines::is_absent(&error) || (judges && !is_damage(&error));
            if undecided { UNDECIDED.into() } else { ExitCode::FAILURE }
        }
    }
}

/// Whether what was to be judged is there, and is not as it was written.
fn is_damage(error: &anyhow::Error) -> bool {
    let log = |error: &LogError| {
        matches!(error, LogError::Damaged(_) | LogError::Lost { .. } | LogError::Broken(_))
    };
    let views = |error: &ViewsError| matches!(error, ViewsError::Corrupt { .. });
    let verify = |error: &VerifyError| match error {
        VerifyError::Log(error) => log(error),
        VerifyError::Views(error) => views(error),
        error => !matches!(error, VerifyError::Unused | VerifyError::NoTables),
    };
    error.downcast_ref().is_some_and(log)
        || error.downcast_ref().is_some_and(views)
        || error.downcast_ref().is_some_and(verify)
}

/// Connections, segments and tables each take a descriptor: the soft limit is often 1,024, and the hard
/// one is what the system is willing to give.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    // Where that is refused the old limit holds.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
}

/// Whether all is well.
async fn run(verb: Verb) -> anyhow::Result<bool> {
    match verb {
        Verb::Up(given) => up::run(given.settle(Role::Up)?).await.map(|()| true),
        Verb::Command(args) => {
            roles::command(Given::from(*args).settle(Role::Command)?).await.map(|()| true)
        }
        Verb::Admin(args) => {
            roles::admin(Given::from(*args).settle(Role::Admin)?).await.map(|()| true)
        }
        Verb::Projector(args) => {
            roles::projector(Given::from(*args).settle(Role::Projector)?).await.map(|()| true)
        }
        Verb::Query(args) => {
            roles::query(Given::from(*args).settle(Role::Query)?).await.map(|()| true)
        }
        Verb::Load(args) => Ok(seckill_load::run(*args).await? == Verdict::Passed),
        Verb::Verify(args) => verify::run(args).await,
        Verb::Upgrade(args) => {
            upgrade::run(Given::from(args).settle(Role::Upgrade)?).await.map(|()| true)
        }
        Verb::Rebuild(args) => rebuild::run(args).await,
        Verb::Quarantine(args) => quarantine::run(args).await,
        Verb::Replay(args) => replay::replay(args).await.map(|()| true),
        Verb::Export(args) => replay::export_log(args).await.map(|()| true),
        Verb::Import(args) => replay::import(args).await.map(|()| true),
        Verb::Repair(args) => repair::run(args).await,
        Verb::Simulate(args) => tokio::task::block_in_place(|| simulate::run(&args)),
        Verb::Drill(args) => seckill_drill::run(args).await,
        Verb::Health { url } => check::run(&url).await,
        Verb::Completions(args) => {
            shell::completions(&args, Cli::command());
            Ok(true)
        }
        Verb::Man(args) => shell::man(&args, Cli::command()).map(|()| true),
    }
}
