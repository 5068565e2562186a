//! The commands there are, and the flags that all of them share.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{build, diff, inspect, ls, validate};
use crate::exit;
use crate::failure::Failure;

/// Turns files into OCI images, without a daemon, without root, without a container.
///
/// Layers are made of files and go to a registry, an OCI layout or an archive. The same inputs
/// give the same digest, and what hasn't changed isn't built, compressed or sent again.
#[derive(Debug, Parser)]
#[command(name = "ocibuild", version, after_long_help = exit::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::BuildArgs>),
    Inspect(inspect::InspectArgs),
    Ls(ls::LsArgs),
    Diff(diff::DiffArgs),
    Validate(validate::ValidateArgs),
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Build(args) => build::run(*args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Ls(args) => ls::run(&args),
            Command::Diff(args) => diff::run(&args),
            Command::Validate(args) => validate::run(&args),
        }
    }
}

/// How much is told, and in which form; all of it on standard error.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Verbosity {
    /// How progress is shown on standard error
    ///
    /// `auto` is `tty` on a terminal, else `plain`.
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW", help_heading = "Messages")]
    pub(crate) progress: ProgressMode,

    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Messages")]
    pub(crate) quiet: bool,

    /// Say more: what was reused and what was there already
    #[arg(short, long, help_heading = "Messages")]
    pub(crate) verbose: bool,
}

/// A form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// Bars on a terminal, else lines
    Auto,
    /// Bars with bytes and rate
    Tty,
    /// A line for each thing that is done
    Plain,
    /// Nothing but the summary and warnings
    None,
}
