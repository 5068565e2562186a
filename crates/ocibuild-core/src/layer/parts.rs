//! A split layer: which of its parts are there already, and the others made.

use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use crate::base::Listing;
use crate::cache::{Material, Record, RecordStore};
use crate::compress::codec_id;
use crate::event::Event;
use crate::files::{Entry, EntryKind, FileSource};
use crate::layer::gather::Gathered;
use crate::layer::inventory::{self, CHUNK, ChunkDigest, ContentDigest, ContentHasher, InventoryWriter};
use crate::layer::package::Packages;
use crate::layer::pipeline::span;
use crate::layer::{
    LayerError, Made, Part, Workshop, block, content_key, is_held, key, places, split, split_key, suits,
    warn, write,
};
use crate::plan::PlannedLayer;

/// Digests of what entries hold, in their order; of a directory or link none.
type Contents = Vec<Option<ContentDigest>>;

/// A part that is there, with what its files hold.
struct Done {
    part: Part,
    contents: Contents,
    stale_pyc: u64,
}

/// A split layer with its entries in parts.
struct Parts<'a> {
    layer: &'a PlannedLayer,
    entries: &'a [Entry],
    /// The indices of the entries of each.
    parts: Vec<Vec<usize>>,
    workshop: Workshop<'a>,
}

/// Builds a split layer: looks for its parts where they may be found, makes the others, and writes
/// one inventory for all of them.
pub(super) fn build(
    layer: &PlannedLayer,
    listing: &Listing,
    gathered: &Gathered,
    materials: Vec<Material>,
    workshop: Workshop<'_>,
) -> Result<Made, LayerError> {
    let entries = &gathered.entries[..];
    let destinations = layer.copies.iter().map(|copy| places::destination(copy, listing)).collect();
    let parts = split::parts(entries, layer.split, &Packages::of(entries, destinations));
    let parts = Parts { layer, entries, parts, workshop };
    let (count, bytes) = (entries.len() as u64, parts.bytes());
    workshop.observer.event(&Event::LayerWalked { layer: layer.label.clone(), entries: count, bytes });
    let known = parts.known()?;
    let work: Vec<(usize, Option<Done>)> = known.into_iter().enumerate().collect();
    let make = |(number, known)| match known {
        Some(done) => Ok(done),
        None => parts.make(number),
    };
    let done = work.into_par_iter().map(make).collect::<Result<Vec<Done>, LayerError>>()?;
    warn(layer, &gathered.notes, done.iter().map(|done| done.stale_pyc).sum(), workshop.observer);
    parts.put_together(done, materials)
}

impl Parts<'_> {
    /// Returns the length of all tar streams.
    fn bytes(&self) -> u64 {
        (0..self.parts.len()).map(|number| block::stream_len(&self.members(number))).sum()
    }

    fn members(&self, number: usize) -> Vec<&Entry> {
        self.parts[number].iter().map(|index| &self.entries[*index]).collect()
    }

    /// Finds the parts that records answer for. Files are hashed for that, so it is only tried
    /// where the layer was split before.
    fn known(&self) -> Result<Vec<Option<Done>>, LayerError> {
        let none = || self.parts.iter().map(|_| None).collect();
        let Some(records) = self.workshop.records else { return Ok(none()) };
        let was_split = records.get(&key::was_split_key(self.layer));
        if !was_split.is_ok_and(|record| record.is_some()) {
            return Ok(none());
        }
        let contents = self.entries.par_iter().map(|entry| self.content(entry));
        let contents = contents.collect::<Result<Contents, LayerError>>()?;
        let find = |members: &Vec<usize>| self.find(members, &contents, records);
        self.parts.par_iter().map(find).collect()
    }

    fn find(
        &self,
        members: &[usize],
        contents: &Contents,
        records: &dyn RecordStore,
    ) -> Result<Option<Done>, LayerError> {
        let lines = members.iter().map(|index| (&self.entries[*index], contents[*index]));
        let key = content_key(&inventory::root(lines), &codec_id(self.layer.compression));
        // A cache that can't be read costs time, and nothing else.
        let Ok(Some(record)) = records.get(&key) else { return Ok(None) };
        if record.layers.len() != 1 || !suits(&record, self.layer) || !is_held(&record, self.workshop.store)?
        {
            return Ok(None);
        }
        records.used(&key);
        let (layer, bytes) = (self.layer.label.clone(), record.tar_size);
        self.workshop.observer.event(&Event::LayerProgress { layer, bytes });
        let contents = members.iter().map(|index| contents[*index]).collect();
        Ok(Some(Done { part: Part { record, reused: true }, contents, stale_pyc: 0 }))
    }

    /// Hashes what an entry holds.
    fn content(&self, entry: &Entry) -> Result<Option<ContentDigest>, LayerError> {
        let EntryKind::File { source, size } = &entry.kind else { return Ok(None) };
        let mut hasher = ContentHasher::default();
        match source {
            FileSource::Bytes(bytes) => {
                ChunkDigest::all(bytes).for_each(|chunk| hasher.add(entry, chunk));
            }
            FileSource::Tree { path, seen, .. } => {
                let fault = |error| LayerError::read(path, error).at(span(self.layer, entry));
                let changed = || LayerError::changed(path).at(span(self.layer, entry));
                let run = (*size).min(CHUNK);
                let _room = self.workshop.budget.take(run);
                let file = self.workshop.tree.open(path).map_err(fault)?;
                let (mut buffer, mut offset) = (vec![0; run as usize], 0);
                loop {
                    self.workshop.cancel.check()?;
                    let wanted = (*size - offset).min(run) as usize;
                    let count = file.read_at(&mut buffer[..wanted], offset).map_err(fault)?;
                    if count != wanted {
                        return Err(changed());
                    }
                    ChunkDigest::all(&buffer[..wanted]).for_each(|chunk| hasher.add(entry, chunk));
                    offset += wanted as u64;
                    if offset == *size {
                        break;
                    }
                }
                if !file.metadata().map_err(fault)?.is_unchanged(seen) {
                    return Err(changed());
                }
            }
        }
        Ok(hasher.finish())
    }

    fn make(&self, number: usize) -> Result<Done, LayerError> {
        let (record, written) = write(self.layer, &self.members(number), true, self.workshop)?;
        let (contents, stale_pyc) = (written.inventory.contents, written.stale_pyc);
        Ok(Done { part: Part { record, reused: false }, contents, stale_pyc })
    }

    fn put_together(&self, done: Vec<Done>, materials: Vec<Material>) -> Result<Made, LayerError> {
        let mut contents: Contents = vec![None; self.entries.len()];
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
        let records = || done.iter().map(|done| &done.part.record);
        let codec = codec_id(self.layer.compression);
        let key = split_key(&inventory.root, &codec, self.layer.split);
        let record = Record {
            version: Record::VERSION,
            key,
            content: Some(key),
            layers: records().flat_map(|record| record.layers.clone()).collect(),
            materials,
            inventory: Some(inventory.descriptor),
            machines: records().flat_map(|record| record.machines.clone()).collect(),
            entries: self.entries.len() as u64,
            tar_size: records().map(|record| record.tar_size).sum(),
        };
        let parts = done.into_iter().map(|done| done.part).collect();
        Ok(Made { record, keys: vec![key::was_split_key(self.layer)], parts })
    }
}
