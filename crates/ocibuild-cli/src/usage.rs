//! What registries were asked in a run, and what they were spared, for people and programs.

use ocibuild_core::copy::Tally;
use ocibuild_core::registry::{Counts, Registry};
use serde_json::{Value, json};

use crate::progress::json::seconds;

/// What a run asked of registries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    counts: Counts,
    /// What they took over from another of their repositories, in bytes.
    mounted: u64,
    /// What they didn't have to be sent, in bytes; that is a part of it.
    skipped: u64,
}

impl Usage {
    /// Counts what was asked so far.
    pub(crate) fn of(registry: &Registry) -> Self {
        Self { counts: registry.counts(), mounted: 0, skipped: 0 }
    }

    /// Adds what didn't have to be sent, and what of that was mounted.
    pub(crate) fn spare(mut self, skipped: Tally, mounted: Tally) -> Self {
        (self.skipped, self.mounted) = (skipped.bytes, mounted.bytes);
        self
    }

    /// What is worth a word at the end of a summary: nothing, where all went well at once.
    pub(crate) fn trouble(&self) -> String {
        match self.counts.retries {
            0 => String::new(),
            1 => "; 1 retry".to_owned(),
            retries => format!("; {retries} retries"),
        }
    }

    /// The same for programs: docs/metadata.md is the promise.
    pub(crate) fn to_json(self) -> Value {
        let Counts { requests, retries, bytes_sent, bytes_received, waited, .. } = self.counts;
        json!({
            "requests": requests,
            "retries": retries,
            "bytes_sent": bytes_sent,
            "bytes_received": bytes_received,
            "bytes_mounted": self.mounted,
            "bytes_skipped": self.skipped,
            "waited": seconds(waited),
        })
    }
}
