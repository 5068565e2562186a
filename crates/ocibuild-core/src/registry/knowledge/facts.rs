//! What a registry can do, as far as it was found out.

use serde::{Deserialize, Serialize};

use crate::oci::to_json;

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

/// How large requests may be, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::registry) struct Bodies {
    /// The largest that was taken.
    pub(in crate::registry) taken: u64,
    /// The smallest that was refused for its size; larger than any that was taken since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::registry) refused: Option<u64>,
    /// The smallest chunk that it wants, but for the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::registry) chunk_min: Option<u64>,
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
        (facts.version == VERSION).then_some(facts)
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
        let essence = |facts: &Self| {
            let taken = facts.bodies.refused.map(|_| facts.bodies.taken);
            let bodies = Bodies { taken: taken.unwrap_or_default(), ..facts.bodies };
            Self { bodies, ..facts.clone() }
        };
        essence(self) != essence(before)
    }

    pub(super) fn mounts(&self) -> bool {
        self.mounts_refused < MAX_REFUSED
    }

    pub(super) fn mounted(&mut self, it_did: bool) {
        self.mounts_refused = if it_did { 0 } else { (self.mounts_refused + 1).min(MAX_REFUSED) };
    }
}

/// Larger numbers aren't the same to all readers of JSON.
const MAX_SIZE: u64 = 1 << 53;

impl Bodies {
    pub(super) fn taken(&mut self, bytes: u64) {
        self.taken = self.taken.max(bytes.min(MAX_SIZE));
        self.refused = self.refused.filter(|refused| *refused > self.taken);
    }

    pub(super) fn refused(&mut self, bytes: u64) {
        let bytes = bytes.min(MAX_SIZE);
        self.refused = Some(self.refused.map_or(bytes, |refused| refused.min(bytes)));
        if self.taken >= bytes {
            // The bound was lowered; what is below is unknown again.
            self.taken = 0;
        }
    }
}
