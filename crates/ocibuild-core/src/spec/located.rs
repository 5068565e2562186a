//! Where in the spec file a value was written.
//!
//! A value that can turn out to be at fault later (a path that doesn't exist, a pattern that
//! selects nothing) carries its place along, so that whoever finds the fault can show the line.
//! What was made by a builder or by flags has no place.

use std::ops::{Deref, Range};

/// A range of bytes of the spec file: `start` is inclusive, `end` exclusive.
///
/// Where a file extends others, all of them share one space of addresses;
/// [`Sources`](super::Sources) tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The same range, `by` bytes further on.
    pub(super) fn shifted(self, by: usize) -> Self {
        Self { start: self.start + by, end: self.end + by }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A value, and where it was written.
///
/// Two are equal when their values are: a spec from a file and the same spec from a builder
/// compare as equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written; `None` for a value that comes from a builder or from flags.
    pub span: Option<Span>,
}

impl<T> Located<T> {
    /// A value written at `span`.
    pub fn new(value: T, span: Option<Span>) -> Self {
        Self { value, span }
    }

    /// Applies `change` to the value and keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), span: self.span }
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for Located<T> {
    fn from(value: T) -> Self {
        Self { value, span: None }
    }
}

impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}
