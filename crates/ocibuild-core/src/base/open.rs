//! From an image's root to its manifest and config.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::base::json::doubt;
use crate::base::{Base, BaseError, MAX_LAYERS};
use crate::blob::{Source, read_whole};
use crate::digest::Digest;
use crate::oci::{
    Descriptor, ImageConfig, Index, JsonError, MAX_MANIFEST_SIZE, Manifest, MediaType, Platform, from_json,
};

/// How many manifests and indexes are read to find a platform's.
const MAX_READS: usize = 32;

pub(super) fn open(
    source: &dyn Source,
    root: &Descriptor,
    platform: Option<&Platform>,
) -> Result<Base, BaseError> {
    let mut search = Search { source, wanted: platform, available: Vec::new(), reads: 0 };
    if let Some(base) = search.look(root)? {
        return Ok(base);
    }
    let digest = root.digest;
    match platform {
        Some(wanted) => Err(BaseError::NoPlatform {
            digest,
            wanted: Box::new(wanted.clone()),
            available: search.available,
        }),
        None => Err(BaseError::Unusable { digest, reason: "the index has no image" }),
    }
}

pub(super) fn sole(source: &dyn Source, root: &Descriptor) -> Result<Base, BaseError> {
    let mut search = Search { source, wanted: None, available: Vec::new(), reads: 0 };
    let mut images = Vec::new();
    search.images(root, &mut images)?;
    let digest = root.digest;
    let none = || BaseError::Unusable { digest, reason: "the index has no image" };
    match &images[..] {
        [] => Err(none()),
        [image] => search.look(image)?.ok_or_else(none),
        several => {
            let available = several.iter().map(|image| search.platform(image));
            Err(BaseError::SeveralPlatforms { digest, available: available.collect::<Result<_, _>>()? })
        }
    }
}

/// Reads an index, with the checks that keep it from being taken for something else.
pub(crate) fn read_index(source: &dyn Source, root: &Descriptor) -> Result<Index, BaseError> {
    let mut search = Search { source, wanted: None, available: Vec::new(), reads: 0 };
    let bytes = search.read(root)?;
    parse(root.digest, &bytes)
}

/// A search for the first image of a platform.
struct Search<'a> {
    source: &'a dyn Source,
    wanted: Option<&'a Platform>,
    available: Vec<Platform>,
    reads: usize,
}

impl Search<'_> {
    /// Finds all images below an index, each once.
    fn images(&mut self, descriptor: &Descriptor, found: &mut Vec<Descriptor>) -> Result<(), BaseError> {
        if !descriptor.media_type.is_index() {
            if found.iter().all(|image| image.digest != descriptor.digest) {
                found.push(descriptor.clone());
            }
            return Ok(());
        }
        let bytes = self.read(descriptor)?;
        let index: Index = parse(descriptor.digest, &bytes)?;
        let images = index.manifests.iter().filter(|descriptor| is_image(descriptor));
        images.into_iter().try_for_each(|image| self.images(image, found))
    }

    fn platform(&mut self, image: &Descriptor) -> Result<Platform, BaseError> {
        if let Some(platform) = &image.platform {
            return Ok(platform.clone());
        }
        let base = self.look(image)?;
        Ok(base.expect("without a platform wanted, every image fits").platform)
    }

    fn read(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, BaseError> {
        let digest = descriptor.digest;
        self.reads += 1;
        if self.reads > MAX_READS {
            return Err(BaseError::Unusable { digest, reason: "the index leads to too many others" });
        }
        check_media_type(descriptor)?;
        let bytes = read_whole(self.source, descriptor, MAX_MANIFEST_SIZE)?;
        check_form(digest, &bytes, &descriptor.media_type)?;
        Ok(bytes)
    }

    fn look(&mut self, descriptor: &Descriptor) -> Result<Option<Base>, BaseError> {
        let digest = descriptor.digest;
        let bytes = self.read(descriptor)?;
        if descriptor.media_type.is_index() {
            return self.look_below(&parse(digest, &bytes)?);
        }
        let base = read_image(self.source, descriptor, bytes)?;
        let fits = self.wanted.is_none_or(|wanted| base.platform.satisfies(wanted));
        if !fits {
            self.available.push(base.platform.clone());
        }
        Ok(fits.then_some(base))
    }

    fn look_below(&mut self, index: &Index) -> Result<Option<Base>, BaseError> {
        for descriptor in &index.manifests {
            let found = match &descriptor.platform {
                _ if !is_image(descriptor) => None,
                Some(platform) if self.wanted.is_some_and(|wanted| !platform.satisfies(wanted)) => {
                    self.available.push(platform.clone());
                    None
                }
                _ => self.look(descriptor)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Tells images from what else lies in indexes: attestations, signatures, and what isn't known.
pub(crate) fn is_image(descriptor: &Descriptor) -> bool {
    let unknown = |platform: &Platform| platform.os == "unknown" || platform.architecture == "unknown";
    let media_type = &descriptor.media_type;
    (media_type.is_manifest() || media_type.is_index())
        && descriptor.artifact_type.is_none()
        && !descriptor.platform.as_ref().is_some_and(unknown)
        && !descriptor.annotations.contains_key("vnd.docker.reference.type")
}

fn check_media_type(descriptor: &Descriptor) -> Result<(), BaseError> {
    let Descriptor { digest, media_type, .. } = descriptor;
    if media_type.is_manifest() || media_type.is_index() {
        return Ok(());
    }
    if media_type.as_str().starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(schema_1(*digest));
    }
    let expected = "image manifest or index";
    Err(BaseError::MediaType { digest: *digest, media_type: media_type.clone(), expected })
}

fn schema_1(digest: Digest) -> BaseError {
    let reason = "it is in Docker's schema 1, which registries have given up; \
                  pull it with docker and push it again, or take a newer tag";
    BaseError::Unusable { digest, reason }
}

/// What tells manifests and indexes apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    schema_version: u64,
    media_type: Option<MediaType>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// Refuses what could be taken for one thing here and for another elsewhere
/// ([CVE-2021-41190](https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh)).
fn check_form(digest: Digest, bytes: &[u8], media_type: &MediaType) -> Result<(), BaseError> {
    let fault = |reason| Err(BaseError::Unusable { digest, reason });
    let form: Form = parse(digest, bytes)?;
    if form.schema_version == 1 || form.fs_layers.is_some() {
        return Err(schema_1(digest));
    }
    if form.schema_version != 2 {
        return fault("its schema version is not 2");
    }
    if form.media_type.is_some_and(|own| own != *media_type) {
        return fault("it says of itself to be of another type than its descriptor does");
    }
    let image = form.config.is_some() || form.layers.is_some();
    match (image, form.manifests.is_some()) {
        (true, true) => fault("it is a manifest and an index at once"),
        (true, false) if media_type.is_index() => fault("it is no index, but a manifest"),
        (false, true) if media_type.is_manifest() => fault("it is no manifest, but an index"),
        _ => doubt(bytes).map_or(Ok(()), fault),
    }
}

fn parse<T: DeserializeOwned>(digest: Digest, bytes: &[u8]) -> Result<T, BaseError> {
    from_json(bytes).map_err(|source: JsonError| BaseError::Json { digest, source })
}

fn read_image(
    source: &dyn Source,
    descriptor: &Descriptor,
    manifest_bytes: Vec<u8>,
) -> Result<Base, BaseError> {
    let digest = descriptor.digest;
    let manifest = to_oci(parse(digest, &manifest_bytes)?);
    check_manifest(digest, &manifest)?;
    let config_digest = manifest.config.digest;
    let config_bytes = read_whole(source, &manifest.config, MAX_MANIFEST_SIZE)?;
    let config: ImageConfig = parse(config_digest, &config_bytes)?;
    check_config(digest, config_digest, &config_bytes, &manifest, &config)?;
    let platform = platform(descriptor, &config)?;
    Ok(Base {
        descriptor: descriptor.clone(),
        layers: manifest.layers.clone(),
        diff_ids: config.rootfs.diff_ids.clone(),
        manifest,
        manifest_bytes,
        platform,
        config,
        config_bytes,
    })
}

fn check_manifest(digest: Digest, manifest: &Manifest) -> Result<(), BaseError> {
    let Descriptor { digest: config, media_type, .. } = &manifest.config;
    if *media_type != MediaType::CONFIG {
        let (media_type, expected) = (media_type.clone(), "image config");
        return Err(BaseError::MediaType { digest: *config, media_type, expected });
    }
    let count = manifest.layers.len();
    if count > MAX_LAYERS {
        return Err(BaseError::TooManyLayers { digest, count });
    }
    match manifest.layers.iter().find(|layer| !layer.media_type.is_layer()) {
        Some(Descriptor { digest, media_type, .. }) => Err(BaseError::MediaType {
            digest: *digest,
            media_type: media_type.clone(),
            expected: "layer of an image",
        }),
        None => Ok(()),
    }
}

fn check_config(
    digest: Digest,
    config_digest: Digest,
    bytes: &[u8],
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<(), BaseError> {
    let fault = |reason| Err(BaseError::Unusable { digest: config_digest, reason });
    if config.rootfs.kind != "layers" {
        return fault("its root file system is not of the type `layers`");
    }
    if let Some(reason) = doubt(bytes) {
        return fault(reason);
    }
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(BaseError::LayerCount { digest, layers, diff_ids });
    }
    Ok(())
}

/// Returns what the config says, with the variant of the index where the config has none: many
/// images have it in their index only.
fn platform(descriptor: &Descriptor, config: &ImageConfig) -> Result<Platform, BaseError> {
    let mut platform = Platform::new(&config.os, &config.architecture);
    platform.os_version.clone_from(&config.os_version);
    platform.os_features.clone_from(&config.os_features);
    platform.variant.clone_from(&config.variant);
    let Some(declared) = &descriptor.platform else { return Ok(platform) };
    if platform.variant.is_none() {
        platform.variant.clone_from(&declared.variant);
    }
    if platform.satisfies(declared) {
        return Ok(platform);
    }
    let (digest, declared) = (descriptor.digest, Box::new(declared.clone()));
    Err(BaseError::PlatformMismatch { digest, declared, found: Box::new(platform) })
}

/// Gives Docker's media types the names that the image specification has for the same bytes
/// ([image-spec, compatibility](https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md#compatibility-matrix)).
fn to_oci(mut manifest: Manifest) -> Manifest {
    if manifest.media_type.is_some() {
        manifest.media_type = Some(MediaType::MANIFEST);
    }
    if manifest.config.media_type == MediaType::DOCKER_CONFIG {
        manifest.config.media_type = MediaType::CONFIG;
    }
    for layer in &mut manifest.layers {
        let oci = match layer.media_type.as_str().strip_prefix("application/vnd.docker.image.rootfs.") {
            Some("diff.tar") => MediaType::LAYER,
            Some("diff.tar.gzip") => MediaType::LAYER_GZIP,
            Some("diff.tar.zstd") => MediaType::LAYER_ZSTD,
            Some("foreign.diff.tar.gzip") => {
                MediaType::new("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
            }
            _ => continue,
        };
        layer.media_type = oci;
    }
    manifest
}
