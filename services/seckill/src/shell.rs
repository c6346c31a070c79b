//! What shells and `man` know of this program.

use std::path::PathBuf;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

const NAME: &str = "seckill";

/// Print what completes the commands and flags of this program in a shell
///
/// bash: seckill completions bash > /usr/share/bash-completion/completions/seckill
/// zsh:  seckill completions zsh > /usr/share/zsh/site-functions/_seckill
/// fish: seckill completions fish > /usr/share/fish/vendor_completions.d/seckill.fish
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionsArgs {
    /// Of which shell
    shell: Shell,
}

/// Write the man pages of this program and of each of its commands, such as seckill-up(1)
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// Directory to write them to, made where it does not exist, such as /usr/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs, mut program: Command) {
    clap_complete::generate(args.shell, &mut program, NAME, &mut std::io::stdout());
}

pub(crate) fn man(ManArgs { directory }: &ManArgs, program: Command) -> anyhow::Result<()> {
    let within = || format!("{}", directory.display());
    std::fs::create_dir_all(directory).with_context(within)?;
    clap_mangen::generate_to(program.disable_help_subcommand(true), directory).with_context(within)
}
