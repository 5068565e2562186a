//! The manifest that a cache repository will have: what was there, and what a write adds.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::{DiffId, Digest};
use crate::key::Key;
use crate::oci::{Descriptor, ImageConfig, Manifest, MediaType, RootFs, to_json};
use crate::shared::pack::{self, Entry, Pack};
use crate::shared::parcel::Parcel;
use crate::shared::state::{
    Entries, Read, RepositoryLimits, State, Write, by_recency, diff_ids, mark, merge, repack, trim,
};

/// A manifest to be, with what it names.
pub(super) struct Next {
    pub(super) layers: Vec<Descriptor>,
    /// What isn't there yet.
    pub(super) blobs: Vec<(Descriptor, Vec<u8>)>,
    pub(super) manifest: (Descriptor, Vec<u8>),
}

impl Next {
    /// Adds a parcel to what is there; `root` is the manifest that says so.
    pub(super) fn of(
        parcel: &Parcel,
        (root, state): (Option<&Digest>, &State),
        limits: &RepositoryLimits,
        read: &mut Read,
    ) -> Self {
        let generation = state.next_generation();
        let mut entries = state.entries.clone();
        let added = parcel.records.iter().map(|record| Entry { generation, record: record.clone() });
        let added: Vec<Entry> = added.collect();
        merge(&mut entries, added.iter().cloned());
        // A pack that stays would bring back what is dropped: so all are packed anew then, and some more
        // is dropped, for that not to be with every write.
        let count = entries.len();
        trim(&mut entries, limits);
        let packs: &[Pack] = if entries.len() < count {
            trim(&mut entries, &limits.with_room());
            &[]
        } else {
            &state.packs
        };
        let keys: BTreeSet<Key> =
            added.iter().map(|entry| entry.record.key).filter(|key| entries.contains_key(key)).collect();
        let repacked = repack(&entries, packs, read, &keys);
        let anew: Vec<Entry> = repacked.anew.iter().filter_map(|key| entries.get(key).cloned()).collect();
        let mut packs = repacked.stay;
        let mut blobs = Vec::new();
        if !anew.is_empty() {
            let (pack, bytes) = pack::write(anew.iter());
            read.insert(pack.descriptor.digest, (pack.clone(), anew));
            blobs.push((pack.descriptor.clone(), bytes));
            packs.push(pack);
        }
        let held = held(&entries, parcel, state, limits);
        let writes: Vec<Write> =
            root.map(Write::of).into_iter().chain(state.writes.iter().cloned()).collect();
        Self::new(&packs, held, &entries, (blobs, &writes))
    }

    fn new(
        packs: &[Pack],
        held: BTreeMap<Digest, Descriptor>,
        entries: &Entries,
        (mut blobs, writes): (Vec<(Descriptor, Vec<u8>)>, &[Write]),
    ) -> Self {
        let known = diff_ids(entries);
        let mut layers: Vec<(Descriptor, DiffId)> =
            packs.iter().map(|pack| (pack.descriptor.clone(), pack.diff_id)).collect();
        // What lies in a tar as it is has that tar's digest.
        let held = held.into_values().map(|blob| {
            let diff_id = known.get(&blob.digest).copied().unwrap_or(DiffId(blob.digest));
            (blob, diff_id)
        });
        layers.extend(held);
        let (layers, diff_ids): (Vec<Descriptor>, Vec<DiffId>) = layers.into_iter().unzip();
        // It is for no platform, and nothing runs it.
        let mut config = ImageConfig::new("unknown", "unknown");
        config.rootfs = RootFs::new(diff_ids);
        let config = to_json(&config);
        let described = Descriptor::of(MediaType::CONFIG, &config);
        blobs.push((described.clone(), config));
        let mut manifest = Manifest::new(described, layers.clone());
        mark(&mut manifest, writes);
        let bytes = to_json(&manifest);
        Self { layers, blobs, manifest: (Descriptor::of(MediaType::MANIFEST, &bytes), bytes) }
    }
}

/// The blobs that the manifest names: those of the records that stay, the last ones first, as far
/// as the limits go. What the parcel brings has room whatever else there is: were it to come and go, no
/// build would find what it wrote.
fn held(
    entries: &Entries,
    parcel: &Parcel,
    state: &State,
    limits: &RepositoryLimits,
) -> BTreeMap<Digest, Descriptor> {
    let (listings, layers): (Vec<&Entry>, Vec<&Entry>) =
        by_recency(entries).into_iter().partition(|entry| entry.record.is_listing());
    let ours = Named { layers: &parcel.layers, inventories: &parcel.inventories };
    let theirs = Named { layers: &state.layers, inventories: &state.inventories };
    let all = layers.iter().flat_map(|entry| ours.blobs(entry).chain(theirs.blobs(entry)));
    let first = layers.iter().flat_map(|entry| ours.blobs(entry));
    let listings = listings.iter().filter_map(|entry| ours.inventory(entry).or(theirs.inventory(entry)));
    let mut held = BTreeMap::new();
    fill(&mut held, first.chain(all), limits.blobs, limits.blob_bytes);
    fill(&mut held, listings, usize::MAX, limits.listing_bytes);
    held
}
/// Blobs that can be named.
#[derive(Clone, Copy)]
struct Named<'a> {
    layers: &'a BTreeMap<Digest, Descriptor>,
    inventories: &'a BTreeMap<Digest, Descriptor>,
}

impl<'a> Named<'a> {
    /// Those that an entry is of.
    fn blobs(self, entry: &'a Entry) -> impl Iterator<Item = &'a Descriptor> {
        let layers =
            entry.record.layers.iter().filter_map(move |layer| self.layers.get(&layer.descriptor.digest));
        layers.chain(self.inventory(entry))
    }

    fn inventory(self, entry: &Entry) -> Option<&'a Descriptor> {
        self.inventories.get(&entry.record.inventory.as_ref()?.digest)
    }
}

/// Adds blobs until there are so many of them, or bytes.
fn fill<'b>(
    held: &mut BTreeMap<Digest, Descriptor>,
    blobs: impl Iterator<Item = &'b Descriptor>,
    count: usize,
    mut bytes: u64,
) {
    for blob in blobs {
        if held.contains_key(&blob.digest) {
            continue;
        }
        match bytes.checked_sub(blob.size).filter(|_| held.len() < count) {
            Some(left) => bytes = left,
            None => break,
        }
        held.insert(blob.digest, blob.clone());
    }
}
