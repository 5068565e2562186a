//! What an archive says of its blobs: Docker's `manifest.json` and the layout's index.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::archive::{ArchiveError, ArchiveImage, Blob};
use crate::digest::Digest;
use crate::oci::{Descriptor, ImageLayout, Index, annotation};

/// One image of Docker's `manifest.json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Returns the path of a blob in the archive.
pub(super) fn path(digest: &Digest) -> String {
    format!("{}/{}/{}", ImageLayout::BLOBS, digest.algorithm(), digest.hex())
}

/// Lists the images for Docker, each with all its names; what is no image is left out.
pub(super) fn docker_manifest(
    images: &[ArchiveImage],
    blobs: &BTreeMap<Digest, Blob>,
) -> Result<Vec<DockerImage>, ArchiveError> {
    let mut listed: Vec<(Digest, DockerImage)> = Vec::new();
    for image in images {
        let Some((manifest, parts)) = first_image(image, &image.descriptor, blobs)? else { continue };
        let tags = image.references.iter().map(|reference| reference.to_string());
        match listed.iter_mut().find(|(digest, _)| *digest == manifest) {
            Some((_, one)) => one.repo_tags.extend(tags),
            None => listed.push((manifest, docker_image(image, tags.collect(), parts, blobs)?)),
        }
    }
    Ok(listed.into_iter().map(|(_, image)| image).collect())
}

fn docker_image(
    image: &ArchiveImage,
    repo_tags: Vec<String>,
    parts: &[Descriptor],
    blobs: &BTreeMap<Digest, Blob>,
) -> Result<DockerImage, ArchiveError> {
    let mut paths = Vec::with_capacity(parts.len());
    for part in parts {
        find(image, part, blobs)?;
        paths.push(path(&part.digest));
    }
    let layers = paths.split_off(1);
    Ok(DockerImage { config: paths.remove(0), repo_tags, layers })
}

/// Returns the first image at or below a descriptor: its digest, config and layers. Artifacts and
/// attestations are no images.
fn first_image<'b>(
    image: &ArchiveImage,
    descriptor: &Descriptor,
    blobs: &'b BTreeMap<Digest, Blob>,
) -> Result<Option<(Digest, &'b [Descriptor])>, ArchiveError> {
    let blob = find(image, descriptor, blobs)?;
    if descriptor.media_type.is_manifest() {
        let is_image = blob.parts.first().is_some_and(|config| config.media_type.is_config());
        let is_image = is_image && descriptor.platform.as_ref().is_none_or(|one| one.os != "unknown");
        return Ok(is_image.then_some((descriptor.digest, &blob.parts)));
    }
    for part in &blob.parts {
        if let Some(found) = first_image(image, part, blobs)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find<'b>(
    image: &ArchiveImage,
    descriptor: &Descriptor,
    blobs: &'b BTreeMap<Digest, Blob>,
) -> Result<&'b Blob, ArchiveError> {
    let digest = descriptor.digest;
    let found = blobs.get(&digest).filter(|blob| blob.size == descriptor.size);
    found.ok_or_else(|| ArchiveError::Incomplete { image: image.name.clone(), digest })
}

/// Lists the images for readers of layouts: an entry for each name.
///
/// A tag that several repositories have for one image is a name once; the others have their full
/// names only. What is `listed` follows without a name.
pub(super) fn index(images: &[ArchiveImage], listed: &[Descriptor]) -> Result<Index, ArchiveError> {
    let mut names: BTreeMap<String, &ArchiveImage> = BTreeMap::new();
    let mut entries = Vec::new();
    for image in images {
        for (name, full) in spellings(image) {
            let digest = image.descriptor.digest;
            let mut entry = image.descriptor.clone();
            entry.annotations.remove(annotation::REF_NAME);
            entry.annotations.remove(annotation::CONTAINERD_NAME);
            match names.insert(name.clone(), image) {
                Some(first) if first.descriptor.digest != digest => {
                    let (first, second) = (first.name.clone(), image.name.clone());
                    return Err(ArchiveError::SameName { name, first, second });
                }
                Some(_) if full.is_none() => continue,
                Some(_) => {}
                None => entry = entry.with_annotation(annotation::REF_NAME, name),
            }
            if let Some(full) = full {
                entry = entry.with_annotation(annotation::CONTAINERD_NAME, full);
            }
            entries.push(entry);
        }
    }
    let is_new = |one: &&Descriptor| entries.iter().all(|entry| entry.digest != one.digest);
    let listed: Vec<Descriptor> = listed.iter().filter(is_new).cloned().collect();
    entries.extend(listed);
    Ok(Index::new(entries))
}

/// Returns the short and the full names of an image.
fn spellings(image: &ArchiveImage) -> Vec<(String, Option<String>)> {
    let of = |reference: &crate::reference::Reference| {
        let short = reference.tag().unwrap_or(&image.name).to_owned();
        (short, Some(reference.to_string()))
    };
    match &image.references[..] {
        [] => vec![(image.name.clone(), None)],
        references => references.iter().map(of).collect(),
    }
}
