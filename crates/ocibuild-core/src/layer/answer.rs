//! A layer up to the answer: its copies look around, what they find is gathered, its files are hashed
//! where something could answer, and it is asked for. A build and a look ahead go this way together;
//! nothing is written on it.

use std::time::Duration;

use crate::base::Listing;
use crate::blob::{BlobError, Store, read_whole};
use crate::compress::codec_id;
use crate::digest::Digest;
use crate::files::StatCache;
use crate::inspect::Packed;
use crate::key::Key;
use crate::layer::content::{Content, Examiner};
use crate::layer::gather::{Gathered, gather_seen};
use crate::layer::inputs::Inputs;
use crate::layer::look::look;
use crate::layer::memo::{Fingerprint, Memo};
use crate::layer::previous::Previous;
use crate::layer::{Answer, LayerError, Origin, Workshop, content_key, split_key};
use crate::oci::Descriptor;
use crate::plan::{PlannedLayer, Split};

/// How far a layer came.
pub(super) enum Sought {
    /// Its copies find what they found before, and something answers for what that came to. Nothing was
    /// gathered.
    Recalled(Box<(Memo, Answer)>),
    /// All of it was gathered.
    Gathered(Box<Found>),
}

/// A layer that was gathered.
pub(super) struct Found {
    pub(super) gathered: Gathered,
    /// What it holds, if something could answer for that.
    pub(super) content: Option<Content>,
    /// What answers for all of it.
    pub(super) answer: Option<Answer>,
    /// The layer as it was built last.
    pub(super) previous: Option<Previous>,
    fingerprint: Option<Fingerprint>,
}

impl Found {
    /// Notes what the layer came to, for whoever finds the same.
    pub(super) fn keep(self, stat: Option<&StatCache>, came_to: impl FnOnce(Gathered) -> Memo) {
        if let (Some(fingerprint), Some(stat)) = (self.fingerprint, stat) {
            fingerprint.keep(stat, &came_to(self.gathered));
        }
    }
}

/// Lends out what is known of a layer's files, and keeps what is learned of them whatever comes of it.
pub(super) fn learning<T>(
    layer: &PlannedLayer,
    workshop: Workshop<'_>,
    work: impl FnOnce(Workshop<'_>) -> T,
) -> T {
    let stat = workshop.stat.map(|tree| tree.of(&layer.label));
    if let Some(stat) = &stat {
        stat.start();
    }
    let done = work(Workshop { stat: stat.as_ref(), ..workshop });
    if let Some(stat) = &stat {
        // Where that can't be, files are read again the next time: of a cache that can't be written
        // to, its records have told.
        let _ = stat.save();
    }
    done
}

/// How often a layer is started again because a file changed under it.
const ATTEMPTS: u32 = 3;

/// Does something again that failed because a file changed under it, a few times. It is told which
/// attempt it is, from 1.
pub(super) fn attempts<T>(mut once: impl FnMut(u32) -> Result<T, LayerError>) -> Result<T, LayerError> {
    let mut attempt = 1;
    loop {
        match once(attempt) {
            Err(LayerError::Changed { .. }) if attempt < ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(20 << attempt));
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// Looks for an answer. `lists` says that what the layer holds is wanted whatever answers.
pub(super) fn seek(
    layer: &PlannedLayer,
    listing: &Listing,
    lists: bool,
    workshop: Workshop<'_>,
) -> Result<Sought, LayerError> {
    let (sources, stat) = (workshop.sources(listing), workshop.stat);
    let sights = look(layer, sources);
    let fingerprint = stat.and_then(|stat| Fingerprint::of(layer, &sights, (sources, stat)));
    let memo = fingerprint.zip(stat).filter(|_| !lists);
    if let Some(memo) = memo.and_then(|(fingerprint, stat)| fingerprint.recall(stat))
        && let Some(answer) = recall(&memo, workshop)?
    {
        return Ok(Sought::Recalled(Box::new((memo, answer))));
    }
    let gathered = gather_seen(layer, sights, sources)?;
    let last = workshop.blocks.zip(workshop.last).filter(|_| workshop.answers.is_some());
    let previous = last.and_then(|(blocks, last)| Previous::open(blocks, workshop.store, last));
    let inputs = Inputs { layer, tree: workshop.tree };
    let content = examine(inputs, &gathered, previous.is_some(), workshop)?;
    let key = content.as_ref().map(|content| whole_key(layer, &content.root));
    let answer = key.map(|key| ask(&key, gathered.entries.len() as u64, workshop)).transpose()?.flatten();
    Ok(Sought::Gathered(Box::new(Found { gathered, content, answer, previous, fingerprint })))
}

/// Asks for what the layer came to when its copies found what they find now. A small inventory that is
/// damaged, or one that is wanted and isn't there, is written out of the files, the longer way.
fn recall(memo: &Memo, workshop: Workshop<'_>) -> Result<Option<Answer>, LayerError> {
    let answer = ask(&memo.key, memo.entries, workshop)?;
    Ok(answer.filter(|answer| !lacks_inventory(answer, workshop) && !lacks_inspection(answer, workshop)))
}

/// Asks for a content key; of an answer that says how many entries it has, that must be right.
fn ask(key: &Key, entries: u64, workshop: Workshop<'_>) -> Result<Option<Answer>, LayerError> {
    let Some(answers) = workshop.answers else { return Ok(None) };
    let fits = |answer: &Answer| answer.record.inventory.is_none() || answer.record.entries == entries;
    Ok(answers(key)?.filter(fits))
}

/// Finds out what a layer holds before any of it is written, if something could answer for it.
fn examine(
    inputs: Inputs<'_>,
    gathered: &Gathered,
    keeps_lines: bool,
    workshop: Workshop<'_>,
) -> Result<Option<Content>, LayerError> {
    let Workshop { budget, cancel, stat, answers, .. } = workshop;
    let entries = &gathered.entries[..];
    let inspects = workshop.inspects;
    let examiner = Examiner { inputs, entries, stat, budget, cancel, keeps_lines, inspects };
    answers.map(|_| examiner.run()).transpose()
}

/// Tells whether an inventory has to be written that an answer doesn't bring. What another place has may
/// be gone when it is asked for, and nothing of it is read where files are at hand.
pub(super) fn lacks_inventory(answer: &Answer, workshop: Workshop<'_>) -> bool {
    match (&answer.record.inventory, answer.origin) {
        (Some(inventory), Origin::Made | Origin::Store) => is_damaged(inventory, workshop.store),
        (None, _) | (_, Origin::Place(_)) => workshop.is_listed,
    }
}

/// Tells whether nobody looked at the files of a layer: that is made up for, as they are at hand. Of what
/// is in the store it is once; what another place has says nothing of it each time, so each time those
/// files are read that have something to say.
fn lacks_inspection(answer: &Answer, workshop: Workshop<'_>) -> bool {
    workshop.inspects && !answer.record.inspection.as_ref().is_some_and(Packed::is_current)
}

/// Tells whether an inventory's bytes aren't its own, if it is small: as everything is at hand that it
/// is made of, it costs little not to leave it so. A large one would cost a hit more than it is worth.
fn is_damaged(inventory: &Descriptor, store: &Store) -> bool {
    const SMALL: u64 = 1 << 20;
    inventory.size <= SMALL && matches!(read_whole(store, inventory, SMALL), Err(BlobError::Corrupt { .. }))
}

/// Makes the content key of a layer.
pub(super) fn whole_key(layer: &PlannedLayer, inventory: &Digest) -> Key {
    let codec = codec_id(layer.compression);
    match layer.split {
        Split::Whole => content_key(inventory, &codec),
        split => split_key(inventory, &codec, split),
    }
}
