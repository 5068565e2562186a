//! Globs over paths: `from`, `include` and `exclude` of the spec, matched without a file system.
//!
//! Paths are bytes with `/` between their parts, as the kernel has them: relative, without empty,
//! `.` and `..` parts; the empty path is the directory the pattern starts from. A name needn't be
//! UTF-8. In a pattern
//!
//! - `*` stands for any number of characters of one name, also none, and `?` for one;
//! - `**`, alone between slashes, stands for any number of directories, also none; at the end for
//!   everything below;
//! - `[a-z]` stands for one of these characters, `[^a-z]` for one that isn't; `[!a]` has no special
//!   meaning;
//! - `\` takes the meaning from the character after it.
//!
//! Every pattern is anchored: `*.map` finds only what lies at the top, `**/*.map` all. A slash in
//! front or at the end changes nothing.
//!
//! Ignore files have another language (order counts, `!` brings back): [`IgnoreRules`].

mod component;
mod ignore;
mod selection;

pub use ignore::{IgnoreError, IgnoreFault, IgnoreRules};
pub use selection::Selection;

use component::Component;

/// A text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// There is nothing in it.
    #[error("the pattern is empty")]
    Empty,
    /// A bracket has no counterpart.
    #[error("`[` has no `]`")]
    Unclosed,
    /// Nothing is between the brackets.
    #[error("nothing is between the brackets")]
    EmptyClass,
    /// The end of a range comes before its start.
    #[error("the range `{0}-{1}` is empty")]
    EmptyRange(char, char),
    /// The backslash is the last character of a name.
    #[error("nothing follows the `\\`")]
    Escape,
    /// There are two stars among other characters.
    #[error("`**` is not alone between slashes")]
    DoubleStar,
    /// It would leave the directory it starts from.
    #[error("`..` leads out of where the pattern starts")]
    Parent,
    /// It has too many parts.
    #[error("the pattern has more than {MAX_PARTS} parts")]
    TooLong,
}

impl PatternError {
    /// What to write instead.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unclosed | Self::EmptyClass => Some("write `\\[` for a name that has a bracket in it"),
            Self::Escape => Some("write `\\\\` for a name that has a backslash in it"),
            Self::DoubleStar => Some("write `*` within a name, or `**/` for any number of directories"),
            _ => None,
        }
    }
}

/// The most parts of a pattern: the states of one fit into 64 bits.
const MAX_PARTS: usize = 63;

/// A glob over paths; see the [module](self) for its language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Any number of directories, also none.
    Directories,
    /// One name.
    One(Component),
}

/// The parts of a pattern that may have been matched so far: bit `n` for the first `n` parts.
type States = u64;

impl Pattern {
    /// Parses a pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let names = text.split('/').filter(|name| !matches!(*name, "" | "."));
        let mut parts = names.map(part).collect::<Result<Vec<Part>, _>>()?;
        // Two in a row say no more than one.
        parts.dedup_by(|part, before| *part == Part::Directories && part == before);
        if parts.last() == Some(&Part::Directories) {
            parts.push(Part::One(Component::any()));
        }
        if parts.len() > MAX_PARTS {
            return Err(PatternError::TooLong);
        }
        Ok(Self { parts })
    }

    /// Tells whether the pattern stands for this very path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.accepts(names(path).fold(self.start(), |states, name| self.step(states, name)))
    }

    /// Tells whether the pattern stands for the path or for a directory above it.
    pub fn covers(&self, path: &[u8]) -> bool {
        let mut states = self.start();
        let mut below = names(path);
        loop {
            if self.accepts(states) {
                return true;
            }
            match below.next() {
                Some(name) if states != 0 => states = self.step(states, name),
                _ => return false,
            }
        }
    }

    /// Tells whether the pattern may stand for something below a directory, so that a walk has to
    /// look there. It is never wrong when it says no.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        let states = names(directory).fold(self.start(), |states, name| self.step(states, name));
        states & !self.end() != 0
    }

    /// Tells whether the pattern has anything but plain names in it.
    pub fn is_glob(&self) -> bool {
        self.parts.iter().any(|part| part.literal().is_none())
    }

    /// The path a pattern without anything special in it stands for, with the escapes taken away.
    pub fn as_literal(&self) -> Option<Vec<u8>> {
        (!self.is_glob()).then(|| self.literal_prefix())
    }

    /// The directory in which everything lies that the pattern stands for: its plain names before
    /// the first special part. Empty if it begins with one.
    pub fn literal_prefix(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.parts.iter().map_while(Part::literal).collect();
        names.join(&b'/')
    }

    fn start(&self) -> States {
        self.skip(1)
    }

    fn end(&self) -> States {
        1 << self.parts.len()
    }

    fn accepts(&self, states: States) -> bool {
        states & self.end() != 0
    }

    /// The states after one more name of the path.
    fn step(&self, states: States, name: &[u8]) -> States {
        let mut next = 0;
        for (index, part) in self.parts.iter().enumerate().filter(|(index, _)| states & (1 << index) != 0) {
            match part {
                Part::Directories => next |= 1 << index,
                Part::One(component) if component.matches(name) => next |= 1 << (index + 1),
                Part::One(_) => {}
            }
        }
        self.skip(next)
    }

    /// Adds the states that are reached by letting [`Part::Directories`] stand for none.
    fn skip(&self, mut states: States) -> States {
        for (index, part) in self.parts.iter().enumerate() {
            if *part == Part::Directories && states & (1 << index) != 0 {
                states |= 1 << (index + 1);
            }
        }
        states
    }
}

impl Part {
    fn literal(&self) -> Option<&[u8]> {
        match self {
            Self::Directories => None,
            Self::One(component) => component.literal(),
        }
    }
}

fn part(name: &str) -> Result<Part, PatternError> {
    match name {
        "**" => Ok(Part::Directories),
        ".." => Err(PatternError::Parent),
        _ => Component::parse(name).map(Part::One),
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
