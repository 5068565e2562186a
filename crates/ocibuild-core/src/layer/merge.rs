//! From the drafts of all copies to the entries of a layer: in order, each path once, parents
//! before children.

use rayon::slice::ParallelSliceMut as _;

use crate::files::{Entry, EntryKind, FileSource, FileTree, display};
use crate::layer::LayerError;
use crate::layer::gather::{Claim, Draft, Sources, check_name};
use crate::plan::PlannedLayer;

/// Sorts, makes one of what two copies agree on, and adds the parents that are missing.
pub(super) fn merge(
    mut drafts: Vec<Draft>,
    layer: &PlannedLayer,
    sources: Sources<'_>,
) -> Result<Vec<Entry>, LayerError> {
    // Stable: of what two copies agree on, the first copy's stays; the strongest claim comes first.
    drafts.par_sort_by(|one, other| {
        Entry::compare_paths(&one.entry.path, &other.entry.path).then(other.claim.cmp(&one.claim))
    });
    let mut merger = Merger { layer, sources, entries: Vec::with_capacity(drafts.len()), last: None };
    for draft in drafts {
        merger.add(draft)?;
    }
    Ok(merger.entries)
}

struct Merger<'a> {
    layer: &'a PlannedLayer,
    sources: Sources<'a>,
    entries: Vec<Entry>,
    /// The copy that the last entry comes from, and its claim.
    last: Option<(u32, Claim)>,
}

impl Merger<'_> {
    fn add(&mut self, draft: Draft) -> Result<(), LayerError> {
        check_name(&draft.entry.path)?;
        if let (Some(known), Some(last)) = (self.entries.last(), self.last)
            && known.path == draft.entry.path
        {
            return self.agree(known, last, &draft);
        }
        self.parents(&draft)?;
        self.entries.push(draft.entry);
        self.last = Some((draft.copy, draft.claim));
        Ok(())
    }

    /// Adds those parents that the entry before doesn't lie in.
    fn parents(&mut self, draft: &Draft) -> Result<(), LayerError> {
        let path = &draft.entry.path;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends {
            let parent = &path[..end];
            match self.entries.last() {
                Some(last) if *last.path == *parent => {
                    if !matches!(last.kind, EntryKind::Directory) {
                        let one = self.last.map_or(draft.copy, |(copy, _)| copy);
                        return Err(self.conflict(parent, one, draft.copy));
                    }
                }
                Some(last) if is_below(&last.path, parent) => {}
                _ => {
                    let entry = self.parent(parent, draft.copy);
                    self.entries.push(entry);
                    self.last = Some((draft.copy, Claim::Default));
                }
            }
        }
        Ok(())
    }

    /// A directory that nobody asked for by name: as the copy's other directories where it lies in
    /// what is copied, else as the base has it, else 0755 and 0:0.
    fn parent(&self, path: &[u8], copy: u32) -> Entry {
        let copy = &self.layer.copies[copy as usize];
        let base = self.sources.listing.directory(path);
        let inside = is_below(path, &copy.to) || (copy.into && path == copy.to);
        let mode = copy.dir_mode.filter(|_| inside).or(base.map(|base| base.mode)).unwrap_or(0o755);
        let owner = copy.owner.filter(|_| inside).or(base.map(|base| (base.uid, base.gid)));
        let (uid, gid) = owner.unwrap_or_default();
        Entry { path: path.into(), kind: EntryKind::Directory, mode, uid, gid }
    }

    /// Makes sure that two copies want the same at one path.
    fn agree(&self, known: &Entry, last: (u32, Claim), draft: &Draft) -> Result<(), LayerError> {
        let entry = &draft.entry;
        let directories = matches!((&known.kind, &entry.kind), (EntryKind::Directory, EntryKind::Directory));
        if directories && last.1 > draft.claim {
            return Ok(());
        }
        let same_metadata = (known.mode, known.uid, known.gid) == (entry.mode, entry.uid, entry.gid);
        let same_kind = match (&known.kind, &entry.kind) {
            _ if directories => true,
            (EntryKind::Symlink(one), EntryKind::Symlink(other)) => one == other,
            (EntryKind::File { source: one, size }, EntryKind::File { source: other, size: other_size }) => {
                size == other_size && same_bytes(self.sources.tree, one, other, *size)?
            }
            _ => false,
        };
        if same_metadata && same_kind { Ok(()) } else { Err(self.conflict(&entry.path, last.0, draft.copy)) }
    }

    fn conflict(&self, path: &[u8], one: u32, other: u32) -> LayerError {
        LayerError::Conflict {
            path: display(path),
            one: one as usize + 1,
            other: other as usize + 1,
            span: self.layer.copies[other as usize].span,
        }
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn same_bytes(
    tree: &dyn FileTree,
    one: &FileSource,
    other: &FileSource,
    size: u64,
) -> Result<bool, LayerError> {
    if let (FileSource::Tree { path: one, .. }, FileSource::Tree { path: other, .. }) = (one, other)
        && one == other
    {
        return Ok(true);
    }
    let mut offset = 0;
    while offset < size {
        let (one, other) = (run(tree, one, offset)?, run(tree, other, offset)?);
        if one.is_empty() || one != other {
            return Ok(false);
        }
        offset += one.len() as u64;
    }
    Ok(true)
}

/// Reads the next 256 KiB of a file.
fn run(tree: &dyn FileTree, source: &FileSource, offset: u64) -> Result<Vec<u8>, LayerError> {
    const RUN: usize = 256 << 10;
    match source {
        FileSource::Bytes(bytes) => {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            Ok(rest[..rest.len().min(RUN)].to_vec())
        }
        FileSource::Tree { path, .. } => {
            let fault = |error| LayerError::read(path, error);
            let mut buffer = vec![0; RUN];
            let file = tree.open(path).map_err(fault)?;
            let count = file.read_at(&mut buffer, offset).map_err(fault)?;
            buffer.truncate(count);
            Ok(buffer)
        }
    }
}
