//! What `plan` and `explain` say of a layer in the same words.

use ocibuild_core::build::{By, ForeseenLayer};

/// The places that have a layer, or the parts of it that are anywhere, each once; with `local`, the
/// machine's cache is one by that name.
pub(super) fn places<'l>(layer: &'l ForeseenLayer, local: Option<&'l str>) -> Vec<&'l str> {
    let mut places: Vec<&str> = Vec::new();
    for blob in layer.blobs.iter().filter(|blob| blob.outcome.is_reused()) {
        let place = blob.place.as_deref().or(local);
        places.extend(place.filter(|place| !places.contains(place)));
    }
    places
}

/// By what a layer was found, for programs.
pub(super) fn by(layer: &ForeseenLayer) -> Option<&'static str> {
    layer.by.map(|by| if by == By::Manifest { "manifests" } else { "content" })
}
