//! Places beside the machine's cache that answer for layers, or are told of them.

use std::fmt;

use crate::reference::Reference;

/// A place beside the machine's cache: in a registry, or of a kind that only the program knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CachePlace {
    /// An image that was pushed, or a cache repository; which it is, shows when it is read.
    Image(Reference),
    /// Something with a scheme: `redis://host/prefix`, `s3://bucket/prefix?region=…`.
    Store(String),
}

impl CachePlace {
    /// Returns the reference, if it is in a registry.
    #[must_use]
    pub fn image(&self) -> Option<&Reference> {
        match self {
            Self::Image(reference) => Some(reference),
            Self::Store(_) => None,
        }
    }
}

impl From<Reference> for CachePlace {
    fn from(reference: Reference) -> Self {
        Self::Image(reference)
    }
}

/// As it is written, unless that [mustn't be shown](has_credentials).
impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(reference) => reference.fmt(f),
            Self::Store(url) if has_credentials(url) => f.write_str("an address with credentials"),
            Self::Store(url) => f.write_str(url),
        }
    }
}

/// Tells whether the address of a store has credentials in it: what stands before an `@`, or an option
/// that is named like somebody's secret. Percent-encoding hides neither. Such an address is refused,
/// and shown nowhere: addresses stand in files that many read, and in logs.
#[must_use]
pub fn has_credentials(address: &str) -> bool {
    let mut text = address.as_bytes().to_vec();
    loop {
        let plain = decoded(&text);
        if plain.len() == text.len() {
            break;
        }
        text = plain;
    }
    let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
    let mut names = text.split(['?', '&']).skip(1).map(|option| option.split('=').next().unwrap_or(option));
    text.contains('@') || names.any(|name| SECRETS.iter().any(|word| name.contains(word)))
}

/// What is named like this is somebody's secret.
const SECRETS: &[&str] =
    &["key", "secret", "token", "password", "passwd", "user", "credential", "sas", "sig"];

/// Undoes percent-encoding, once. What isn't any stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = if *byte == b'%' { digit(at + 1).zip(digit(at + 2)) } else { None };
        let escaped = escaped.and_then(|(high, low)| u8::try_from(16 * high + low).ok());
        plain.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}

/// How much a cache is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// Records alone: the blobs are where the images were pushed to.
    #[default]
    Min,
    /// The blobs of the layers as well, so that the cache answers alone.
    Max,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_however_they_are_written() {
        for address in [
            "redis://me:hidden@host/a",
            "redis://me%3Ahidden%40host",
            "redis://me%253Ahidden%2540host",
            "s3://b?endpoint=https://me:hidden@host",
            "s3://b?endpoint=https%3A%2F%2Fme%3Ahidden%40host",
            "s3://b?endpoint=https%3A%2F%2Fhost%2F%3Fsig%3Dhidden",
            "s3://b?region=a&%73ecret_access_key=hidden",
            "gcs://b?X-Goog-Signature=hidden",
            "anything://%40",
        ] {
            assert!(has_credentials(address), "{address}");
        }
        for address in
            ["s3://keys/users?region=a&endpoint=http%3A%2F%2Fhost:9000", "redis://host", "gha://100%", ""]
        {
            assert!(!has_credentials(address), "{address}");
        }
    }
}
