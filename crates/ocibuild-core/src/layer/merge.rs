//! From the drafts of all copies to the entries of a layer: in order, each path once, parents
//! before children.

use rayon::slice::ParallelSliceMut as _;

use crate::files::{DEFAULT_MTIME, Entry, EntryKind, FileSource, FileTree, display};
use crate::layer::draft::{Claim, Draft, Sources, check_name};
use crate::layer::{LayerError, places};
use crate::plan::{PlannedCopy, PlannedLayer};

/// Sorts, makes one of what two copies agree on, and adds the parents that are missing.
pub(super) fn merge(
    mut drafts: Vec<Draft>,
    layer: &PlannedLayer,
    owners: &[Option<(u32, u32)>],
    sources: Sources<'_>,
) -> Result<Vec<Entry>, LayerError> {
    // Stable: of what two copies agree on, the first copy's stays; the strongest claim comes first.
    let compare = |one: &Draft, other: &Draft| {
        Entry::compare_paths(&one.entry.path, &other.entry.path).then(other.claim.cmp(&one.claim))
    };
    // What one walk found is in order.
    if !drafts.is_sorted_by(|one, other| compare(one, other).is_le()) {
        drafts.par_sort_by(compare);
    }
    let destinations = layer.copies.iter().map(|copy| places::destination(copy, sources.listing)).collect();
    let entries = Vec::with_capacity(drafts.len());
    let mut merger = Merger { layer, owners, sources, destinations, entries, last: None };
    for draft in drafts {
        merger.add(draft)?;
    }
    Ok(merger.entries)
}

struct Merger<'a> {
    layer: &'a PlannedLayer,
    /// The owner that each copy names.
    owners: &'a [Option<(u32, u32)>],
    sources: Sources<'a>,
    /// Where each copy goes, through the links of the base.
    destinations: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    /// The copy that the last entry comes from, and its claim.
    last: Option<(u32, Claim)>,
}

impl Merger<'_> {
    fn add(&mut self, draft: Draft) -> Result<(), LayerError> {
        check_name(&draft.entry.path).map_err(|fault| fault.at(self.copy(draft.copy).span))?;
        if let (Some(known), Some(last)) = (self.entries.last(), self.last)
            && known.path == draft.entry.path
        {
            let later = self.agree(known, last, &draft)?;
            self.entries.last_mut().expect("there is a last entry").mtime = later;
            return Ok(());
        }
        self.parents(&draft)?;
        self.entries.push(draft.entry);
        self.last = Some((draft.copy, draft.claim));
        Ok(())
    }

    /// Adds those parents that the entry before doesn't lie in.
    fn parents(&mut self, draft: &Draft) -> Result<(), LayerError> {
        let path = &draft.entry.path;
        // Whoever lies beside the entry before needs nothing more than that did.
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
        if self.entries.last().is_some_and(|last| is_below(&last.path, parent)) {
            return Ok(());
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends {
            let parent = &path[..end];
            match self.entries.last() {
                Some(last) if *last.path == *parent => {
                    if !matches!(last.kind, EntryKind::Directory) {
                        let one = self.last.map_or(draft.copy, |(copy, _)| copy);
                        let difference = "as a file and as a directory".to_owned();
                        return Err(self.conflict(parent, one, draft.copy, difference));
                    }
                }
                Some(last) if is_below(&last.path, parent) => {}
                _ => {
                    let entry = self.parent(parent, draft)?;
                    self.entries.push(entry);
                    self.last = Some((draft.copy, Claim::Default));
                }
            }
        }
        Ok(())
    }

    /// A directory that nobody asked for by name: as the copy's other directories where it lies in
    /// what is copied, else as the base has it, else 0755 and 0:0.
    fn parent(&self, path: &[u8], draft: &Draft) -> Result<Entry, LayerError> {
        let copy = self.copy(draft.copy);
        let listing = self.sources.listing;
        if places::is_in_the_way(copy, listing, path) {
            let (path, obstacle) = (display(&draft.entry.path), display(path));
            return Err(LayerError::NotDirectory { path, obstacle, span: copy.span });
        }
        let base = listing.directory(path);
        let to = &self.destinations[draft.copy as usize];
        // A directory of the base that something is put into isn't copied.
        let inside = is_below(path, to) || (copy.into && path == to && base.is_none());
        let mode = copy.dir_mode.filter(|_| inside).or(base.map(|base| base.mode)).unwrap_or(0o755);
        let owner =
            self.owners[draft.copy as usize].filter(|_| inside).or(base.map(|base| (base.uid, base.gid)));
        let (uid, gid) = owner.unwrap_or_default();
        let (kind, mtime) = (EntryKind::Directory, DEFAULT_MTIME);
        Ok(Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs: None })
    }

    fn copy(&self, index: u32) -> &PlannedCopy {
        &self.layer.copies[index as usize]
    }

    /// Makes sure that two copies want the same at one path, and returns its time. A directory that
    /// both write into has the later of their times.
    fn agree(&self, known: &Entry, last: (u32, Claim), draft: &Draft) -> Result<i64, LayerError> {
        let entry = &draft.entry;
        let directories = matches!((&known.kind, &entry.kind), (EntryKind::Directory, EntryKind::Directory));
        let time = if directories { known.mtime.max(entry.mtime) } else { known.mtime };
        if directories && last.1 > draft.claim {
            return Ok(time);
        }
        let difference = self.difference(known, entry);
        match difference.map_err(|fault| fault.at(self.copy(draft.copy).span))? {
            None => Ok(time),
            Some(difference) => Err(self.conflict(&entry.path, last.0, draft.copy, difference)),
        }
    }

    /// Says what two entries at one path don't agree on.
    fn difference(&self, one: &Entry, other: &Entry) -> Result<Option<String>, LayerError> {
        let (kind, other_kind) = (kind_name(&one.kind), kind_name(&other.kind));
        if kind != other_kind {
            return Ok(Some(format!("as a {kind} and as a {other_kind}")));
        }
        let same = match (&one.kind, &other.kind) {
            (EntryKind::Symlink(one), EntryKind::Symlink(other)) => one == other,
            (EntryKind::File { source: one, size }, EntryKind::File { source: other, size: other_size }) => {
                size == other_size && same_bytes(self.sources, one, other, *size)?
            }
            _ => true,
        };
        if !same {
            let what = if kind == "file" { "contents" } else { "targets" };
            return Ok(Some(format!("with different {what}")));
        }
        let metadata = |entry: &Entry| (entry.mode, entry.uid, entry.gid);
        if metadata(one) == metadata(other) {
            return Ok(finer_difference(one, other));
        }
        let show = |entry: &Entry| format!("{:04o} {}:{}", entry.mode, entry.uid, entry.gid);
        Ok(Some(format!("as {} and as {}", show(one), show(other))))
    }

    fn conflict(&self, path: &[u8], one: u32, other: u32, difference: String) -> LayerError {
        LayerError::Conflict {
            path: display(path),
            difference,
            one: one as usize + 1,
            other: other as usize + 1,
            span: self.copy(other).span,
        }
    }
}

/// Says what two entries don't agree on that differs in nothing else.
fn finer_difference(one: &Entry, other: &Entry) -> Option<String> {
    if one.mtime != other.mtime && !matches!(one.kind, EntryKind::Directory) {
        let (one, other) = (one.mtime, other.mtime);
        return Some(format!("as changed {one} and {other} seconds after 1970-01-01"));
    }
    (one.xattrs != other.xattrs).then(|| "with different extended attributes".to_owned())
}

fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "directory",
        EntryKind::Symlink(_) => "symbolic link",
        EntryKind::File { .. } | EntryKind::Hardlink(_) => "file",
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn same_bytes(
    sources: Sources<'_>,
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
        sources.cancel.check()?;
        let (one, other) = (run(sources.tree, one, offset)?, run(sources.tree, other, offset)?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Listing;
    use crate::event::Cancel;
    use crate::files::MemoryTree;

    #[test]
    fn comparing_contents_stops_when_cancelled() {
        let (tree, listing, cancel) = (MemoryTree::new(), Listing::empty(), Cancel::new());
        let sources = Sources {
            tree: &tree,
            listing: &listing,
            skip: &[],
            cancel: &cancel,
            latest: None,
            stat: None,
            steps: &[],
        };
        let bytes = FileSource::Bytes(vec![0; 1 << 20].into());
        assert!(same_bytes(sources, &bytes, &bytes, 1 << 20).unwrap());
        cancel.cancel();
        let result = same_bytes(sources, &bytes, &bytes, 1 << 20);
        assert!(matches!(result, Err(LayerError::Cancelled(_))));
    }
}
