//! What `plan`, `explain` and `graph` say of a layer or a step in the same words.

use ocibuild_core::build::{By, ForeseenLayer, ForeseenStep, Outlook};
use ocibuild_core::event::LayerOutcome;
use serde_json::{Value, json};

use crate::progress::json::seconds;

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

/// What would become of a step, for programs.
pub(super) fn outlook(step: &ForeseenStep) -> &'static str {
    match step.outlook {
        Outlook::Hit(_) => "hit",
        Outlook::Runs => "runs",
        Outlook::Depends => "depends",
        _ => "unneeded",
    }
}

/// Which cache answers for a step.
pub(super) fn tier(step: &ForeseenStep) -> Option<LayerOutcome> {
    match step.outlook {
        Outlook::Hit(outcome) => Some(outcome),
        _ => None,
    }
}

/// A step, for programs.
pub(super) fn step_to_json(step: &ForeseenStep) -> Value {
    json!({
        "name": step.name,
        "label": step.label,
        "outlook": outlook(step),
        "cache": tier(step),
        "place": step.place,
        "last_seconds": step.last.map(seconds),
    })
}
