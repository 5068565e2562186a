//! What is wrong with a layer, found without writing it: all of it, where a build stops at the
//! first fault.

use std::collections::BTreeSet;

use crate::base::Listing;
use crate::layer::draft::Sources;
use crate::layer::key::material;
use crate::layer::{LayerError, Workshop, gather};
use crate::plan::PlannedLayer;

/// Finds the faults of a layer that show before any file of it is read: lockfiles that aren't
/// there, copies that find nothing, what can't go where it is to go.
///
/// Lockfiles and ignore files are read, directories walked; nothing is written. Without a listing,
/// where the base can't be opened, only what doesn't depend on a base is told.
pub fn check(layer: &PlannedLayer, listing: Option<&Listing>, workshop: Workshop<'_>) -> Vec<LayerError> {
    let empty = Listing::empty();
    let sources = workshop.sources(listing.unwrap_or(&empty));
    let mut faults: Vec<LayerError> =
        layer.manifests.iter().filter_map(|manifest| material(manifest, sources.tree).err()).collect();
    if let Err(fault) = gather::gather(layer, sources) {
        let mut own = parts(layer, sources);
        if own.is_empty() {
            own.push(fault);
        }
        faults.extend(own);
    }
    faults.retain(|fault| listing.is_some() || !depends_on_base(fault));
    let mut seen = BTreeSet::new();
    faults.retain(|fault| seen.insert((fault.span(), fault.to_string())));
    faults
}

/// The faults of each copy by itself, and of what is removed.
fn parts(layer: &PlannedLayer, sources: Sources<'_>) -> Vec<LayerError> {
    let copies = layer.copies.iter().map(|copy| (vec![copy.clone()], Vec::new()));
    let parts = copies.chain([(Vec::new(), layer.remove.clone())]);
    let part =
        |(copies, remove)| gather::gather(&PlannedLayer { copies, remove, ..layer.clone() }, sources).err();
    parts.filter_map(part).collect()
}

fn depends_on_base(fault: &LayerError) -> bool {
    matches!(
        fault,
        LayerError::NotDirectory { .. }
            | LayerError::BaseSymlink { .. }
            | LayerError::OverDirectory { .. }
            | LayerError::NothingToRemove { .. }
            | LayerError::Unremovable { .. }
            | LayerError::UnknownAccount { .. }
            | LayerError::Listing(_)
    )
}
