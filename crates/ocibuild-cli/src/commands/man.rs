//! `ocibuild man`.

mod page;

use std::path::PathBuf;

use clap::{Args, Command, ValueHint};

use crate::cli::Cli;
use crate::failure::Failure;
use crate::{file, text};

use page::Page;

/// Write manual pages
///
/// One page goes to standard output: that of the program, or of the command named. With `--dir` all
/// pages become files, `ocibuild.1`, `ocibuild-build.1` and so on, and standard output gets a line
/// for each. Pages hold no date: those of one version are the same everywhere.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The command whose page is wanted
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write all pages into this directory, which is made if it isn't there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "command")]
    dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild man build | man -l -
  ocibuild man --dir ~/.local/share/man/man1";

/// Writes manual pages.
///
/// # Errors
/// [`Failure`] if there is no such command, or a page can't be written.
pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    // The word `help` before a command is no command of its own.
    let mut tree = Cli::plain_tree().disable_help_subcommand(true);
    tree.build();
    let Some(directory) = &args.dir else {
        return text::print(&Page::of(find(&tree, &args.command)?).text);
    };
    let mut lines = String::new();
    for Page { name, text } in pages(&tree) {
        let path = directory.join(name);
        file::write(&path, text.as_bytes()).map_err(|source| Failure::Result {
            what: "--dir",
            path: path.clone(),
            source,
            is_built: false,
        })?;
        lines.push_str(&format!("{}\n", path.display()));
    }
    text::print(&lines)
}

fn find<'c>(tree: &'c Command, words: &[String]) -> Result<&'c Command, Failure> {
    words.iter().try_fold(tree, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let known: Vec<String> =
                command.get_subcommands().map(|below| format!("`{}`", below.get_name())).collect();
            let failure = Failure::usage(format!("there is no command `{word}`"));
            if known.is_empty() {
                failure
            } else {
                failure.with_hint(format!("there is {}", known.join(", ")))
            }
        })
    })
}

/// The page of a command, and those of all below it.
fn pages(command: &Command) -> Vec<Page> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    std::iter::once(Page::of(command)).chain(below.flat_map(pages)).collect()
}
