//! Headers of the trial's tar stream: ustar, with a PAX record where a name is too long.
//!
//! Small on purpose: it has what the measured trees need, not what a product does.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::walk::{Entry, Kind};

/// Bytes of a tar record; headers and file contents are padded to it.
pub const RECORD: usize = 512;

/// Directory of the image that the tree is put into.
const PREFIX: &[u8] = b"app/";

/// Appends the header or headers of an entry to `out`.
///
/// # Errors
/// If the entry is larger than 8 GiB or its link target is longer than 100 bytes.
pub fn header(entry: &Entry, out: &mut Vec<u8>) -> Result<(), Error> {
    let mut name = [PREFIX, &entry.path].concat();
    let (typeflag, mode, size, target): (u8, u64, u64, &[u8]) = match &entry.kind {
        Kind::Directory => {
            name.push(b'/');
            (b'5', 0o755, 0, b"")
        }
        Kind::File { size, executable } => (b'0', if *executable { 0o755 } else { 0o644 }, *size, b""),
        Kind::Link(target) => (b'2', 0o777, 0, target),
    };
    let refuse =
        |reason| Err(Error::Unsupported { path: PathBuf::from(OsString::from_vec(name.clone())), reason });
    if size >= 1 << 33 {
        return refuse("it is 8 GiB or larger");
    }
    if target.len() > 100 {
        return refuse("its target is longer than 100 bytes");
    }
    match split(&name) {
        Some((prefix, rest)) => record(out, prefix, rest, typeflag, mode, size, target),
        None => {
            let body = pax("path", &name);
            record(out, b"", b"pax", b'x', 0o644, body.len() as u64, b"");
            out.extend_from_slice(&body);
            out.resize(out.len() + padding(body.len() as u64), 0);
            record(out, b"", &name[..100], typeflag, mode, size, target);
        }
    }
    Ok(())
}

/// Says how many zero bytes follow content of `size` bytes.
#[must_use]
pub fn padding(size: u64) -> usize {
    (RECORD - (size % RECORD as u64) as usize) % RECORD
}

/// Splits a name at a slash into ustar's prefix (155 bytes) and name (100 bytes).
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let earliest = name.len().checked_sub(101)?;
    let slash = (earliest..name.len().min(156)).find(|&at| name[at] == b'/' && at + 1 < name.len())?;
    Some((&name[..slash], &name[slash + 1..]))
}

/// Makes one PAX record, whose length counts its own digits.
fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let fixed = key.len() + value.len() + 3;
    let mut length = fixed + 1;
    while fixed + length.to_string().len() != length {
        length = fixed + length.to_string().len();
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn record(out: &mut Vec<u8>, prefix: &[u8], name: &[u8], typeflag: u8, mode: u64, size: u64, target: &[u8]) {
    let start = out.len();
    out.resize(start + RECORD, 0);
    let header = &mut out[start..];
    header[..name.len()].copy_from_slice(name);
    octal(&mut header[100..107], mode);
    octal(&mut header[108..115], 0);
    octal(&mut header[116..123], 0);
    octal(&mut header[124..135], size);
    octal(&mut header[136..147], 1);
    header[148..156].fill(b' ');
    header[156] = typeflag;
    header[157..157 + target.len()].copy_from_slice(target);
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[345..345 + prefix.len()].copy_from_slice(prefix);
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut header[148..154], sum);
    header[154] = 0;
}

fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}
