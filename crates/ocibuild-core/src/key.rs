//! Cache keys: the one place where a key is made from what it depends on.
//!
//! Every field is named and length-prefixed, so no two different sets of fields can run together
//! into the same bytes, and a field that is added, dropped or renamed changes every key. Knows
//! nothing of what the fields mean.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Sha256Hasher, from_hex, to_hex};

/// Names everything that a cached answer depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Returns the key as 64 lowercase hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        to_hex(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a key of 64 lowercase hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a key of 64 hexadecimal digits")]
pub struct KeyError(String);

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        from_hex(text).map(Self).ok_or_else(|| KeyError(text.chars().take(80).collect()))
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Gathers the fields of a key.
///
/// The bytes under the hash are, for each field: its name and its value, each preceded by its
/// length in bytes as eight little-endian bytes. A list is a field of its count followed by its
/// items under the same name. The first field names the domain and its version.
pub struct KeyWriter {
    hasher: Sha256Hasher,
}

impl KeyWriter {
    /// Starts a key of one domain (`"manifest"`, `"content"`, …) in one version of its fields.
    #[must_use]
    pub fn new(domain: &str, version: u32) -> Self {
        let mut writer = Self { hasher: Sha256Hasher::new() };
        writer.field(domain, version.to_le_bytes());
        writer
    }

    /// Adds a field of bytes.
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.chunk(name.as_bytes());
        self.chunk(value.as_ref());
        self
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.field(name, value.to_le_bytes())
    }

    /// Adds a field that may be absent; absence differs from emptiness.
    pub fn optional(&mut self, name: &str, value: Option<impl AsRef<[u8]>>) -> &mut Self {
        self.number(name, u64::from(value.is_some()));
        if let Some(value) = value {
            self.field(name, value);
        }
        self
    }

    /// Adds a list, in the order given.
    pub fn list<I>(&mut self, name: &str, items: I) -> &mut Self
    where
        I: IntoIterator<IntoIter: ExactSizeIterator, Item: AsRef<[u8]>>,
    {
        let items = items.into_iter();
        self.number(name, items.len() as u64);
        for item in items {
            self.field(name, item);
        }
        self
    }

    /// Adds another key, or whatever else is known by a digest.
    pub fn digest(&mut self, name: &str, digest: &Digest) -> &mut Self {
        self.field(name, digest.to_string())
    }

    /// Makes the key.
    #[must_use]
    pub fn finish(self) -> Key {
        let (digest, _) = self.hasher.finish();
        Key(from_hex(&digest.hex()).expect("a SHA-256 digest has 32 bytes"))
    }

    fn chunk(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(write: impl FnOnce(&mut KeyWriter) -> &mut KeyWriter) -> Key {
        let mut writer = KeyWriter::new("test", 1);
        write(&mut writer);
        writer.finish()
    }

    #[test]
    fn fields_never_run_together() {
        let keys = [
            key(|w| w.field("ab", "c").field("d", "")),
            key(|w| w.field("a", "bc").field("d", "")),
            key(|w| w.field("ab", "cd")),
            key(|w| w.list("ab", ["c", "d"])),
            key(|w| w.list("ab", ["cd"])),
            key(|w| w.optional("ab", Some(""))),
            key(|w| w.optional("ab", None::<&str>)),
            key(|w| w.number("ab", 1)),
            KeyWriter::new("test", 2).finish(),
            KeyWriter::new("tes", 1).finish(),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| other != one), "{index}");
        }
    }

    #[test]
    fn a_key_is_read_back_as_written_and_stays_as_it_was() {
        let key = key(|w| w.field("name", "value"));
        assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
        assert_eq!(key.hex(), "df4b5979ac580f7e9b9454e19c9962f6edf1492eac520d5425f760c3ee7f355e");
        assert!("k".parse::<Key>().is_err());
    }
}
