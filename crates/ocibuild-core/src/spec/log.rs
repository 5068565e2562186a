//! Faults and warnings, collected while a spec is read and validated.

use std::fmt::Display;

use super::fault::MAX_FAULTS;
use super::suggest::closest;
use super::{Fault, Span, SpecError, ValueError};

/// Collects faults, so that one doesn't hide the next.
#[derive(Debug, Default)]
pub(super) struct Log {
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    places: Vec<String>,
    /// Whether the source has syntax faults. What is missing then may only not have been understood.
    broken: bool,
    /// The first address of the file that is built. Those below are of files it extends.
    start: usize,
}

impl Log {
    /// An empty log; `broken` says whether the source has syntax faults, `start` where the file
    /// that is built begins.
    pub(super) fn new(broken: bool, start: usize) -> Self {
        Self { broken, start, ..Self::default() }
    }

    /// An empty log for the same source.
    pub(super) fn beside(&self) -> Self {
        Self::new(self.broken, self.start)
    }

    /// Tells whether a place lies in a file that is only extended.
    pub(super) fn is_extended(&self, span: Option<Span>) -> bool {
        span.is_some_and(|span| span.start < self.start)
    }

    /// Runs `work`, whose reports belong to a part of the spec.
    pub(super) fn within<T>(&mut self, place: impl Display, work: impl FnOnce(&mut Self) -> T) -> T {
        self.places.push(place.to_string());
        let result = work(self);
        self.places.pop();
        result
    }

    pub(super) fn report(&mut self, fault: Fault) {
        let fault = fault.within(self.places.join(", "));
        self.faults.push(fault);
    }

    /// Reports that something isn't there.
    pub(super) fn absent(&mut self, fault: Fault) {
        if !self.broken {
            self.report(fault);
        }
    }

    pub(super) fn warn(&mut self, fault: Fault) {
        let fault = fault.within(self.places.join(", "));
        self.warnings.push(fault);
    }

    /// Keeps the value, or reports the error.
    pub(super) fn accept<T>(&mut self, result: Result<T, ValueError>, span: Option<Span>) -> Option<T> {
        result.map_err(|error| self.report(Fault::of(error, span))).ok()
    }

    /// The one of `known` that was probably meant by a word at fault. Beyond the faults that are
    /// told it isn't looked for: that could take as long as the file has words, squared.
    pub(super) fn likely<'a>(&self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        if self.faults.len() > MAX_FAULTS { None } else { closest(word, known) }
    }

    pub(super) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The warnings, if there is no fault.
    pub(super) fn finish(mut self) -> Result<Vec<Fault>, SpecError> {
        if !self.faults.is_empty() {
            return Err(SpecError::new(self.faults));
        }
        super::fault::sort(&mut self.warnings);
        Ok(self.warnings)
    }
}
