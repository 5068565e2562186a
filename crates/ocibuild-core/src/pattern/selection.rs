//! What a copy takes of the files below its `from`.

use super::{Pattern, PatternError};

/// A choice of paths: what one of `include` covers (everything, if there is none), without what
/// one of `exclude` covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Selection {
    /// A choice by these patterns.
    pub fn new(include: Vec<Pattern>, exclude: Vec<Pattern>) -> Self {
        Self { include, exclude }
    }

    /// A choice by patterns that are yet to be parsed.
    pub fn parse<'a>(
        include: impl IntoIterator<Item = &'a str>,
        exclude: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, PatternError> {
        let include = include.into_iter().map(Pattern::parse).collect::<Result<_, _>>()?;
        let exclude = exclude.into_iter().map(Pattern::parse).collect::<Result<_, _>>()?;
        Ok(Self { include, exclude })
    }

    /// Tells whether everything is chosen.
    pub fn is_all(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Tells whether a path is chosen. A directory that isn't may still hold some that are, and
    /// must then be made for their sake; see [`Selection::may_select_below`].
    pub fn selects(&self, path: &[u8]) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|pattern| pattern.covers(path));
        included && !self.excludes(path)
    }

    /// Tells whether something below a directory may be chosen, so that a walk has to look there.
    /// It is never wrong when it says no.
    pub fn may_select_below(&self, directory: &[u8]) -> bool {
        let reaches = |pattern: &Pattern| pattern.covers(directory) || pattern.may_match_below(directory);
        (self.include.is_empty() || self.include.iter().any(reaches)) && !self.excludes(directory)
    }

    fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.iter().any(|pattern| pattern.covers(path))
    }
}
