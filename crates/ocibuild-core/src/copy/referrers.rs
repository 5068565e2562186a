//! What refers to an image: signatures, attestations and the like, which name it as their `subject`
//! ([image-spec, manifest](https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md)).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::blob::{BlobError, Sink, Source, read_whole};
use crate::copy::graph::{GraphError, corrupt, is_document};
use crate::copy::{CopyOptions, CopyReport, children, copy};
use crate::digest::Digest;
use crate::event::Cancel;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, MediaType, from_json};

/// The most manifests that are looked at for what refers to them.
const MAX_MANIFESTS: usize = 10_000;

/// A place that knows what refers to what.
pub trait Referrers: Source {
    /// Returns the manifests and indexes whose `subject` this is, in an order that is the place's
    /// own. Whether the subject itself is there doesn't matter.
    ///
    /// # Errors
    /// [`BlobError`] if the place cannot tell.
    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>, BlobError>;
}

/// A place where what refers to something can be found once it was pushed.
pub trait Listing: Sink {
    /// Makes sure that a manifest, which is there, is found as what refers to its subject.
    ///
    /// # Errors
    /// [`BlobError`]; the manifest itself stays there.
    fn list(&self, referrer: &Descriptor) -> Result<(), BlobError>;
}

/// As much of a manifest or index as says what it refers to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referring {
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    artifact_type: Option<MediaType>,
    #[serde(default)]
    config: Option<Kind>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: MediaType,
}

/// Returns what a manifest or index refers to, and how lists of referrers describe it
/// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers));
/// nothing if it refers to nothing, or is none.
#[must_use]
pub fn referral(media_type: &MediaType, bytes: &[u8]) -> Option<(Descriptor, Descriptor)> {
    let document: Referring = from_json(bytes).ok().filter(|_| is_document(media_type))?;
    let mut entry = Descriptor::of(media_type.clone(), bytes);
    entry.artifact_type = document.artifact_type.or(document.config.map(|config| config.media_type));
    entry.annotations = document.annotations.unwrap_or_default();
    Some((document.subject?, entry))
}

/// Finds everything below `roots` that refers to something: for places that keep no list. What is
/// named and isn't there is passed over.
///
/// # Errors
/// [`BlobError`] if a manifest can't be read.
pub(crate) fn referring(
    source: &dyn Source,
    roots: Vec<Descriptor>,
) -> Result<BTreeMap<Digest, Vec<Descriptor>>, BlobError> {
    let mut found: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut todo = roots;
    todo.reverse();
    while let Some(descriptor) = todo.pop() {
        if !is_document(&descriptor.media_type)
            || !seen.insert(descriptor.digest)
            || !source.exists(&descriptor)?
        {
            continue;
        }
        check_number(seen.len(), &descriptor)?;
        let bytes = read_whole(source, &descriptor, MAX_MANIFEST_SIZE)?;
        if let Some((subject, entry)) = referral(&descriptor.media_type, &bytes) {
            found.entry(subject.digest).or_default().push(entry);
        }
        todo.extend(children(&descriptor.media_type, &bytes).unwrap_or_default().into_iter().rev());
    }
    Ok(found)
}

/// Returns everything that refers to these images or indexes or to a manifest below them, and what
/// refers to that in turn, each once: what is nearer to the roots first.
///
/// # Errors
/// [`BlobError`] if the place cannot tell, or a manifest can't be read.
pub fn referrers(
    roots: &[Descriptor],
    source: &dyn Referrers,
    cancel: &Cancel,
) -> Result<Vec<Descriptor>, BlobError> {
    let mut found: Vec<Descriptor> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut todo: Vec<Descriptor> = roots.to_vec();
    while !todo.is_empty() {
        let mut next = Vec::new();
        for descriptor in todo {
            if !is_document(&descriptor.media_type) || !seen.insert(descriptor.digest) {
                continue;
            }
            cancel.check()?;
            check_number(seen.len(), &descriptor)?;
            let bytes = read_whole(source, &descriptor, MAX_MANIFEST_SIZE)?;
            let below = children(&descriptor.media_type, &bytes);
            next.extend(below.map_err(|error| corrupt(descriptor.digest, error))?);
            for referrer in source.referrers(&descriptor)? {
                if is_document(&referrer.media_type) && !seen.contains(&referrer.digest) {
                    next.push(referrer.clone());
                    found.push(referrer);
                }
            }
        }
        todo = next;
    }
    let mut listed = BTreeSet::new();
    found.retain(|referrer| listed.insert(referrer.digest));
    Ok(found)
}

fn check_number(number: usize, descriptor: &Descriptor) -> Result<(), BlobError> {
    if number > MAX_MANIFESTS { Err(corrupt(descriptor.digest, GraphError::TooMany)) } else { Ok(()) }
}

/// Does what [`copy`] does, and then the same with everything that refers to the images
/// ([`referrers`]), which is afterwards found as that.
///
/// # Errors
/// As for [`copy`]. What refers to the images goes last, so the images may be there by then.
pub fn copy_referred(
    roots: &[Descriptor],
    source: &dyn Referrers,
    sink: &dyn Listing,
    options: &CopyOptions<'_>,
) -> Result<CopyReport, BlobError> {
    let referrers = referrers(roots, source, &options.cancel)?;
    // Together, so that a place whose bytes follow the order of pushes has all blobs first.
    let all: Vec<Descriptor> = roots.iter().chain(&referrers).cloned().collect();
    let report = copy(&all, source, sink, options)?;
    for referrer in &referrers {
        options.cancel.check()?;
        sink.list(referrer)?;
    }
    Ok(report)
}
