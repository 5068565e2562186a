//! PAX records: `LENGTH KEY=VALUE\n`, and what they say of an entry
//! ([POSIX, pax, extended header](https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_03)).
//!
//! Records are cut by their length, never at newlines: a value may hold any byte.

use std::collections::BTreeMap;

use crate::tar::read::ReadError;

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What one extended header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Any of GNU's ways to say that the file has holes.
    pub(super) sparse: bool,
    pub(super) sparse_path: Option<Vec<u8>>,
    pub(super) sparse_size: Option<u64>,
    /// Which of GNU's ways it is: the map of the older ones, and the version of the newer one.
    sparse_map: bool,
    sparse_version: (Option<u64>, Option<u64>),
}

impl Pax {
    /// Reads the records of one header.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ReadError> {
        let mut pax = Self::default();
        let mut rest = body;
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or(ReadError::Record)?;
            pax.set(key, value)?;
            rest = after;
        }
        Ok(pax)
    }

    /// Tells whether the records say anything that an entry has.
    pub(super) fn speaks_of_entries(&self) -> bool {
        *self != Self::default()
    }

    /// Tells whether it is a sparse file by records that some readers pass over: those that don't
    /// belong to a version that is known.
    pub(super) fn is_sparse_by_halves(&self) -> bool {
        let known = match self.sparse_version {
            (Some(1), Some(0)) => true,
            (None | Some(0), None | Some(0 | 1)) => self.sparse_map,
            _ => false,
        };
        self.sparse && !(known && self.sparse_size.is_some())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        if let Some(name) = key.strip_prefix(XATTR) {
            return self.set_xattr(name, value);
        }
        if key.starts_with(b"GNU.sparse.") {
            self.sparse = true;
        }
        match key {
            b"GNU.sparse.map" | b"GNU.sparse.numblocks" => self.sparse_map = true,
            b"GNU.sparse.major" => self.sparse_version.0 = number(value, "GNU.sparse.major")?,
            b"GNU.sparse.minor" => self.sparse_version.1 = number(value, "GNU.sparse.minor")?,
            b"path" => self.path = text(value, "path")?,
            b"linkpath" => self.link = text(value, "linkpath")?,
            b"size" => self.size = number(value, "size")?,
            b"uid" => self.uid = number(value, "uid")?,
            b"gid" => self.gid = number(value, "gid")?,
            b"mtime" => self.mtime = seconds(value)?,
            b"GNU.sparse.name" => self.sparse_path = text(value, "GNU.sparse.name")?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse_size = number(value, "GNU.sparse.size")?;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), ReadError> {
        if name.is_empty() || name.contains(&0) {
            return Err(ReadError::Record);
        }
        self.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }
}

/// Splits the first record off: key, value, and the records after it. The key ends at the first
/// `=`, as in every other reader.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length > bytes.len() || length < space + 2 {
        return None;
    }
    let (record, after) = bytes.split_at(length);
    let (newline, record) = record[space + 1..].split_last()?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let sound = *newline == b'\n' && !key.is_empty() && !key[..].contains(&b'\n');
    sound.then_some((key, value, after))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Paths hold no NUL: readers in C would see another one than readers in Go. Nor are they empty:
/// for some readers that takes the path back to the header's, for others it is the path.
fn text(value: &[u8], field: &'static str) -> Result<Option<Vec<u8>>, ReadError> {
    match value {
        [] => Err(ReadError::Record),
        _ if value.contains(&0) => Err(ReadError::NulInPath { field }),
        _ => Ok(Some(value.to_vec())),
    }
}

fn number(value: &[u8], field: &'static str) -> Result<Option<u64>, ReadError> {
    let value = decimal(value).filter(|value| i64::try_from(*value).is_ok());
    value.map(Some).ok_or(ReadError::Number { field })
}

/// Reads seconds since the epoch, rounding a fraction down.
fn seconds(value: &[u8]) -> Result<Option<i64>, ReadError> {
    let fault = ReadError::Number { field: "mtime" };
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let dot = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = digits.split_at(dot.unwrap_or(digits.len()));
    let fraction = fraction.strip_prefix(b".").unwrap_or(fraction);
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(fault);
    }
    let whole = decimal(whole).and_then(|value| i64::try_from(value).ok()).ok_or(fault)?;
    let inexact = fraction.iter().any(|digit| *digit != b'0');
    Ok(Some(if negative { -whole - i64::from(inexact) } else { whole }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_by_length() {
        let body = b"29 SCHILY.xattr.user.a=x\n\0=y\n11 path=a\n\n".as_slice();
        let pax = Pax::parse(body).unwrap();
        assert_eq!(pax.xattrs[&b"user.a".to_vec()], b"x\n\0=y");
        assert_eq!(pax.path.as_deref(), Some(&b"a\n"[..]));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for body in [
            &b"10 path=a"[..],
            b"8 path=a\n",
            b"11 path=a\n",
            b"path=a\n",
            b"0 path=a\n",
            b"-1 path=a\n",
            b"99999999999999999999999 path=a\n",
            b"7 path\n\n",
            b"5 =a\n",
            b"12 path=a\0b\n",
            b"11 size=-1\n",
            b"28 size=9223372036854775808\n",
            b"3 \n",
        ] {
            assert!(Pax::parse(body).is_err(), "{}", body.escape_ascii());
        }
        assert!(Pax::parse(b"").is_ok());
    }

    #[test]
    fn times_round_down() {
        for (text, expected) in [("1.9", Some(1)), ("-1.5", Some(-2)), ("-1.0", Some(-1)), ("0", Some(0))] {
            assert_eq!(seconds(text.as_bytes()).unwrap(), expected);
        }
        assert!(
            seconds(b"1.x").is_err() && seconds(b".").is_err() && seconds(b"99999999999999999999").is_err()
        );
    }
}
