//! The inventory: what a layer holds, one JSON object a line, in the order of the layer.
//!
//! It answers what is in a layer without the layer's blob, and its digest is the Merkle root in
//! the layer's content key. The fields of a line: `path`, relative to the image's root (`path-hex`
//! instead where it isn't UTF-8); `kind` (`directory`, `file`, `symlink`, `hardlink`); `mode`,
//! octal; `uid`, `gid`; `mtime` in seconds, where it isn't 1; for a file `size` in bytes and
//! `content`; for a link `target` (or `target-hex`), which of a hard link is a path of the layer;
//! `xattrs`, where there are any: an object of names and values, these in hexadecimal digits (and
//! `xattrs-hex` with names in hexadecimal digits, for those that aren't UTF-8).
//!
//! `content` is the BLAKE3 digest of a file of at most [`CHUNK`] bytes, and of a larger one the
//! BLAKE3 digest of its chunks' digests (32 bytes each) in order, so that chunks can be hashed
//! side by side. What lies in a block follows from the compression; what a chunk is doesn't, so the
//! same files have the same inventory in any.

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Serialize;

use crate::blob::{BlobError, BlobWriter, SealedBlob, Store};
use crate::digest::{Digest, Sha256Hasher, to_hex};
use crate::files::{DEFAULT_MTIME, Entry, EntryKind};
use crate::oci::{Descriptor, MediaType};

/// Fast, and small enough: an inventory is read by people's tools, not shipped with images.
const ZSTD_LEVEL: i32 = 1;

/// Lines are handed to the compressor in runs of about this many bytes.
const BUFFER: usize = 64 << 10;

/// The largest run of a file that is hashed by itself, in bytes; part of the format.
pub(super) const CHUNK: u64 = 1 << 20;

/// The digest of one run of a file's content.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkDigest(blake3::Hash);

impl ChunkDigest {
    /// Hashes a whole file of at most [`CHUNK`] bytes, or chunks of a larger one from the start of
    /// the first.
    pub(super) fn all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        let none = bytes.is_empty().then_some(bytes);
        bytes.chunks(CHUNK as usize).chain(none).map(|chunk| Self(blake3::hash(chunk)))
    }
}

impl ChunkDigest {
    /// The number of chunks of a file of this size.
    pub(super) fn count(size: u64) -> u64 {
        size.div_ceil(CHUNK).max(1)
    }
}

/// The digest of a file's content: what `content` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentDigest(pub(super) [u8; 32]);

impl ContentDigest {
    /// Puts the digest of a file of this size together from those of its chunks, which are one for
    /// a file of at most [`CHUNK`] bytes.
    pub(super) fn of(size: u64, chunks: impl IntoIterator<Item = ChunkDigest>) -> Self {
        let mut chunks = chunks.into_iter();
        if size <= CHUNK {
            let only = chunks.next().expect("a small file is one chunk");
            return Self(*only.0.as_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        chunks.for_each(|chunk| {
            hasher.update(chunk.0.as_bytes());
        });
        Self(*hasher.finalize().as_bytes())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs_hex: BTreeMap<String, String>,
}

/// Writes an inventory, entry by entry.
pub(super) struct InventoryWriter {
    lines: Vec<u8>,
    /// Where the last line begins.
    last: usize,
    hasher: Sha256Hasher,
    encoder: zstd::stream::Encoder<'static, Sink>,
    chunks: Vec<ChunkDigest>,
    kept: Option<Vec<Option<ContentDigest>>>,
}

/// A finished inventory.
pub(super) struct Inventory {
    /// Where its compressed bytes are.
    pub(super) descriptor: Descriptor,
    /// The digest of its lines.
    pub(super) root: Digest,
    /// The digests of its entries' contents, where they were to be kept.
    pub(super) contents: Vec<Option<ContentDigest>>,
}

/// Lets zstd write to a blob without losing which fault it met.
struct Sink {
    blob: BlobWriter,
    fault: Option<BlobError>,
}

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.blob.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(fault) => {
                self.fault = Some(fault);
                Err(std::io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl InventoryWriter {
    pub(super) fn new(store: &Store) -> Result<Self, BlobError> {
        let sink = Sink { blob: store.writer()?, fault: None };
        let encoder = zstd::stream::Encoder::new(sink, ZSTD_LEVEL).expect("the level is one of zstd's");
        let hasher = Sha256Hasher::new();
        Ok(Self { lines: Vec::new(), last: 0, hasher, encoder, chunks: Vec::new(), kept: None })
    }

    /// Keeps the digests of contents, for whoever wants to use them again.
    pub(super) fn keeping_contents(self) -> Self {
        Self { kept: Some(Vec::new()), ..self }
    }

    /// Takes the digest of an entry's content, or those of its next chunks; `last` says that no
    /// more of this entry follows. Returns the digest of a file that is complete.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        chunks: impl Iterator<Item = ChunkDigest>,
        last: bool,
    ) -> Result<Option<ContentDigest>, BlobError> {
        self.chunks.extend(chunks);
        if !last {
            return Ok(None);
        }
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        let content = is_file.then(|| ContentDigest::of(entry.size(), self.chunks.drain(..)));
        self.line(entry, content)?;
        Ok(content)
    }

    /// Takes a line that was made before.
    pub(super) fn add_line(&mut self, line: &[u8]) -> Result<(), BlobError> {
        self.make_room()?;
        self.lines.extend_from_slice(line);
        Ok(())
    }

    /// Returns the line that was added last.
    pub(super) fn last_line(&self) -> &[u8] {
        &self.lines[self.last..]
    }

    fn make_room(&mut self) -> Result<(), BlobError> {
        if self.lines.len() >= BUFFER {
            self.drain()?;
        }
        self.last = self.lines.len();
        Ok(())
    }

    /// Takes an entry whose content's digest is known.
    pub(super) fn line(&mut self, entry: &Entry, content: Option<ContentDigest>) -> Result<(), BlobError> {
        self.make_room()?;
        write_line(&mut self.lines, entry, content);
        if let Some(kept) = &mut self.kept {
            kept.push(content);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Inventory, BlobError> {
        let (inventory, blob) = self.seal()?;
        blob.keep()?;
        Ok(inventory)
    }

    /// Ends the inventory without waiting for the disk.
    pub(super) fn seal(mut self) -> Result<(Inventory, SealedBlob), BlobError> {
        self.drain()?;
        let (root, _) = self.hasher.finish();
        let sink = match self.encoder.try_finish() {
            Ok(sink) => sink,
            Err((mut encoder, _)) => return Err(fault(&mut encoder)),
        };
        let blob = sink.blob.seal();
        let descriptor = Descriptor::new(MediaType::INVENTORY, blob.digest, blob.size);
        Ok((Inventory { descriptor, root, contents: self.kept.unwrap_or_default() }, blob))
    }

    fn drain(&mut self) -> Result<(), BlobError> {
        self.hasher.update(&self.lines);
        let written = self.encoder.write_all(&self.lines);
        self.lines.clear();
        written.map_err(|_| fault(&mut self.encoder))
    }
}

fn fault(encoder: &mut zstd::stream::Encoder<'static, Sink>) -> BlobError {
    encoder.get_mut().fault.take().expect("zstd fails only when its writer does")
}

/// Returns the digest of the lines of an inventory that isn't written.
pub(super) fn root<'e>(lines: impl Iterator<Item = (&'e Entry, Option<ContentDigest>)>) -> Digest {
    let (mut hasher, mut buffer) = (Sha256Hasher::new(), Vec::new());
    for (entry, content) in lines {
        write_line(&mut buffer, entry, content);
        if buffer.len() >= BUFFER {
            hasher.update(&buffer);
            buffer.clear();
        }
    }
    hasher.update(&buffer);
    hasher.finish().0
}

/// Adds the line of an entry.
pub(super) fn write_line(lines: &mut Vec<u8>, entry: &Entry, content: Option<ContentDigest>) {
    // Taken apart, so that a field that is added is decided on: what isn't in a line isn't in the key.
    let Entry { path, kind, mode, uid, gid, mtime, xattrs: all } = entry;
    let (path, path_hex) = text(path);
    let (kind, target) = match kind {
        EntryKind::Directory => ("directory", None),
        EntryKind::Symlink(target) => ("symlink", Some(text(target))),
        EntryKind::Hardlink(target) => ("hardlink", Some(text(target))),
        EntryKind::File { .. } => ("file", None),
    };
    let (target, target_hex) = target.unwrap_or_default();
    let (mut xattrs, mut xattrs_hex) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in all.iter().flat_map(|xattrs| xattrs.iter()) {
        match std::str::from_utf8(name) {
            Ok(name) => xattrs.insert(name, to_hex(value)),
            Err(_) => xattrs_hex.insert(to_hex(name), to_hex(value)),
        };
    }
    let is_file = matches!(entry.kind, EntryKind::File { .. });
    let line = Line {
        path,
        path_hex,
        kind,
        mode: format!("{mode:04o}"),
        uid: *uid,
        gid: *gid,
        mtime: Some(*mtime).filter(|mtime| *mtime != DEFAULT_MTIME),
        size: is_file.then(|| entry.size()),
        content: content.map(|digest| format!("blake3:{}", to_hex(&digest.0))),
        target,
        target_hex,
        xattrs,
        xattrs_hex,
    };
    serde_json::to_writer(&mut *lines, &line).expect("a line has string keys, and memory takes it");
    lines.push(b'\n');
}

fn text(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(to_hex(bytes))),
    }
}
