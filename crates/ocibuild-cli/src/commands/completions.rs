//! `ocibuild completions`.

use clap::Args;
use clap_complete::Shell;

use crate::cli::{self, Cli};
use crate::failure::Failure;
use crate::text;

/// Write a shell's completions to standard output
///
/// They know all commands, options and their fixed values. Write them anew with each version.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild completions bash > ~/.local/share/bash-completion/completions/ocibuild
  ocibuild completions zsh > \"${fpath[1]}/_ocibuild\"
  ocibuild completions fish > ~/.config/fish/completions/ocibuild.fish
  ocibuild completions elvish > ~/.config/elvish/lib/ocibuild.elv    # then: use ocibuild
  ocibuild completions powershell >> $PROFILE";

/// Writes completions.
///
/// # Errors
/// [`Failure::Stdout`].
pub(crate) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::plain_tree(), cli::NAME, &mut script);
    text::print(&String::from_utf8_lossy(&script))
}
