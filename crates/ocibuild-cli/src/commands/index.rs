//! `ocibuild index`.

mod create;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;

/// Make images of several platforms one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::CreateArgs),
}

const EXAMPLES: &str = "\
Examples:
  ocibuild index create registry.example.com/app:1 registry.example.com/app:1-amd64 \\
      registry.example.com/app:1-arm64";

/// Runs the command.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &IndexArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    match &args.command {
        Command::Create(args) => create::run(args, options, reporter),
    }
}
