//! What a layer's copies find in the tree, before anything is made of it.

use crate::files::{FileError, FileKind, Metadata, MountedTree, WalkOptions, Walked, display, resolve, walk};
use crate::layer::draft::Sources;
use crate::layer::gather::below;
use crate::layer::ignored::Filter;
use crate::layer::{LayerError, Nearby};
use crate::pattern::Pattern;
use crate::plan::{From, PlannedCopy, PlannedLayer, What};

/// What a copy found.
pub(super) struct Sight {
    /// Its `from`, past the links on the way.
    pub(super) start: Vec<u8>,
    pub(super) what: Seen,
    /// The ignore file, if it left anything out.
    pub(super) ignored_by: Option<String>,
}

/// What is at a copy's `from`.
pub(super) enum Seen {
    /// Something of our own, which is never taken.
    Ours,
    /// Anything but a directory.
    Single(Metadata),
    /// A directory, and what of it is taken.
    Directory(Metadata, Walked),
    /// What a glob matches, below where it begins.
    Glob(Walked),
}

/// Looks at what the copies of a layer name, one after the other up to the first fault; none for
/// those that take nothing from the tree.
pub(super) fn look(layer: &PlannedLayer, sources: Sources<'_>) -> Vec<Result<Option<Sight>, LayerError>> {
    let mut sights = Vec::with_capacity(layer.copies.len());
    for copy in &layer.copies {
        let sight = match &copy.what {
            What::From(from) => Looker { copy, from, sources }.look().map(Some),
            _ => Ok(None),
        };
        let is_fault = sight.is_err();
        sights.push(sight.map_err(|fault| fault.at(copy.span)));
        if is_fault {
            break;
        }
    }
    sights
}

#[derive(Clone, Copy)]
struct Looker<'a> {
    copy: &'a PlannedCopy,
    from: &'a From,
    sources: Sources<'a>,
}

impl Looker<'_> {
    fn look(self) -> Result<Sight, LayerError> {
        let Self { copy, from, sources } = self;
        let filter = Filter::new(copy, from, sources.tree)?;
        let start = resolve(sources.tree, &place(from))?;
        let what = match &from.glob {
            Some(glob) => self.glob(glob, &start, &filter)?,
            None => self.plain(&start, &filter)?,
        };
        Ok(Sight { start, what, ignored_by: filter.culprit() })
    }

    fn plain(self, start: &[u8], filter: &Filter<'_>) -> Result<Seen, LayerError> {
        let Self { from, sources, .. } = self;
        let metadata = match sources.tree.metadata(start) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => {
                let nearby = Box::new(Nearby::of(sources.tree, start, sources.steps));
                return Err(LayerError::Missing { from: from.path.clone(), nearby, span: None });
            }
            Err(source) => {
                let path = display(start);
                return Err(FileError::Io { action: "read", path, source }.into());
            }
        };
        if self.is_ours(start) {
            return Ok(Seen::Ours);
        }
        if metadata.kind != FileKind::Directory {
            return Ok(Seen::Single(metadata));
        }
        let options = WalkOptions {
            selects: &|path, is_directory| from.selection.selects(path) && filter.takes(path, is_directory),
            enters: &|path| from.selection.may_select_below(path) && filter.enters(path),
            skip: sources.skip,
            cancel: sources.cancel,
        };
        let walked = walk(sources.tree, start, options).map_err(LayerError::walked)?;
        Ok(Seen::Directory(metadata, walked))
    }

    fn glob(self, glob: &Pattern, start: &[u8], filter: &Filter<'_>) -> Result<Seen, LayerError> {
        let Self { from, sources, .. } = self;
        let full = |path: &[u8]| below(&from.literal, path);
        let options = WalkOptions {
            selects: &|path, is_directory| {
                glob.covers(&full(path)) && from.selection.selects(path) && filter.takes(path, is_directory)
            },
            enters: &|path| {
                let at = full(path);
                let may_match = glob.covers(&at) || glob.may_match_below(&at);
                may_match && from.selection.may_select_below(path) && filter.enters(path)
            },
            skip: sources.skip,
            cancel: sources.cancel,
        };
        Ok(Seen::Glob(match sources.tree.metadata(start) {
            Ok(metadata) if metadata.kind == FileKind::Directory && !self.is_ours(start) => {
                walk(sources.tree, start, options).map_err(LayerError::walked)?
            }
            _ => Walked::default(),
        }))
    }

    /// Tells whether a path is one of our own outputs or caches, or lies in one.
    fn is_ours(self, path: &[u8]) -> bool {
        let Sources { tree, skip, .. } = self.sources;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut paths = ends.chain([path.len()]).map(|end| &path[..end]);
        paths.any(|path| tree.metadata(path).is_ok_and(|metadata| skip.contains(&metadata.id)))
    }
}

/// Where in the tree a copy begins: what steps made is mounted there.
fn place(from: &From) -> Vec<u8> {
    match from.step {
        Some(step) => below(&MountedTree::place(step), &from.literal),
        None => from.literal.clone(),
    }
}

/// Tells whether nothing is at a path: also where a file stands for a directory on the way.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
