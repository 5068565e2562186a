//! Platforms: what an image runs on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on
/// ([image-spec, index](https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions)).
///
/// Its text form is `os/architecture` or `os/architecture/variant`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Platform {
    /// The processor's architecture, by Go's name (`amd64`, `arm64`, …).
    pub architecture: String,
    /// The operating system, by Go's name.
    pub os: String,
    /// The operating system's version.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system that are needed.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The processor's variant (`v7`, `v8`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Makes a platform without a variant.
    #[must_use]
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            architecture: architecture.into(),
            os: os.into(),
            os_version: None,
            os_features: Vec::new(),
            variant: None,
        }
    }

    /// Linux on 64-bit x86.
    #[must_use]
    pub fn linux_amd64() -> Self {
        Self::new("linux", "amd64")
    }

    /// Linux on 64-bit Arm.
    #[must_use]
    pub fn linux_arm64() -> Self {
        Self::new("linux", "arm64")
    }

    /// Sets the variant.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = Some(variant.into());
        self
    }

    /// Tells whether an image for `self` is what is asked for with `wanted`: same system and
    /// architecture, and the same variant, where arm64's `v8`, arm's `v7` and amd64's `v1` go without
    /// saying.
    #[must_use]
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && self.plain_variant() == wanted.plain_variant()
    }

    fn plain_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None | Some("" | "v8")) | ("amd64", None | Some("" | "v1")) => None,
            // What has no variant is for the one that everybody means by the name.
            ("arm", None | Some("")) => Some("v7"),
            (_, variant) => variant.filter(|variant| !variant.is_empty()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no platform: it should read like `linux/amd64` or `linux/arm/v7`")]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let part = |part: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            !part.is_empty() && part.chars().all(fits)
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|text| part(text)) {
            return Err(PlatformError(text.to_owned()));
        }
        match parts[..] {
            [os, architecture] => Ok(Self::new(os, architecture)),
            [os, architecture, variant] => Ok(Self::new(os, architecture).with_variant(variant)),
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_written() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "/amd64", "Linux/amd64", "linux/arm/v7/x", "linux amd64"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_variant_that_goes_without_saying_need_not_be_said() {
        let satisfies =
            |one: &str, wanted: &str| one.parse::<Platform>().unwrap().satisfies(&wanted.parse().unwrap());
        for [one, other] in [
            ["linux/arm64", "linux/arm64/v8"],
            ["linux/arm", "linux/arm/v7"],
            ["linux/amd64", "linux/amd64/v1"],
            ["linux/riscv64", "linux/riscv64"],
        ] {
            assert!(satisfies(one, other) && satisfies(other, one), "{one} {other}");
        }
        for [one, other] in [
            ["linux/arm/v7", "linux/arm/v6"],
            ["linux/arm", "linux/arm/v6"],
            ["linux/arm64", "linux/arm64/v9"],
            ["linux/amd64", "linux/amd64/v3"],
            ["linux/amd64", "linux/arm64"],
            ["linux/arm/v8", "linux/arm64/v8"],
            ["windows/amd64", "linux/amd64"],
        ] {
            assert!(!satisfies(one, other) && !satisfies(other, one), "{one} {other}");
        }
    }
}
