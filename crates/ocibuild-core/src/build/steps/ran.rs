//! Steps that were run without an image, and where the blobs are of what they made.

use crate::blob::{Source, Store, Union};
use crate::build::steps::Steps;
use crate::build::{FinishedStep, LayersElsewhere, Tier, elsewhere};
use crate::cache::Hold;

/// Steps that were run, or that something answered for.
pub struct RanSteps {
    /// All of which it was needed what they made, in the order of the plan.
    pub steps: Vec<FinishedStep>,
    /// What is known of all of the plan.
    pub(crate) known: Steps,
    store: Store,
    elsewhere: Vec<LayersElsewhere>,
    hold: Option<Hold>,
}

impl RanSteps {
    pub(in crate::build) fn new(
        known: Steps,
        steps: Vec<FinishedStep>,
        (store, tiers): (&Store, &[Tier]),
    ) -> Self {
        let elsewhere = elsewhere(&[], &steps, tiers);
        Self { steps, known, store: store.clone(), elsewhere, hold: None }
    }

    /// Returns where the blobs are of what the steps made: in the store, or at the places that answered.
    #[must_use]
    pub fn source(&self) -> Union<'_> {
        let elsewhere = self.elsewhere.iter().map(|blobs| blobs as &dyn Source);
        Union::new(elsewhere.chain([&self.store as &dyn Source]).collect())
    }

    /// Keeps a share in the cache for as long as blobs may be read from it.
    #[must_use]
    pub fn holding(mut self, hold: Option<Hold>) -> Self {
        self.hold = hold;
        self
    }
}
