//! What the files of a layer say, found in its blobs: where nobody looked as it was made, or for other
//! things, and it is known by its key, so that no files are at hand.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use crate::base::{self, BaseError, ListingLimits};
use crate::blob::Store;
use crate::cache::Record;
use crate::event::Cancel;
use crate::files::{DEFAULT_MTIME, Entry, EntryKind, FileSource};
use crate::inspect::{FileFacts, Inspection, Inspector, Piece};
use crate::layer::inspect::{Findings, gather};
use crate::layer::inventory::{ChunkDigest, ContentDigest};
use crate::own;
use crate::tar;

/// A file of up to so many bytes is held in memory; of a larger one programs are read here and there.
const WHOLE: u64 = 8 << 20;

/// As much of a larger file is looked at at once: whole chunks.
const PIECE: u64 = 4 << 20;

/// Looks at the files in the blobs of a layer, as it would have been done when it was made. Reads all of
/// them; nothing is written but for what is large, beside the store while it is looked at.
///
/// # Errors
/// [`BaseError`] if a blob can't be read, or isn't what the record says.
pub fn inspect_blobs(record: &Record, store: &Store, cancel: &Cancel) -> Result<Inspection, BaseError> {
    let limits = ListingLimits::default().decode;
    let mut files = Files { store, entries: Vec::new(), found: BTreeMap::new(), buffer: Vec::new() };
    for layer in &record.layers {
        let mut add = |entry: tar::Entry, content: &mut dyn Read| Ok(files.add(&entry, content)?);
        base::read_layer(store, &layer.descriptor, layer.diff_id, &limits, cancel, &mut add)?;
    }
    let entries: Vec<&Entry> = files.entries.iter().collect();
    let contents = |index: usize| files.found.get(&index).map(|(_, content)| *content);
    let findings: Findings = files.found.iter().map(|(index, (facts, _))| (*index, facts.clone())).collect();
    Ok(gather(&entries, &contents, &findings))
}

/// What blobs hold.
struct Files<'a> {
    store: &'a Store,
    /// All of it, files without their contents.
    entries: Vec<Entry>,
    /// What there is to say of files, by the entry's place, and which contents that are.
    found: BTreeMap<usize, (FileFacts, ContentDigest)>,
    buffer: Vec<u8>,
}

impl Files<'_> {
    fn add(&mut self, entry: &tar::Entry, content: &mut dyn Read) -> Result<(), tar::ReadError> {
        let path = base::clean(&entry.path);
        let kind = match &entry.kind {
            tar::EntryKind::Directory => EntryKind::Directory,
            tar::EntryKind::Symlink { target } => EntryKind::Symlink(target.as_slice().into()),
            tar::EntryKind::Hardlink { target } => EntryKind::Hardlink(base::clean(target).into()),
            tar::EntryKind::Regular => {
                let found = self.look(entry.size, content).map_err(tar::ReadError::Read)?;
                self.found.extend(found.map(|found| (self.entries.len(), found)));
                EntryKind::File { source: FileSource::Bytes([].into()), size: entry.size }
            }
            // No layer of ours has others.
            _ => return Ok(()),
        };
        let (mode, mtime, xattrs) = (entry.mode & 0o7777, DEFAULT_MTIME, None);
        self.entries.push(Entry { path: path.into(), kind, mode, uid: 0, gid: 0, mtime, xattrs });
        Ok(())
    }

    /// Looks at a file.
    fn look(&mut self, size: u64, content: &mut dyn Read) -> io::Result<Option<(FileFacts, ContentDigest)>> {
        if size > WHOLE {
            return self.look_aside(size, content);
        }
        self.buffer.clear();
        content.read_to_end(&mut self.buffer)?;
        let bytes = &self.buffer[..];
        let facts = Inspector.piece(Piece { size, start: 0, bytes, read: &|_, _| None });
        Ok(facts.map(|facts| (facts, ContentDigest::of(size, ChunkDigest::all(bytes)))))
    }

    /// Looks at a large file, of which a program says things anywhere.
    fn look_aside(
        &mut self,
        size: u64,
        content: &mut dyn Read,
    ) -> io::Result<Option<(FileFacts, ContentDigest)>> {
        let mut file = own::beside(self.store.root())?;
        io::copy(content, &mut file)?;
        let file = file.as_file();
        let read = |at: u64, length: usize| {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
        };
        let (mut facts, mut chunks) = (None::<FileFacts>, Vec::new());
        for start in (0..size).step_by(PIECE as usize) {
            self.buffer.resize((size - start).min(PIECE) as usize, 0);
            file.read_exact_at(&mut self.buffer, start)?;
            let bytes = &self.buffer[..];
            if let Some(found) = Inspector.piece(Piece { size, start, bytes, read: &read }) {
                facts.get_or_insert_default().add(found);
            }
            chunks.extend(ChunkDigest::all(bytes));
        }
        Ok(facts.map(|facts| (facts, ContentDigest::of(size, chunks))))
    }
}
