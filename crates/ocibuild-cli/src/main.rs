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
mod host;
mod image_files;
mod image_place;
mod names;
mod parse;
mod progress;
mod publish;
mod registry;
mod signals;
mod source;
mod static_base;
mod style;
mod text;
mod verdict;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::from(exit::SUCCESS),
        Err(failure) => {
            let verdict = verdict::of(&failure);
            verdict.tell();
            ExitCode::from(verdict.code)
        }
    }
}
