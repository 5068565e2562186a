//! What a layer holds, as its inventory says: read line by line.
//!
//! An inventory may be another place's, so nothing it says of sizes is believed: there is a bound on its
//! bytes, on what they decompress to, and on a line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;

use serde::Deserialize;

use crate::blob::{BlobError, Source, read_whole};
use crate::compress::{DecodeLimits, decoder};
use crate::digest::from_hex_any;
use crate::files::DEFAULT_MTIME;
use crate::oci::Descriptor;

/// The largest inventory that is read, in bytes: of some six million files.
const MAX_INVENTORY: u64 = 256 << 20;

/// What it may become: a line of a file has some 200 bytes. There is no bound on the ratio, as lines of
/// like entries (empty files, equal links) are a hundredth of that when compressed, and have none.
const LIMITS: DecodeLimits = DecodeLimits { bytes: MAX_LINES, ratio: 1, free: MAX_LINES, window_log: 25 };
const MAX_LINES: u64 = 4 << 30;

/// The longest line, in bytes: paths are short, attributes can be long.
const MAX_LINE: u64 = 16 << 20;

/// What is at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// `directory`, `file`, `symlink`, `hardlink`.
    pub(super) kind: String,
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: (u32, u32),
    pub(super) mtime: i64,
    pub(super) size: Option<u64>,
    pub(super) content: Option<String>,
    pub(super) target: Option<Vec<u8>>,
    /// By name; the values as hexadecimal digits.
    pub(super) xattrs: BTreeMap<Vec<u8>, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    path: Option<String>,
    path_hex: Option<String>,
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: Option<i64>,
    size: Option<u64>,
    content: Option<String>,
    target: Option<String>,
    target_hex: Option<String>,
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
    #[serde(default)]
    xattrs_hex: BTreeMap<String, String>,
}

impl Held {
    /// Reads a line: a path, and what is there.
    pub(super) fn parse(line: &[u8]) -> io::Result<(Vec<u8>, Self)> {
        let line: Line = serde_json::from_slice(line)?;
        let mut xattrs: BTreeMap<Vec<u8>, String> =
            line.xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
        for (name, value) in line.xattrs_hex {
            xattrs.insert(unhex(&name)?, value);
        }
        let held = Self {
            kind: line.kind,
            mode: u32::from_str_radix(&line.mode, 8).map_err(|_| invalid("a mode is no octal number"))?,
            owner: (line.uid, line.gid),
            mtime: line.mtime.unwrap_or(DEFAULT_MTIME),
            size: line.size,
            content: line.content,
            target: bytes(line.target, line.target_hex)?,
            xattrs,
        };
        let path = bytes(line.path, line.path_hex)?.ok_or_else(|| invalid("a line has no path"))?;
        Ok((path, held))
    }
}

fn bytes(text: Option<String>, hex: Option<String>) -> io::Result<Option<Vec<u8>>> {
    match (text, hex) {
        (Some(text), _) => Ok(Some(text.into_bytes())),
        (None, hex) => hex.as_deref().map(unhex).transpose(),
    }
}

fn unhex(hex: &str) -> io::Result<Vec<u8>> {
    from_hex_any(hex).ok_or_else(|| invalid("a name has no hexadecimal digits"))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads an inventory, and hands out its lines, until one is enough.
///
/// # Errors
/// [`BlobError`] if it isn't there; [`BlobError::Corrupt`] if it isn't one, or larger than any.
pub(super) fn each_line(
    inventory: &Descriptor,
    source: &dyn Source,
    each: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>>,
) -> Result<(), BlobError> {
    each_line_within(&LIMITS, inventory, source, each)
}

fn each_line_within(
    limits: &DecodeLimits,
    inventory: &Descriptor,
    source: &dyn Source,
    each: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>>,
) -> Result<(), BlobError> {
    let bytes = read_whole(source, inventory, MAX_INVENTORY)?;
    let lines = decoder(&bytes[..], limits).map_err(io::Error::other).map(BufReader::new);
    let read = lines.and_then(|lines| lines_of(lines, each));
    read.map_err(|source| BlobError::Corrupt { digest: inventory.digest, source })
}

/// Hands out lines, without what ends them, until one is enough.
pub(super) fn lines_of(
    mut lines: impl BufRead,
    mut each: impl FnMut(&[u8]) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        let ended = line.strip_suffix(b"\n").ok_or_else(|| invalid("a line doesn't end, or is too long"))?;
        if each(ended)?.is_break() {
            return Ok(());
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BytesContent, Memory, Sink as _};
    use crate::oci::MediaType;

    /// An inventory in memory.
    fn kept(bytes: &[u8]) -> (Memory, Descriptor) {
        let memory = Memory::new();
        let inventory = Descriptor::of(MediaType::INVENTORY, bytes);
        memory.push(&inventory, &BytesContent::new(bytes)).unwrap();
        (memory, inventory)
    }

    fn count(bytes: &[u8]) -> Result<usize, BlobError> {
        count_within(&LIMITS, bytes)
    }

    fn count_within(limits: &DecodeLimits, bytes: &[u8]) -> Result<usize, BlobError> {
        let (memory, inventory) = kept(bytes);
        let mut count = 0;
        let counted = each_line_within(limits, &inventory, &memory, |_| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        });
        counted.map(|()| count)
    }

    fn compressed(lines: &[u8]) -> Vec<u8> {
        zstd::encode_all(lines, 1).unwrap()
    }

    #[test]
    fn lines_are_read_until_one_is_enough() {
        let (memory, inventory) = kept(&compressed(b"one\ntwo\nthree\n"));
        let mut seen = Vec::new();
        each_line(&inventory, &memory, |line| {
            seen.push(String::from_utf8_lossy(line).into_owned());
            Ok(if line == b"two" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .unwrap();
        assert_eq!(seen, ["one", "two"]);
        assert_eq!(count(&compressed(b"")).unwrap(), 0);
        assert!(count(&compressed(b"one\ntwo")).is_err(), "the last line doesn't end");
    }

    #[test]
    fn sizes_have_bounds_whatever_an_inventory_says() {
        // Nothing of one that says it is large is fetched, nor anything of its size made room for.
        let large = Descriptor::new(MediaType::INVENTORY, crate::Digest::of(b"x"), 1 << 50);
        let read = each_line(&large, &Memory::new(), |_| Ok(ControlFlow::Continue(())));
        assert!(matches!(read, Err(BlobError::Corrupt { .. })), "{read:?}");
        // Few bytes don't become more than any has, in lines or in one.
        let many = compressed(&[&b"x".repeat(1 << 20)[..], b"\n"].concat().repeat(8));
        let limits = DecodeLimits { bytes: 4 << 20, free: 4 << 20, ..LIMITS };
        assert!(matches!(count_within(&limits, &many), Err(BlobError::Corrupt { .. })));
        let long = compressed(&[&b"x".repeat(MAX_LINE as usize)[..], b"\n"].concat());
        assert!(matches!(count(&long), Err(BlobError::Corrupt { .. })));
    }

    #[test]
    fn many_like_entries_are_read() {
        let file = |number| {
            let begin = format!("{{\"path\":\"app/{number:06}/__init__.py\",\"kind\":\"file\",");
            let content = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
            format!(r#"{begin}"mode":"0644","uid":0,"gid":0,"size":0,"content":"{content}"}}"#) + "\n"
        };
        let lines: String = (0..450_000).map(file).collect();
        let bytes = compressed(lines.as_bytes());
        assert!(lines.len() > 64 << 20 && lines.len() > 64 * bytes.len(), "they are few, or hardly alike");
        assert_eq!(count(&bytes).unwrap(), 450_000);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let line = r#"{"path-hex":"ff","kind":"symlink","mode":"0777","uid":1,"gid":2,"target":"a"}"#;
        let (path, held) = Held::parse(line.as_bytes()).unwrap();
        assert_eq!(
            (&path[..], held.mode, held.owner, held.mtime),
            (&b"\xff"[..], 0o777, (1, 2), DEFAULT_MTIME)
        );
        assert_eq!(held.target.as_deref(), Some(&b"a"[..]));
        for (from, to) in [("\"0777\"", "\"9\""), ("\"ff\"", "\"f\""), ("path-hex", "way"), ("}", "")] {
            assert!(Held::parse(line.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
