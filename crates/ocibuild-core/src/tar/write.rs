//! Deterministic tar bytes: one header form for each entry, extended by PAX records where ustar
//! is too small
//! ([POSIX, pax interchange format](https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html),
//! [image-spec, layers](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md)).
//!
//! Own code and not the `tar` crate's, because every byte here is part of a digest: that writer
//! rewrites link targets, mixes GNU's long names into ustar headers and knows no extended
//! attributes. Tests hold it against four other readers.

use crate::files::{DEFAULT_MTIME, Entry, EntryKind};

/// The size of a header, and what contents are padded to.
pub const RECORD: u64 = 512;

/// What ends a tar stream.
pub const TRAILER: [u8; 1024] = [0; 1024];

const USTAR_PATH: usize = 100;
const USTAR_PREFIX: usize = 155;
const USTAR_MAX_ID: u32 = 0o7_777_777;
const USTAR_MAX_SIZE: u64 = 0o77_777_777_777;
const USTAR_MAX_TIME: i64 = 0o77_777_777_777;

/// What the names of records of extended attributes begin with; all known readers take it.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Appends the header of an entry, with its extended header before it where one is needed.
pub fn write_header(entry: &Entry, out: &mut Vec<u8>) {
    let path = full_path(entry);
    let records = pax_records(entry, &path);
    if !records.is_empty() {
        let (size, mtime) = (records.len() as u64, DEFAULT_MTIME);
        let fields = Fields { size, mtime, mode: 0o644, kind: b'x', ..Fields::default() };
        push_header(out, b"PaxHeaders/extended", b"", &fields);
        out.extend_from_slice(&records);
        pad(out);
    }
    let (prefix, name) = split_path(&path).unwrap_or((b"", &path[..USTAR_PATH.min(path.len())]));
    let fields = Fields {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size: entry.size(),
        mtime: entry.mtime,
        kind: type_flag(entry),
        link: link(entry),
    };
    push_header(out, name, prefix, &fields);
}

/// Returns the number of bytes that [`write_header`] appends.
#[must_use]
pub fn header_len(entry: &Entry) -> u64 {
    let path = full_path(entry);
    match pax_records(entry, &path).len() as u64 {
        0 => RECORD,
        length => 2 * RECORD + padded(length),
    }
}

/// Returns the number of bytes that an extended attribute takes in the extended header, whose
/// length is limited by [`MAX_EXTENSION`](crate::tar::MAX_EXTENSION).
#[must_use]
pub fn xattr_len(name: &[u8], value: &[u8]) -> u64 {
    record_len(XATTR.len() + name.len(), value.len()) as u64
}

/// Rounds a length up to whole records.
#[must_use]
pub fn padded(length: u64) -> u64 {
    length.next_multiple_of(RECORD)
}

/// Fills the last record up with zeros.
pub fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(RECORD as usize), 0);
}

/// Directories are written with a trailing slash, which every reader takes as the same path.
fn full_path(entry: &Entry) -> Vec<u8> {
    let mut path = entry.path.to_vec();
    if matches!(entry.kind, EntryKind::Directory) {
        path.push(b'/');
    }
    path
}

fn type_flag(entry: &Entry) -> u8 {
    match entry.kind {
        EntryKind::Directory => b'5',
        EntryKind::Symlink(_) => b'2',
        EntryKind::Hardlink(_) => b'1',
        EntryKind::File { .. } => b'0',
    }
}

fn link(entry: &Entry) -> &[u8] {
    match &entry.kind {
        EntryKind::Symlink(target) | EntryKind::Hardlink(target) => target,
        _ => b"",
    }
}

/// The records that ustar's fields have no room for, in the order of their names.
///
/// A name that fits stays in its field whatever its bytes are: every reader takes these as they
/// are. A record is UTF-8 by the standard, and some readers convert it; one that isn't says so by
/// `hdrcharset`, or bsdtar ends with an error. Extended attributes are bytes to all of them, and
/// don't need it; where a link has some, they stand there as well, for those that set owners
/// through every name, which drops capabilities.
fn pax_records(entry: &Entry, path: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    let link = Some(link(entry)).filter(|link| link.len() > USTAR_PATH);
    let path = Some(path).filter(|path| split_path(path).is_none());
    for (name, value) in entry.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
        push_record(&mut records, &[XATTR, name].concat(), value);
    }
    if entry.gid > USTAR_MAX_ID {
        push_record(&mut records, b"gid", entry.gid.to_string().as_bytes());
    }
    if link.into_iter().chain(path).any(|name| std::str::from_utf8(name).is_err()) {
        push_record(&mut records, b"hdrcharset", b"BINARY");
    }
    if let Some(link) = link {
        push_record(&mut records, b"linkpath", link);
    }
    if ustar_time(entry.mtime).is_none() {
        push_record(&mut records, b"mtime", entry.mtime.to_string().as_bytes());
    }
    if let Some(path) = path {
        push_record(&mut records, b"path", path);
    }
    if entry.size() > USTAR_MAX_SIZE {
        push_record(&mut records, b"size", entry.size().to_string().as_bytes());
    }
    if entry.uid > USTAR_MAX_ID {
        push_record(&mut records, b"uid", entry.uid.to_string().as_bytes());
    }
    records
}

/// Appends `LENGTH NAME=VALUE\n`, where the length counts its own digits.
fn push_record(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    records.extend_from_slice(record_len(name.len(), value.len()).to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(name);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn record_len(name: usize, value: usize) -> usize {
    let rest = name + value + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    length
}

/// Splits a path into ustar's prefix and name, if it fits: at the first slash that leaves a name
/// of at most 100 bytes.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= USTAR_PATH {
        return Some((b"", path));
    }
    let from = path.len() - USTAR_PATH - 1;
    let slash = from + path[from..path.len() - 1].iter().position(|byte| *byte == b'/')?;
    (1..=USTAR_PREFIX).contains(&slash).then(|| (&path[..slash], &path[slash + 1..]))
}

fn ustar_time(mtime: i64) -> Option<u64> {
    u64::try_from(mtime).ok().filter(|_| mtime <= USTAR_MAX_TIME)
}

#[derive(Default)]
struct Fields<'a> {
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    kind: u8,
    link: &'a [u8],
}

fn push_header(out: &mut Vec<u8>, name: &[u8], prefix: &[u8], fields: &Fields<'_>) {
    let start = out.len();
    out.resize(start + RECORD as usize, 0);
    let header = &mut out[start..];
    header[..name.len()].copy_from_slice(name);
    octal(&mut header[100..108], u64::from(fields.mode));
    octal(&mut header[108..116], u64::from(if fields.uid > USTAR_MAX_ID { 0 } else { fields.uid }));
    octal(&mut header[116..124], u64::from(if fields.gid > USTAR_MAX_ID { 0 } else { fields.gid }));
    octal(&mut header[124..136], if fields.size > USTAR_MAX_SIZE { 0 } else { fields.size });
    octal(&mut header[136..148], ustar_time(fields.mtime).unwrap_or_default());
    header[148..156].fill(b' ');
    header[156] = fields.kind;
    let link = &fields.link[..fields.link.len().min(USTAR_PATH)];
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[345..345 + prefix.len()].copy_from_slice(prefix);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    octal(&mut header[148..155], u64::from(sum));
}

/// Writes octal digits, with zeros before and a NUL behind them.
fn octal(field: &mut [u8], mut value: u64) {
    let (last, digits) = field.split_last_mut().expect("a field has room");
    *last = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}
