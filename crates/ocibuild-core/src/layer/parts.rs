//! A split layer: which of its parts are there already, and the others made.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use crate::base::Listing;
use crate::blob::{BlobError, SealedBlob, many};
use crate::cache::{BuiltLayer, Record};
use crate::compress::codec_id;
use crate::event::{Cancelled, Event};
use crate::files::Entry;
use crate::inspect::Inspection;
use crate::layer::answer::whole_key;
use crate::layer::content::Content;
use crate::layer::gather::Gathered;
use crate::layer::inputs::Inputs;
use crate::layer::inspect::{self, Findings, Look};
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
    /// What was found in its files, by their place in the part.
    findings: Findings,
}

/// A split layer with its entries in parts.
struct Parts<'a> {
    inputs: Inputs<'a>,
    entries: &'a [Entry],
    /// The indices of the entries of each.
    parts: Vec<Vec<usize>>,
    /// Whether the files were looked at before, if they were.
    looks: Option<Vec<Look>>,
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
    let mut parts = Parts::of(inputs, listing, &gathered.entries, workshop);
    parts.looks = content.map(inspect::looks);
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

/// So many parts are asked for at a time, where who is asked may be far away.
const ASKERS: usize = 16;

/// As many threads wait for the disk.
const KEEPERS: usize = 4;

/// Lets blobs be kept while others are made: syncing waits for the disk, and would take the threads
/// that have something to do. All are kept when this returns.
fn keep_beside<T>(work: impl FnOnce(&Keep<'_>) -> Result<T, LayerError>) -> Result<T, LayerError> {
    let (sender, receiver) = sync_channel(2 * KEEPERS);
    let receiver = Mutex::new(Some(receiver));
    thread::scope(|scope| {
        let keeper = |_| thread::Builder::new().spawn_scoped(scope, || keep(&receiver)).ok();
        let keepers: Vec<_> = (0..KEEPERS).map_while(keeper).collect();
        let done = match keepers.is_empty() {
            // Where no thread is to be had, who makes a blob waits for it.
            true => work(&|blob| blob.keep().map_err(LayerError::from)),
            // Nobody listens after a fault, which is told below: what is being made stops.
            false => work(&|blob| sender.send(blob).map_err(|_| Cancelled.into())),
        };
        drop(sender);
        for keeper in keepers {
            keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        done
    })
}

/// Takes a blob to be kept.
type Keep<'a> = dyn Fn(SealedBlob) -> Result<(), LayerError> + Sync + 'a;

/// Keeps blobs until no more come. After a fault nobody takes any.
fn keep(receiver: &Mutex<Option<Receiver<SealedBlob>>>) -> Result<(), BlobError> {
    let receiver = || receiver.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || receiver().as_ref()?.recv().ok();
    while let Some(blob) = next() {
        if let Err(fault) = blob.keep() {
            *receiver() = None;
            return Err(fault);
        }
    }
    Ok(())
}

impl<'a> Parts<'a> {
    fn of(inputs: Inputs<'a>, listing: &Listing, entries: &'a [Entry], workshop: Workshop<'a>) -> Self {
        let layer = inputs.layer;
        let destinations = layer.copies.iter().map(|copy| places::destination(copy, listing)).collect();
        let parts = split::parts(entries, layer.split, &Packages::of(entries, destinations));
        Self { inputs, entries, parts, looks: None, workshop }
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

    /// Finds the parts that records answer for; none where it isn't known what the layer holds.
    fn known(&self, content: Option<&Content>) -> Result<Vec<Option<Done>>, LayerError> {
        let (Some(content), Some(answers)) = (content, self.workshop.answers) else {
            return Ok(self.parts.iter().map(|_| None).collect());
        };
        let at_once = if self.workshop.asks_elsewhere { ASKERS } else { 1 };
        many(&self.parts, at_once, |members| self.find(members, &content.contents, answers))
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
        Ok(Some(Done { record, origin, contents, stale_pyc: 0, findings: Findings::new() }))
    }

    fn make(&self, number: usize, keep: &Keep<'_>) -> Result<Done, LayerError> {
        let members = self.entries_of(&self.parts[number]);
        let looks = self
            .looks
            .as_ref()
            .map(|looks| self.parts[number].iter().map(|index| looks[*index]).collect::<Vec<Look>>());
        let (record, written) = write(self.inputs, &members, (None, looks.as_deref()), true, self.workshop)?;
        for blob in written.blobs {
            keep(blob)?;
        }
        let (contents, stale_pyc) = (written.inventory.contents, written.stale_pyc);
        let findings = written.findings;
        Ok(Done { record, origin: Origin::Made, contents, stale_pyc, findings })
    }

    fn put_together(&self, done: Vec<Done>, machines: BTreeSet<String>) -> Result<Made, LayerError> {
        let mut contents: Vec<Option<ContentDigest>> = vec![None; self.entries.len()];
        for (members, done) in self.parts.iter().zip(&done) {
            for (index, content) in members.iter().zip(&done.contents) {
                contents[*index] = *content;
            }
        }
        let inspection = self.inspection(&done, &contents);
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
            inspection: inspection.as_ref().and_then(Inspection::pack),
            is_trace: false,
        };
        let origins: Vec<Origin> = done.iter().map(|done| done.origin).collect();
        let is_here = |origin: &Origin| !matches!(origin, Origin::Place(_));
        let whole = origins.iter().all(is_here).then(|| record.clone());
        let made = done.into_iter().filter(|done| done.origin == Origin::Made).map(|done| done.record);
        Ok(Made { record, origins, new: made.chain(whole).collect(), inspection })
    }

    /// What was found in the files of all parts, if none of them was looked at before.
    fn inspection(&self, done: &[Done], contents: &[Option<ContentDigest>]) -> Option<Inspection> {
        if !self.workshop.inspects || self.looks.is_some() {
            return None;
        }
        let mut findings = Findings::new();
        for (members, done) in self.parts.iter().zip(done) {
            let own = done.findings.iter().map(|(index, facts)| (members[*index], facts.clone()));
            inspect::add(&mut findings, own);
        }
        let entries: Vec<&Entry> = self.entries.iter().collect();
        Some(inspect::gather(&entries, &|index| contents[index], &findings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Store;

    /// Makes blobs one after the other, and counts those that were taken.
    fn made(store: &Store) -> (usize, Result<(), LayerError>) {
        let mut taken = 0;
        let done = keep_beside(|keep| {
            for number in 0..200_u8 {
                let mut blob = store.writer()?;
                blob.write(&[number])?;
                keep(blob.seal())?;
                taken += 1;
            }
            Ok(())
        });
        (taken, done)
    }

    #[test]
    fn blobs_are_kept_beside_until_one_cant_be() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = directory.path().join("blobs");
        let store = Store::new(directory.path());
        let (taken, done) = made(&store);
        done.unwrap();
        assert_eq!((taken, std::fs::read_dir(blobs.join("sha256")).unwrap().count()), (200, 200));
        // What is in the way is told, and the others aren't made for nothing.
        std::fs::remove_dir_all(&blobs).unwrap();
        std::fs::write(&blobs, "in the way").unwrap();
        let (taken, done) = made(&store);
        assert!(matches!(done, Err(LayerError::Blob(BlobError::File { .. }))), "{done:?}");
        assert!(taken <= 3 * KEEPERS, "{taken}");
    }
}
