//! Records that answer, and who has their blobs: the cache first, then the other places in their order.

use std::collections::BTreeSet;

use crate::blob::{BlobError, Source, Store, Union};
use crate::build::{Context, pool};
use crate::cache::{CacheError, Record, RecordStore};
use crate::event::{Event, Observer, Warning};
use crate::key::Key;
use crate::layer::{self, Answer, Answers, Origin, Workshop};
use crate::oci::Descriptor;
use crate::plan::{Plan, PlannedLayer};

/// As many questions at once may wait for other places.
const AT_ONCE: usize = 16;

/// How many may be asked for at once: the cache answers as soon as it is asked.
pub(super) fn at_once(context: Context<'_>) -> usize {
    if context.tiers.is_empty() { 1 } else { AT_ONCE }
}

/// Asks for one of these keys: first the cache, then the other places in their order. One that has a
/// record and not its blobs is passed over.
pub(super) fn find(
    keys: &[Key],
    fits: &(dyn Fn(&Record) -> bool + Sync),
    context: Context<'_>,
) -> Result<Option<Answer>, BlobError> {
    for (key, records) in keys.iter().filter_map(|key| Some((key, context.records?))) {
        let Some(record) = known(records, key, context.observer) else { continue };
        if record.content.is_some() && fits(&record) && holds(context.store, &record)? {
            records.used(key);
            return Ok(Some(Answer { record, origin: Origin::Store }));
        }
    }
    if context.tiers.is_empty() {
        return Ok(None);
    }
    pool::aside(|| find_elsewhere(keys, fits, context))
}

fn find_elsewhere(
    keys: &[Key],
    fits: &(dyn Fn(&Record) -> bool + Sync),
    context: Context<'_>,
) -> Result<Option<Answer>, BlobError> {
    for (index, tier) in context.tiers.iter().enumerate() {
        for key in keys {
            context.cancel.check()?;
            let fits = |record: &Record| !record.is_listing() && fits(record);
            let Some(record) = known(&*tier.records, key, context.observer).filter(fits) else { continue };
            let blobs: Vec<Descriptor> = record.layers.iter().map(|layer| layer.descriptor.clone()).collect();
            match tier.blobs.lacking(&blobs) {
                Ok(lacking) if lacking.is_empty() => {
                    return Ok(Some(Answer { record, origin: Origin::Place(index) }));
                }
                Ok(_) => {}
                Err(fault) => unused(&tier.place, &fault, context.observer),
            }
        }
    }
    context.cancel.check()?;
    Ok(None)
}

/// Tells of a layer that a place has, and that could have been used.
pub(super) fn unused(place: &str, fault: &BlobError, observer: &dyn Observer) {
    let message = format!("a layer that `{place}` has is not used: {}", chain(fault));
    observer.event(&Event::Warning(Warning::new(message).hint("the layer is made anew")));
}

/// A fault with its causes.
pub(super) fn chain(fault: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(fault), |fault| fault.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Asks for a record. A cache that can't be read costs time, and nothing else.
pub(super) fn known(records: &dyn RecordStore, key: &Key, observer: &dyn Observer) -> Option<Record> {
    records.get(key).unwrap_or_else(|fault| {
        unanswered(&fault, observer);
        None
    })
}

/// Tells of a place that should have answered.
pub(crate) fn unanswered(fault: &CacheError, observer: &dyn Observer) {
    let is_elsewhere = !matches!(fault, CacheError::File { .. } | CacheError::Foreign { .. });
    let message = match fault {
        CacheError::Records { .. } => chain(fault),
        _ if is_elsewhere => format!("{}; it answers for no layer", chain(fault)),
        _ => format!("a record is not used: {fault}"),
    };
    let hint = match is_elsewhere {
        true => "what it would have answered for is made anew",
        false => "check the cache directory",
    };
    observer.event(&Event::Warning(Warning::new(message).hint(hint)));
}

/// Tells whether the store has everything a record names.
pub(super) fn holds(store: &Store, record: &Record) -> Result<bool, BlobError> {
    for layer in &record.layers {
        if !store.exists(&layer.descriptor)? {
            return Ok(false);
        }
    }
    record.inventory.as_ref().map_or(Ok(true), |inventory| store.exists(inventory))
}

/// Returns the record of the last build of a layer, whatever it held.
pub(super) fn last_of(plan: &Plan, layer: &PlannedLayer, context: Context<'_>) -> Option<Record> {
    let records = context.records.filter(|_| layer.reads_files())?;
    known(records, &layer::trace_key(layer, &plan.name), context.observer)
}

/// Tells whether something may have a record of what a layer holds.
pub(super) fn may_answer(last: Option<&Record>, context: Context<'_>) -> Result<bool, BlobError> {
    match last {
        _ if !context.tiers.is_empty() => Ok(true),
        // Of several blobs some may be there though one is gone.
        Some(last) if last.layers.len() == 1 => holds(context.store, last),
        last => Ok(last.is_some()),
    }
}

/// Lends out what layers are made with, records of what they hold included if `may_answer`.
pub(super) fn asking<T>(
    plan: &Plan,
    may_answer: bool,
    context: Context<'_>,
    work: impl FnOnce(Workshop<'_>) -> T,
) -> T {
    let answers = |key: &Key| find(std::slice::from_ref(key), &|_| true, context);
    let answers = Some(&answers as &Answers<'_>).filter(|_| may_answer);
    work(Workshop { answers, ..context.workshop(plan) })
}

/// The store, and the other places that something is from.
pub(super) fn source<'c>(origins: &[Origin], context: Context<'c>) -> Union<'c> {
    let places: BTreeSet<usize> = origins
        .iter()
        .filter_map(|origin| match origin {
            Origin::Place(tier) => Some(*tier),
            Origin::Made | Origin::Store => None,
        })
        .collect();
    let places = places.into_iter().map(|tier| &*context.tiers[tier].blobs as &dyn Source);
    Union::new(std::iter::once(context.store as &dyn Source).chain(places).collect())
}
