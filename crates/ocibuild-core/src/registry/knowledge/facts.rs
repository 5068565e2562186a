//! What a registry can do, as far as it was found out.

use serde::{Deserialize, Serialize};

use crate::oci::to_json;
use crate::registry::knowledge::bodies::Bodies;

const VERSION: u32 = 1;
/// The most bytes that are read of what was kept.
const MAX_BYTES: usize = 16 << 10;
/// Runs until all is found out anew: there is no clock to tell how old it is.
pub(super) const MAX_RUNS: u32 = 50;
/// How often in a row mounts have to come to nothing until they aren't asked for.
const MAX_REFUSED: u32 = 3;

/// What outlasts a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    version: u32,
    /// Runs that this is from before.
    runs: u32,
    /// How often in a row a mount came to nothing.
    mounts_refused: u32,
    /// Whether it keeps lists of referrers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) referrers: Option<bool>,
    pub(super) bodies: Bodies,
}

impl Facts {
    /// Nothing, if it isn't what [`Facts::to_bytes`] made.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_BYTES {
            return None;
        }
        // An object, as a list of the values would be read as well.
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
        let facts: Self = serde_json::from_value(object.into()).ok()?;
        (facts.version == VERSION).then(|| Self { bodies: facts.bodies.plausible(), ..facts })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        to_json(&Self { version: VERSION, ..self.clone() })
    }

    /// What the next run makes of it.
    pub(super) fn in_another_run(self) -> Self {
        if self.runs >= MAX_RUNS {
            return Self::default();
        }
        Self { runs: self.runs + 1, ..self }
    }

    /// How much is taken is worth a file only where not everything is.
    pub(super) fn is_worth_keeping(&self, before: &Self) -> bool {
        let essence = |facts: &Self| Self { bodies: facts.bodies.lasting(), ..facts.clone() };
        essence(self) != essence(before)
    }

    pub(super) fn mounts(&self) -> bool {
        self.mounts_refused < MAX_REFUSED
    }

    pub(super) fn mounted(&mut self, it_did: bool) {
        self.mounts_refused = if it_did { 0 } else { (self.mounts_refused + 1).min(MAX_REFUSED) };
    }
}
