//! Faults of a spec: what is wrong, where, and what to write instead.

use std::collections::BTreeSet;

use super::render;
use super::{Sources, Span};

/// A value the spec can't take, without its place: what is wrong, and a hint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct ValueError {
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl ValueError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// One fault of a spec, or one warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// The bytes at fault; `None` where the value comes from a builder or from flags.
    pub span: Option<Span>,
    /// The part of the spec at fault in words, such as ``layer `app`, copy 1``; may be empty.
    pub place: String,
}

impl Fault {
    /// A fault at `span`.
    pub fn new(message: impl Into<String>, span: Option<Span>) -> Self {
        Self { message: message.into(), hint: None, span, place: String::new() }
    }

    /// A value's error, at the value's place.
    pub fn of(error: ValueError, span: Option<Span>) -> Self {
        Self { message: error.message, hint: error.hint, span, place: String::new() }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says which part of the spec is at fault; shown where there is no line to show.
    #[must_use]
    pub fn within(mut self, place: impl Into<String>) -> Self {
        self.place = place.into();
        self
    }

    /// The fault as text for people: `FILE:LINE:COLUMN: message`, the line with the fault
    /// underlined, and the hint, each line ended by a newline. Plain text without colour.
    pub fn render(&self, sources: &Sources) -> String {
        render::faults(std::slice::from_ref(self), sources)
    }

    /// The fault of a file whose first address is `start`.
    pub(super) fn shifted(self, start: usize) -> Self {
        Self { span: self.span.map(|span| span.shifted(start)), ..self }
    }
}

/// The most faults that are told.
pub(super) const MAX_FAULTS: usize = 100;

/// All that is wrong with a spec, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", render::summary(.faults))]
#[non_exhaustive]
pub struct SpecError {
    /// The faults; never empty.
    pub faults: Vec<Fault>,
    /// How many more there are: what has a hundred faults isn't mended by reading on.
    pub omitted: usize,
}

impl SpecError {
    /// An error of these faults, which are put in the order of the file.
    pub fn new(mut faults: Vec<Fault>) -> Self {
        sort(&mut faults);
        let omitted = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        Self { faults, omitted }
    }

    /// Every fault as text for people, with an empty line between two; see [`Fault::render`].
    pub fn render(&self, sources: &Sources) -> String {
        let mut text = render::faults(&self.faults, sources);
        if self.omitted > 0 {
            text.push_str(&format!("\n{}: {} more faults\n", sources.name(), self.omitted));
        }
        text
    }

    /// The faults of a file whose first address is `start`.
    pub(super) fn shifted(self, start: usize) -> Self {
        let faults = self.faults.into_iter().map(|fault| fault.shifted(start)).collect();
        Self { faults, ..self }
    }
}

impl From<Fault> for SpecError {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault], omitted: 0 }
    }
}

/// Puts faults in the order of the file, those without a place in it last, and drops repetitions: a
/// value that serves several parts of the spec is at fault once.
pub(super) fn sort(faults: &mut Vec<Fault>) {
    faults.sort_by_key(|fault| fault.span.map_or((usize::MAX, usize::MAX), |s| (s.start, s.end)));
    let mut seen = BTreeSet::new();
    faults.retain(|fault| {
        let place = if fault.span.is_some() { String::new() } else { fault.place.clone() };
        seen.insert((fault.span, place, fault.message.clone()))
    });
}
