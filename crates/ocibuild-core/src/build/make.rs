//! One layer of a plan made, or taken from whoever answered for it; recorded, noted and told.

use std::sync::Arc;
use std::time::Instant;

use crate::base::Listing;
use crate::build::checks;
use crate::build::error::layer_fault;
use crate::build::find::{asking, chain, known, last_of, may_answer};
use crate::build::resolve::Decision;
use crate::build::{BuildError, Context, FinishedLayer, past, verify};
use crate::cache::{Record, RecordStore};
use crate::event::{Event, LayerOutcome, Warning};
use crate::inspect::Packed;
use crate::layer::{self, Answer, Made, ManifestKeys, Origin, Workshop};
use crate::plan::{Plan, PlannedLayer};

/// Makes a layer, unless something answers for it. Whether its inventory is wanted stands beside the
/// listing of its base.
pub(super) fn make(
    plan: &Plan,
    index: usize,
    decision: Decision,
    (listing, is_listed): (&Listing, bool),
    context: Context<'_>,
) -> Result<FinishedLayer, BuildError> {
    let start = Instant::now();
    let (made, keys) = match decision {
        decision if context.verifies => verify::make(plan, index, listing, decision, context)?,
        Decision { keys, reused: Some(answer) } => (answered(plan, answer, context)?, keys),
        Decision { keys, reused: None } => build_layer(plan, index, (listing, is_listed), keys, context)?,
    };
    let finished = finish(&plan.layers[index], index, made, (&keys, start), context);
    past::note(plan, &finished, listing, &keys.materials, context);
    for (built, outcome) in finished.blobs() {
        context.observer.event(&Event::LayerFinished {
            layer: finished.label.clone(),
            digest: built.descriptor.digest,
            size: built.descriptor.size,
            outcome,
            elapsed: finished.elapsed,
        });
    }
    Ok(finished)
}

/// Takes an answer by key, which comes without a look at files. Where nobody knows what these say, as it
/// was made by an earlier version, its blobs are looked at, once.
fn answered(plan: &Plan, answer: Answer, context: Context<'_>) -> Result<Made, BuildError> {
    let mut made = Made::answered(answer);
    let is_here = made.origins.iter().all(|origin| *origin == Origin::Store);
    let record = &made.record;
    if !plan.checks.judges() || !is_here || record.inspection.as_ref().is_some_and(Packed::is_current) {
        return Ok(made);
    }
    // The same answers other keys, for other platforms.
    let content = record.content.filter(|content| *content != record.key);
    let same = content.zip(context.records).and_then(|(key, records)| known(records, &key, context.observer));
    let same = same.filter(|same| same.layers == record.layers).and_then(|same| same.inspection);
    let inspection = match same.as_ref().and_then(Packed::unpack) {
        Some(inspection) => Some(inspection),
        // Blobs that can't be read are found out by whoever needs them.
        None => layer::inspect_blobs(record, context.store, context.cancel).ok(),
    };
    context.cancel.check()?;
    if let Some(inspection) = inspection {
        made.record.inspection = inspection.pack();
        made.inspection = Some(inspection);
        let keys = std::iter::once(made.record.key).chain(content);
        if let Some(records) = context.records {
            keep(keys.map(|key| made.record.under(key)), context, records);
        }
    }
    Ok(made)
}

fn finish(
    layer: &PlannedLayer,
    index: usize,
    made: Made,
    (keys, start): (&ManifestKeys, Instant),
    context: Context<'_>,
) -> FinishedLayer {
    let Made { record, origins, inspection, .. } = made;
    let inspection = checks::inspection(inspection, &record).map(Arc::new);
    let outcomes: Vec<LayerOutcome> = origins.iter().map(|origin| context.outcome(*origin)).collect();
    FinishedLayer {
        index,
        name: layer.name.clone(),
        label: layer.label.clone(),
        places: origins.iter().map(|origin| context.place(*origin)).collect(),
        // The key of what a layer without lockfiles holds says all that its manifest key could.
        realised_keys: keys
            .realised
            .as_ref()
            .map_or_else(Vec::new, |keys| keys.of(&record.machines).to_vec()),
        manifest_keys: match layer.manifests.is_empty() && layer.steps().next().is_none() {
            true => Vec::new(),
            false => keys.of(&record.machines).to_vec(),
        },
        record,
        outcome: overall(&outcomes),
        outcomes,
        origins,
        inspection,
        elapsed: start.elapsed(),
    }
}

/// A layer of which something was made was built; one of which something is elsewhere is shared.
fn overall(outcomes: &[LayerOutcome]) -> LayerOutcome {
    let has = |outcome| outcomes.contains(&outcome);
    match outcomes.iter().find(|outcome| **outcome != LayerOutcome::Reused) {
        _ if has(LayerOutcome::Built) => LayerOutcome::Built,
        other => other.copied().unwrap_or(LayerOutcome::Reused),
    }
}

/// Builds a layer, and records it under all its keys.
///
/// Where something could answer for what the layer holds, its files are hashed first: where the last
/// build of the layer left a trace, as they may hold what they held then, or some time before; and
/// where other places are asked.
fn build_layer(
    plan: &Plan,
    index: usize,
    (listing, is_listed): (&Listing, bool),
    keys: ManifestKeys,
    context: Context<'_>,
) -> Result<(Made, ManifestKeys), BuildError> {
    let layer = &plan.layers[index];
    let last = last_of(plan, layer, context);
    // Of what leaves no trace it isn't known what there was before.
    let blocks = context.blocks.filter(|_| layer.reads_files());
    let before = last.as_ref().filter(|last| last.layers.len() == 1).map(|last| &last.layers[0].descriptor);
    let found = last.as_ref().and_then(|last| last.inspection.as_ref()?.unpack());
    let may_answer = may_answer(last.as_ref(), context)?;
    let made = asking(plan, may_answer, context, |workshop| {
        let last_inspection = found.as_ref();
        let workshop = Workshop { is_listed, blocks, last: before, last_inspection, ..workshop };
        layer::build(layer, listing, keys, workshop)
    });
    let (mut made, keys) = made.map_err(|fault| layer_fault(layer, fault))?;
    record(plan, index, &keys, last.as_ref(), &mut made, context)?;
    Ok((made, keys))
}

/// Records a layer that was made under all its keys, and leaves its trace.
///
/// # Errors
/// As those whose files they were tell, if these didn't stay as they were; nothing is recorded then.
pub(super) fn record(
    plan: &Plan,
    index: usize,
    keys: &ManifestKeys,
    last: Option<&Record>,
    made: &mut Made,
    context: Context<'_>,
) -> Result<(), BuildError> {
    context.stayed.map_or(Ok(()), |stayed| stayed())?;
    let layer = &plan.layers[index];
    let trace = context.records.filter(|_| layer.reads_files());
    let trace = trace.map(|_| layer::trace_key(layer, &plan.name));
    let all = std::mem::take(&mut made.new).into_iter();
    let is_here = |origin: &Origin| !matches!(origin, Origin::Place(_));
    if let Some(records) = context.records {
        if made.origins.iter().all(is_here) {
            let is_traced = |last: &Record| last.layers == made.record.layers;
            let trace = trace.filter(|_| !last.is_some_and(is_traced));
            let under_keys = keys.recorded(&made.record.machines).map(|key| made.record.under(*key));
            keep(all.chain(under_keys).chain(trace.map(|key| made.record.traced(key))), context, records);
        } else {
            keep(all, context, records);
        }
    }
    Ok(())
}

/// Keeps records. A cache that can't be written to costs the next build time, and this one nothing.
fn keep(all: impl Iterator<Item = Record>, context: Context<'_>, records: &dyn RecordStore) {
    for record in all {
        if let Err(fault) = records.put(&record) {
            let warning = Warning::new(format!("the layer is not cached: {}", chain(&fault)));
            context.observer.event(&Event::Warning(warning.hint("check the cache directory")));
            return;
        }
    }
}
