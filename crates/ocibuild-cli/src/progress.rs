//! What is told while a command runs, all of it on standard error.

mod bars;
mod plain;

use std::io::{IsTerminal as _, Write as _, stderr};

use ocibuild_core::event::Warning;
use ocibuild_core::{Event, Observer};

use crate::cli::{ProgressMode, Verbosity};
use crate::style;

use bars::Bars;

/// Tells a user what happens.
pub(crate) struct Reporter {
    view: View,
    quiet: bool,
    verbose: bool,
}

enum View {
    /// Bars on a terminal.
    Bars(Bars),
    /// A line for what is done.
    Plain,
    /// Nothing.
    Nothing,
}

impl Reporter {
    /// Makes one that tells as much as was asked for. Nothing is shown before there is something
    /// to tell; bars are never shown in a pipe.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        let Verbosity { progress, quiet, verbose } = verbosity;
        let view = match progress {
            _ if quiet => View::Nothing,
            ProgressMode::None => View::Nothing,
            ProgressMode::Auto | ProgressMode::Tty if stderr().is_terminal() => View::Bars(Bars::default()),
            _ => View::Plain,
        };
        Self { view, quiet, verbose }
    }

    /// Tells a warning.
    pub(crate) fn warn(&self, warning: &Warning) {
        let hint = warning.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
        self.warn_text(&format!("{}{hint}", warning.message));
    }

    /// Tells a warning that is text already.
    pub(crate) fn warn_text(&self, text: &str) {
        if !self.quiet {
            self.line(&format!("{}{}", style::warning_mark(), text.trim_end()));
        }
    }

    /// Tells how it all came out.
    pub(crate) fn summary(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        if let View::Bars(bars) = &self.view {
            bars.clear();
        }
    }

    /// A reader that has gone is no reason to stop.
    fn line(&self, text: &str) {
        let write = || drop(writeln!(stderr(), "{text}"));
        match &self.view {
            View::Bars(bars) => bars.suspend(write),
            _ => write(),
        }
    }
}

impl Observer for Reporter {
    fn event(&self, event: &Event) {
        if let Event::Warning(warning) = event {
            return self.warn(warning);
        }
        match &self.view {
            View::Nothing => {}
            View::Plain => {
                if let Some(line) = plain::line(event, self.verbose) {
                    self.line(&line);
                }
            }
            View::Bars(bars) => {
                bars.event(event);
                if let Some(line) = plain::line(event, true).filter(|_| self.verbose) {
                    self.line(&line);
                }
            }
        }
    }
}

/// What failed is told below the last line, not among bars.
impl Drop for Reporter {
    fn drop(&mut self) {
        self.clear();
    }
}
