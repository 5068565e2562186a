//! A cache repository: records of many builds under one tag, as an image that every registry takes.
//!
//! Registries can't compare and swap. So what is there is read and merged, the tag is looked at again
//! right before it is moved, and looked at once more a while after that: who finds that another went
//! over it merges again. What a slower one takes away in spite of all that costs a build, no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::blob::{BlobError, BytesContent, Content, PlaceFault, Source, Target, read_whole};
use crate::cache::{CacheError, Kept, Record, RecordSink, unusable};
use crate::copy::{CopyOptions, push};
use crate::digest::{DiffId, Digest};
use crate::event::{Cancel, Transfer};
use crate::oci::{
    Descriptor, ImageConfig, MAX_MANIFEST_SIZE, Manifest, MediaType, RootFs, from_json, to_json,
};
use crate::shared::pack::{self, Entry, Pack};
use crate::shared::state::{
    Entries, Read, RepositoryLimits, State, bare, by_recency, diff_ids, is_cache, is_known, mark, merge,
    repack, trim, wrap, wrapped_size,
};

/// How often it is tried to write beside others.
const MAX_ATTEMPTS: u32 = 40;
/// How long to wait, at the least and at the most, until another that looked at the tag before it was
/// moved has moved it, too.
const SETTLE: [Duration; 2] = [Duration::from_millis(150), Duration::from_secs(3)];
/// The largest inventory that is kept, in bytes.
const MAX_INVENTORY: u64 = 64 << 20;

/// A cache repository, to be written to: a tag of any place that has tags.
pub struct RepositoryCache {
    target: Arc<dyn Target>,
    tag: String,
    name: String,
    limits: RepositoryLimits,
    settle: [Duration; 2],
}

/// What is there, and under which digest.
struct Found {
    root: Option<Digest>,
    state: State,
}

/// What a write adds.
struct Ours {
    records: Vec<Record>,
    /// The layers of the manifest with the blobs, each with its `diff_id`.
    layers: BTreeMap<Digest, Descriptor>,
    inventories: BTreeMap<Digest, Descriptor>,
}

impl RepositoryCache {
    /// Names a tag of a place. Nothing is read yet.
    pub fn new(target: Arc<dyn Target>, tag: &str) -> Self {
        let name = format!("{}: {tag}", Source::place(&*target));
        Self { target, tag: tag.to_owned(), name, limits: RepositoryLimits::default(), settle: SETTLE }
    }

    /// Calls it this when it is spoken of.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Keeps at most so much.
    #[must_use]
    pub fn limits(mut self, limits: RepositoryLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes it that nobody else writes.
    #[cfg(test)]
    pub(super) fn settled(mut self) -> Self {
        self.settle = [Duration::ZERO; 2];
        self
    }

    fn fault(&self, fault: BlobError) -> CacheError {
        unusable(self.place(), fault)
    }

    /// Leaves out listings that wouldn't stay: what is written is written until it is there.
    fn within_limits(&self, records: &[Record]) -> Vec<Record> {
        let mut left = self.limits.listing_bytes;
        let mut fits = |record: &&Record| {
            let rest = listing(record).map_or(Some(left), |listing| left.checked_sub(wrapped_size(listing)));
            rest.inspect(|rest| left = *rest).is_some()
        };
        records.iter().filter(|record| fits(record)).cloned().collect()
    }

    fn root(&self) -> Result<Option<Descriptor>, CacheError> {
        match self.target.resolve(&self.tag) {
            Ok(root) => Ok(Some(root)),
            Err(BlobError::UnknownName { .. }) => Ok(None),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// Reads what is there. What isn't a cache is not written over.
    fn read(&self, read: &mut Read) -> Result<Found, CacheError> {
        let Some(root) = self.root()? else { return Ok(Found { root: None, state: State::default() }) };
        let no_cache = |what| CacheError::NoCache { place: self.place(), what };
        if !root.media_type.is_manifest() {
            return Err(no_cache("an index of images"));
        }
        let manifest = match read_whole(&*self.target, &root, MAX_MANIFEST_SIZE) {
            Ok(bytes) => from_json::<Manifest>(&bytes).ok().filter(is_cache),
            // It went between two questions.
            Err(fault) if fault.is_absence() => return Ok(Found { root: None, state: State::default() }),
            Err(fault) => return Err(self.fault(fault)),
        };
        let Some(manifest) = manifest else { return Err(no_cache("an image")) };
        if !is_known(&manifest) {
            return Err(no_cache("a cache of another version"));
        }
        // What can't be read is of no use to anybody, and is written over.
        let lost = |fault: &BlobError| fault.is_absence() || matches!(fault, BlobError::Corrupt { .. });
        let state = State::read(&manifest, &*self.target, read, &lost).map_err(|fault| self.fault(fault))?;
        Ok(Found { root: Some(root.digest), state })
    }

    fn write(
        &self,
        records: &[Record],
        blobs: Option<&dyn Source>,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError> {
        let (mut read, mut kept) = (Read::new(), Kept::default());
        let mut sent: Option<Ours> = None;
        let mut is_lacking = false;
        for attempt in 0..MAX_ATTEMPTS {
            cancel.check()?;
            let mut found = self.read(&mut read)?;
            if is_lacking {
                self.forget(&mut found.state).map_err(|fault| self.fault(fault))?;
            }
            let new = records.iter().filter(|record| !has(&found.state, record, blobs.is_some())).count();
            if new == 0 {
                return Ok(kept);
            }
            if attempt == 0 {
                kept.records = new as u64;
            }
            let ours = match &sent {
                Some(ours) => ours,
                None => sent.insert(self.send_blobs(records, blobs, &found.state, &mut kept, cancel)?),
            };
            let start = match self.put(ours, found, &mut read, &mut kept, cancel) {
                Ok(start) => start,
                // What was said to be there isn't: all is looked at and sent again.
                Err(BlobError::Place { fault: PlaceFault::Lacking, .. }) => {
                    (sent, is_lacking) = (None, true);
                    continue;
                }
                Err(fault) => return Err(self.fault(fault)),
            };
            match start {
                Some(start) => wait((2 * start.elapsed()).clamp(self.settle[0], self.settle[1]), cancel)?,
                None => wait(self.pause(ours, attempt), cancel)?,
            }
        }
        Err(CacheError::Contended { place: self.place() })
    }

    /// Does without the blobs that the manifest names and that aren't there.
    fn forget(&self, state: &mut State) -> Result<(), BlobError> {
        let named: Vec<Descriptor> =
            state.layers.values().chain(state.inventories.values()).cloned().collect();
        let gone = self.target.missing(&named)?;
        state.forget(&gone.iter().map(|blob| blob.digest).collect());
        Ok(())
    }

    /// Several that are in each other's way wait for different times.
    fn pause(&self, ours: &Ours, attempt: u32) -> Duration {
        let names: String = ours.records.iter().map(|record| record.key.hex()).collect();
        let digest = Digest::of(format!("{attempt} {names}").as_bytes()).hex().to_owned();
        let share = u64::from_str_radix(&digest[..4], 16).unwrap_or_default();
        Duration::from_millis(share % (20 * u64::from(attempt.min(10) + 1)))
    }

    /// Sends the blobs of records, as far as the repository hasn't got them.
    fn send_blobs(
        &self,
        records: &[Record],
        blobs: Option<&dyn Source>,
        state: &State,
        kept: &mut Kept,
        cancel: &Cancel,
    ) -> Result<Ours, CacheError> {
        let mut ours = Ours {
            records: records.iter().map(|record| ours(record, blobs.is_some(), state)).collect(),
            layers: BTreeMap::new(),
            inventories: BTreeMap::new(),
        };
        for inventory in records.iter().filter_map(listing) {
            // What it holds was sent with the record.
            let Some(bytes) = inventory.embedded() else { continue };
            self.push_wrapped(inventory, &bytes, &mut ours, kept, cancel)?;
        }
        let Some(blobs) = blobs else { return Ok(ours) };
        let records = || records.iter().filter(|record| !record.is_listing());
        for layer in records().flat_map(|record| &record.layers) {
            let blob = plain(&layer.descriptor);
            if ours.layers.insert(blob.digest, blob.clone()).is_some()
                || state.layers.contains_key(&blob.digest)
            {
                continue;
            }
            let content = blobs.fetch(&blob).map_err(|fault| self.fault(fault))?;
            self.push(&blob, &*content, kept, cancel).map_err(|fault| self.fault(fault))?;
        }
        let inventories = records().filter_map(|record| record.inventory.as_ref());
        for inventory in inventories.filter(|inventory| inventory.data.is_none()) {
            if ours.inventories.contains_key(&inventory.digest) {
                continue;
            }
            if let Some(layer) = state.inventories.get(&inventory.digest) {
                ours.inventories.insert(inventory.digest, layer.clone());
                continue;
            }
            let bytes = read_whole(blobs, inventory, MAX_INVENTORY).map_err(|fault| self.fault(fault))?;
            self.push_wrapped(inventory, &bytes, &mut ours, kept, cancel)?;
        }
        Ok(ours)
    }

    fn push_wrapped(
        &self,
        inventory: &Descriptor,
        bytes: &[u8],
        ours: &mut Ours,
        kept: &mut Kept,
        cancel: &Cancel,
    ) -> Result<(), CacheError> {
        let (layer, tar) = wrap(inventory, bytes);
        self.push(&layer, &BytesContent::new(tar), kept, cancel).map_err(|fault| self.fault(fault))?;
        ours.inventories.insert(inventory.digest, layer);
        Ok(())
    }

    fn push(
        &self,
        blob: &Descriptor,
        content: &dyn Content,
        kept: &mut Kept,
        cancel: &Cancel,
    ) -> Result<(), BlobError> {
        let options = CopyOptions::new().cancel(cancel.clone());
        if push(blob, content, &*self.target, &options)? == Transfer::Sent {
            kept.add(blob.size);
        }
        Ok(())
    }

    /// Writes what is there and what is ours, unless another was faster; returns when it was looked
    /// whether one was.
    fn put(
        &self,
        ours: &Ours,
        found: Found,
        read: &mut Read,
        kept: &mut Kept,
        cancel: &Cancel,
    ) -> Result<Option<Instant>, BlobError> {
        let Found { root, mut state } = found;
        let mut next = self.next(ours, &state, read);
        let manifest = loop {
            for (layer, bytes) in &next.blobs {
                self.push(layer, &BytesContent::new(bytes.clone()), kept, cancel)?;
            }
            match self.push(&next.manifest.0, &BytesContent::new(next.manifest.1.clone()), kept, cancel) {
                Ok(()) => break next.manifest.0,
                Err(fault @ BlobError::Place { fault: PlaceFault::Lacking, .. }) => {
                    let gone = self.target.missing(&next.layers)?;
                    let known: BTreeSet<Digest> = gone.iter().map(|blob| blob.digest).collect();
                    let inventories = ours.inventories.values().map(|layer| &layer.digest);
                    let are_ours = ours.layers.keys().chain(inventories).any(|digest| known.contains(digest));
                    if known.is_empty() || are_ours {
                        return Err(fault);
                    }
                    state.forget(&known);
                    next = self.next(ours, &state, read);
                }
                Err(fault) => return Err(fault),
            }
        };
        let start = Instant::now();
        let now = match self.target.resolve(&self.tag) {
            Ok(now) => Some(now.digest),
            Err(BlobError::UnknownName { .. }) => None,
            Err(fault) => return Err(fault),
        };
        if now != root {
            return Ok(None);
        }
        self.target.tag(&manifest, &self.tag)?;
        Ok(Some(start))
    }

    fn next(&self, ours: &Ours, state: &State, read: &mut Read) -> Next {
        let generation = state.next_generation();
        let mut entries = state.entries.clone();
        let added = ours.records.iter().map(|record| Entry { generation, record: record.clone() });
        let added: Vec<Entry> = added.collect();
        merge(&mut entries, added.iter().cloned());
        // A pack that stays would bring back what is dropped: so all are packed anew then, and some more
        // is dropped, for that not to be with every write.
        let count = entries.len();
        trim(&mut entries, &self.limits);
        let packs: &[Pack] = if entries.len() < count {
            trim(&mut entries, &self.limits.with_room());
            &[]
        } else {
            &state.packs
        };
        let keys =
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
        let held = self.held(&entries, ours, state);
        Next::new(&packs, held, &entries, blobs)
    }

    /// The blobs that the manifest names: those of the records that stay, the last ones first, as far
    /// as the limits go.
    fn held(&self, entries: &Entries, ours: &Ours, state: &State) -> BTreeMap<Digest, Descriptor> {
        let mut held = BTreeMap::new();
        let inventory = |record: &Record| {
            let digest = record.inventory.as_ref()?.digest;
            ours.inventories.get(&digest).or(state.inventories.get(&digest))
        };
        let entries = by_recency(entries);
        let (listings, layers): (Vec<&Entry>, Vec<&Entry>) =
            entries.into_iter().partition(|entry| entry.record.is_listing());
        let mut bytes = 0_u64;
        for blob in layers.into_iter().flat_map(|entry| {
            let layers = entry.record.layers.iter().map(|layer| layer.descriptor.digest);
            let layers = layers.filter_map(|digest| ours.layers.get(&digest).or(state.layers.get(&digest)));
            layers.chain(inventory(&entry.record))
        }) {
            if held.contains_key(&blob.digest) {
                continue;
            }
            bytes = bytes.saturating_add(blob.size);
            if held.len() >= self.limits.blobs || bytes > self.limits.blob_bytes {
                break;
            }
            held.insert(blob.digest, blob.clone());
        }
        let mut bytes = 0_u64;
        for blob in listings.into_iter().filter_map(|entry| inventory(&entry.record)) {
            if held.contains_key(&blob.digest) {
                continue;
            }
            bytes = bytes.saturating_add(blob.size);
            if bytes > self.limits.listing_bytes {
                break;
            }
            held.insert(blob.digest, blob.clone());
        }
        held
    }
}

/// A manifest to be, with what it names.
struct Next {
    layers: Vec<Descriptor>,
    /// What isn't there yet.
    blobs: Vec<(Descriptor, Vec<u8>)>,
    manifest: (Descriptor, Vec<u8>),
}

impl Next {
    fn new(
        packs: &[Pack],
        held: BTreeMap<Digest, Descriptor>,
        entries: &Entries,
        mut blobs: Vec<(Descriptor, Vec<u8>)>,
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
        mark(&mut manifest);
        let bytes = to_json(&manifest);
        Self { layers, blobs, manifest: (Descriptor::of(MediaType::MANIFEST, &bytes), bytes) }
    }
}

/// A blob as a manifest of ours names it: what its descriptor says elsewhere is left out.
fn plain(blob: &Descriptor) -> Descriptor {
    Descriptor::new(blob.media_type.clone(), blob.digest, blob.size)
}

/// The listing of a base that a record is of.
fn listing(record: &Record) -> Option<&Descriptor> {
    record.inventory.as_ref().filter(|_| record.is_listing())
}

/// A record as it is written. Where blobs aren't sent with it, what is known of its inventory is what
/// the repository knows.
fn ours(record: &Record, with_blobs: bool, state: &State) -> Record {
    if let Some(inventory) = listing(record) {
        return Record { inventory: Some(plain(inventory)), ..record.clone() };
    }
    if with_blobs && record.inventory.is_some() {
        return record.clone();
    }
    match state.record(&record.key) {
        Some(known) if known.layers == record.layers => {
            let Record { inventory, entries, tar_size, .. } = known;
            Record { inventory, entries, tar_size, ..record.clone() }
        }
        _ => bare(record),
    }
}

/// Tells whether a repository answers as a record does, and has what it should have of it.
fn has(state: &State, record: &Record, with_blobs: bool) -> bool {
    let Some(known) = state.record(&record.key) else { return false };
    if let Some(listing) = listing(record) {
        return known.inventory.is_some_and(|known| known.digest == listing.digest);
    }
    let has_blobs = || {
        let layers = record.layers.iter().all(|layer| state.layers.contains_key(&layer.descriptor.digest));
        layers && (record.inventory.is_none() || known.inventory.is_some())
    };
    known.layers == record.layers && (!with_blobs || has_blobs())
}

fn wait(time: Duration, cancel: &Cancel) -> Result<(), CacheError> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        cancel.check()?;
        thread::sleep(left.min(Duration::from_millis(20)));
    }
    Ok(())
}

impl RecordSink for RepositoryCache {
    fn place(&self) -> String {
        format!("the cache `{}`", self.name)
    }

    fn keep(
        &self,
        records: &[Record],
        blobs: Option<&dyn Source>,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError> {
        self.write(&self.within_limits(records), blobs, cancel)
    }
}

/// The keys that a repository answers, for tests of it.
#[cfg(test)]
pub(super) fn keys(target: &dyn Target, tag: &str) -> BTreeSet<crate::key::Key> {
    let root = target.resolve(tag).unwrap();
    let manifest: Manifest = from_json(&read_whole(target, &root, MAX_MANIFEST_SIZE).unwrap()).unwrap();
    let state = State::read(&manifest, target, &mut Read::new(), &|_| false).unwrap();
    state.entries.keys().copied().collect()
}
