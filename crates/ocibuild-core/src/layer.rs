//! One planned layer to a blob: its files gathered, written through the pipeline, and recorded.

mod answer;
mod blobs;
mod block;
mod budget;
mod check;
mod content;
mod contents;
mod difference;
mod draft;
mod error;
mod facts;
mod foresee;
mod gather;
mod held;
mod ignored;
mod inputs;
mod inspect;
mod inventory;
mod keep;
mod key;
mod links;
mod listed;
mod look;
mod machine;
mod make;
mod memo;
mod merge;
mod near;
mod ordered;
mod outline;
mod owners;
mod package;
mod particulars;
mod parts;
mod pipeline;
mod places;
mod previous;
mod pyc;
mod removal;
mod split;
mod warn;

use crate::base::Listing;
use crate::blob::{BlobError, Store};
use crate::cache::{BlockIndexes, Record};
use crate::event::{Cancel, Observer};
use crate::files::{FileId, FileTree, StatCache};
use crate::inspect::Inspection;
use crate::key::Key;
use crate::oci::Descriptor;
use crate::plan::PlannedLayer;

pub use blobs::inspect_blobs;
pub use budget::Budget;
pub use check::check;
pub use contents::{Contents, contents};
pub use difference::{FileChange, FileChanges, Holding, How, MAX_PATHS};
pub use error::{InputFault, LayerError};
pub use foresee::{Foreseen, ForeseenPart, foresee};
pub use key::{
    COMPAT, Circumstances, ManifestKeys, StepKey, content_key, manifest_keys, mixed_keys, split_key,
    trace_key,
};
pub use listed::{ListedEntry, each_entry};
pub use make::build;
pub use near::Nearby;
pub use outline::{DirectoryOwner, Outline, WrittenDirectory, leads_to, may_disagree, outline};
pub use particulars::particulars;
pub use removal::removed_paths;
pub use split::LARGE_FILES;

/// What a layer is built from and with.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    /// The input files.
    pub tree: &'a dyn FileTree,
    /// What is never taken for input: our own outputs, caches and locks.
    pub skip: &'a [FileId],
    /// Where blobs are written.
    pub store: &'a Store,
    /// The memory that blocks share.
    pub budget: &'a Budget,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// Stops the work.
    pub cancel: &'a Cancel,
    /// What keys depend on beside the layer.
    pub circumstances: Circumstances<'a>,
    /// What is known of the tree's files since they were last read.
    pub stat: Option<&'a StatCache>,
    /// Asks for the record of a content key. Without it nothing is hashed before it is written, as
    /// nothing could answer.
    pub answers: Option<&'a Answers<'a>>,
    /// Whether answers may come from far away: then parts are asked for side by side.
    pub asks_elsewhere: bool,
    /// Whether the inventory is wanted even of a layer that another place has.
    pub is_listed: bool,
    /// What blocks of large blobs were made of, where that is kept.
    pub blocks: Option<&'a BlockIndexes>,
    /// The layer as it was built last: what is the same is taken from its blob. Looked at only where
    /// something may answer, as it has to be known what the layer is to hold.
    pub last: Option<&'a Descriptor>,
    /// Whether files are looked at for programs and secrets as they are read.
    pub inspects: bool,
    /// What was found in the layer as it was built last.
    pub last_inspection: Option<&'a Inspection>,
}

impl<'a> Workshop<'a> {
    /// What a layer over a base is gathered from.
    fn sources(&self, listing: &'a Listing) -> draft::Sources<'a> {
        let Self { tree, skip, cancel, circumstances: Circumstances { latest, steps, .. }, stat, .. } = *self;
        draft::Sources { tree, listing, skip, cancel, latest, stat, steps }
    }
}

/// Where a blob of a layer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was made, and is in the store.
    Made,
    /// It was in the store.
    Store,
    /// Another place has it, by a number of the caller's.
    Place(usize),
}

/// A record that answers for a layer, or for a part of one.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it says.
    pub record: Record,
    /// Where all its blobs are.
    pub origin: Origin,
}

/// Returns the record of a content key, if there is one and its blobs are at hand.
pub type Answers<'a> = dyn Fn(&Key) -> Result<Option<Answer>, BlobError> + Sync + 'a;

/// A layer that was built, or answered for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Made {
    /// The record, under the layer's content key.
    pub record: Record,
    /// Where each of the record's layers is from.
    pub origins: Vec<Origin>,
    /// Records to be kept under their content keys: of the layer unless a record answered for it, and
    /// of those of its parts that were made. None of them names a blob that isn't in the store.
    pub new: Vec<Record>,
    /// What was found in the layer's files, where they were looked at; a record has it only if it is small.
    pub inspection: Option<Inspection>,
}

impl Made {
    /// A layer of which nothing had to be made.
    #[must_use]
    pub fn answered(answer: Answer) -> Self {
        let Answer { record, origin } = answer;
        Self { origins: vec![origin; record.layers.len()], record, new: Vec::new(), inspection: None }
    }
}

/// Tells whether the programs in a layer run on all platforms it is planned for.
#[must_use]
pub fn suits(record: &Record, layer: &PlannedLayer) -> bool {
    let runs = |platform| record.machines.iter().all(|machine| machine::runs(platform, machine));
    layer.platforms.iter().all(runs)
}

#[cfg(test)]
mod tests;
