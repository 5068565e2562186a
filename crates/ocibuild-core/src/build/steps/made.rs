//! What steps made in earlier attempts of one run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cache::Record;
use crate::key::Key;

/// What steps made while this was at hand, for a build that is begun again, as where a blob went bad: a
/// step whose command ran doesn't run again then, even if it runs always, or nothing is recorded. One does
/// if its inputs are others meanwhile, or what it made is gone.
#[derive(Debug, Default)]
pub struct MadeSteps(Mutex<BTreeMap<Key, Record>>);

impl MadeSteps {
    /// Notes what a step made, by its key and what those made that it needs.
    pub(super) fn note(&self, realised: Key, record: &Record) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(realised, record.clone());
    }

    pub(super) fn get(&self, realised: &Key) -> Option<Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(realised).cloned()
    }
}
