//! What is told while a command runs and of how it ends, all of it on standard error.

mod bars;
mod groups;
pub(crate) mod json;
mod plain;
mod retries;
mod shown;
mod under_way;

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ocibuild_core::event::{LayerOutcome, Warning};
use ocibuild_core::{Event, Observer};
use serde::Serialize;

use crate::environment;
use crate::options::{Early, Options, ProgressMode};
use crate::style::Palette;
use crate::verdict::Verdict;

use bars::Bars;
use groups::{Folding, Groups};
use retries::Retries;
pub(crate) use shown::shown;
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
    /// The steps there are, by their labels, in the order of the plan.
    steps: Mutex<Vec<String>>,
    /// What folds lines, where something does.
    groups: Option<Mutex<Groups>>,
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
        let folding = match view {
            View::Plain if environment::is_github() => Some(Folding::GitHub),
            View::Plain if environment::is_gitlab() => Some(Folding::GitLab),
            _ => None,
        };
        let groups = folding.map(|folding| Mutex::new(Groups::new(folding)));
        let steps = Mutex::default();
        let inner = Inner { view, quiet, verbosity, palette, retries, under_way, steps, groups, told };
        Self { inner: Arc::new(inner) }
    }

    /// Says which steps there are, so that their lines stand in columns.
    pub(crate) fn expect(&self, steps: impl Iterator<Item = String>) {
        *lock(&self.inner.steps) = steps.collect();
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
        self.finish();
        match self.inner.view {
            View::Json => self.line(&json::summary(value)),
            _ => self.line(text),
        }
    }

    /// Shows what is held back.
    fn finish(&self) {
        if let Some(groups) = &self.inner.groups {
            write(&lock(groups).finish());
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
        self.finish();
        if verdict.is_silent() {
            return;
        }
        if let View::Json = self.inner.view {
            return self.line(&verdict.to_json());
        }
        let text = verdict.to_text(self.inner.palette);
        let text = match &self.inner.groups {
            // It may quote what a step wrote.
            Some(groups) => lock(groups).fenced(&text),
            None => text,
        };
        self.line(text.trim_end());
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
        *lock(&self.inner.told) = Instant::now();
        let text = format!("{text}\n");
        match (&self.inner.view, &self.inner.groups) {
            (View::Bars(bars), _) => bars.suspend(|| write(&text)),
            (_, Some(groups)) => {
                // Locked until it is written, or lines would come in another order.
                let mut groups = lock(groups);
                write(&groups.other(&text));
            }
            _ => write(&text),
        }
    }

    /// Tells what belongs to a step, if the event does.
    fn step(&self, event: &Event) {
        match (&self.inner.groups, event) {
            (None, Event::StepStarted { step, attempt: 1 }) if matches!(self.inner.view, View::Plain) => {
                self.line(&format!("step {step}: started"));
            }
            (None, Event::StepOutput { step, line, .. }) => self.line(&self.inner.of_step(step, line)),
            (Some(groups), event) => {
                let mut groups = lock(groups);
                write(&match event {
                    Event::StepStarted { step, .. } => groups.start(step),
                    Event::StepOutput { step, line, .. } => {
                        groups.line(step, &shown(line, self.inner.palette.is_coloured()))
                    }
                    Event::StepRetry { step, reason } => groups.line(step, &format!("({reason}; once more)")),
                    Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => groups.end(step),
                    _ => String::new(),
                });
            }
            _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A reader that has gone is no reason to stop.
fn write(text: &str) {
    if !text.is_empty() {
        let _ = stderr().lock().write_all(text.as_bytes());
    }
}

/// Names of steps stand in a column of this many letters at most.
const WIDEST: usize = 24;

impl Inner {
    fn is_silent(&self) -> bool {
        lock(&self.told).elapsed() >= SILENCE
    }

    /// A line that a step wrote, with the step's name before it.
    fn of_step(&self, step: &str, line: &str) -> String {
        let steps = lock(&self.steps);
        let number = steps.iter().position(|known| known == step).unwrap_or_default();
        let widths = steps.iter().map(|step| step.chars().count());
        let width = widths.max().unwrap_or_default().min(WIDEST);
        let prefix = self.palette.step(number, &format!("{step:width$} |"));
        format!("{prefix} {}", shown(line, self.palette.is_coloured())).trim_end().to_owned()
    }

    /// The line of an event where there are no bars; how far what is sent has come breaks a long silence.
    fn plain(&self, event: &Event, retry: u32) -> Option<String> {
        self.under_way.note(event);
        match event {
            // It is told where the step's lines are.
            Event::StepRetry { .. } if self.groups.is_some() => None,
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
        if matches!(view, View::Bars(_) | View::Plain) {
            self.step(event);
        }
        let retry = retries.note(event);
        let line = match view {
            View::Nothing => None,
            View::Json => (!quiet).then(|| json::event(event)),
            View::Plain => self.inner.plain(event, retry),
            View::Bars(bars) => {
                let is_shown = bars.event(event, retry);
                let line = self.inner.done(event, retry);
                let is_news = matches!(
                    event,
                    Event::StepFinished { outcome: LayerOutcome::Built, .. }
                        | Event::StepFailed { .. }
                        | Event::StepRetry { .. }
                );
                line.filter(|_| *verbosity > 0 || is_news || (retry > 0 && !is_shown))
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
