//! What makes an image valid: every demand of the image specification that a builder can break.
//!
//! Looks at bytes, never at how they were made, so that it can judge anybody's image, ours first.

mod config;
mod layer;
mod manifest;
mod member;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::base::MAX_LAYERS;
use crate::blob::{BlobError, Source, read_whole};
use crate::compress::DecodeLimits;
use crate::digest::{DiffId, Digest};
use crate::oci::{
    Descriptor, ImageConfig, Index, MAX_MANIFEST_SIZE, Manifest, MediaType, Platform, from_json,
};

pub use config::check_config;
pub use manifest::{check_index, check_manifest};

/// As many violations as are told; there may be one in each of a million entries.
const MAX_VIOLATIONS: usize = 1000;
/// As deep as an index may lie in others.
const MAX_DEPTH: u32 = 8;

/// Something in an image that the specification forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The file and heading of the image specification that forbids it; empty where it is silent,
    /// but images like this can't be run.
    pub section: &'static str,
    /// Where it is: a digest, and the way from there to the fault.
    pub place: String,
    /// What is wrong.
    pub message: String,
}

impl Violation {
    /// Returns the address of the specification's section, if it has one.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let root = "https://github.com/opencontainers/image-spec/blob/v1.1.1/";
        (!self.section.is_empty()).then(|| format!("{root}{}", self.section))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match self.section {
            "" => Ok(()),
            section => write!(f, " ({section})"),
        }
    }
}

/// How closely an image is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Depth {
    /// Indexes, manifests and configs; layers need only be there.
    Manifests,
    /// All bytes of all layers too.
    #[default]
    Layers,
}

/// What [`validate`] does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ValidateOptions {
    /// How closely it looks.
    pub depth: Depth,
    /// Whether it also tells what the specification only advises against, and what consumers are
    /// known to stumble over: sparse files, entries before their directory or below a link.
    pub advice: bool,
    /// How far layers are decompressed.
    pub decode: DecodeLimits,
}

impl ValidateOptions {
    /// Looks this closely.
    #[must_use]
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// Tells advice, too.
    #[must_use]
    pub fn advice(mut self, advice: bool) -> Self {
        self.advice = advice;
        self
    }
}

/// An image could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidateError {
    /// The place it lies in failed. Blobs that are missing or damaged are violations instead.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Judges an image or index and all that can be reached from it. Nothing found means that it is
/// valid; at most a thousand violations are told.
///
/// # Errors
/// [`ValidateError`] if the place can't be read from.
pub fn validate(
    source: &dyn Source,
    root: &Descriptor,
    options: &ValidateOptions,
) -> Result<Vec<Violation>, ValidateError> {
    let mut walk =
        Walk { source, options, report: Report::default(), seen: BTreeSet::new(), layers: BTreeSet::new() };
    walk.manifest_or_index(root, 0)?;
    Ok(walk.report.violations)
}

/// Gathers violations.
#[derive(Default)]
struct Report {
    violations: Vec<Violation>,
    /// The blob that is looked at.
    blob: String,
}

impl Report {
    /// Notes a violation at a place inside the blob.
    fn add(&mut self, section: &'static str, at: impl fmt::Display, message: impl Into<String>) {
        if self.violations.len() < MAX_VIOLATIONS {
            let place = format!("{} {at}", self.blob);
            let place = place.trim().to_owned();
            self.violations.push(Violation { section, place, message: message.into() });
        }
    }

    fn extend(&mut self, violations: Vec<Violation>) {
        let room = MAX_VIOLATIONS - self.violations.len();
        self.violations.extend(violations.into_iter().take(room).map(|mut violation| {
            violation.place = format!("{} {}", self.blob, violation.place).trim().to_owned();
            violation
        }));
    }
}

struct Walk<'a> {
    source: &'a dyn Source,
    options: &'a ValidateOptions,
    report: Report,
    /// Manifests and indexes that were looked at.
    seen: BTreeSet<Digest>,
    /// Layers that were looked at, each with what its content should be.
    layers: BTreeSet<(Digest, DiffId)>,
}

impl Walk<'_> {
    fn manifest_or_index(&mut self, descriptor: &Descriptor, depth: u32) -> Result<(), ValidateError> {
        let media_type = &descriptor.media_type;
        self.report.blob = descriptor.digest.to_string();
        if depth > MAX_DEPTH {
            self.report.add("", "", "it lies in too many indexes");
        } else if media_type.is_index() {
            return self.index(descriptor, depth);
        } else if media_type.is_manifest() {
            return self.manifest(descriptor);
        } else if depth == 0 {
            let message = format!("`{media_type}` is neither an image manifest nor an index");
            self.report.add("media-types.md", "", message);
        } else {
            // Unknown types in an index are no fault, but the bytes have to be right.
            self.bytes(descriptor)?;
        }
        Ok(())
    }

    fn index(&mut self, descriptor: &Descriptor, depth: u32) -> Result<(), ValidateError> {
        let Some(bytes) = self.bytes(descriptor)? else { return Ok(()) };
        self.report.extend(check_index(&bytes, &descriptor.media_type));
        let Some(index) = self.parse::<Index>(&bytes) else { return Ok(()) };
        for descriptor in &index.manifests {
            if self.seen.insert(descriptor.digest) {
                self.manifest_or_index(descriptor, depth + 1)?;
            }
        }
        Ok(())
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<(), ValidateError> {
        let Some(bytes) = self.bytes(descriptor)? else { return Ok(()) };
        self.report.extend(check_manifest(&bytes, &descriptor.media_type));
        let Some(manifest) = self.parse::<Manifest>(&bytes) else { return Ok(()) };
        if !manifest.config.media_type.is_config() {
            return self.artifact(&manifest);
        }
        self.report.blob = manifest.config.digest.to_string();
        let Some(bytes) = self.bytes(&manifest.config)? else { return Ok(()) };
        self.report.extend(check_config(&bytes));
        let Some(config) = self.parse::<ImageConfig>(&bytes) else { return Ok(()) };
        self.together(descriptor, &manifest, &config);
        self.layers(&manifest, &config)
    }

    /// What isn't an image only has to be there.
    fn artifact(&mut self, manifest: &Manifest) -> Result<(), ValidateError> {
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.exists(descriptor)?;
        }
        Ok(())
    }

    /// Checks what manifest, config and index say of each other.
    fn together(&mut self, descriptor: &Descriptor, manifest: &Manifest, config: &ImageConfig) {
        self.report.blob = descriptor.digest.to_string();
        let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            let message = format!("it has {layers} layers, but its config {diff_ids} diff_ids");
            self.report.add("config.md#properties", "", message);
        }
        let made = config.history.iter().filter(|entry| !entry.empty_layer).count();
        if !config.history.is_empty() && made != layers {
            let message = format!("it has {layers} layers, but the history of its config tells of {made}");
            self.report.add("config.md#properties", "", message);
        }
        if layers > MAX_LAYERS {
            self.report.add("", "", format!("it has {layers} layers: more than {MAX_LAYERS} cannot be run"));
        }
        if let Some(declared) = &descriptor.platform {
            self.platform(declared, config);
        }
    }

    fn platform(&mut self, declared: &Platform, config: &ImageConfig) {
        let mut found = Platform::new(&config.os, &config.architecture);
        found.variant = config.variant.clone().or_else(|| declared.variant.clone());
        if !found.satisfies(declared) {
            let message = format!("the index has it for `{declared}`, its config for `{found}`");
            self.report.add("image-index.md#image-index-property-descriptions", "", message);
        }
    }

    fn layers(&mut self, manifest: &Manifest, config: &ImageConfig) -> Result<(), ValidateError> {
        for (number, descriptor) in manifest.layers.iter().enumerate() {
            let diff_id = config.rootfs.diff_ids.get(number);
            match (self.options.depth, diff_id) {
                (Depth::Layers, Some(diff_id)) if self.layers.insert((descriptor.digest, *diff_id)) => {
                    self.report.blob = descriptor.digest.to_string();
                    layer::check(self.source, descriptor, *diff_id, self.options, &mut self.report)?;
                }
                _ => self.exists(descriptor)?,
            }
        }
        Ok(())
    }

    fn exists(&mut self, descriptor: &Descriptor) -> Result<(), ValidateError> {
        if !self.source.exists(descriptor)? {
            self.report.blob = descriptor.digest.to_string();
            self.report.add("descriptor.md#properties", "", "it is missing, or of another size");
        }
        Ok(())
    }

    /// Reads a blob that is small if all is well; tells what is wrong with it.
    fn bytes(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, ValidateError> {
        match read_whole(self.source, descriptor, MAX_MANIFEST_SIZE) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => {
                let message = blob_violation(error)?;
                self.report.add("descriptor.md#verification", "", message);
                Ok(None)
            }
        }
    }

    /// Reads JSON; if that fails and no check has said why, tells it.
    fn parse<T: serde::de::DeserializeOwned>(&mut self, bytes: &[u8]) -> Option<T> {
        let blob = &self.report.blob;
        let known = self.report.violations.iter().any(|violation| violation.place.starts_with(blob));
        let result = from_json(bytes);
        if let (Err(error), false) = (&result, known) {
            let reason = std::error::Error::source(error).map(|source| format!(": {source}"));
            self.report.add("media-types.md", "", format!("{error}{}", reason.unwrap_or_default()));
        }
        result.ok()
    }
}

/// Tells a blob that isn't as it should be from a place that fails.
fn blob_violation(error: BlobError) -> Result<String, ValidateError> {
    match error {
        BlobError::Missing { .. } => Ok("it is missing".to_owned()),
        BlobError::Corrupt { source, .. } => Ok(source.to_string()),
        error => Err(error.into()),
    }
}

/// Tells whether this media type is one that the specification has, of manifests and indexes.
fn is_oci(media_type: &MediaType) -> bool {
    *media_type == MediaType::MANIFEST || *media_type == MediaType::INDEX
}
