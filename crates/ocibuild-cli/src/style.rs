//! The little colour there is: ours, and that of clap's help and errors.

use std::io::{IsTerminal as _, stderr, stdout};

use clap::ValueEnum;
use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Style};

use crate::environment;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const HEADER: Style = AnsiColor::Green.on_default().bold();

/// What tells steps apart.
const STEPS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Green,
    AnsiColor::Blue,
    AnsiColor::Yellow,
    AnsiColor::BrightBlack,
];

/// What clap colours its help and errors with.
pub(crate) const STYLES: Styles = Styles::styled()
    .header(HEADER)
    .usage(HEADER)
    .literal(HINT)
    .placeholder(AnsiColor::Cyan.on_default())
    .error(ERROR)
    .invalid(WARNING)
    .valid(HINT);

/// When there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColourChoice {
    /// On a terminal that wants it
    Auto,
    /// Everywhere, pipes included
    Always,
    /// Nowhere
    Never,
}

/// The colours of a stream, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    coloured: bool,
}

impl Palette {
    /// Those of standard error.
    pub(crate) fn of_stderr(choice: ColourChoice) -> Self {
        Self { coloured: is_coloured(choice, stderr().is_terminal()) }
    }

    /// Those of standard output.
    pub(crate) fn of_stdout(choice: ColourChoice) -> Self {
        Self { coloured: is_coloured(choice, stdout().is_terminal()) }
    }

    /// None.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { coloured: false };

    /// Tells whether there are any.
    pub(crate) fn is_coloured(self) -> bool {
        self.coloured
    }

    /// The word before an error.
    pub(crate) fn error(self) -> String {
        self.paint(ERROR, "error:")
    }

    /// The word before a warning.
    pub(crate) fn warning(self) -> String {
        self.paint(WARNING, "warning:")
    }

    /// The word before a hint.
    pub(crate) fn hint(self) -> String {
        self.paint(HINT, "hint:")
    }

    /// What stands before the lines of a step, in a colour of its own.
    pub(crate) fn step(self, number: usize, text: &str) -> String {
        self.paint(STEPS[number % STEPS.len()].on_default(), text)
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn is_coloured(choice: ColourChoice, is_terminal: bool) -> bool {
    match choice {
        ColourChoice::Always => true,
        ColourChoice::Never => false,
        ColourChoice::Auto => environment::colour().unwrap_or(is_terminal),
    }
}
