//! From a planned layer to its entries: what the copies select, where it goes, with which metadata.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::iter::ParallelIterator as _;
use rayon::slice::ParallelSlice as _;
use serde::{Deserialize, Serialize};

use crate::files::{
    Child, DEFAULT_MTIME, Entry, EntryKind, FileKind, FileSource, Found, Metadata, Walked, display,
};
use crate::layer::draft::{Claim, Draft, Sources};
use crate::layer::keep::{Kept, speaks_of_directories};
use crate::layer::look::{Seen, Sight, look};
use crate::layer::{LayerError, links, merge, owners, places, removal};
use crate::plan::{From, PlannedCopy, PlannedLayer, What};

/// As many entries are made in one go.
const RUN: usize = 1024;

/// A layer's entries, ready to be written, and what was noticed on the way.
pub(super) struct Gathered {
    pub(super) entries: Vec<Entry>,
    pub(super) notes: Notes,
}

/// What is worth a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// What had setuid, setgid or sticky, which are dropped: their number, and one of them.
    pub(super) special_modes: Option<(u64, String)>,
    /// Files written again though they are one file with another: number and bytes.
    pub(super) linked: (u64, u64),
}

impl Notes {
    fn special_mode(&mut self, count: u64, path: impl FnOnce() -> String) {
        self.special_modes.get_or_insert_with(|| (0, path())).0 += count;
    }
}

/// Gathers the entries of a layer, in the order they are written in.
pub(super) fn gather(layer: &PlannedLayer, sources: Sources<'_>) -> Result<Gathered, LayerError> {
    gather_seen(layer, look(layer, sources), sources)
}

/// Makes the entries of a layer out of what its copies found.
pub(super) fn gather_seen(
    layer: &PlannedLayer,
    sights: Vec<Result<Option<Sight>, LayerError>>,
    sources: Sources<'_>,
) -> Result<Gathered, LayerError> {
    let owners = owners::owners(layer, sources.listing)?;
    let mut drafted = Drafted::default();
    for (index, (copy, sight)) in layer.copies.iter().zip(sights).enumerate() {
        let copier = Copier { copy, owner: owners[index], index: index as u32, sources };
        copier.run(sight?, &mut drafted).map_err(|fault| fault.at(copy.span))?;
    }
    let Drafted { drafts, mut notes } = drafted;
    let mut entries = merge::merge(drafts, layer, &owners, sources)?;
    notes.linked = links::link(&mut entries);
    let entries = removal::add(entries, layer, sources.listing)?;
    Ok(Gathered { entries, notes })
}

#[derive(Default)]
struct Drafted {
    drafts: Vec<Draft>,
    notes: Notes,
}

#[derive(Clone, Copy)]
struct Copier<'a> {
    copy: &'a PlannedCopy,
    /// The owner that the copy names.
    owner: Option<(u32, u32)>,
    index: u32,
    sources: Sources<'a>,
}

/// Where what was found comes from and goes to.
#[derive(Clone, Copy)]
struct Way<'a> {
    from: &'a From,
    start: &'a [u8],
    to: &'a [u8],
    /// Whether paths below the destination may meet links of the base.
    is_mapped: bool,
}

impl Copier<'_> {
    fn run(self, sight: Option<Sight>, out: &mut Drafted) -> Result<(), LayerError> {
        match &self.copy.what {
            What::Content(bytes) => {
                let kind = file(FileSource::Bytes(Arc::clone(bytes)), bytes.len() as u64);
                let path = self.named(b"file")?;
                let mode = self.copy.mode.unwrap_or(0o644);
                out.drafts.push(self.draft(path, kind, mode, Kept::default())?);
            }
            What::Symlink(target) => {
                let path = self.named(target.rsplit(|byte| *byte == b'/').next().unwrap_or_default())?;
                let kind = EntryKind::Symlink(target.as_slice().into());
                out.drafts.push(self.draft(path, kind, 0o777, Kept::default())?);
            }
            What::Directory => {
                let path = self.destination()?;
                let mode = self.copy.mode.or(self.copy.dir_mode);
                out.drafts.extend(self.directory(path, mode, Kept::default()));
            }
            What::From(from) => {
                let Sight { start, what, ignored_by } = sight.expect("a copy from the tree has looked there");
                let before = out.drafts.len();
                self.from(from, &start, &what, out)?;
                if out.drafts.len() == before && !from.allow_empty {
                    return Err(LayerError::Empty { from: from.path.clone(), ignored_by, span: None });
                }
            }
        }
        Ok(())
    }

    /// Where a single thing of this name goes: links are followed up to its directory.
    fn named(self, name: &[u8]) -> Result<Vec<u8>, LayerError> {
        if self.copy.into {
            return Ok(below(&self.destination()?, name));
        }
        places::named(self.copy, self.sources.listing, &self.copy.to)
    }

    /// The directory that the copy goes to.
    fn destination(self) -> Result<Vec<u8>, LayerError> {
        places::directory(self.copy, self.sources.listing, &self.copy.to)
    }

    fn from(self, from: &From, start: &[u8], what: &Seen, out: &mut Drafted) -> Result<(), LayerError> {
        let walked = match what {
            Seen::Ours => return Ok(()),
            Seen::Single(metadata) => {
                let mut names = from.literal.rsplit(|byte| *byte == b'/');
                let name = names.find(|name| !name.is_empty() && *name != b".");
                let path = self.named(name.unwrap_or_default())?;
                let drafted = self.found(from, path, start.to_vec(), (metadata, None), &mut out.notes)?;
                out.drafts.extend(drafted);
                return Ok(());
            }
            Seen::Directory(_, walked) if walked.is_empty() && !from.whole => return Ok(()),
            Seen::Directory(_, walked) | Seen::Glob(walked) => walked,
        };
        let to = self.destination()?;
        // A directory merges into the destination.
        if let Seen::Directory(metadata, _) = what {
            let kept = self.kept(start, metadata)?;
            out.drafts.extend(self.directory(to.clone(), self.copy.dir_mode, kept));
        }
        let is_mapped = places::has_links(self.sources.listing, &to);
        self.all(walked, Way { from, start, to: &to, is_mapped }, out)
    }

    /// Takes what a walk found, each under its path below the destination.
    fn all(self, walked: &Walked, way: Way<'_>, out: &mut Drafted) -> Result<(), LayerError> {
        let mut found = walked.found();
        let parents = self.parents(walked, &found);
        found.extend(parents);
        let some = |found: &[Found<'_>]| {
            self.sources.cancel.check()?;
            let mut drafted = Drafted { drafts: Vec::with_capacity(found.len()), notes: Notes::default() };
            found.iter().try_for_each(|found| self.one(found, way, &mut drafted))?;
            Ok::<Drafted, LayerError>(drafted)
        };
        let runs: Vec<Result<Drafted, LayerError>> = found.par_chunks(RUN).map(some).collect();
        out.drafts.reserve(found.len());
        for run in runs {
            let Drafted { drafts, notes } = run?;
            out.drafts.extend(drafts);
            if let Some((count, path)) = notes.special_modes {
                out.notes.special_mode(count, || path);
            }
        }
        Ok(())
    }

    fn one(self, found: &Found<'_>, way: Way<'_>, out: &mut Drafted) -> Result<(), LayerError> {
        let Child { name, metadata, target, .. } = found.child;
        let under = |directory| below(&below(directory, found.directory), name);
        let path = under(way.to);
        let path = if way.is_mapped { self.map(&path, metadata.kind)? } else { path };
        let source = under(way.start);
        let drafted = self.found(way.from, path, source, (metadata, target.as_deref()), &mut out.notes)?;
        out.drafts.extend(drafted);
        Ok(())
    }

    /// Returns the directories that weren't selected themselves, where the copy keeps something of
    /// them.
    fn parents<'w>(self, walked: &'w Walked, found: &[Found<'w>]) -> Vec<Found<'w>> {
        if !speaks_of_directories(self.copy.preserve) {
            return Vec::new();
        }
        let is_directory = |found: &&Found<'_>| found.child.metadata.kind == FileKind::Directory;
        let mut known: BTreeSet<Vec<u8>> = found.iter().filter(is_directory).map(Found::path).collect();
        let mut parents = Vec::new();
        for directory in found.iter().map(|found| found.directory).filter(|path| !path.is_empty()) {
            let ends = directory.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
            for parent in ends.chain([directory.len()]).map(|end| &directory[..end]) {
                if !known.contains(parent) {
                    known.insert(parent.to_vec());
                    parents.extend(walked.find(parent));
                }
            }
        }
        parents
    }

    fn kept(self, source: &[u8], metadata: &Metadata) -> Result<Kept, LayerError> {
        Kept::of(self.copy, self.sources, source, metadata)
    }

    /// Where a path below the destination goes, past the base's links; into a directory also past
    /// the last.
    fn map(self, path: &[u8], kind: FileKind) -> Result<Vec<u8>, LayerError> {
        let listing = self.sources.listing;
        match kind {
            FileKind::Directory => places::directory(self.copy, listing, path),
            _ => places::named(self.copy, listing, path),
        }
    }

    /// Makes an entry of something at `source`; none for the image's root.
    fn found(
        self,
        from: &From,
        path: Vec<u8>,
        source: Vec<u8>,
        (metadata, target): (&Metadata, Option<&[u8]>),
        notes: &mut Notes,
    ) -> Result<Option<Draft>, LayerError> {
        let kept = self.kept(&source, metadata)?;
        match metadata.kind {
            FileKind::Directory => {
                // Over a directory of the base, the base's bits count.
                if self.copy.dir_mode.is_none() && self.sources.listing.directory(&path).is_none() {
                    self.note_mode(&source, metadata, notes);
                }
                Ok(self.directory(path, self.copy.dir_mode, kept))
            }
            FileKind::Regular => {
                if self.copy.mode.is_none() {
                    self.note_mode(&source, metadata, notes);
                }
                let plain = if metadata.mode & 0o100 == 0 { 0o644 } else { 0o755 };
                let mode = self.copy.mode.or(kept.mode).unwrap_or(plain);
                let (path_in_tree, seen) = (source.into_boxed_slice(), Box::new(*metadata));
                let allow_foreign = from.allow_foreign;
                let keeps_links = self.copy.preserve.hardlinks;
                let copy = self.index;
                let source = FileSource::Tree { path: path_in_tree, seen, allow_foreign, copy, keeps_links };
                self.draft(path, file(source, metadata.size), mode, kept).map(Some)
            }
            FileKind::Symlink => {
                let target = target.unwrap_or_default().into();
                self.draft(path, EntryKind::Symlink(target), 0o777, kept).map(Some)
            }
            FileKind::Fifo | FileKind::Socket | FileKind::Device => {
                let path = display(&source);
                Err(LayerError::Unsupported { path, kind: metadata.kind, span: None })
            }
        }
    }

    fn note_mode(self, source: &[u8], metadata: &Metadata, notes: &mut Notes) {
        if metadata.mode & 0o7000 != 0 && !self.copy.preserve.mode {
            notes.special_mode(1, || display(source));
        }
    }

    /// A directory with the metadata asked for or kept; else the base's, where it has the
    /// directory.
    fn directory(self, path: Vec<u8>, mode: Option<u32>, kept: Kept) -> Option<Draft> {
        if path.is_empty() {
            return None;
        }
        let base = self.sources.listing.directory(&path);
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
        Some(self.owned(path, EntryKind::Directory, mode, Kept { owner, ..kept }, claim))
    }

    /// A file or link: never in the place of a directory of the base, which would vanish with all
    /// that is in it.
    fn draft(self, path: Vec<u8>, kind: EntryKind, mode: u32, kept: Kept) -> Result<Draft, LayerError> {
        if self.sources.listing.directory(&path).is_some() {
            return Err(LayerError::OverDirectory { path: display(&path), span: None });
        }
        let owner = self.owner.or(kept.owner);
        Ok(self.owned(path, kind, mode, Kept { owner, ..kept }, Claim::Default))
    }

    fn owned(self, path: Vec<u8>, kind: EntryKind, mode: u32, kept: Kept, claim: Claim) -> Draft {
        let (uid, gid) = kept.owner.unwrap_or_default();
        let mtime = kept.mtime.unwrap_or(DEFAULT_MTIME);
        let entry = Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs: kept.xattrs };
        Draft { entry, copy: self.index, claim }
    }
}

fn file(source: FileSource, size: u64) -> EntryKind {
    EntryKind::File { source, size }
}

/// Joins a directory and a path below it.
pub(super) fn below(directory: &[u8], path: &[u8]) -> Vec<u8> {
    match (directory, path) {
        (b"", rest) | (rest, b"") => rest.to_vec(),
        _ => [directory, b"/", path].concat(),
    }
}
