//! One header block of 512 bytes: its fields, as they stand.

use crate::tar::read::ReadError;

pub(super) const BLOCK: usize = 512;

/// Which dialect a header is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header block whose checksum is right.
pub(super) struct Header<'a>(&'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Takes a block, after verifying its checksum. Historic writers summed signed bytes: both
    /// sums are known in the wild.
    pub(super) fn new(block: &'a [u8; BLOCK], offset: u64) -> Result<Self, ReadError> {
        let fault = || ReadError::Checksum { offset };
        let stored = octal(&block[148..156]).ok_or_else(fault)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (index, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&index) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        match i64::try_from(stored) {
            Ok(stored) if stored == unsigned || stored == signed => Ok(Self(block)),
            _ => Err(fault()),
        }
    }

    pub(super) fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar  \0" => Format::Gnu,
            magic if magic.starts_with(b"ustar\0") && self.0[508..512] == *b"tar\0" => Format::Star,
            magic if magic.starts_with(b"ustar\0") => Format::Ustar,
            _ => Format::V7,
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// Returns the path, joined with its prefix where the dialect has one.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = match self.format() {
            Format::Ustar => until_nul(&self.0[345..500]),
            Format::Star => until_nul(&self.0[345..476]),
            Format::V7 | Format::Gnu => &[],
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.0[157..257]).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u64, ReadError> {
        number(&self.0[100..108], "mode")
    }

    pub(super) fn uid(&self) -> Result<u64, ReadError> {
        number(&self.0[108..116], "uid")
    }

    pub(super) fn gid(&self) -> Result<u64, ReadError> {
        number(&self.0[116..124], "gid")
    }

    pub(super) fn size(&self) -> Result<u64, ReadError> {
        number(&self.0[124..136], "size")
    }

    pub(super) fn mtime(&self) -> Result<i64, ReadError> {
        signed_number(&self.0[136..148], "mtime")
    }

    /// Returns the device's major and minor number; fields of dialects without them are zero.
    pub(super) fn device(&self) -> Result<(u64, u64), ReadError> {
        if self.format() == Format::V7 {
            return Ok((0, 0));
        }
        Ok((number(&self.0[329..337], "devmajor")?, number(&self.0[337..345], "devminor")?))
    }

    /// Tells whether it is one of the headers that Go once wrote by mistake, and reads in a way of
    /// its own since: GNU's by its magic, but with a prefix where GNU has times.
    pub(super) fn is_buggy_gnu(&self) -> bool {
        let time = |field: &[u8]| signed_number(field, "atime").is_ok();
        self.format() == Format::Gnu && !(time(&self.0[345..357]) && time(&self.0[357..369]))
    }

    /// Returns the real size of an old GNU sparse file, and whether blocks of its map follow.
    pub(super) fn gnu_sparse(&self) -> Result<(u64, bool), ReadError> {
        Ok((number(&self.0[483..495], "realsize")?, self.0[482] != 0))
    }
}

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// Reads a number that can't be negative, octal or base-256.
fn number(field: &[u8], name: &'static str) -> Result<u64, ReadError> {
    let fault = || ReadError::Number { field: name };
    u64::try_from(signed_number(field, name)?).map_err(|_| fault())
}

/// Reads a number. Base-256 is GNU's extension: the first bit set, then two's complement in
/// big-endian order. What is over 63 bits is refused, so that no sum of two sizes overflows.
fn signed_number(field: &[u8], name: &'static str) -> Result<i64, ReadError> {
    let fault = || ReadError::Number { field: name };
    if field[0] & 0x80 == 0 {
        return octal(field).and_then(|value| i64::try_from(value).ok()).ok_or_else(fault);
    }
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).map_err(|_| fault())
}

/// Reads octal digits between leading spaces and a closing space or NUL; an empty field is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|byte| *byte != b' ' && *byte != 0).unwrap_or(field.len());
    let field = &field[start..];
    let end = field.iter().position(|byte| *byte == b' ' || *byte == 0).unwrap_or(field.len());
    let mut value = 0_u64;
    for digit in &field[..end] {
        match digit {
            b'0'..=b'7' => value = value.checked_mul(8)? + u64::from(digit - b'0'),
            _ => return None,
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(signed_number(field, "size").ok(), expected, "{field:?}");
        }
    }
}
