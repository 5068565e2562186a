//! Layers that something answers for, made all the same and held against that: the way to find a tree
//! that doesn't follow from its lockfiles, and a place that answers with what isn't ours.

use crate::base::Listing;
use crate::build::error::layer_fault;
use crate::build::find::{chain, find, last_of, source};
use crate::build::make::record;
use crate::build::pool::aside;
use crate::build::resolve::{Decision, decide};
use crate::build::{BuildError, Context};
use crate::cache::{BuiltLayer, Record};
use crate::digest::Digest;
use crate::event::{Event, Warning};
use crate::key::Key;
use crate::layer::{self, Answer, FileChanges, Holding, How, Made, ManifestKeys, Origin, Workshop};
use crate::plan::Plan;

/// Makes a layer of its files alone: all of them are read, written and compressed. Where a record
/// answers for it, or for a part of it, its blobs must be the same.
///
/// # Errors
/// [`BuildError::Unlike`] if they aren't; others as a build meets them.
pub(super) fn make(
    plan: &Plan,
    index: usize,
    listing: &Listing,
    decision: Decision,
    context: Context<'_>,
) -> Result<(Made, ManifestKeys), BuildError> {
    let layer = &plan.layers[index];
    // Whatever is known of files is no evidence here.
    let workshop = Workshop { stat: None, answers: None, ..context.workshop(plan) };
    let made = layer::build(layer, listing, decision.keys.clone(), workshop);
    let (mut made, keys) = made.map_err(|fault| layer_fault(layer, fault))?;
    // What answered for other lockfiles says nothing of these.
    let reused = match keys == decision.keys {
        true => decision.reused,
        false => decide(plan, layer, listing, context)?.reused,
    };
    let by_content = |key: &Key| find(std::slice::from_ref(key), &|_| true, context);
    let answer = match reused {
        Some(answer) => Some(answer),
        None => made.record.content.as_ref().map_or(Ok(None), by_content)?,
    };
    if let Some(answer) = answer {
        check(plan, index, &answer, &made, context)?;
        let origins = vec![answer.origin; answer.record.layers.len()];
        // What is said of the layer is what was seen of it.
        let record = Record { layers: answer.record.layers, ..made.record };
        return Ok((Made { record, origins, new: Vec::new(), inspection: made.inspection }, keys));
    }
    for part in made.record.layers.iter().filter(|_| made.record.layers.len() > 1) {
        let Some(key) = &part.part else { continue };
        let Some(Answer { record, origin }) = by_content(key)? else { continue };
        let alone =
            Record { layers: vec![BuiltLayer { part: None, ..part.clone() }], ..made.record.under(*key) };
        if !is_same(&record, &alone) {
            return Err(unlike(plan, index, origin, FileChanges::default(), context));
        }
    }
    let last = last_of(plan, layer, context);
    record(plan, index, &keys, last.as_ref(), &mut made, context)?;
    Ok((made, keys))
}

fn is_same(one: &Record, other: &Record) -> bool {
    let digests = |record: &Record| -> Vec<(Digest, crate::digest::DiffId)> {
        record.layers.iter().map(|layer| (layer.descriptor.digest, layer.diff_id)).collect()
    };
    digests(one) == digests(other)
}

fn check(
    plan: &Plan,
    index: usize,
    answer: &Answer,
    made: &Made,
    context: Context<'_>,
) -> Result<(), BuildError> {
    if is_same(&answer.record, &made.record) {
        return Ok(());
    }
    let places = source(&[answer.origin], context);
    let read = |record: &Record| aside(|| Holding::read(record, &places, context.cancel));
    // What another place says of a layer is no evidence of what the layer has.
    let recorded = match answer.origin {
        Origin::Place(_) => Record { inventory: None, ..answer.record.clone() },
        Origin::Made | Origin::Store => answer.record.clone(),
    };
    let files = match (read(&recorded), read(&made.record)) {
        (Ok(recorded), Ok(now)) => recorded.changes(&now),
        (Err(fault), _) | (_, Err(fault)) => {
            context.cancel.check()?;
            let place = named(context.place(answer.origin).as_deref());
            let message = format!("what {place} has for a layer can't be compared: {}", chain(&fault));
            let warning = Warning::new(message).hint("which paths differ isn't known");
            context.observer.event(&Event::Warning(warning));
            FileChanges::default()
        }
    };
    Err(unlike(plan, index, answer.origin, files, context))
}

fn unlike(plan: &Plan, index: usize, origin: Origin, files: FileChanges, context: Context<'_>) -> BuildError {
    let layer = &plan.layers[index];
    let place = context.place(origin);
    let (layer, has_manifests) = (layer.label.clone(), !layer.manifests.is_empty());
    BuildError::Unlike { layer, place, has_manifests, files: Box::new(files) }
}

fn named(place: Option<&str>) -> String {
    place.map_or_else(|| "the cache".to_owned(), |place| format!("`{place}`"))
}

/// What is told of a layer that isn't what was recorded.
pub(super) fn told(layer: &str, place: Option<&str>, has_manifests: bool, files: &FileChanges) -> String {
    let place = named(place);
    let first = match has_manifests {
        true => format!("the files of layer `{layer}` are not those that {place} has for its lockfiles"),
        false => format!("layer `{layer}` is not what {place} has for it"),
    };
    if files.count() == 0 {
        return format!("{first}: the same files, and other bytes");
    }
    let count = match files.count() {
        1 => "1 path differs".to_owned(),
        count => format!("{count} paths differ"),
    };
    let lines = files.paths.iter().map(|change| {
        let what =
            if change.what.is_empty() { String::new() } else { format!(" ({})", change.what.join(", ")) };
        let how = match change.how {
            How::Added => "only in the files: ",
            How::Removed => "only in the record:",
            How::Changed => "changed:           ",
        };
        format!("\n  {how} /{}{what}", change.path)
    });
    let more = match files.count() - files.paths.len() as u64 {
        0 => String::new(),
        more => format!("\n  and {more} more"),
    };
    format!("{first}: {count}{}{more}", lines.collect::<String>())
}
