//! Layers of one image that may disagree: on a directory that both write, on what is one, on what one
//! of them takes away. What they hold is read where the plan alone doesn't rule it out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::blob::BlobError;
use crate::build::find::{source, unused};
use crate::build::resolve::Decision;
use crate::build::{BuildError, Context, FinishedLayer};
use crate::cache::Record;
use crate::layer::{self, Answer, Origin, Outline};
use crate::plan::{Foundation, Plan, PlannedImage};

/// Returns the pairs of an image's layers, the lower one first, that may disagree.
pub(super) fn doubtful(plan: &Plan, image: &PlannedImage) -> Vec<[usize; 2]> {
    let mut pairs = Vec::new();
    for variant in &image.variants {
        let foundation = match variant.foundation {
            Foundation::Builtin(index) => Some(index),
            _ => None,
        };
        let own: Vec<usize> =
            variant.layers.iter().copied().filter(|index| Some(*index) != foundation).collect();
        for (at, one) in own.iter().enumerate() {
            let others = own[at + 1..].iter();
            let others =
                others.filter(|other| layer::may_disagree(&plan.layers[*one], &plan.layers[**other]));
            pairs.extend(others.map(|other| [*one, *other]));
        }
    }
    pairs
}

/// Makes sure that no layer of an image resets a directory of another, or takes away its files.
pub(super) fn check_outlines(
    plan: &Plan,
    image: &PlannedImage,
    layers: &[FinishedLayer],
    known: &mut BTreeMap<usize, Outline>,
    context: Context<'_>,
) -> Result<(), BuildError> {
    for pair in doubtful(plan, image) {
        for index in pair {
            if let Entry::Vacant(unknown) = known.entry(index) {
                let FinishedLayer { record, origins, .. } = &layers[index];
                match outline(record, origins, context) {
                    Ok(outline) => unknown.insert(outline),
                    // What another place has was made under the same rules.
                    Err(fault) if record.inventory.is_none() && fault.is_absence() => continue,
                    Err(fault) => return Err(fault.into()),
                };
            }
        }
        let [one, other] = pair;
        if let (Some(ours), Some(theirs)) = (known.get(&one), known.get(&other)) {
            compare((&layers[one], ours), (&layers[other], theirs))?;
        }
    }
    Ok(())
}

fn compare(
    (lower, ours): (&FinishedLayer, &Outline),
    (upper, theirs): (&FinishedLayer, &Outline),
) -> Result<(), BuildError> {
    let (one, other) = (lower.label.clone(), upper.label.clone());
    for (path, first) in &ours.directories {
        let Some(second) = theirs.directories.get(path).filter(|second| *second != first) else { continue };
        let path = crate::files::display(path);
        if first.owner != second.owner {
            let (first, second) = (first.owner, second.owner);
            return Err(BuildError::Disagreement { one, other, path, first, second });
        }
        let mut names = first.xattrs.keys().chain(second.xattrs.keys());
        let name = names.find(|name| first.xattrs.get(*name) != second.xattrs.get(*name));
        let name = name.map(|name| crate::files::display(name)).unwrap_or_default();
        return Err(BuildError::Attributes { one, other, path, name });
    }
    if let Some(path) = ours.differs_in_kind(theirs) {
        return Err(BuildError::Kinds { one, other, path: crate::files::display(path) });
    }
    match ours.taken_away_by(theirs) {
        Some(path) => Err(BuildError::TakenAway { one, other, path: crate::files::display(path) }),
        None => Ok(()),
    }
}

/// Reads the outlines of reused layers that others may disagree with. What turns out to be
/// damaged is dropped, and its layer made again; so is that of one that went meanwhile.
pub(super) fn read_outlines(
    plan: &Plan,
    layers: &mut [Decision],
    context: Context<'_>,
) -> Result<BTreeMap<usize, Outline>, BuildError> {
    let mut known = BTreeMap::new();
    for index in plan.images.iter().flat_map(|image| doubtful(plan, image)).flatten() {
        let Some(answer) = &layers[index].reused else { continue };
        if known.contains_key(&index) {
            continue;
        }
        match known_outline(answer, context)? {
            Some(outline) => drop(known.insert(index, outline)),
            None => layers[index].reused = None,
        }
    }
    Ok(known)
}

/// Reads the outline of a layer that something answered for; none if the answer is of no use, as the list
/// of what the layer holds is damaged or gone.
pub(super) fn known_outline(answer: &Answer, context: Context<'_>) -> Result<Option<Outline>, BuildError> {
    match outline(&answer.record, &[answer.origin], context) {
        Ok(outline) => Ok(Some(outline)),
        Err(fault @ BlobError::Cancelled(_)) => Err(fault.into()),
        Err(fault) if let Some(place) = context.place(answer.origin) => {
            unused(&place, &fault, context.observer);
            Ok(None)
        }
        Err(BlobError::Corrupt { digest, .. }) => {
            context.store.remove(&digest)?;
            Ok(None)
        }
        Err(fault) if fault.is_absence() => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// Reads the outline of a layer. Where another place lost the list of what it holds, or has something
/// else for it, the layer itself says so.
fn outline(record: &Record, origins: &[Origin], context: Context<'_>) -> Result<Outline, BlobError> {
    let (places, cancel) = (source(origins, context), context.cancel);
    let is_elsewhere = origins.iter().any(|origin| matches!(origin, Origin::Place(_)));
    match layer::outline(record, &places, cancel) {
        Err(fault)
            if is_elsewhere && record.inventory.is_some() && !matches!(fault, BlobError::Cancelled(_)) =>
        {
            layer::outline(&Record { inventory: None, ..record.clone() }, &places, cancel)
        }
        outline => outline,
    }
}
