//! How layers are compressed, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a layer's tar bytes become its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)).
    Gzip {
        /// From 1 (fast) to 9 (small).
        level: u8,
    },
    /// zstd ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878)).
    Zstd {
        /// From 1 (fast) to 19 (small).
        level: u8,
    },
}

impl Compression {
    /// The level of gzip where none is named: settled by trial, see `docs/performance.md`.
    pub const DEFAULT_GZIP_LEVEL: u8 = 3;

    /// The level of zstd where none is named: that of the program `zstd`.
    pub const DEFAULT_ZSTD_LEVEL: u8 = 3;

    /// The largest level of zstd: those above ask for more memory than every reader grants.
    pub const MAX_ZSTD_LEVEL: u8 = 19;
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: Self::DEFAULT_GZIP_LEVEL }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip { level } => write!(f, "gzip:{level}"),
            Self::Zstd { level } => write!(f, "zstd:{level}"),
        }
    }
}

/// The text names no compression of layers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no compression: `gzip`, `gzip:1` to `gzip:9`, `zstd`, `zstd:1` to `zstd:19` and `none` are"
)]
pub struct CompressionError(String);

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let found = match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            None if text == "gzip" => Some(Self::default()),
            None if text == "zstd" => Some(Self::Zstd { level: Self::DEFAULT_ZSTD_LEVEL }),
            Some(("gzip", level)) => level_of(level, 9).map(|level| Self::Gzip { level }),
            Some(("zstd", level)) => level_of(level, Self::MAX_ZSTD_LEVEL).map(|level| Self::Zstd { level }),
            _ => None,
        };
        found.ok_or_else(|| CompressionError(text.to_owned()))
    }
}

/// Reads a level as it is written by us: without sign or leading zeros.
fn level_of(text: &str, most: u8) -> Option<u8> {
    let level: u8 = text.parse().ok().filter(|level| (1..=most).contains(level))?;
    (level.to_string() == text).then_some(level)
}

/// Names an encoder to the point where two of the same name write the same bytes: codec, level,
/// framing version, and the digest of a compressed probe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodecId(String);

impl CodecId {
    /// Takes a name made by the encoder's module.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        for text in ["none", "gzip:1", "gzip:9", "zstd:1", "zstd:19"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("gzip".parse::<Compression>().unwrap(), Compression::default());
        assert_eq!("zstd".parse::<Compression>().unwrap(), Compression::Zstd { level: 3 });
        let gzip = ["gzip:", "gzip:0", "gzip:10", "gzip:x", "gzip:+3", "gzip:03", "GZIP"];
        let zstd = ["zstd:", "zstd:0", "zstd:20", "zstd:-1", "zstd:03", "zstd:259", "zstd:fast"];
        for text in ["", "xz", "none:1", "lz4:1"].iter().chain(&gzip).chain(&zstd) {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
