//! From a planned layer to its entries: what the copies select, where it goes, with which metadata.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::files::{
    DEFAULT_MTIME, Entry, EntryKind, FileError, FileKind, FileSource, Found, Metadata, WalkOptions, display,
    resolve, walk,
};
use crate::layer::draft::{Claim, Draft, Sources};
use crate::layer::ignored::Filter;
use crate::layer::keep::{Kept, speaks_of_directories};
use crate::layer::{LayerError, Nearby, links, merge, owners, places, removal};
use crate::plan::{From, PlannedCopy, PlannedLayer, What};

/// A layer's entries, ready to be written, and what was noticed on the way.
pub(super) struct Gathered {
    pub(super) entries: Vec<Entry>,
    pub(super) notes: Notes,
}

/// What is worth a warning.
#[derive(Default)]
pub(super) struct Notes {
    /// What had setuid, setgid or sticky, which are dropped: their number, and one of them.
    pub(super) special_modes: Option<(u64, String)>,
    /// Files written again though they are one file with another: number and bytes.
    pub(super) linked: (u64, u64),
}

/// Gathers the entries of a layer, in the order they are written in.
pub(super) fn gather(layer: &PlannedLayer, sources: Sources<'_>) -> Result<Gathered, LayerError> {
    let owners = owners::owners(layer, sources.listing)?;
    let mut gatherer = Gatherer { sources, drafts: Vec::new(), notes: Notes::default() };
    for (index, copy) in layer.copies.iter().enumerate() {
        let owner = owners[index];
        let copier = Copier { copy, owner, index: index as u32, gatherer: &mut gatherer };
        copier.run().map_err(|fault| fault.at(copy.span))?;
    }
    let Gatherer { drafts, mut notes, .. } = gatherer;
    let mut entries = merge::merge(drafts, layer, &owners, sources)?;
    notes.linked = links::link(&mut entries);
    let entries = removal::add(entries, layer, sources.listing)?;
    Ok(Gathered { entries, notes })
}

struct Gatherer<'a> {
    sources: Sources<'a>,
    drafts: Vec<Draft>,
    notes: Notes,
}

struct Copier<'c, 'a> {
    copy: &'c PlannedCopy,
    /// The owner that the copy names.
    owner: Option<(u32, u32)>,
    index: u32,
    gatherer: &'c mut Gatherer<'a>,
}

impl<'a> Copier<'_, 'a> {
    fn run(mut self) -> Result<(), LayerError> {
        match &self.copy.what {
            What::Content(bytes) => {
                let kind = file(FileSource::Bytes(Arc::clone(bytes)), bytes.len() as u64);
                let path = self.named(b"file")?;
                self.push(path, kind, self.copy.mode.unwrap_or(0o644), Kept::default())?;
            }
            What::Symlink(target) => {
                let path = self.named(target.rsplit(|byte| *byte == b'/').next().unwrap_or_default())?;
                self.push(path, EntryKind::Symlink(target.as_slice().into()), 0o777, Kept::default())?;
            }
            What::Directory => {
                let path = self.destination()?;
                self.push_directory(path, self.copy.mode.or(self.copy.dir_mode), Kept::default());
            }
            What::From(from) => {
                let before = self.gatherer.drafts.len();
                let filter = Filter::new(self.copy, from, self.sources().tree)?;
                self.from(from, &filter)?;
                if self.gatherer.drafts.len() == before && !from.allow_empty {
                    let ignored_by = filter.culprit();
                    return Err(LayerError::Empty { from: from.path.clone(), ignored_by, span: None });
                }
            }
        }
        Ok(())
    }

    fn sources(&self) -> Sources<'a> {
        self.gatherer.sources
    }

    /// Where a single thing of this name goes: links are followed up to its directory.
    fn named(&self, name: &[u8]) -> Result<Vec<u8>, LayerError> {
        if self.copy.into {
            return Ok(below(&self.destination()?, name));
        }
        places::named(self.copy, self.sources().listing, &self.copy.to)
    }

    /// The directory that the copy goes to.
    fn destination(&self) -> Result<Vec<u8>, LayerError> {
        places::directory(self.copy, self.sources().listing, &self.copy.to)
    }

    fn from(&mut self, from: &From, filter: &Filter<'_>) -> Result<(), LayerError> {
        if let Some(glob) = &from.glob {
            return self.glob(from, glob, filter);
        }
        let start = resolve(self.sources().tree, &from.literal)?;
        let metadata = match self.sources().tree.metadata(&start) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => {
                let nearby = Box::new(Nearby::of(self.sources().tree, &start));
                return Err(LayerError::Missing { from: from.path.clone(), nearby, span: None });
            }
            Err(source) => {
                let path = display(&start);
                return Err(FileError::Io { action: "read", path, source }.into());
            }
        };
        if self.is_ours(&start) {
            return Ok(());
        }
        if metadata.kind == FileKind::Directory {
            return self.tree(from, &start, &metadata, filter);
        }
        let name = from.literal.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty() && *name != b".");
        let path = self.named(name.unwrap_or_default())?;
        let kept = self.kept(&start, &metadata)?;
        self.found(from, path, &start, &Found { path: Box::default(), metadata, target: None }, kept)
    }

    /// Tells whether a path is one of our own outputs or caches, or lies in one.
    fn is_ours(&self, path: &[u8]) -> bool {
        let Sources { tree, skip, .. } = self.sources();
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let mut paths = ends.chain([path.len()]).map(|end| &path[..end]);
        paths.any(|path| tree.metadata(path).is_ok_and(|metadata| skip.contains(&metadata.id)))
    }

    /// Merges a directory into the destination.
    fn tree(
        &mut self,
        from: &From,
        start: &[u8],
        metadata: &Metadata,
        filter: &Filter<'_>,
    ) -> Result<(), LayerError> {
        let sources = self.sources();
        let options = WalkOptions {
            selects: &|path, is_directory| from.selection.selects(path) && filter.takes(path, is_directory),
            enters: &|path| from.selection.may_select_below(path) && filter.enters(path),
            skip: sources.skip,
            cancel: sources.cancel,
        };
        let found = walk(sources.tree, start, options).map_err(LayerError::walked)?;
        if found.is_empty() {
            return Ok(());
        }
        let to = self.destination()?;
        self.gatherer.drafts.reserve(found.len() + 1);
        let kept = self.kept(start, metadata)?;
        self.push_directory(to.clone(), self.copy.dir_mode, kept);
        self.all(from, start, &to, found)
    }

    /// Takes what a walk found, each under its path below the destination.
    fn all(&mut self, from: &From, start: &[u8], to: &[u8], mut found: Vec<Found>) -> Result<(), LayerError> {
        self.add_parents(start, &mut found)?;
        let this = &*self;
        let kept = found.par_iter().map(|found| this.kept(&below(start, &found.path), &found.metadata));
        let kept = kept.collect::<Result<Vec<Kept>, LayerError>>()?;
        let mapped = places::has_links(self.sources().listing, to);
        for (found, kept) in found.into_iter().zip(kept) {
            let path = below(to, &found.path);
            let path = if mapped { self.map(&path, found.metadata.kind)? } else { path };
            self.found(from, path, start, &found, kept)?;
        }
        Ok(())
    }

    /// Adds the directories that weren't selected themselves, where the copy keeps something of
    /// them.
    fn add_parents(&self, start: &[u8], found: &mut Vec<Found>) -> Result<(), LayerError> {
        if !speaks_of_directories(self.copy.preserve) {
            return Ok(());
        }
        let is_directory = |found: &&Found| found.metadata.kind == FileKind::Directory;
        let mut known: BTreeSet<Vec<u8>> =
            found.iter().filter(is_directory).map(|found| found.path.to_vec()).collect();
        let mut parents = Vec::new();
        for path in found.iter().map(|found| &found.path) {
            let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            for parent in ends.map(|end| &path[..end]) {
                if known.insert(parent.to_vec()) {
                    let source = below(start, parent);
                    let fault = |error| LayerError::walked(FileError::io("read", &source, error));
                    let metadata = self.sources().tree.metadata(&source).map_err(fault)?;
                    parents.push(Found { path: parent.into(), metadata, target: None });
                }
            }
        }
        found.extend(parents);
        Ok(())
    }

    fn kept(&self, source: &[u8], metadata: &Metadata) -> Result<Kept, LayerError> {
        Kept::of(self.copy, self.sources(), source, metadata)
    }

    /// Takes what a glob matches, each under its path below the glob's first pattern.
    fn glob(
        &mut self,
        from: &From,
        glob: &crate::pattern::Pattern,
        filter: &Filter<'_>,
    ) -> Result<(), LayerError> {
        let sources = self.sources();
        let start = resolve(sources.tree, &from.literal)?;
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
        let found = match sources.tree.metadata(&start) {
            Ok(metadata) if metadata.kind == FileKind::Directory && !self.is_ours(&start) => {
                walk(sources.tree, &start, options).map_err(LayerError::walked)?
            }
            _ => Vec::new(),
        };
        let to = self.destination()?;
        self.all(from, &start, &to, found)
    }

    /// Where a path below the destination goes, past the base's links; into a directory also past
    /// the last.
    fn map(&self, path: &[u8], kind: FileKind) -> Result<Vec<u8>, LayerError> {
        let listing = self.sources().listing;
        match kind {
            FileKind::Directory => places::directory(self.copy, listing, path),
            _ => places::named(self.copy, listing, path),
        }
    }

    fn found(
        &mut self,
        from: &From,
        path: Vec<u8>,
        start: &[u8],
        found: &Found,
        kept: Kept,
    ) -> Result<(), LayerError> {
        let source = below(start, &found.path);
        let metadata = &found.metadata;
        match metadata.kind {
            FileKind::Directory => {
                // Over a directory of the base, the base's bits count.
                if self.copy.dir_mode.is_none() && self.sources().listing.directory(&path).is_none() {
                    self.note_mode(&source, metadata);
                }
                self.push_directory(path, self.copy.dir_mode, kept);
            }
            FileKind::Regular => {
                if self.copy.mode.is_none() {
                    self.note_mode(&source, metadata);
                }
                let plain = if metadata.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                let mode = self.copy.mode.or(kept.mode).unwrap_or(plain);
                let (path_in_tree, seen) = (source.into_boxed_slice(), Box::new(*metadata));
                let allow_foreign = from.allow_foreign;
                let keeps_links = self.copy.preserve.hardlinks;
                let copy = self.index;
                let source = FileSource::Tree { path: path_in_tree, seen, allow_foreign, copy, keeps_links };
                self.push(path, file(source, metadata.size), mode, kept)?;
            }
            FileKind::Symlink => {
                let target = found.target.clone().unwrap_or_default();
                self.push(path, EntryKind::Symlink(target), 0o777, kept)?;
            }
            FileKind::Fifo | FileKind::Socket | FileKind::Device => {
                return Err(LayerError::Unsupported {
                    path: display(&source),
                    kind: metadata.kind,
                    span: None,
                });
            }
        }
        Ok(())
    }

    fn note_mode(&mut self, source: &[u8], metadata: &Metadata) {
        if metadata.mode & 0o7000 != 0 && !self.copy.preserve.mode {
            self.gatherer.notes.special_modes.get_or_insert_with(|| (0, display(source))).0 += 1;
        }
    }

    /// A directory with the metadata asked for or kept; else the base's, where it has the
    /// directory.
    fn push_directory(&mut self, path: Vec<u8>, mode: Option<u32>, kept: Kept) {
        if path.is_empty() {
            return;
        }
        let base = self.sources().listing.directory(&path);
        let mode = mode.or(kept.mode).or(base.map(|base| base.mode)).unwrap_or(0o755);
        let owner = self.owner.or(kept.owner).or(base.map(|base| (base.uid, base.gid)));
        let preserve = self.copy.preserve;
        let claim = match self.copy.what {
            What::Directory => Claim::Directory,
            _ if self.copy.dir_mode.is_some() || self.owner.is_some() => Claim::Rule,
            // Not for its time: that of a directory is the latest of those who write into it.
            _ if preserve.mode || preserve.owner || preserve.xattrs => Claim::Rule,
            _ => Claim::Default,
        };
        self.push_owned(path, EntryKind::Directory, mode, Kept { owner, ..kept }, claim);
    }

    /// A file or link: never in the place of a directory of the base, which would vanish with all
    /// that is in it.
    fn push(&mut self, path: Vec<u8>, kind: EntryKind, mode: u32, kept: Kept) -> Result<(), LayerError> {
        if self.sources().listing.directory(&path).is_some() {
            return Err(LayerError::OverDirectory { path: display(&path), span: None });
        }
        let owner = self.owner.or(kept.owner);
        self.push_owned(path, kind, mode, Kept { owner, ..kept }, Claim::Default);
        Ok(())
    }

    fn push_owned(&mut self, path: Vec<u8>, kind: EntryKind, mode: u32, kept: Kept, claim: Claim) {
        let (uid, gid) = kept.owner.unwrap_or_default();
        let mtime = kept.mtime.unwrap_or(DEFAULT_MTIME);
        let entry = Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs: kept.xattrs };
        self.gatherer.drafts.push(Draft { entry, copy: self.index, claim });
    }
}

fn file(source: FileSource, size: u64) -> EntryKind {
    EntryKind::File { source, size }
}

/// Tells whether nothing is at a path: also where a file stands for a directory on the way.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// Joins a directory and a path below it.
pub(super) fn below(directory: &[u8], path: &[u8]) -> Vec<u8> {
    match (directory, path) {
        (b"", rest) | (rest, b"") => rest.to_vec(),
        _ => [directory, b"/", path].concat(),
    }
}
