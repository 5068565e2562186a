//! Noting what layers are made of, so that the next build's can be explained.

use std::collections::BTreeSet;

use crate::base::Listing;
use crate::build::{Context, FinishedLayer};
use crate::cache::{LastBuild, LayerName, Material, Particulars, Past};
use crate::layer::{self, LayerError};
use crate::plan::{Plan, PlannedImage};

/// What the host is called among a layer's particulars.
pub(super) const HOST: &str = "host";

/// Names a layer of the plan as the last build of it is known: by each of the images that it is in.
pub(super) fn names(plan: &Plan, index: usize) -> Vec<LayerName<'_>> {
    let layer = &plan.layers[index];
    let of = |image: &PlannedImage| -> Vec<String> {
        let own = image.variants.iter().filter(|variant| variant.layers.contains(&index));
        let platforms: BTreeSet<String> = own.map(|variant| variant.platform.to_string()).collect();
        platforms.into_iter().collect()
    };
    let images = plan.images.iter().map(|image| (image, of(image)));
    let images = images.filter(|(_, platforms)| !platforms.is_empty());
    images.map(|(image, platforms)| LayerName::new(&plan.name, &image.name, &layer.name, platforms)).collect()
}

/// What a layer's bytes follow from beside its files.
pub(super) fn particulars(
    plan: &Plan,
    index: usize,
    listing: &Listing,
    known: &[Material],
    context: Context<'_>,
) -> Result<Particulars, LayerError> {
    layer::particulars(&plan.layers[index], listing, context.tree, known, context.circumstances(plan))
}

/// Notes what a finished layer was made of. That it can't be costs an explanation, and is not told.
pub(super) fn note(
    plan: &Plan,
    finished: &FinishedLayer,
    listing: &Listing,
    known: &[Material],
    context: Context<'_>,
) {
    let Some(builds) = context.last else { return };
    let Ok(mut particulars) = particulars(plan, finished.index, listing, known, context) else { return };
    if finished.record.machines.is_empty() {
        // Where there are no programs, one host's files are as good as another's.
        particulars.fields.remove(HOST);
    }
    let now = Past::new(particulars, &finished.record, finished.outcome);
    for name in names(plan, finished.index) {
        let _ = builds.note(&name, now.clone());
    }
}

/// Returns what is known of the last build of a layer.
pub(super) fn last(plan: &Plan, index: usize, context: Context<'_>) -> Option<LastBuild> {
    let builds = context.last?;
    names(plan, index).iter().find_map(|name| builds.get(name))
}
