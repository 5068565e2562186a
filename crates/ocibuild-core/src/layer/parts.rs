//! A split layer: which of its parts are there already, and the others made.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::base::Listing;
use crate::blob::{BlobError, SealedBlob, many};
use crate::cache::{BuiltLayer, Record};
use crate::compress::codec_id;
use crate::event::Event;
use crate::files::Entry;
use crate::layer::answer::whole_key;
use crate::layer::content::Content;
use crate::layer::gather::Gathered;
use crate::layer::inputs::Inputs;
use crate::layer::inventory::{self, ContentDigest, InventoryWriter};
use crate::layer::make::write;
use crate::layer::package::Packages;
use crate::layer::{
    Answer, Answers, ForeseenPart, LayerError, Made, Origin, Workshop, block, content_key, places, split,
};

/// A part that is there, with what its files hold.
struct Done {
    record: Record,
    origin: Origin,
    contents: Vec<Option<ContentDigest>>,
    stale_pyc: u64,
}

/// A split layer with its entries in parts.
struct Parts<'a> {
    inputs: Inputs<'a>,
    entries: &'a [Entry],
    /// The indices of the entries of each.
    parts: Vec<Vec<usize>>,
    workshop: Workshop<'a>,
}

/// Builds a split layer: looks for its parts where they may be found, makes the others, and writes
/// one inventory for all of them. Parts are looked for if it is known what the layer holds.
/// Returns the number of stale `.pyc` files as well.
pub(super) fn build(
    inputs: Inputs<'_>,
    listing: &Listing,
    gathered: &Gathered,
    content: Option<&Content>,
    workshop: Workshop<'_>,
) -> Result<(Made, u64), LayerError> {
    let parts = Parts::of(inputs, listing, &gathered.entries, workshop);
    let (layer, entries, bytes) = (inputs.layer.label.clone(), gathered.entries.len() as u64, parts.bytes());
    workshop.observer.event(&Event::LayerWalked { layer, entries, bytes });
    let work: Vec<(usize, Option<Done>)> = parts.known(content)?.into_iter().enumerate().collect();
    let done = keep_beside(|keep| {
        let make = |(number, known)| match known {
            Some(done) => Ok(done),
            None => parts.make(number, keep),
        };
        work.into_par_iter().map(make).collect::<Result<Vec<Done>, LayerError>>()
    })?;
    // What is said of all files stands for those of parts that were not made, too.
    let stale_pyc =
        content.map_or_else(|| done.iter().map(|done| done.stale_pyc).sum(), |content| content.stale_pyc);
    let machines = content.map(|content| content.machines.clone());
    let machines =
        machines.unwrap_or_else(|| done.iter().flat_map(|done| done.record.machines.clone()).collect());
    Ok((parts.put_together(done, machines)?, stale_pyc))
}

/// Finds out which parts of a split layer are there, if it is known what it holds.
pub(super) fn foresee(
    inputs: Inputs<'_>,
    listing: &Listing,
    gathered: &Gathered,
    content: Option<&Content>,
    workshop: Workshop<'_>,
) -> Result<Vec<ForeseenPart>, LayerError> {
    let parts = Parts::of(inputs, listing, &gathered.entries, Workshop { observer: &(), ..workshop });
    let known = parts.known(content)?;
    let part = |(members, done): (&Vec<usize>, Option<Done>)| ForeseenPart {
        tar_size: parts.length(members),
        answer: done.map(|Done { record, origin, .. }| Answer { record, origin }),
    };
    Ok(parts.parts.iter().zip(known).map(part).collect())
}

/// So many parts are asked for at a time.
const ASKERS: usize = 16;

/// As many threads wait for the disk.
const KEEPERS: usize = 4;

/// Lets blobs be kept while others are made: syncing waits for the disk, and would take the threads
/// that have something to do. All are kept when this returns.
fn keep_beside<T>(
    work: impl FnOnce(&SyncSender<SealedBlob>) -> Result<T, LayerError>,
) -> Result<T, LayerError> {
    let (sender, receiver) = sync_channel(2 * KEEPERS);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let keepers: Vec<_> = (0..KEEPERS).map(|_| scope.spawn(|| keep(&receiver))).collect();
        let done = work(&sender);
        drop(sender);
        for keeper in keepers {
            keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        done
    })
}

/// Keeps blobs until no more come. After a fault they are only taken: who sends them must not wait.
fn keep(receiver: &Mutex<Receiver<SealedBlob>>) -> Result<(), BlobError> {
    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let mut kept = Ok(());
    while let Some(blob) = next() {
        if kept.is_ok() {
            kept = blob.keep();
        }
    }
    kept
}

impl<'a> Parts<'a> {
    fn of(inputs: Inputs<'a>, listing: &Listing, entries: &'a [Entry], workshop: Workshop<'a>) -> Self {
        let layer = inputs.layer;
        let destinations = layer.copies.iter().map(|copy| places::destination(copy, listing)).collect();
        let parts = split::parts(entries, layer.split, &Packages::of(entries, destinations));
        Self { inputs, entries, parts, workshop }
    }

    /// Returns the length of all tar streams.
    fn bytes(&self) -> u64 {
        (0..self.parts.len()).map(|number| self.length(&self.parts[number])).sum()
    }

    fn length(&self, members: &[usize]) -> u64 {
        block::stream_len(&self.entries_of(members))
    }

    fn entries_of(&self, members: &[usize]) -> Vec<&Entry> {
        members.iter().map(|index| &self.entries[*index]).collect()
    }

    /// Finds the parts that records answer for; none where it isn't known what the layer holds. Who is
    /// asked may be far away.
    fn known(&self, content: Option<&Content>) -> Result<Vec<Option<Done>>, LayerError> {
        let (Some(content), Some(answers)) = (content, self.workshop.answers) else {
            return Ok(self.parts.iter().map(|_| None).collect());
        };
        many(&self.parts, ASKERS, |members| self.find(members, &content.contents, answers))
    }

    fn find(
        &self,
        members: &[usize],
        contents: &[Option<ContentDigest>],
        answers: &Answers<'_>,
    ) -> Result<Option<Done>, LayerError> {
        self.workshop.cancel.check()?;
        let layer = self.inputs.layer;
        let lines = members.iter().map(|index| (&self.entries[*index], contents[*index]));
        let key = content_key(&inventory::root(lines), &codec_id(layer.compression));
        let is_one = |answer: &Answer| answer.record.layers.len() == 1;
        let Some(Answer { record, origin }) = answers(&key)?.filter(is_one) else { return Ok(None) };
        let bytes = self.length(members);
        self.workshop.observer.event(&Event::LayerProgress { layer: layer.label.clone(), bytes });
        let record = Record { key, tar_size: bytes, ..record };
        let contents = members.iter().map(|index| contents[*index]).collect();
        Ok(Some(Done { record, origin, contents, stale_pyc: 0 }))
    }

    fn make(&self, number: usize, keep: &SyncSender<SealedBlob>) -> Result<Done, LayerError> {
        let members = self.entries_of(&self.parts[number]);
        let (record, written) = write(self.inputs, &members, None, true, self.workshop)?;
        for blob in written.blobs {
            keep.send(blob).expect("it is listened to as long as parts are made");
        }
        let (contents, stale_pyc) = (written.inventory.contents, written.stale_pyc);
        Ok(Done { record, origin: Origin::Made, contents, stale_pyc })
    }

    fn put_together(&self, done: Vec<Done>, machines: BTreeSet<String>) -> Result<Made, LayerError> {
        let mut contents: Vec<Option<ContentDigest>> = vec![None; self.entries.len()];
        for (members, done) in self.parts.iter().zip(&done) {
            for (index, content) in members.iter().zip(&done.contents) {
                contents[*index] = *content;
            }
        }
        let mut inventory = InventoryWriter::new(self.workshop.store)?;
        for (entry, content) in self.entries.iter().zip(contents) {
            inventory.line(entry, content)?;
        }
        let inventory = inventory.finish()?;
        let key = whole_key(self.inputs.layer, &inventory.root);
        let is_divided = done.len() > 1;
        let layer = |Record { key, layers, .. }: &Record| {
            let layers: Vec<BuiltLayer> = layers.clone();
            let key = is_divided.then_some(*key);
            layers.into_iter().map(move |layer| BuiltLayer { part: key, ..layer })
        };
        let record = Record {
            version: Record::VERSION,
            key,
            content: Some(key),
            layers: done.iter().flat_map(|done| layer(&done.record)).collect(),
            materials: Vec::new(),
            inventory: Some(inventory.descriptor),
            machines,
            entries: self.entries.len() as u64,
            tar_size: done.iter().map(|done| done.record.tar_size).sum(),
            is_trace: false,
        };
        let origins: Vec<Origin> = done.iter().map(|done| done.origin).collect();
        let is_here = |origin: &Origin| !matches!(origin, Origin::Place(_));
        let whole = origins.iter().all(is_here).then(|| record.clone());
        let made = done.into_iter().filter(|done| done.origin == Origin::Made).map(|done| done.record);
        Ok(Made { record, origins, new: made.chain(whole).collect() })
    }
}
