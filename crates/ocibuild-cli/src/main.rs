//! The command line: what a user says, handed to the library, and what came of it, told.
//!
//! This crate alone reads the environment, writes to the terminal, catches signals, and decides on
//! hints and exit codes; everything else is the library's.

mod cli;
mod commands;
mod destination;
mod environment;
mod exit;
mod failure;
mod file;
mod foreign;
mod graph;
mod host;
mod image_files;
mod image_place;
mod keychain;
mod lock_file;
mod names;
mod object_stores;
mod options;
mod parse;
mod progress;
mod prompt;
mod publish;
mod registry;
mod side_by_side;
mod signals;
mod source;
mod static_base;
mod step_flags;
mod style;
mod text;
mod transfer;
mod usage;
mod verdict;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::Cli;
use options::Early;
use progress::Reporter;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let early = Early::of(&words);
    let cli = match Cli::parse_words(&words) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(cli::tell(&error, early)),
    };
    let told = cli.settle().map(|cli| (Reporter::new(&cli.options), cli));
    let (reporter, result) = match told {
        Ok((reporter, cli)) => {
            let result = cli.run(&reporter);
            (reporter, result)
        }
        Err(failure) => (Reporter::early(early), Err(failure)),
    };
    let Err(failure) = result else { return ExitCode::from(exit::SUCCESS) };
    let verdict = verdict::of(&failure);
    reporter.fail(&verdict);
    ExitCode::from(verdict.code)
}
