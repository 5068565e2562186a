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
}

impl Compression {
    /// The level of gzip where none is named: settled by trial, see `docs/performance.md`.
    pub const DEFAULT_GZIP_LEVEL: u8 = 3;
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
        }
    }
}

/// The text names no compression of layers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression: `gzip`, `gzip:1` to `gzip:9` and `none` are")]
pub struct CompressionError(String);

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        let fault = || CompressionError(text.to_owned());
        match text {
            "none" => Ok(Self::None),
            "gzip" => Ok(Self::default()),
            _ => match text.strip_prefix("gzip:").ok_or_else(fault)?.as_bytes() {
                [digit @ b'1'..=b'9'] => Ok(Self::Gzip { level: digit - b'0' }),
                _ => Err(fault()),
            },
        }
    }
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
        for text in ["none", "gzip:1", "gzip:9"] {
            assert_eq!(text.parse::<Compression>().unwrap().to_string(), text);
        }
        assert_eq!("gzip".parse::<Compression>().unwrap(), Compression::default());
        for text in ["", "gzip:", "gzip:0", "gzip:10", "gzip:x", "GZIP", "zstd:3"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
