//! What is told while a command runs and of how it ends, all of it on standard error.

mod bars;
pub(crate) mod json;
mod plain;
mod retries;
mod under_way;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ocibuild_core::event::Warning;
use ocibuild_core::{Event, Observer};
use serde::Serialize;

use crate::options::{Early, Options, ProgressMode};
use crate::style::Palette;
use crate::verdict::Verdict;

use bars::Bars;
use retries::Retries;
use under_way::UnderWay;

/// Tells a user what happens; its clones are one, so that others than the command may tell things.
#[derive(Clone)]
pub(crate) struct Reporter {
    inner: Arc<Inner>,
}

struct Inner {
    view: View,
    quiet: bool,
    /// As often as more was asked for.
    verbosity: u8,
    palette: Palette,
    retries: Retries,
    under_way: UnderWay,
    /// When something was told last.
    told: Mutex<Instant>,
}

/// From here on each request is told.
const REQUESTS: u8 = 2;
/// Who hears nothing for longer wonders whether anything happens.
const SILENCE: Duration = Duration::from_secs(5);

enum View {
    /// Bars on a terminal.
    Bars(Bars),
    /// A line for what is done.
    Plain,
    /// A JSON object for each event.
    Json,
    /// Nothing.
    Nothing,
}

impl Reporter {
    /// Makes one that tells as much as was asked for. Nothing is shown before there is something
    /// to tell; bars are never shown in a pipe.
    pub(crate) fn new(options: &Options) -> Self {
        let Options { progress, quiet, verbose: verbosity, color, .. } = *options;
        let view = match progress {
            ProgressMode::Json => View::Json,
            _ if quiet => View::Nothing,
            ProgressMode::None => View::Nothing,
            ProgressMode::Auto | ProgressMode::Tty if stderr().is_terminal() => View::Bars(Bars::default()),
            _ => View::Plain,
        };
        Self::of(view, quiet, verbosity, Palette::of_stderr(color))
    }

    /// Makes one that tells of nothing but a command line that isn't understood.
    pub(crate) fn early(early: Early) -> Self {
        let view = if early.progress == ProgressMode::Json { View::Json } else { View::Plain };
        Self::of(view, false, 0, Palette::of_stderr(early.colour))
    }

    fn of(view: View, quiet: bool, verbosity: u8, palette: Palette) -> Self {
        let (retries, under_way, told) =
            (Retries::default(), UnderWay::default(), Mutex::new(Instant::now()));
        Self { inner: Arc::new(Inner { view, quiet, verbosity, palette, retries, under_way, told }) }
    }

    /// Tells a warning.
    pub(crate) fn warn(&self, warning: &Warning) {
        self.warn_of(&warning.message, warning.hint.as_deref());
    }

    /// Tells a warning that is text already.
    pub(crate) fn warn_text(&self, text: &str) {
        self.warn_of(text, None);
    }

    fn warn_of(&self, message: &str, hint: Option<&str>) {
        if self.inner.quiet {
            return;
        }
        let message = message.trim_end();
        if let View::Json = self.inner.view {
            return self.line(&json::warning(message, hint));
        }
        let hint = hint.map(|hint| format!("\n  {} {hint}", self.inner.palette.hint())).unwrap_or_default();
        self.line(&format!("{} {message}{hint}", self.inner.palette.warning()));
    }

    /// Tells how it all came out: `text` to people, `value` to programs.
    pub(crate) fn summary(&self, text: &str, value: &impl Serialize) {
        if self.inner.quiet {
            return;
        }
        match self.inner.view {
            View::Json => self.line(&json::summary(value)),
            _ => self.line(text),
        }
    }

    /// Tells of something that goes on: `text` to people, an event with the fields of `value` to
    /// programs.
    pub(crate) fn tell(&self, text: &str, event: &str, value: &impl Serialize) {
        if self.inner.quiet {
            return;
        }
        match self.inner.view {
            View::Json => self.line(&json::named(event, value)),
            _ => self.line(text),
        }
    }

    /// Tells what ended the run.
    pub(crate) fn fail(&self, verdict: &Verdict) {
        self.clear();
        if verdict.is_silent() {
            return;
        }
        match self.inner.view {
            View::Json => self.line(&verdict.to_json()),
            _ => self.line(verdict.to_text(self.inner.palette).trim_end()),
        }
    }

    /// Shows a bar for work that takes its time, where there are bars.
    pub(crate) fn begin(&self, name: &str, bytes: u64) {
        if let View::Bars(bars) = &self.inner.view {
            bars.start(name.to_owned(), name.to_owned(), Some(bytes));
        }
    }

    /// Moves the bar on.
    pub(crate) fn advance(&self, name: &str, bytes: u64) {
        if let View::Bars(bars) = &self.inner.view {
            bars.advance(name, bytes);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self, name: &str) {
        if let View::Bars(bars) = &self.inner.view {
            bars.end(name);
        }
    }

    /// Tells whether what is told is for programs, so that nothing else may be among it.
    pub(crate) fn is_for_programs(&self) -> bool {
        matches!(self.inner.view, View::Json)
    }

    /// The colours of what is told.
    pub(crate) fn palette(&self) -> Palette {
        self.inner.palette
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        if let View::Bars(bars) = &self.inner.view {
            bars.clear();
        }
    }

    /// A reader that has gone is no reason to stop. One write a line, so that lines stay whole.
    fn line(&self, text: &str) {
        *self.inner.told.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let write = || drop(stderr().lock().write_all(format!("{text}\n").as_bytes()));
        match &self.inner.view {
            View::Bars(bars) => bars.suspend(write),
            _ => write(),
        }
    }
}

impl Inner {
    fn is_silent(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= SILENCE
    }

    /// The line of an event where there are no bars; how far what is sent has come breaks a long silence.
    fn plain(&self, event: &Event, retry: u32) -> Option<String> {
        self.under_way.note(event);
        match event {
            Event::PushProgress { .. } if self.is_silent() => self.under_way.line(Instant::now()),
            _ => self.done(event, retry),
        }
    }

    /// The line of what is done. After a long silence a retry is told however short its pause is: what
    /// it repeats stood still.
    fn done(&self, event: &Event, retry: u32) -> Option<String> {
        let stood_still = retry > 0 && self.is_silent();
        plain::line(event, if stood_still { self.verbosity.max(1) } else { self.verbosity }, retry)
    }
}

impl Observer for Reporter {
    fn event(&self, event: &Event) {
        let Inner { view, quiet, verbosity, retries, .. } = &*self.inner;
        match event {
            Event::Warning(warning) => return self.warn(warning),
            Event::Request { .. } if *verbosity < REQUESTS => return,
            _ => {}
        }
        let retry = retries.note(event);
        let line = match view {
            View::Nothing => None,
            View::Json => (!quiet).then(|| json::event(event)),
            View::Plain => self.inner.plain(event, retry),
            View::Bars(bars) => {
                let is_shown = bars.event(event, retry);
                let line = self.inner.done(event, retry);
                line.filter(|_| *verbosity > 0 || (retry > 0 && !is_shown))
            }
        };
        if let Some(line) = line {
            self.line(&line);
        }
    }
}

/// What failed is told below the last line, not among bars.
impl Drop for Inner {
    fn drop(&mut self) {
        if let View::Bars(bars) = &self.view {
            bars.clear();
        }
    }
}
