//! What a write adds to a cache repository: records, as far as there is room for them, and the blobs that
//! go with them.

use std::collections::{BTreeMap, BTreeSet};

use crate::blob::{BlobError, BytesContent, Content, Source, Target, read_whole};
use crate::cache::{Kept, Record};
use crate::copy::{CopyOptions, push};
use crate::digest::Digest;
use crate::event::{Cancel, Transfer};
use crate::oci::{Descriptor, to_json};
use crate::shared::pack::Entry;
use crate::shared::state::{MAX_INVENTORY, RepositoryLimits, State, wrap, wrapped_size};

/// A record to be kept.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) record: Record,
    /// Whether its blobs are kept too.
    pub(super) with_blobs: bool,
}

impl Wanted {
    /// Tells whether a repository answers as the record does, and has what it should have of it.
    pub(super) fn is_in(&self, state: &State) -> bool {
        let Self { record, with_blobs } = self;
        let Some(known) = state.record(&record.key) else { return false };
        let has = |layer: &Descriptor| state.layers.contains_key(&layer.digest);
        let has_blobs = !with_blobs || record.layers.iter().all(|layer| has(&layer.descriptor));
        has_blobs && known.says_all_of(record, *with_blobs)
    }

    /// The record as it is written. Where blobs aren't sent with it, what is known of its inventory is
    /// what the repository knows.
    fn written(&self, state: &State) -> Record {
        let Self { record, with_blobs } = self;
        if let Some(inventory) = listing(record) {
            return Record { inventory: Some(inventory.plain()), ..record.clone() };
        }
        if *with_blobs && record.inventory.is_some() {
            return record.clone();
        }
        match state.record(&record.key) {
            Some(known) if known.layers == record.layers => {
                let Record { inventory, entries, tar_size, .. } = known;
                Record { inventory, entries, tar_size, ..record.clone() }
            }
            _ => record.without_inventory(),
        }
    }

    /// The blobs that are kept with it, and how much each takes.
    fn blobs(&self) -> Vec<(Digest, u64)> {
        let Self { record, with_blobs } = self;
        if !with_blobs {
            return Vec::new();
        }
        let layers = record.layers.iter().map(|layer| (layer.descriptor.digest, layer.descriptor.size));
        let inventory = record.inventory.iter().map(|inventory| (inventory.digest, wrapped_size(inventory)));
        layers.chain(inventory).collect()
    }
}

/// Chooses what a repository with room for so much will have of these records once they are written,
/// and tells of how many it won't have all: what comes first goes first. So that who writes it is done
/// once it is there.
pub(super) fn choose(records: &[Record], with_blobs: bool, limits: &RepositoryLimits) -> (Vec<Wanted>, u64) {
    let room = limits.with_room();
    let (mut wanted, mut left_out) = (Vec::new(), 0);
    let (mut bytes, mut listings) = (room.bytes, limits.listing_bytes);
    let (mut blobs, mut blob_bytes) = (BTreeSet::new(), limits.blob_bytes);
    for record in records {
        let listed = listing(record).map_or(0, wrapped_size);
        let plain = listing(record).map(Descriptor::plain);
        let plain = Record { inventory: plain.or_else(|| record.inventory.clone()), ..record.clone() };
        let size = to_json(&Entry { generation: u64::MAX, record: plain }).len() as u64;
        if wanted.len() >= room.records || size > bytes || listed > listings {
            left_out += 1;
            continue;
        }
        (bytes, listings) = (bytes - size, listings - listed);
        let is_readable = record.inventory.as_ref().is_none_or(|inventory| inventory.size <= MAX_INVENTORY);
        let record = if is_readable { record.clone() } else { record.without_inventory() };
        let with_blobs = with_blobs && !record.is_listing();
        let mut one = Wanted { record, with_blobs };
        let new: BTreeMap<Digest, u64> =
            one.blobs().into_iter().filter(|(digest, _)| !blobs.contains(digest)).collect();
        let size = new.values().fold(0_u64, |sum, size| sum.saturating_add(*size));
        if blobs.len() + new.len() <= limits.blobs && size <= blob_bytes {
            blobs.extend(new.into_keys());
            blob_bytes -= size;
        } else {
            one.with_blobs = false;
            left_out += 1;
        }
        wanted.push(one);
    }
    (wanted, left_out)
}

/// The listing of a base that a record is of.
fn listing(record: &Record) -> Option<&Descriptor> {
    record.inventory.as_ref().filter(|_| record.is_listing())
}

/// What was sent, for a manifest to name.
pub(super) struct Parcel {
    pub(super) records: Vec<Record>,
    /// The layers of the manifest with the blobs.
    pub(super) layers: BTreeMap<Digest, Descriptor>,
    /// Those that inventories are in, by the inventories' digests.
    pub(super) inventories: BTreeMap<Digest, Descriptor>,
}

/// Brings blobs to a place, and counts them.
pub(super) struct Sender<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) cancel: &'a Cancel,
    pub(super) kept: Kept,
}

impl Sender<'_> {
    pub(super) fn push(&mut self, blob: &Descriptor, content: &dyn Content) -> Result<(), BlobError> {
        let options = CopyOptions::new().cancel(self.cancel.clone());
        if push(blob, content, self.target, &options)? == Transfer::Sent {
            self.kept.add(blob.size);
        }
        Ok(())
    }

    /// Sends the blobs of records, as far as the repository hasn't got them.
    pub(super) fn parcel(
        &mut self,
        wanted: &[Wanted],
        blobs: Option<&dyn Source>,
        state: &State,
    ) -> Result<Parcel, BlobError> {
        let mut parcel =
            Parcel { records: Vec::new(), layers: BTreeMap::new(), inventories: BTreeMap::new() };
        for one in wanted {
            let record = &one.record;
            if let Some(listing) = listing(record) {
                // What it holds was sent with the record.
                if let Some(bytes) = listing.embedded() {
                    self.wrapped(listing, &bytes, &mut parcel)?;
                }
            }
            let blobs = blobs.filter(|_| one.with_blobs);
            if let Some(blobs) = blobs {
                self.layers(record, blobs, state, &mut parcel)?;
            }
            let is_listed = match blobs {
                Some(blobs) => self.inventory(record, blobs, state, &mut parcel)?,
                None => true,
            };
            let written = one.written(state);
            parcel.records.push(if is_listed { written } else { written.without_inventory() });
        }
        Ok(parcel)
    }

    fn layers(
        &mut self,
        record: &Record,
        blobs: &dyn Source,
        state: &State,
        parcel: &mut Parcel,
    ) -> Result<(), BlobError> {
        for layer in &record.layers {
            let blob = layer.descriptor.plain();
            let is_new = parcel.layers.insert(blob.digest, blob.clone()).is_none();
            if is_new && !state.layers.contains_key(&blob.digest) {
                self.push(&blob, &*blobs.fetch(&blob)?)?;
            }
        }
        Ok(())
    }

    /// Tells whether the inventory is there: who answered for a layer may have lost it.
    fn inventory(
        &mut self,
        record: &Record,
        blobs: &dyn Source,
        state: &State,
        parcel: &mut Parcel,
    ) -> Result<bool, BlobError> {
        let Some(inventory) = record.inventory.as_ref().filter(|inventory| inventory.data.is_none()) else {
            return Ok(true);
        };
        if parcel.inventories.contains_key(&inventory.digest) {
            return Ok(true);
        }
        if let Some(layer) = state.inventories.get(&inventory.digest) {
            parcel.inventories.insert(inventory.digest, layer.clone());
            return Ok(true);
        }
        match read_whole(blobs, inventory, MAX_INVENTORY) {
            Ok(bytes) => self.wrapped(inventory, &bytes, parcel).map(|()| true),
            Err(fault) if fault.is_absence() => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    fn wrapped(
        &mut self,
        inventory: &Descriptor,
        bytes: &[u8],
        parcel: &mut Parcel,
    ) -> Result<(), BlobError> {
        let (layer, tar) = wrap(inventory, bytes);
        self.push(&layer, &BytesContent::new(tar))?;
        parcel.inventories.insert(inventory.digest, layer);
        Ok(())
    }
}
