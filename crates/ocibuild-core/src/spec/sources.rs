//! The files a spec is written in: one, and those it extends.
//!
//! A [`Span`] is a place in all of them: each file has a range of addresses of its own, as in a
//! compiler's source map, so that a value keeps its place wherever it is merged into. This module
//! turns a span into a file, a line and a column. It does no IO: whoever has files hands over a
//! function that loads them.

use toml::de::{DeTable, DeValue};

use super::read::syntax;
use super::render::Lines;
use super::{Fault, Span, ValueError};

/// The most files that extend each other, besides the first.
pub const MAX_EXTENDED: usize = 8;

/// A text with a name, to be read as a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    name: String,
    identity: String,
    text: String,
}

impl SourceFile {
    /// A file that people know by `name`, mostly its path.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let name = name.into();
        Self { identity: name.clone(), name, text: text.into() }
    }

    /// Says what tells the file from others, where its name doesn't: its canonical path. A file
    /// that extends itself is found by it.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = identity.into();
        self
    }

    /// What people know it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Loads the file that another one extends: the one that says so, and the path as it says it.
pub type Loader<'l> = dyn Fn(&SourceFile, &str) -> Result<SourceFile, ValueError> + 'l;

/// A place for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position<'s> {
    /// The name of the file.
    pub file: &'s str,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1, in characters.
    pub column: usize,
}

/// The files of one spec.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file that is built first, then the one it extends, and so on.
    files: Vec<Placed>,
    /// What went wrong while they were loaded.
    faults: Vec<Fault>,
}

#[derive(Clone, Debug)]
struct Placed {
    file: SourceFile,
    /// Its first address.
    start: usize,
    /// Where it says what it extends, in addresses.
    extends: Option<Span>,
}

impl Sources {
    /// One file, which can't extend others.
    pub fn of(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self::load(SourceFile::new(name, text), &|_, _| {
            Err(ValueError::new("a spec that isn't read from a file can't extend one"))
        })
    }

    /// A file and those it extends, each loaded by `loader`.
    ///
    /// What can't be loaded is a fault of the spec, which [`Spec::read`](super::Spec::read) tells
    /// with all others.
    pub fn load(file: SourceFile, loader: &Loader<'_>) -> Self {
        let mut files = vec![Placed { extends: extended(file.text()).map(|(_, span)| span), file, start: 0 }];
        let mut fault = None;
        while let Some(last) = files.last()
            && let Some((path, span)) = extended(last.file.text())
        {
            match next(&files, &path, loader) {
                Ok(file) => {
                    let extends = extended(file.text()).map(|(_, span)| span);
                    files.push(Placed { file, start: 0, extends });
                }
                Err(error) => {
                    fault = Some(Fault::of(error, Some(span)));
                    break;
                }
            }
        }
        place(&mut files);
        let start = files.last().map_or(0, |file| file.start);
        let faults = fault.map(|fault| fault.shifted(start)).into_iter().collect();
        Self { files, faults }
    }

    /// All files: the one that is built first, then the one it extends, and so on.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &SourceFile> {
        self.files.iter().map(|placed| &placed.file)
    }

    /// The name of the file that is built.
    pub fn name(&self) -> &str {
        self.files.first().map_or("", |placed| placed.file.name())
    }

    /// The place of a span's first byte. What lies beyond all files is at the end of the last.
    pub fn position(&self, span: Span) -> Position<'_> {
        let placed = &self.files[self.index(span)];
        let (line, column) = Lines::new(placed.file.text()).position(span.start.saturating_sub(placed.start));
        Position { file: placed.file.name(), line, column }
    }

    /// What went wrong while files were loaded.
    pub(super) fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Files with their first addresses, in the order in which each is laid over those before it.
    pub(super) fn bottom_up(&self) -> impl Iterator<Item = (&SourceFile, usize)> {
        self.files.iter().rev().map(|placed| (&placed.file, placed.start))
    }

    /// The first address of the file that is built. Those of files it extends are lower.
    pub(super) fn start(&self) -> usize {
        self.files.first().map_or(0, |placed| placed.start)
    }

    /// Each file's name, first address and lines, in the order of [`Sources::files`].
    pub(super) fn lines(&self) -> Vec<(&str, usize, Lines<'_>)> {
        self.files
            .iter()
            .map(|Placed { file, start, .. }| (file.name(), *start, Lines::new(file.text())))
            .collect()
    }

    /// Which of the files a span lies in.
    pub(super) fn index(&self, span: Span) -> usize {
        self.files.iter().position(|placed| placed.start <= span.start).unwrap_or_default()
    }

    /// Where it is said that a file is extended: in the file before it, and in those before that.
    pub(super) fn extenders(&self, index: usize) -> impl Iterator<Item = Span> {
        self.files[..index].iter().rev().filter_map(|placed| placed.extends)
    }
}

/// Loads one more file, if that leads anywhere.
fn next(files: &[Placed], path: &str, loader: &Loader<'_>) -> Result<SourceFile, ValueError> {
    if files.len() > MAX_EXTENDED {
        return Err(ValueError::new(format!("more than {MAX_EXTENDED} files extend each other"))
            .hint("join some of them"));
    }
    let Some(last) = files.last() else { return Err(ValueError::new("there is no file")) };
    let file = loader(&last.file, path)?;
    let Some(first) = files.iter().position(|known| known.file.identity == file.identity) else {
        return Ok(file);
    };
    let circle = files[first..].iter().map(|placed| &placed.file).chain([&files[first].file]);
    let names: Vec<String> = circle.map(|file| format!("`{}`", file.name())).collect();
    Err(ValueError::new(format!("the files extend each other in a circle: {}", names.join(" extends ")))
        .hint("move what they share into a file that extends none of them"))
}

/// Gives files their addresses: the lowest to the one that all others are laid over.
fn place(files: &mut [Placed]) {
    let mut start = 0;
    for placed in files.iter_mut().rev() {
        placed.start = start;
        placed.extends = placed.extends.map(|span| span.shifted(start));
        // One address stands for the end of the file.
        start += placed.file.text().len() + 1;
    }
}

/// What a file extends, and where it says so.
fn extended(text: &str) -> Option<(String, Span)> {
    syntax::guard(text).ok()?;
    let (table, _) = DeTable::parse_recoverable(text);
    let value = table.get_ref().get("extends")?;
    match value.get_ref() {
        DeValue::String(path) if !path.is_empty() => Some((path.to_string(), value.span().into())),
        _ => None,
    }
}
