//! `ocibuild cache`: what is kept between builds, looked at and tidied up.

mod ls;
mod prune;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ocibuild_core::cache::{CacheError, Extent};
use ocibuild_core::event::Warning;

use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;
use crate::text;

/// The documents' form. Fields may be added within a version.
const VERSION: u32 = 1;

/// Look at the cache, tidy it up, or find what is damaged in it
///
/// The cache holds layers that were built, records that say by which key each can be found again, what
/// is known of files since they were last read (a stat cache for each layer of a directory that is
/// built from), what large layers are made of (a block list for each), what layers were made of when
/// they were last built, for `ocibuild explain`, notes on what registries can do, such as whether one takes layers over from another repository,
/// what steps made, as files, and the directories in which they run.
/// All of it can be made anew: to remove any of it costs time, and never an image.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild cache ls
  ocibuild cache prune --max-size 5GB --max-age 30d
  ocibuild cache verify --remove
  du -sh \"$(ocibuild cache path)\"";

#[derive(Debug, Subcommand)]
enum Command {
    Path(PathArgs),
    Ls(ls::LsArgs),
    Prune(prune::PruneArgs),
    Verify(verify::VerifyArgs),
}

/// Tell where the cache is
///
/// Prints the directory that a build with the same options and environment would use, whether it is
/// there or not: that of `--cache-dir`, else of `OCIBUILD_CACHE_DIR`, else `ocibuild` below
/// `$XDG_CACHE_HOME`, else `~/.cache/ocibuild`.
#[derive(Debug, Args)]
#[command(after_help = PATH_EXAMPLES)]
struct PathArgs {}

const PATH_EXAMPLES: &str = "\
Examples:
  ocibuild cache path
  tar -C \"$(ocibuild cache path)\" -cf cache.tar .";

/// Runs the command.
///
/// # Errors
/// [`Failure`] if the cache can't be read or written, isn't one, or has damage.
pub(crate) fn run(args: &CacheArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let directory = options.cache_directory()?;
    match &args.command {
        Command::Path(PathArgs {}) => path(&directory),
        Command::Ls(args) => ls::run(args, &directory, reporter),
        Command::Prune(args) => prune::run(args, &directory, reporter),
        Command::Verify(args) => verify::run(args, &directory, options, reporter),
    }
}

/// Prints the path in full, byte for byte.
fn path(directory: &Path) -> Result<(), Failure> {
    let path = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    text::stream(|stdout| {
        stdout.write_all(path.as_os_str().as_encoded_bytes())?;
        stdout.write_all(b"\n")
    })
}

/// What a fault of the cache ends the command with.
fn failure(error: CacheError, directory: &Path) -> Failure {
    match error {
        CacheError::Cancelled(_) => Failure::Interrupted,
        error => Failure::Cache { error, directory: directory.to_owned() },
    }
}

/// As many paths as a warning names.
const MAX_PATHS: usize = 5;

/// Tells of what lies in the cache and is none of it.
fn warn_of_strays(strays: &[PathBuf], reporter: &Reporter) {
    if strays.is_empty() {
        return;
    }
    let names = strays.iter().take(MAX_PATHS);
    let names: Vec<String> =
        names.map(|path| format!("`{}`", path.display().to_string().escape_debug())).collect();
    let more = match strays.len().saturating_sub(MAX_PATHS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!("passed over, as none of the cache's own: {}{more}", names.join(", "));
    reporter.warn(&Warning::new(message).hint("they stay where they are: remove what isn't needed"));
}

fn strays_to_json(strays: &[PathBuf]) -> serde_json::Value {
    strays.iter().map(|path| path.display().to_string()).collect()
}

fn extent_to_json(extent: Extent) -> serde_json::Value {
    serde_json::json!({ "count": extent.count, "bytes": extent.bytes })
}

fn count(extent: Extent, noun: &str) -> String {
    text::count(usize::try_from(extent.count).unwrap_or(usize::MAX), noun)
}
