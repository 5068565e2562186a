//! Packs: records in a layer of a cache repository.
//!
//! A pack is a tar of one file with a record a line, in zstd, so that whoever looks at the repository
//! as at an image finds layers as they should be.

use std::io::{self, Read as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::Record;
use crate::compress::{DecodeLimits, Encoder, Framer, decoder};
use crate::digest::{DiffId, Digest};
use crate::files::{self, FileSource};
use crate::oci::{Compression, Descriptor, MediaType, annotation, to_json};
use crate::tar::{self, EntryKind, Reader, TRAILER};

/// The largest pack that is read, in bytes; and the most of all packs of a cache.
pub(super) const MAX_PACK: u64 = 16 << 20;
/// As far as they are unpacked, all of a cache together.
pub(super) const MAX_UNPACKED: u64 = 64 << 20;
/// How packs are compressed.
const COMPRESSION: Compression = Compression::Zstd { level: 6 };
/// What is in them.
const NAME: &str = "records.jsonl";

/// A record, and when it was written: by which write of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) generation: u64,
    pub(super) record: Record,
}

/// A layer of records.
#[derive(Debug, Clone)]
pub(super) struct Pack {
    pub(super) descriptor: Descriptor,
    pub(super) diff_id: DiffId,
    /// How many records are in it.
    pub(super) count: usize,
    /// How much it is unpacked, in bytes.
    pub(super) unpacked: u64,
}

/// Packs entries; the same bytes for the same entries.
pub(super) fn write<'e>(entries: impl Iterator<Item = &'e Entry>) -> (Pack, Vec<u8>) {
    let (mut lines, mut count) = (Vec::new(), 0);
    for entry in entries {
        lines.extend_from_slice(&to_json(entry));
        lines.push(b'\n');
        count += 1;
    }
    let tar = single(NAME, &lines);
    let encoder = Encoder::new(COMPRESSION);
    let (mut framer, start) = Framer::start(COMPRESSION);
    let mut bytes = start.to_vec();
    for block in tar.chunks(1 << 20) {
        bytes.extend_from_slice(framer.append(&encoder.encode(block), block.len()));
    }
    bytes.extend_from_slice(&framer.finish());
    let descriptor = Descriptor::of(MediaType::LAYER_ZSTD, &bytes);
    let descriptor = descriptor.with_annotation(annotation::CACHE_RECORDS, count.to_string());
    (Pack { descriptor, diff_id: DiffId(Digest::of(&tar)), count, unpacked: tar.len() as u64 }, bytes)
}

/// Reads a pack of at most so many bytes, unpacked. Lines that aren't understood are passed over: another
/// version may have written them.
pub(super) fn read(descriptor: &Descriptor, bytes: &[u8], limit: u64) -> io::Result<(Pack, Vec<Entry>)> {
    let limits = DecodeLimits { bytes: limit, free: limit, ..DecodeLimits::default() };
    let mut tar = Vec::new();
    decoder(bytes, &limits).map_err(io::Error::other)?.read_to_end(&mut tar)?;
    let mut reader = Reader::new(&tar[..]);
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().map_err(io::Error::other)? {
        if entry.path == NAME.as_bytes() && entry.kind == EntryKind::Regular {
            reader.content().read_to_end(&mut lines)?;
        }
    }
    let is_known = |entry: &Entry| entry.record.version == Record::VERSION && !entry.record.is_trace;
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let entries = lines.filter_map(|line| serde_json::from_slice(line).ok()).filter(is_known);
    let entries: Vec<Entry> = entries.collect();
    let (diff_id, unpacked) = (DiffId(Digest::of(&tar)), tar.len() as u64);
    Ok((Pack { descriptor: descriptor.clone(), diff_id, count: entries.len(), unpacked }, entries))
}

/// What stands before a file's content in a tar that holds nothing else.
pub(super) fn header(name: &str, size: u64) -> Vec<u8> {
    let entry = files::Entry {
        path: name.as_bytes().into(),
        // Of a header it only matters how much comes.
        kind: files::EntryKind::File { source: FileSource::Bytes(Arc::default()), size },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: files::DEFAULT_MTIME,
        xattrs: None,
    };
    let mut bytes = Vec::new();
    tar::write_header(&entry, &mut bytes);
    bytes
}

/// A tar of one file.
pub(super) fn single(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, content.len() as u64);
    bytes.extend_from_slice(content);
    tar::pad(&mut bytes);
    bytes.extend_from_slice(&TRAILER);
    bytes
}
