//! What is known of an image from its manifests and configs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use ocibuild_core::blob::{BlobError, Source, read_whole};
use ocibuild_core::cache::{Naming, find_layers};
use ocibuild_core::key::Key;
use ocibuild_core::oci::{
    History, ImageConfig, Index, MAX_MANIFEST_SIZE, Manifest, MediaType, Platform, from_json,
};
use ocibuild_core::{Descriptor, Digest};
use serde_json::{Value, json};

use crate::image_place::FoundImage;

/// As many records of the cache as are looked at.
const MAX_RECORDS: usize = 10_000;

/// As deep as indexes may lie in each other.
const MAX_DEPTH: usize = 8;

/// An image or index, with everything but its layers' bytes.
pub(super) struct Inspection {
    /// What the user called it.
    pub(super) name: String,
    /// Its manifest or index.
    pub(super) root: Descriptor,
    /// The annotations of the index, where it is one.
    pub(super) annotations: BTreeMap<String, String>,
    /// The images, one a platform.
    pub(super) images: Vec<Image>,
    /// The size of all that was met, each blob once.
    pub(super) size: u64,
    /// What the cache knows of the layers' blobs.
    pub(super) known: BTreeMap<Digest, Vec<Naming>>,
    blobs: BTreeSet<Digest>,
}

/// One image.
pub(super) struct Image {
    /// Its manifest.
    pub(super) descriptor: Descriptor,
    /// What the manifest says.
    pub(super) manifest: Manifest,
    /// The config: as this program understands it, and whole. Other artifacts have none.
    pub(super) config: Option<(ImageConfig, Value)>,
}

impl Image {
    /// What it runs on, by its config, else by its index.
    pub(super) fn platform(&self) -> Option<Platform> {
        let of_config = self.config.as_ref().map(|(config, _)| {
            let mut platform = Platform::new(&config.os, &config.architecture);
            platform.variant.clone_from(&config.variant);
            platform
        });
        of_config.or_else(|| self.descriptor.platform.clone())
    }

    /// Tells whether it has a root file system: attestations look like images, and have none.
    pub(super) fn is_runnable(&self) -> bool {
        let unknown = |platform: &Platform| platform.os == "unknown" || platform.architecture == "unknown";
        let Descriptor { platform, artifact_type, annotations, .. } = &self.descriptor;
        self.config.is_some()
            && artifact_type.is_none()
            && !platform.as_ref().is_some_and(unknown)
            && !annotations.contains_key("vnd.docker.reference.type")
    }

    /// What the history has for a layer, from 0.
    pub(super) fn history(&self, layer: usize) -> Option<&History> {
        let (config, _) = self.config.as_ref()?;
        config.history.iter().filter(|entry| !entry.empty_layer).nth(layer)
    }

    /// The bytes of its manifest, config and layers.
    pub(super) fn size(&self) -> u64 {
        let Manifest { config, layers, .. } = &self.manifest;
        self.descriptor.size + config.size + layers.iter().map(|layer| layer.size).sum::<u64>()
    }
}

impl Inspection {
    /// Reads it.
    pub(super) fn read(found: &FoundImage) -> Result<Self, BlobError> {
        let mut inspection = Self {
            name: found.name.clone(),
            root: found.root.clone(),
            annotations: BTreeMap::new(),
            images: Vec::new(),
            size: 0,
            known: BTreeMap::new(),
            blobs: BTreeSet::new(),
        };
        inspection.look(found.source.as_ref(), &found.root, 0)?;
        Ok(inspection)
    }

    fn look(&mut self, source: &dyn Source, descriptor: &Descriptor, depth: usize) -> Result<(), BlobError> {
        let digest = descriptor.digest;
        if descriptor.media_type.is_index() && depth < MAX_DEPTH {
            self.count(descriptor);
            let index: Index = parse(digest, &read_whole(source, descriptor, MAX_MANIFEST_SIZE)?)?;
            if depth == 0 {
                self.annotations = index.annotations;
            }
            return index.manifests.iter().try_for_each(|below| self.look(source, below, depth + 1));
        }
        if descriptor.media_type.is_manifest() {
            let manifest: Manifest = parse(digest, &read_whole(source, descriptor, MAX_MANIFEST_SIZE)?)?;
            return self.image(source, descriptor, manifest);
        }
        Ok(())
    }

    fn image(
        &mut self,
        source: &dyn Source,
        descriptor: &Descriptor,
        manifest: Manifest,
    ) -> Result<(), BlobError> {
        let all = [descriptor, &manifest.config].into_iter().chain(&manifest.layers);
        all.for_each(|blob| self.count(blob));
        let config = if manifest.config.media_type.is_config() {
            let bytes = read_whole(source, &manifest.config, MAX_MANIFEST_SIZE)?;
            let digest = manifest.config.digest;
            Some((parse(digest, &bytes)?, parse(digest, &bytes)?))
        } else {
            None
        };
        self.images.push(Image { descriptor: descriptor.clone(), manifest, config });
        Ok(())
    }

    fn count(&mut self, descriptor: &Descriptor) {
        if self.blobs.insert(descriptor.digest) {
            self.size = self.size.saturating_add(descriptor.size);
        }
    }

    /// Asks the cache what it knows of the layers. One that can't be read knows nothing.
    pub(super) fn ask(&mut self, cache: &Path) {
        let layers = self.images.iter().flat_map(|image| &image.manifest.layers);
        let layers: BTreeSet<Digest> = layers.map(|layer| layer.digest).collect();
        self.known = find_layers(cache, &layers, MAX_RECORDS).unwrap_or_default();
    }

    /// The keys by which the cache can find a layer.
    pub(super) fn keys(&self, layer: &Descriptor) -> Vec<Key> {
        self.known.get(&layer.digest).into_iter().flatten().map(|naming| naming.key).collect()
    }

    /// The size of a layer's tar, as far as that is known without reading it.
    pub(super) fn tar_size(&self, layer: &Descriptor) -> Option<u64> {
        if layer.media_type == MediaType::LAYER {
            return Some(layer.size);
        }
        self.known.get(&layer.digest)?.iter().find_map(|naming| naming.tar_size)
    }

    /// All of it, for programs.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "version": 1,
            "name": self.name,
            "descriptor": self.root,
            "annotations": self.annotations,
            "size": self.size,
            "images": self.images.iter().map(|image| self.image_to_json(image)).collect::<Vec<_>>(),
        })
    }

    fn image_to_json(&self, image: &Image) -> Value {
        let diff_ids =
            image.config.as_ref().map(|(config, _)| &config.rootfs.diff_ids[..]).unwrap_or_default();
        let layer = |(index, layer): (usize, &Descriptor)| {
            let mut value = json!(layer);
            value["diff_id"] = json!(diff_ids.get(index));
            value["tar_size"] = json!(self.tar_size(layer));
            value["keys"] = json!(self.keys(layer));
            value
        };
        json!({
            "descriptor": image.descriptor,
            "platform": image.platform(),
            "annotations": image.manifest.annotations,
            "config_descriptor": image.manifest.config,
            "config": image.config.as_ref().map(|(_, whole)| whole),
            "layers": image.manifest.layers.iter().enumerate().map(layer).collect::<Vec<_>>(),
            "size": image.size(),
        })
    }
}

fn parse<T: serde::de::DeserializeOwned>(digest: Digest, bytes: &[u8]) -> Result<T, BlobError> {
    from_json(bytes).map_err(|error| BlobError::Corrupt {
        digest,
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}
