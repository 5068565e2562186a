//! Any bytes read as a tar, and what was read written by our own writer.

use std::io::{ErrorKind, Read};

use ocibuild_core::files::{self, FileSource, Xattrs};
use ocibuild_core::tar::{
    Entry, EntryKind, MAX_EXTENSION, MAX_PATH, ReadError, Reader, TRAILER, header_len, pad, write_header,
};

use crate::Trickle;

const BLOCK: usize = 512;

/// What an input begins with whose rest is the body of an extended header: records alone.
pub const PAX: &[u8] = b"pax\n";

/// Reads a tar, or [`PAX`] and records: what is told of an entry keeps within the bytes and the
/// limits, and depends neither on how the bytes come in nor on whether contents are read; what
/// our writer makes of the entries is read back the same.
pub fn check(data: &[u8]) {
    let wrapped = data.strip_prefix(PAX).map(wrap);
    let bytes = wrapped.as_deref().unwrap_or(data);
    let whole = read(bytes, true);
    let trickled = read(Trickle(bytes), true);
    assert_eq!(whole.entries, trickled.entries, "it matters how the bytes come in");
    assert_eq!(whole.error, trickled.error, "it matters how the bytes come in");
    let skipped = read(bytes, false);
    let known = whole.entries.iter().map(|(entry, _)| entry);
    assert!(skipped.entries.iter().map(|(entry, _)| entry).zip(known).all(|(one, other)| one == other));
    if whole.error.is_none() {
        assert!(skipped.error.is_none() && skipped.entries.len() == whole.entries.len());
    }
    let total: u64 = whole.entries.iter().map(|(_, content)| content.len() as u64).sum();
    assert!(total <= bytes.len() as u64, "more content than there are bytes");
    whole.entries.iter().for_each(|(entry, _)| check_entry(entry));
    check_writer(&whole.entries);
}

/// Puts records before a file, in a tar that is sound around them.
fn wrap(records: &[u8]) -> Vec<u8> {
    let mut bytes = header(b'x', records.len());
    bytes.extend_from_slice(records);
    pad(&mut bytes);
    bytes.extend(header(b'0', 0));
    bytes
}

fn header(flag: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[0] = b'a';
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    repair(&mut block);
    block
}

/// Gives every block that looks like a header its right checksum: by chance a fuzzer never would.
pub fn repair(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

#[derive(Default)]
struct Outcome {
    entries: Vec<(Entry, Vec<u8>)>,
    error: Option<String>,
}

fn read(bytes: impl Read, contents: bool) -> Outcome {
    let mut reader = Reader::new(bytes);
    let mut outcome = Outcome::default();
    let result = read_all(&mut reader, contents, &mut outcome.entries);
    outcome.error = result.and_then(|()| reader.finish().map(drop)).err().map(|error| {
        if let ReadError::Read(source) = &error {
            assert_eq!(source.kind(), ErrorKind::UnexpectedEof, "{source}");
        }
        format!("{error:?}")
    });
    outcome
}

fn read_all<R: Read>(
    reader: &mut Reader<R>,
    contents: bool,
    entries: &mut Vec<(Entry, Vec<u8>)>,
) -> Result<(), ReadError> {
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        if contents && !entry.sparse {
            reader.content().read_to_end(&mut content)?;
            assert_eq!(content.len() as u64, entry.size, "the content isn't as long as was said");
        }
        entries.push((entry, content));
    }
    assert!(reader.next_entry()?.is_none(), "there is something behind the end");
    Ok(())
}

fn check_entry(entry: &Entry) {
    let target = match &entry.kind {
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => &target[..],
        _ => b"",
    };
    assert!(entry.path.len() <= MAX_PATH && target.len() <= MAX_PATH);
    assert!(!entry.path.contains(&0) && !target.contains(&0), "a NUL in a path");
    assert!(i64::try_from(entry.size).is_ok());
    let has_content = matches!(entry.kind, EntryKind::Regular | EntryKind::Other(_));
    assert!(has_content || entry.size == 0, "content where there is none");
    let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(xattrs as u64 <= 2 * MAX_EXTENSION);
}

/// Writes the entries that ours can be like, and reads them back.
fn check_writer(entries: &[(Entry, Vec<u8>)]) {
    let ours: Vec<(files::Entry, &[u8])> =
        entries.iter().filter_map(|(entry, content)| Some((ours(entry, content)?, &content[..]))).collect();
    let mut bytes = Vec::new();
    for (entry, content) in &ours {
        let start = bytes.len();
        write_header(entry, &mut bytes);
        assert_eq!((bytes.len() - start) as u64, header_len(entry));
        bytes.extend_from_slice(&content[..entry.size() as usize]);
        pad(&mut bytes);
    }
    bytes.extend(TRAILER);
    let back = read(&bytes[..], true);
    assert_eq!(back.error, None);
    assert_eq!(back.entries.len(), ours.len());
    for ((entry, content), (back, bytes)) in ours.iter().zip(&back.entries) {
        check_same(entry, back);
        assert_eq!(&content[..entry.size() as usize], bytes);
    }
}

/// Makes an entry of ours of one that was read: with a path as a layer has it.
fn ours(entry: &Entry, content: &[u8]) -> Option<files::Entry> {
    let names = entry.path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let path = names.collect::<Vec<_>>().join(&b'/');
    let kind = match &entry.kind {
        _ if path.is_empty() || path.len() >= MAX_PATH => return None,
        EntryKind::Directory => files::EntryKind::Directory,
        EntryKind::Symlink { target } if !target.is_empty() => {
            files::EntryKind::Symlink(target.as_slice().into())
        }
        EntryKind::Regular => {
            files::EntryKind::File { source: FileSource::Bytes(content.into()), size: content.len() as u64 }
        }
        _ => return None,
    };
    let (uid, gid) = (entry.uid as u32, entry.gid as u32);
    let xattrs = Xattrs::new(entry.xattrs.clone().into_iter().collect());
    let (mode, mtime) = (entry.mode & 0o7777, entry.mtime);
    Some(files::Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs })
}

fn check_same(entry: &files::Entry, back: &Entry) {
    let same_kind = match (&entry.kind, &back.kind) {
        (files::EntryKind::Directory, EntryKind::Directory) => true,
        (files::EntryKind::Symlink(one), EntryKind::Symlink { target }) => **one == **target,
        (files::EntryKind::File { size, .. }, EntryKind::Regular) => *size == back.size,
        _ => false,
    };
    assert!(same_kind, "{entry:?} came back as {back:?}");
    let path = match back.kind {
        EntryKind::Directory => back.path.strip_suffix(b"/").expect("a directory's path ends so"),
        _ => &back.path,
    };
    assert_eq!((path, back.mode), (&*entry.path, entry.mode));
    assert_eq!((back.uid, back.gid), (entry.uid.into(), entry.gid.into()));
    assert!(!back.sparse && back.mtime == entry.mtime);
    let xattrs = entry.xattrs.iter().flat_map(|xattrs| xattrs.iter());
    assert!(xattrs.eq(back.xattrs.iter().map(|(name, value)| (&name[..], &value[..]))));
}
