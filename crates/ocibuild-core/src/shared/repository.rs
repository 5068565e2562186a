//! A cache repository: records of many builds under one tag, as an image that every registry takes.
//!
//! Registries can't compare and swap. So what is there is read and merged, the tag is looked at again
//! right before it is moved, and looked at once more a while after that. Each manifest names the writes
//! that went into it: who finds another's there knows by that whether it went over ours, which is merged
//! again then, or was made of it, and is right whatever it says. How long a while is follows from how
//! long writing took us, as it takes others who run beside us as long. What a slower one takes away in
//! spite of all that costs a build, no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::blob::{BlobError, BytesContent, PlaceFault, Source, Target, read_whole};
use crate::cache::{CacheError, Kept, Record, RecordSink, unusable};
use crate::digest::Digest;
use crate::event::Cancel;
use crate::key::Key;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, Manifest, from_json};
use crate::shared::next::Next;
use crate::shared::parcel::{Parcel, Sender, choose};
use crate::shared::state::{Read, RepositoryLimits, State, Write, is_cache, is_known, writes};

/// How often it is tried to write beside others.
const MAX_ATTEMPTS: u32 = 40;
/// How often all is sent again where the place says that something of it isn't there.
const MAX_LACKINGS: u32 = 5;
/// How long to wait, at the least and at the most, until another that looked at the tag before it was
/// moved has moved it, too.
const SETTLE: [Duration; 2] = [Duration::from_millis(150), Duration::from_secs(3)];

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

/// Our own writes of a run, and how others were met.
#[derive(Default)]
struct Course {
    own: Vec<Write>,
    /// How often others were in the way.
    rivals: u32,
}

impl Course {
    /// How long to wait for others, if writing took us so long: they may be as slow, and the more of
    /// them there are, the slower.
    fn delay(&self, took: Duration, [least, most]: [Duration; 2]) -> Duration {
        (took * (1 + self.rivals.min(3))).clamp(least, most)
    }
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

    fn root(&self) -> Result<Option<Descriptor>, BlobError> {
        match self.target.resolve(&self.tag) {
            Ok(root) => Ok(Some(root)),
            Err(BlobError::UnknownName { .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Reads the manifest that is there. What isn't a cache is not written over.
    fn manifest(&self, root: &Descriptor) -> Result<Option<Manifest>, CacheError> {
        let no_cache = |what| Err(CacheError::NoCache { place: self.place(), what });
        if !root.media_type.is_manifest() {
            return no_cache("an index of images");
        }
        match read_whole(&*self.target, root, MAX_MANIFEST_SIZE) {
            Ok(bytes) => match from_json::<Manifest>(&bytes).ok().filter(is_cache) {
                Some(manifest) if is_known(&manifest) => Ok(Some(manifest)),
                Some(_) => no_cache("a cache of another version"),
                None => no_cache("an image"),
            },
            // It went between two questions.
            Err(fault) if fault.is_absence() => Ok(None),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// Tells whether one of our own writes is what is there, or went into it.
    fn is_there(&self, own: &[Write]) -> Result<bool, CacheError> {
        let Some(root) = self.root().map_err(|fault| self.fault(fault))? else { return Ok(false) };
        if own.contains(&Write::of(&root.digest)) {
            return Ok(true);
        }
        let manifest = self.manifest(&root)?;
        Ok(manifest.is_some_and(|manifest| writes(&manifest).iter().any(|write| own.contains(write))))
    }

    /// Waits until others who looked at the tag before we moved it have moved it, too; tells as soon as
    /// one of them went over ours.
    fn is_settled(&self, course: &Course, took: Duration, cancel: &Cancel) -> Result<bool, CacheError> {
        let (mut left, mut step) = (course.delay(took, self.settle), self.settle[0]);
        loop {
            wait(step.min(left), cancel)?;
            match self.is_there(&course.own) {
                Ok(true) => {}
                // It was written; a look that fails takes nothing away from that.
                Err(CacheError::Place { .. }) => return Ok(true),
                answer => return answer,
            }
            left = left.saturating_sub(step);
            if left.is_zero() {
                return Ok(true);
            }
            step *= 2;
        }
    }

    /// Reads what is there.
    fn read(&self, read: &mut Read) -> Result<Found, CacheError> {
        let nothing = Found { root: None, state: State::default() };
        let Some(root) = self.root().map_err(|fault| self.fault(fault))? else { return Ok(nothing) };
        let Some(manifest) = self.manifest(&root)? else { return Ok(nothing) };
        // What can't be read is of no use to anybody, and is written over.
        let mut lost = |fault: BlobError| match fault {
            BlobError::Corrupt { .. } => Ok(()),
            fault if fault.is_absence() => Ok(()),
            fault => Err(fault),
        };
        let state = State::read(&manifest, &*self.target, read, &mut lost);
        let state = state.map_err(|fault| self.fault(fault))?;
        Ok(Found { root: Some(root.digest), state })
    }

    /// Writes until what was written is there, or went into what another wrote: who reads it and writes
    /// then keeps of it what there is room for, and disagrees with it knowingly.
    fn write(
        &self,
        records: &[Record],
        others: &[Key],
        blobs: Option<&dyn Source>,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError> {
        let (wanted, left_out) = choose(records, blobs.is_some(), &self.limits);
        let kept = Kept { left_out, ..Kept::default() };
        let mut sender = Sender { target: &*self.target, cancel, kept };
        let (mut read, mut course) = (Read::new(), Course::default());
        let mut sent: Option<Parcel> = None;
        let mut lackings = 0;
        for attempt in 0..MAX_ATTEMPTS {
            cancel.check()?;
            let mut found = self.read(&mut read)?;
            if lackings > 0 {
                self.forget(&mut found.state).map_err(|fault| self.fault(fault))?;
            }
            let new = wanted.iter().filter(|one| !one.is_in(&found.state)).count();
            if new == 0 {
                return Ok(sender.kept);
            }
            if attempt == 0 {
                sender.kept.records = new as u64;
            }
            let parcel = match sent.take() {
                Some(parcel) => parcel,
                None => {
                    // What there is room for beside what is told.
                    let all = [records, &found.state.whole(others)].concat();
                    let (all, _) = choose(&all, blobs.is_some(), &self.limits);
                    sender.parcel(&all, blobs, &found.state).map_err(|fault| self.fault(fault))?
                }
            };
            let start = Instant::now();
            match self.put(&parcel, found, &mut read, &mut sender) {
                Ok(Some(write)) => {
                    course.own.push(write);
                    if self.is_settled(&course, start.elapsed(), cancel)? {
                        return Ok(sender.kept);
                    }
                }
                Ok(None) => wait(pause(&parcel, attempt), cancel)?,
                // What was said to be there isn't, or not yet: all is looked at and sent again.
                Err(BlobError::Place { fault: PlaceFault::Lacking, .. }) if lackings < MAX_LACKINGS => {
                    let [least, most] = self.settle;
                    wait((least * 2_u32.pow(lackings)).min(most), cancel)?;
                    lackings += 1;
                    continue;
                }
                Err(fault) => return Err(self.fault(fault)),
            }
            course.rivals += 1;
            sent = Some(parcel);
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

    /// Writes what is there and what is ours, unless another was faster.
    fn put(
        &self,
        parcel: &Parcel,
        found: Found,
        read: &mut Read,
        sender: &mut Sender<'_>,
    ) -> Result<Option<Write>, BlobError> {
        let Found { root, mut state } = found;
        let manifest = loop {
            let next = Next::of(parcel, (root.as_ref(), &state), &self.limits, read);
            for (layer, bytes) in next.blobs {
                sender.push(&layer, &BytesContent::new(bytes))?;
            }
            let (manifest, bytes) = next.manifest;
            match sender.push(&manifest, &BytesContent::new(bytes)) {
                Ok(()) => break manifest,
                Err(fault @ BlobError::Place { fault: PlaceFault::Lacking, .. }) => {
                    let gone = self.target.missing(&next.layers)?;
                    let known: BTreeSet<Digest> = gone.iter().map(|blob| blob.digest).collect();
                    let inventories = parcel.inventories.values().map(|layer| &layer.digest);
                    let is_ours = |digest| known.contains(digest);
                    let is_ours = parcel.layers.keys().chain(inventories).any(is_ours);
                    // Without anything less, it would be the same again.
                    if is_ours || !state.forget(&known) {
                        return Err(fault);
                    }
                }
                Err(fault) => return Err(fault),
            }
        };
        if self.root()?.map(|root| root.digest) != root {
            return Ok(None);
        }
        self.target.tag(&manifest, &self.tag)?;
        Ok(Some(Write::of(&manifest.digest)))
    }
}

/// Several that are in each other's way wait for different times.
fn pause(parcel: &Parcel, attempt: u32) -> Duration {
    let names: String = parcel.records.iter().map(|record| record.key.hex()).collect();
    let digest = Digest::of(format!("{attempt} {names}").as_bytes()).hex().to_owned();
    let share = u64::from_str_radix(&digest[..4], 16).unwrap_or_default();
    Duration::from_millis(share % (20 * u64::from(attempt.min(10) + 1)))
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
        self.write(records, &[], blobs, cancel)
    }

    fn keep_beside(
        &self,
        records: &[Record],
        others: &[Key],
        blobs: &dyn Source,
        cancel: &Cancel,
    ) -> Result<Kept, CacheError> {
        self.write(records, others, Some(blobs), cancel)
    }
}

/// The keys that a repository answers, for tests of it.
#[cfg(test)]
pub(super) fn keys(target: &dyn Target, tag: &str) -> BTreeSet<crate::key::Key> {
    let root = target.resolve(tag).unwrap();
    let manifest: Manifest = from_json(&read_whole(target, &root, MAX_MANIFEST_SIZE).unwrap()).unwrap();
    let state = State::read(&manifest, target, &mut Read::new(), &mut Err).unwrap();
    state.entries.keys().copied().collect()
}
