//! What the cache knows of steps that a run had no need to look at: a place that is told of the run is
//! told of them as well, so that it answers for them once something else has changed.

use crate::blob::Store;
use crate::build::FinishedStep;
use crate::build::find::holds;
use crate::build::steps::Steps;
use crate::cache::{Record, RecordStore};
use crate::key::Key;
use crate::plan::Plan;
use crate::step;

/// Tells whether a record can be of a step.
pub(super) fn is_of_step(record: &Record) -> bool {
    record.layers.len() == 1 && record.content.is_some() && record.tar_size > 0
}

impl Steps {
    /// The keys of the steps that nobody had to look at.
    pub(crate) fn unseen(&self, finished: &[FinishedStep]) -> Vec<Key> {
        let is_seen = |index: usize| finished.iter().any(|step| step.index == index);
        let unseen = self.known.iter().enumerate().filter(|(index, _)| !is_seen(*index));
        unseen.filter_map(|(_, known)| known.declared).collect()
    }

    /// The records under keys that steps of a plan have now, of those whose blobs are here: of steps that
    /// nobody had to look at, and by what was made before them of those that were found by what they say.
    pub(crate) fn records_here(
        &self,
        plan: &Plan,
        finished: &[FinishedStep],
        (records, store): (&dyn RecordStore, &Store),
    ) -> Vec<Record> {
        // What can't be read isn't told.
        let get = |key: &Key| {
            let record = records.get(key).ok().flatten().filter(is_of_step)?;
            holds(store, &record).unwrap_or_default().then_some(record)
        };
        let mut told = Vec::new();
        let mut roots: Vec<Option<Key>> = vec![None; self.known.len()];
        for (index, (step, known)) in plan.steps.iter().zip(&self.known).enumerate() {
            let seen = finished.iter().find(|step| step.index == index);
            let unseen = known.declared.as_ref().filter(|_| seen.is_none()).and_then(get);
            roots[index] = seen.map_or_else(|| unseen.as_ref()?.content, |seen| seen.record.content);
            if let Some(record) = unseen {
                told.extend(record.content.map(|content| record.under(content)));
                told.push(record);
            }
            let needs: Option<Vec<Key>> = step.needs.iter().map(|need| roots[*need]).collect();
            let realised = needs.filter(|_| known.declared.is_some());
            let realised = realised.map(|needs| step::realised_key(&known.own, &needs));
            let is_new = |key: &Key| !seen.is_some_and(|seen| seen.keys.contains(key));
            told.extend(realised.filter(is_new).as_ref().and_then(get));
        }
        told
    }
}
