//! What a cache repository holds: its records, in packs, and the blobs that its manifest names.

use std::collections::btree_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::blob::{BlobError, Source, read_whole};
use crate::cache::{BuiltLayer, Record};
use crate::digest::{DiffId, Digest};
use crate::key::Key;
use crate::oci::{Descriptor, Manifest, MediaType, annotation, to_json};
use crate::shared::pack::{self, Entry, MAX_PACK, MAX_UNPACKED, Pack};
use crate::tar::TRAILER;

/// The version that is written and read.
const VERSION: &str = "1";

/// The most packs that a manifest has; more are none of ours.
const MAX_PACKS: usize = 256;

/// The largest inventory that is written and believed, in bytes.
pub(super) const MAX_INVENTORY: u64 = 64 << 20;

/// The most writes that a manifest names.
const MAX_WRITES: usize = 64;

/// Records by their keys.
pub(super) type Entries = BTreeMap<Key, Entry>;

/// How much a cache repository keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepositoryLimits {
    /// The most records.
    pub records: usize,
    /// The most bytes of records, uncompressed; of more than 48 MiB not all would be read.
    pub bytes: u64,
    /// The most blobs of layers.
    pub blobs: usize,
    /// Their most bytes.
    pub blob_bytes: u64,
    /// The most bytes of listings of bases.
    pub listing_bytes: u64,
}

impl Default for RepositoryLimits {
    /// 5,000 records in 8 MiB, and 500 blobs in 20 GiB, and 64 MiB of listings.
    fn default() -> Self {
        Self { records: 5_000, bytes: 8 << 20, blobs: 500, blob_bytes: 20 << 30, listing_bytes: 64 << 20 }
    }
}

impl RepositoryLimits {
    /// The same with room for more: an eighth less records.
    pub(super) fn with_room(&self) -> Self {
        Self { records: self.records - self.records / 8, bytes: self.bytes - self.bytes / 8, ..*self }
    }
}

/// A cache repository as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) entries: Entries,
    pub(super) packs: Vec<Pack>,
    /// The layers that are there.
    pub(super) layers: BTreeMap<Digest, Descriptor>,
    /// The layers that inventories are in, by the inventories' digests.
    pub(super) inventories: BTreeMap<Digest, Descriptor>,
    /// The writes that went into it, the last one first.
    pub(super) writes: Vec<Write>,
}

/// A write, by how the digest of its manifest begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write(String);

impl Write {
    pub(super) fn of(manifest: &Digest) -> Self {
        Self(manifest.hex()[..16].to_owned())
    }
}

/// Tells whether a manifest is a cache's.
pub(super) fn is_cache(manifest: &Manifest) -> bool {
    manifest.annotations.contains_key(annotation::CACHE)
}

/// Tells whether it is of the version that is understood.
pub(super) fn is_known(manifest: &Manifest) -> bool {
    manifest.annotations.get(annotation::CACHE).is_some_and(|version| version == VERSION)
}

/// Marks a manifest as a cache's, into which these writes went.
pub(super) fn mark(manifest: &mut Manifest, writes: &[Write]) {
    manifest.annotations.insert(annotation::CACHE.to_owned(), VERSION.to_owned());
    if !writes.is_empty() {
        let names: Vec<&str> = writes.iter().take(MAX_WRITES).map(|write| write.0.as_str()).collect();
        manifest.annotations.insert(annotation::CACHE_WRITES.to_owned(), names.join(" "));
    }
}

/// The writes that went into a cache, the last one first, as far as it says so.
pub(super) fn writes(manifest: &Manifest) -> Vec<Write> {
    let names = manifest.annotations.get(annotation::CACHE_WRITES).map(String::as_str);
    let names = names.unwrap_or_default().split(' ').filter(|name| !name.is_empty());
    names.take(MAX_WRITES).map(|name| Write(name.to_owned())).collect()
}

/// Packs that were read, so that none is read twice.
pub(super) type Read = BTreeMap<Digest, (Pack, Vec<Entry>)>;

/// How much of packs may still be read.
struct Allowance {
    packs: usize,
    bytes: u64,
    unpacked: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { packs: MAX_PACKS, bytes: MAX_PACK, unpacked: MAX_UNPACKED }
    }
}

impl Allowance {
    fn read<'r>(
        &mut self,
        layer: &Descriptor,
        source: &dyn Source,
        read: &'r mut Read,
    ) -> Result<&'r (Pack, Vec<Entry>), BlobError> {
        let odd = |source: io::Error| BlobError::Corrupt { digest: layer.digest, source };
        let too_many = || {
            let reason = "all records of a cache have more bytes than are read";
            odd(io::Error::new(io::ErrorKind::InvalidData, reason))
        };
        self.packs = self.packs.checked_sub(1).ok_or_else(too_many)?;
        self.bytes = self.bytes.checked_sub(layer.size).ok_or_else(too_many)?;
        let known = match read.entry(layer.digest) {
            Occupied(known) => known.into_mut(),
            Vacant(place) => {
                let bytes = read_whole(source, layer, MAX_PACK)?;
                place.insert(pack::read(layer, &bytes, self.unpacked).map_err(odd)?)
            }
        };
        self.unpacked = self.unpacked.checked_sub(known.0.unpacked).ok_or_else(too_many)?;
        Ok(known)
    }
}

impl State {
    /// Reads what a manifest names. `lost` is told of packs that can't be read, and says whether to do
    /// without them. How much is read is bounded.
    pub(super) fn read(
        manifest: &Manifest,
        source: &dyn Source,
        read: &mut Read,
        lost: &mut dyn FnMut(BlobError) -> Result<(), BlobError>,
    ) -> Result<Self, BlobError> {
        let (mut state, mut allowance) = (Self::default(), Allowance::default());
        state.writes = writes(manifest);
        for layer in &manifest.layers {
            if layer.annotations.contains_key(annotation::CACHE_RECORDS) {
                match allowance.read(layer, source, read) {
                    Ok((pack, entries)) => {
                        state.packs.push(pack.clone());
                        merge(&mut state.entries, entries.iter().cloned());
                    }
                    Err(fault) => lost(fault)?,
                }
            } else if let Some(inventory) = layer.annotations.get(annotation::CACHE_INVENTORY) {
                if let Ok(digest) = inventory.parse() {
                    state.inventories.insert(digest, layer.clone());
                }
            } else {
                state.layers.insert(layer.digest, layer.clone());
            }
        }
        Ok(state)
    }

    /// The write that comes next.
    pub(super) fn next_generation(&self) -> u64 {
        self.entries.values().map(|entry| entry.generation).max().unwrap_or_default().saturating_add(1)
    }

    /// Does without blobs that aren't there, and tells whether it had one of them.
    pub(super) fn forget(&mut self, gone: &BTreeSet<Digest>) -> bool {
        let count = |state: &Self| state.packs.len() + state.layers.len() + state.inventories.len();
        let before = count(self);
        self.packs.retain(|pack| !gone.contains(&pack.descriptor.digest));
        self.layers.retain(|digest, _| !gone.contains(digest));
        self.inventories.retain(|_, layer| !gone.contains(&layer.digest));
        count(self) < before
    }

    /// The record of a key, as far as the repository itself can tell: one without the inventory that
    /// it names has none.
    pub(super) fn record(&self, key: &Key) -> Option<Record> {
        let record = &self.entries.get(key)?.record;
        let has = |inventory: &Descriptor| {
            let is_there = inventory.data.is_some() || self.inventories.contains_key(&inventory.digest);
            is_there && inventory.size <= MAX_INVENTORY
        };
        let is_whole = record.inventory.as_ref().is_none_or(has);
        Some(if is_whole { record.clone() } else { record.without_inventory() })
    }

    /// The records of keys whose layers are there, and those under the keys of what they hold.
    pub(super) fn whole(&self, keys: &[Key]) -> Vec<Record> {
        let is_there = |layer: &BuiltLayer| self.layers.contains_key(&layer.descriptor.digest);
        let whole = |key: &Key| self.record(key).filter(|record| record.layers.iter().all(is_there));
        let all = keys.iter().filter_map(whole);
        all.flat_map(|record| record.content.as_ref().and_then(whole).into_iter().chain([record])).collect()
    }
}

/// Adds entries: of two for one key the later one counts, whichever is added first.
pub(super) fn merge(entries: &mut Entries, more: impl IntoIterator<Item = Entry>) {
    for entry in more {
        match entries.entry(entry.record.key) {
            Vacant(vacant) => {
                vacant.insert(entry);
            }
            Occupied(mut known) => {
                if counts_before(&entry, known.get()) {
                    known.insert(entry);
                }
            }
        }
    }
}

/// Which of two entries counts: the later one, and of two of one write whichever has the larger text,
/// so that all readers take the same.
fn counts_before(one: &Entry, other: &Entry) -> bool {
    let text = |entry: &Entry| to_json(&entry.record);
    one.generation.cmp(&other.generation).then_with(|| text(one).cmp(&text(other))).is_gt()
}

/// Entries by when they were written, the last ones first.
pub(super) fn by_recency(entries: &Entries) -> Vec<&Entry> {
    let mut all: Vec<&Entry> = entries.values().collect();
    all.sort_by(|one, other| {
        other.generation.cmp(&one.generation).then_with(|| one.record.key.cmp(&other.record.key))
    });
    all
}

/// Drops what goes beyond the limits, the oldest first.
pub(super) fn trim(entries: &mut Entries, limits: &RepositoryLimits) {
    let mut bytes = 0_u64;
    let mut kept = BTreeSet::new();
    for entry in by_recency(entries).into_iter().take(limits.records) {
        bytes = bytes.saturating_add(to_json(entry).len() as u64);
        if bytes > limits.bytes {
            break;
        }
        kept.insert(entry.record.key);
    }
    entries.retain(|key, _| kept.contains(key));
}

/// Which entries are packed anew, when some were added, and which packs stay: each of those has at
/// least four times as many records as all that are packed anew with smaller ones, so that there are
/// few. `added` are the keys that no pack has as they are now.
pub(super) fn repack(entries: &Entries, packs: &[Pack], read: &Read, added: &BTreeSet<Key>) -> Repacked {
    let mut stay: Vec<&Pack> = packs.iter().collect();
    stay.sort_by_key(|pack| (pack.count, pack.descriptor.digest));
    let mut anew = added.clone();
    let mut taken = 0;
    for pack in &stay {
        if pack.count > 4 * anew.len() {
            break;
        }
        anew.extend(current(pack, entries, read));
        taken += 1;
    }
    let mut stay = stay.split_off(taken);
    // What no key names as it is now takes room for nothing.
    let of_all: usize = stay.iter().map(|pack| pack.count).sum();
    let in_use: usize = stay.iter().map(|pack| current(pack, entries, read).count()).sum();
    if of_all > 2 * in_use {
        stay.clear();
    }
    if stay.is_empty() {
        anew = entries.keys().copied().collect();
    } else {
        // A pack may have gone with what was in it.
        let held: BTreeSet<Key> =
            stay.iter().flat_map(|pack| current(pack, entries, read).collect::<Vec<_>>()).collect();
        anew.extend(entries.keys().filter(|key| !held.contains(key)));
    }
    let stay = stay.into_iter().cloned().collect();
    Repacked { stay, anew }
}

/// See [`repack`].
pub(super) struct Repacked {
    pub(super) stay: Vec<Pack>,
    pub(super) anew: BTreeSet<Key>,
}

/// The keys whose entries a pack has as they are now.
fn current<'a>(pack: &Pack, entries: &'a Entries, read: &'a Read) -> impl Iterator<Item = Key> + 'a {
    let held = read.get(&pack.descriptor.digest).map(|(_, held)| held.as_slice()).unwrap_or_default();
    let is_current = |entry: &&Entry| entries.get(&entry.record.key) == Some(*entry);
    held.iter().filter(is_current).map(|entry| entry.record.key)
}

/// The layer of a cache that a blob is in: an inventory is no layer by itself, and lies in a tar.
pub(super) fn wrap(inventory: &Descriptor, bytes: &[u8]) -> (Descriptor, Vec<u8>) {
    let tar = pack::single(&name(&inventory.digest), bytes);
    let layer = Descriptor::of(MediaType::LAYER, &tar);
    (layer.with_annotation(annotation::CACHE_INVENTORY, inventory.digest.to_string()), tar)
}

/// Where its bytes begin in there.
pub(super) fn wrapped_at(inventory: &Descriptor) -> u64 {
    pack::header(&name(&inventory.digest), inventory.size).len() as u64
}

/// How large that layer is.
pub(super) fn wrapped_size(inventory: &Descriptor) -> u64 {
    wrapped_at(inventory) + inventory.size.next_multiple_of(512) + TRAILER.len() as u64
}

fn name(inventory: &Digest) -> String {
    format!("inventories/{}-{}", inventory.algorithm(), inventory.hex())
}

/// The `diff_id` of each of a cache's layers.
pub(super) fn diff_ids(entries: &Entries) -> BTreeMap<Digest, DiffId> {
    let layers = entries.values().flat_map(|entry| &entry.record.layers);
    layers.map(|layer| (layer.descriptor.digest, layer.diff_id)).collect()
}
