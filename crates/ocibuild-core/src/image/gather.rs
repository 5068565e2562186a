//! Images that were made apart, gathered in one index.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::{Base, BaseError};
use crate::blob::{BlobError, Source, read_whole};
use crate::digest::Digest;
use crate::oci::{Descriptor, Index, JsonError, MAX_MANIFEST_SIZE, MediaType, Platform, annotation};
use crate::oci::{from_json, to_json};

/// The deepest nesting of indexes that is followed.
const MAX_DEPTH: usize = 8;

/// The most manifests of an index.
const MAX_MANIFESTS: usize = 1000;

/// What marks an attestation, and what names the manifest it is of.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Images can't be gathered in an index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// An image can't be read, or is none.
    #[error("`{name}` can't be part of an index")]
    Image {
        /// What the image was called.
        name: String,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// A manifest can't be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// An index can't be read.
    #[error("`{name}` has an index that can't be read: `{digest}`")]
    Index {
        /// What the image was called.
        name: String,
        /// The index.
        digest: Digest,
        /// How.
        #[source]
        source: JsonError,
    },
    /// Indexes hold indexes, too many of them, or too many images.
    #[error("`{name}` has more indexes in each other, or more images, than can be followed")]
    TooMuch {
        /// What the image was called.
        name: String,
    },
    /// Two images run on one platform.
    #[error("`{first}` and `{second}` both have an image for `{platform}`")]
    SamePlatform {
        /// The platform.
        platform: Box<Platform>,
        /// What has it first.
        first: String,
        /// What has it as well.
        second: String,
    },
    /// There is nothing to gather.
    #[error("an index needs at least one image")]
    Empty,
}

/// As much of an image's config as says what it runs on.
#[derive(Deserialize)]
struct Runs {
    #[serde(rename = "os.version", default)]
    os_version: Option<String>,
    #[serde(rename = "os.features", default)]
    os_features: Option<Vec<String>>,
}

/// An index on its way: images are added in the order they shall have, and each keeps its digest.
#[derive(Debug, Default)]
pub struct Gathering {
    entries: Vec<Descriptor>,
    owners: BTreeMap<Platform, String>,
    annotations: BTreeMap<String, String>,
}

impl Gathering {
    /// Begins an index without images.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an annotation of the index.
    pub fn annotate(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.annotations.insert(name.into(), value.into());
    }

    /// Adds an image, or all images of an index and of those in it, with their attestations; `name`
    /// is what messages call it. Returns what was added, with the platforms that their configs say.
    ///
    /// # Errors
    /// [`GatherError`] if it can't be read, is no image, or has a platform that is there already: what
    /// was begun is then worth nothing.
    pub fn add(
        &mut self,
        name: &str,
        source: &dyn Source,
        root: &Descriptor,
    ) -> Result<Vec<Descriptor>, GatherError> {
        let before = self.entries.len();
        self.descend(name, source, root, 0)?;
        Ok(self.entries[before..].to_vec())
    }

    fn descend(
        &mut self,
        name: &str,
        source: &dyn Source,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(), GatherError> {
        if depth > MAX_DEPTH || self.entries.len() >= MAX_MANIFESTS {
            return Err(GatherError::TooMuch { name: name.to_owned() });
        }
        if descriptor.media_type.is_index() {
            let digest = descriptor.digest;
            let bytes = read_whole(source, descriptor, MAX_MANIFEST_SIZE)?;
            let index: Index = from_json(&bytes).map_err(|source| GatherError::Index {
                name: name.to_owned(),
                digest,
                source,
            })?;
            return index.manifests.iter().try_for_each(|one| self.descend(name, source, one, depth + 1));
        }
        if is_attestation(descriptor) {
            if self.entries.iter().all(|known| known.digest != descriptor.digest) {
                self.entries.push(descriptor.clone());
            }
            return Ok(());
        }
        self.image(name, source, descriptor)
    }

    fn image(&mut self, name: &str, source: &dyn Source, descriptor: &Descriptor) -> Result<(), GatherError> {
        let fault = |source| GatherError::Image { name: name.to_owned(), source: Box::new(source) };
        let base = Base::sole(source, descriptor).map_err(fault)?;
        let platform = platform(&base, descriptor.platform.as_ref());
        if let Some(first) = self.owners.insert(platform.clone(), name.to_owned()) {
            let platform = Box::new(platform);
            return Err(GatherError::SamePlatform { platform, first, second: name.to_owned() });
        }
        let mut entry = descriptor.clone().with_platform(platform);
        entry.annotations.remove(annotation::REF_NAME);
        entry.annotations.remove(annotation::CONTAINERD_NAME);
        self.entries.push(entry);
        Ok(())
    }

    /// Returns the index and its bytes: the same images in the same order give the same.
    ///
    /// # Errors
    /// [`GatherError::Empty`] if no image was added.
    pub fn finish(self) -> Result<(Descriptor, Vec<u8>), GatherError> {
        if self.owners.is_empty() {
            return Err(GatherError::Empty);
        }
        let mut index = Index::new(self.entries);
        index.annotations = self.annotations;
        let bytes = to_json(&index);
        Ok((Descriptor::of(MediaType::INDEX, &bytes), bytes))
    }
}

/// Returns what an image runs on: what its config says, and where that says nothing, what the index
/// it comes from does; many a config leaves out the variant.
fn platform(base: &Base, said: Option<&Platform>) -> Platform {
    let mut platform = base.platform.clone();
    if let Ok(Runs { os_version, os_features }) = from_json(&base.config_bytes) {
        platform.os_version = os_version;
        platform.os_features = os_features.unwrap_or_default();
    }
    let is_same = |said: &&Platform| (&said.os, &said.architecture) == (&platform.os, &platform.architecture);
    if let Some(said) = said.filter(is_same).cloned() {
        platform.variant = platform.variant.or(said.variant);
        platform.os_version = platform.os_version.or(said.os_version);
        if platform.os_features.is_empty() {
            platform.os_features = said.os_features;
        }
    }
    platform
}

/// Tells what an index holds beside its images, as BuildKit marks it.
fn is_attestation(descriptor: &Descriptor) -> bool {
    let unknown = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
    descriptor.annotations.contains_key(REFERENCE_TYPE) || descriptor.platform.as_ref().is_some_and(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Memory, fixture};
    use crate::oci::Manifest;

    fn single(memory: &Memory, platform: &Platform) -> Descriptor {
        let layers = [fixture::layer(memory, "hello", platform.to_string().as_bytes())];
        fixture::image_of(memory, platform, &layers)
    }

    fn attestation(memory: &Memory, of: &Descriptor) -> Descriptor {
        let config = memory.insert(MediaType::CONFIG, b"{}".to_vec());
        let manifest = memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, Vec::new())));
        manifest
            .with_platform(Platform::new("unknown", "unknown"))
            .with_annotation(REFERENCE_TYPE, "attestation-manifest")
            .with_annotation("vnd.docker.reference.digest", of.digest.to_string())
    }

    #[test]
    fn images_come_in_the_order_given_with_their_own_platforms() {
        let memory = Memory::new();
        let arm: Platform = "linux/arm/v7".parse().unwrap();
        // Its config names no variant.
        let arm = single(&memory, &arm).with_platform(arm);
        let amd = single(&memory, &Platform::linux_amd64());
        let gather = || {
            let mut gathering = Gathering::new();
            gathering.annotate("a", "b");
            gathering.add("arm", &memory, &arm).unwrap();
            gathering.add("amd", &memory, &amd).unwrap();
            gathering.finish().unwrap()
        };
        let (descriptor, bytes) = gather();
        assert_eq!(gather(), (descriptor.clone(), bytes.clone()));
        let index: Index = from_json(&bytes).unwrap();
        let platforms: Vec<String> =
            index.manifests.iter().map(|one| one.platform.as_ref().unwrap().to_string()).collect();
        assert_eq!(platforms, ["linux/arm/v7", "linux/amd64"]);
        assert_eq!(index.manifests[1].digest, amd.digest);
        assert_eq!(index.annotations["a"], "b");
        memory.insert(MediaType::INDEX, bytes);
        let violations = crate::image::validate(&memory, &descriptor, &Default::default()).unwrap();
        assert!(violations.is_empty(), "{violations:?}");
    }

    #[test]
    fn indexes_are_flattened_and_attestations_stay_behind_their_images() {
        let memory = Memory::new();
        let amd = single(&memory, &Platform::linux_amd64()).with_platform(Platform::linux_amd64());
        let proof = attestation(&memory, &amd);
        let index = Index::new(vec![amd.clone(), proof.clone()]);
        let nested = memory.insert(MediaType::INDEX, to_json(&index));
        let outer = memory.insert(MediaType::INDEX, to_json(&Index::new(vec![nested])));
        let mut gathering = Gathering::new();
        assert_eq!(gathering.add("a", &memory, &outer).unwrap(), [amd, proof]);
        gathering.add("b", &memory, &single(&memory, &Platform::linux_arm64())).unwrap();
        let index: Index = from_json(&gathering.finish().unwrap().1).unwrap();
        assert_eq!(index.manifests.len(), 3);
    }

    #[test]
    fn what_makes_no_index_is_refused() {
        let memory = Memory::new();
        let amd = single(&memory, &Platform::linux_amd64());
        let mut gathering = Gathering::new();
        gathering.add("one", &memory, &amd).unwrap();
        let said = gathering.add("two", &memory, &fixture::image(&memory, "x")).unwrap_err().to_string();
        assert_eq!(said, "`one` and `two` both have an image for `linux/amd64`");
        let config = memory.insert(MediaType::new("application/x"), b"{}".to_vec());
        let artifact = memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, Vec::new())));
        assert!(matches!(gathering.add("three", &memory, &artifact), Err(GatherError::Image { .. })));
        assert!(matches!(Gathering::new().finish(), Err(GatherError::Empty)));
        let mut nested = memory.insert(MediaType::INDEX, to_json(&Index::new(vec![amd])));
        for _ in 0..MAX_DEPTH + 1 {
            nested = memory.insert(MediaType::INDEX, to_json(&Index::new(vec![nested])));
        }
        let error = Gathering::new().add("deep", &memory, &nested).unwrap_err();
        assert!(matches!(error, GatherError::TooMuch { .. }));
    }
}
