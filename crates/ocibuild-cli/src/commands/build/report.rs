//! What was built, in the form of `--metadata-file`: `docs/metadata.md` is the promise.

use ocibuild_core::blob::{BlobError, Source, read_whole};
use ocibuild_core::build::{BuiltImage, FinishedLayer};
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::oci::{ImageConfig, Index, JsonError, MAX_MANIFEST_SIZE, Manifest, from_json};
use ocibuild_core::plan::{Plan, PlannedImage, PlannedVariant};
use ocibuild_core::{Built, Descriptor, DiffId, Digest, Platform, Reference};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::progress::json::seconds;

/// An image.
#[derive(Debug, Serialize)]
pub(super) struct ImageReport {
    /// Its name in the spec.
    pub(super) name: String,
    /// All of its tags, written in full.
    pub(super) tags: Vec<String>,
    /// Its line on standard output.
    #[serde(rename = "ref")]
    pub(super) reference: String,
    /// The digest of its manifest or index.
    pub(super) digest: Digest,
    descriptor: Descriptor,
    /// What it is on each platform.
    pub(super) platforms: Vec<PlatformReport>,
}

/// An image on one platform.
#[derive(Debug, Serialize)]
pub(super) struct PlatformReport {
    platform: Platform,
    manifest: Descriptor,
    /// Its config.
    pub(super) config: Descriptor,
    layers: Vec<LayerReport>,
}

/// A layer of an image; of one that is the base's, only what its manifest and config say is known.
#[derive(Debug, Serialize)]
struct LayerReport {
    name: Option<String>,
    descriptor: Descriptor,
    diff_id: DiffId,
    #[serde(flatten)]
    made: Option<Made>,
}

/// What only who made a layer knows.
#[derive(Debug, Clone, Serialize)]
struct Made {
    /// Unknown of a layer that another image answered for and of parts of one that is split, as is the
    /// next.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tar_size: Option<u64>,
    cache: LayerOutcome,
    /// The place beside the machine's cache that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    /// Which of the parts of a split layer it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    seconds: f64,
}

/// Looks at all images of a build, in their order.
///
/// # Errors
/// [`BlobError`] if a manifest or config can't be read.
pub(super) fn images(built: &Built, plan: &Plan) -> Result<Vec<ImageReport>, BlobError> {
    let pairs = built.images.iter().zip(&plan.images);
    pairs.map(|(image, planned)| report(built, image, planned)).collect()
}

fn report(built: &Built, image: &BuiltImage, planned: &PlannedImage) -> Result<ImageReport, BlobError> {
    let source = built.source();
    let manifests = match image.root.media_type.is_index() {
        true => read::<Index>(&source, &image.root)?.manifests,
        false => vec![image.root.clone()],
    };
    // An index has its manifests in the order of the plan.
    let platforms = manifests.into_iter().zip(&planned.variants);
    let digest = image.root.digest;
    Ok(ImageReport {
        name: image.name.clone(),
        tags: image.tags.iter().map(Reference::to_string).collect(),
        reference: match image.tags.first() {
            Some(tag) => tag.at(digest).to_string(),
            None => digest.to_string(),
        },
        digest,
        descriptor: image.root.clone(),
        platforms: platforms
            .map(|(manifest, variant)| platform(&source, &built.layers, manifest, variant))
            .collect::<Result<_, _>>()?,
    })
}

fn platform(
    source: &dyn Source,
    finished: &[FinishedLayer],
    descriptor: Descriptor,
    variant: &PlannedVariant,
) -> Result<PlatformReport, BlobError> {
    let manifest: Manifest = read(source, &descriptor)?;
    let config: ImageConfig = read(source, &manifest.config)?;
    // The base's layers are below, and whatever isn't its is ours.
    let own: Vec<(&str, Option<Made>)> =
        variant.layers.iter().flat_map(|index| made(&finished[*index])).collect();
    let base = manifest.layers.len().saturating_sub(own.len());
    let known = (0..base).map(|_| (None, None)).chain(own.into_iter().map(|(name, made)| (Some(name), made)));
    let blobs = manifest.layers.into_iter().zip(config.rootfs.diff_ids);
    let layers = blobs.zip(known).map(|((descriptor, diff_id), (name, made))| LayerReport {
        name: name.map(str::to_owned),
        descriptor,
        diff_id,
        made,
    });
    Ok(PlatformReport {
        platform: variant.platform.clone(),
        manifest: descriptor,
        config: manifest.config,
        layers: layers.collect(),
    })
}

/// Says of each blob of a layer what is known of it. Of a layer of several, numbers and time are those
/// of all together, and the numbers are no single blob's.
fn made(layer: &FinishedLayer) -> impl Iterator<Item = (&str, Option<Made>)> {
    let FinishedLayer { record, elapsed, .. } = layer;
    let of = record.layers.len();
    let is_listed = of == 1 && record.inventory.is_some();
    layer.blobs().zip(layer.places()).enumerate().map(move |(at, ((_, cache), place))| {
        let made = Made {
            entries: is_listed.then_some(record.entries),
            tar_size: is_listed.then_some(record.tar_size),
            cache,
            place: place.map(str::to_owned),
            part: (of > 1).then(|| format!("{}/{of}", at + 1)),
            seconds: seconds(*elapsed),
        };
        (layer.name.as_str(), Some(made))
    })
}

fn read<T: DeserializeOwned>(source: &dyn Source, descriptor: &Descriptor) -> Result<T, BlobError> {
    let bytes = read_whole(source, descriptor, MAX_MANIFEST_SIZE)?;
    from_json(&bytes).map_err(|error: JsonError| BlobError::Read {
        digest: descriptor.digest,
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}
