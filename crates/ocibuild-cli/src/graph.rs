//! What images consist of.

use std::collections::BTreeMap;

use ocibuild_core::blob::{BlobError, Source, read_whole};
use ocibuild_core::copy::{Tally, children};
use ocibuild_core::oci::MAX_MANIFEST_SIZE;
use ocibuild_core::{Descriptor, Digest};

/// Counts everything that the images consist of, manifests included, each blob once.
///
/// # Errors
/// [`BlobError`] if a manifest can't be read.
pub(crate) fn measure<'d>(
    source: &dyn Source,
    roots: impl IntoIterator<Item = &'d Descriptor>,
) -> Result<Tally, BlobError> {
    let mut tally = Tally::default();
    parts(source, roots)?.values().for_each(|part| tally.add(part.size));
    Ok(tally)
}

/// Finds everything that the images consist of, manifests included, each blob once.
///
/// # Errors
/// [`BlobError`] if a manifest can't be read.
pub(crate) fn parts<'d>(
    source: &dyn Source,
    roots: impl IntoIterator<Item = &'d Descriptor>,
) -> Result<BTreeMap<Digest, Descriptor>, BlobError> {
    let mut blobs = BTreeMap::new();
    for root in roots {
        add(source, root, &mut blobs)?;
    }
    Ok(blobs)
}

fn add(
    source: &dyn Source,
    descriptor: &Descriptor,
    blobs: &mut BTreeMap<Digest, Descriptor>,
) -> Result<(), BlobError> {
    let is_new = blobs.insert(descriptor.digest, descriptor.clone()).is_none();
    let media_type = &descriptor.media_type;
    if is_new && (media_type.is_manifest() || media_type.is_index()) {
        let bytes = read_whole(source, descriptor, MAX_MANIFEST_SIZE)?;
        for child in children(media_type, &bytes).unwrap_or_default() {
            add(source, &child, blobs)?;
        }
    }
    Ok(())
}
