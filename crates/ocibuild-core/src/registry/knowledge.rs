//! What is known of registries: what they can do, and what their repositories hold.
//!
//! It spares requests, and is never relied on: what is known and wrong costs a request, and is known
//! better then. What a registry can do is kept from run to run ([`Memory`]); what it holds is known
//! for a while only, as others may take it away.

mod bodies;
mod facts;
mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::digest::Digest;
use crate::oci::{Descriptor, MediaType};
use crate::reference::Repository;
use crate::registry::http::watch::{Pulse, Stop, Watch};
use crate::registry::{Memory, RegistryError};

pub(super) use bodies::{Bodies, LEAST_BODY};
use facts::Facts;
use held::Held;
pub(super) use held::Mark;

/// The most repositories of which something is noted.
const MAX_REPOSITORIES: usize = 1000;

/// What is known of all registries that a client has met.
pub(super) struct Knowledge {
    memory: Arc<dyn Memory>,
    registries: Mutex<BTreeMap<String, Arc<Known>>>,
}

impl Knowledge {
    /// Begins with what the memory has, which is read when it is first asked for.
    pub(super) fn new(memory: Arc<dyn Memory>) -> Self {
        Self { memory, registries: Mutex::default() }
    }

    /// What is known of one of them, named as in references.
    pub(super) fn of(&self, registry: &str) -> Arc<Known> {
        let name = registry.to_ascii_lowercase();
        let mut registries = lock(&self.registries);
        let known = registries.entry(name).or_insert_with_key(|name| {
            Arc::new(Known {
                name: name.clone(),
                memory: Arc::clone(&self.memory),
                facts: OnceLock::new(),
                held: Mutex::default(),
                closed: Mutex::default(),
                written: Mutex::default(),
                referrers: Mutex::default(),
                turns: Mutex::default(),
            })
        });
        Arc::clone(known)
    }
}

/// What is known of one registry.
pub(super) struct Known {
    name: String,
    memory: Arc<dyn Memory>,
    facts: OnceLock<Mutex<Facts>>,
    held: Mutex<Held>,
    /// Pairs of repositories: from the first, the second may mount nothing.
    closed: Mutex<BTreeSet<(Repository, Repository)>>,
    /// Repositories that something was written to.
    written: Mutex<BTreeSet<Repository>>,
    /// Whether it keeps lists of referrers, as this run has seen.
    referrers: Mutex<Option<bool>>,
    turns: Mutex<BTreeMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
}

impl Known {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        let facts = self.facts.get_or_init(|| {
            let kept = self.memory.load(&self.name).and_then(|bytes| Facts::parse(&bytes));
            let facts = kept.map(Facts::in_another_run).unwrap_or_default();
            if facts != Facts::default() {
                self.memory.save(&self.name, &facts.to_bytes());
            }
            Mutex::new(facts)
        });
        lock(facts)
    }

    fn learn(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts();
        let before = facts.clone();
        change(&mut facts);
        if facts.is_worth_keeping(&before) {
            self.memory.save(&self.name, &facts.to_bytes());
        }
    }

    /// Tells whether there is a point in asking for mounts.
    pub(super) fn mounts(&self) -> bool {
        self.facts().mounts()
    }

    /// Notes whether it took a blob over that could be had from its own repository.
    pub(super) fn mounted(&self, it_did: bool) {
        self.learn(|facts| facts.mounted(it_did));
    }

    /// What is known of the size of requests.
    pub(super) fn bodies(&self) -> Bodies {
        self.facts().bodies
    }

    /// Adds to what is known of the size of requests.
    pub(super) fn learn_of_bodies(&self, lesson: impl FnOnce(&mut Bodies)) {
        self.learn(|facts| lesson(&mut facts.bodies));
    }

    /// Tells whether it keeps lists of referrers, if that was seen in this run.
    pub(super) fn referrers(&self) -> Option<bool> {
        *lock(&self.referrers)
    }

    /// Tells whether an earlier run found it to keep no lists of referrers. It may by now: so that is
    /// a reason to write a list, and none not to look for one.
    pub(super) fn had_no_referrers(&self) -> bool {
        self.facts().referrers == Some(false)
    }

    /// Notes whether it keeps lists of referrers.
    pub(super) fn keeps_referrers(&self, yes: bool) {
        *lock(&self.referrers) = Some(yes);
        self.learn(|facts| facts.referrers = Some(yes));
    }

    /// Notes what a repository was found to hold, or not to.
    pub(super) fn note(&self, repository: &Repository, descriptor: &Descriptor, mark: Mark) {
        lock(&self.held).note(repository, descriptor, mark);
    }

    /// Notes that a repository doesn't have a blob or manifest. If it was known to, others do more
    /// than was thought, and nothing of it is known any more.
    pub(super) fn contradict(&self, repository: &Repository, descriptor: &Descriptor) {
        let mut held = lock(&self.held);
        match held.holds(repository, descriptor) {
            true => held.forget_repository(repository),
            false => held.forget(repository, descriptor),
        }
    }

    /// Forgets that a repository holds something, as it turned out not to.
    pub(super) fn doubt(&self, repository: &Repository, digest: &Digest) {
        for media_type in [MediaType::LAYER, MediaType::MANIFEST] {
            lock(&self.held).forget(repository, &Descriptor::new(media_type, *digest, 0));
        }
    }

    /// Tells whether a repository was found, a while ago at most, to hold a blob or manifest.
    pub(super) fn holds(&self, repository: &Repository, descriptor: &Descriptor) -> bool {
        lock(&self.held).holds(repository, descriptor)
    }

    /// Tells whether a repository was asked for it and didn't have it; tells so once, as it is about
    /// to change.
    pub(super) fn lacks(&self, repository: &Repository, descriptor: &Descriptor) -> bool {
        lock(&self.held).lacks(repository, descriptor)
    }

    /// The repositories that hold a blob, and whether that is sure; what is sure comes first.
    pub(super) fn holders(&self, blob: &Descriptor) -> Vec<(Repository, bool)> {
        lock(&self.held).holders(blob)
    }

    /// Notes that nothing may be mounted from a repository into another.
    pub(super) fn close(&self, from: &Repository, to: &Repository) {
        let mut closed = lock(&self.closed);
        if closed.len() < MAX_REPOSITORIES {
            closed.insert((from.clone(), to.clone()));
        }
    }

    /// Tells whether nothing may be mounted from a repository into another.
    pub(super) fn is_closed(&self, from: &Repository, to: &Repository) -> bool {
        lock(&self.closed).contains(&(from.clone(), to.clone()))
    }

    /// Notes that a repository took a manifest.
    pub(super) fn wrote(&self, repository: &Repository) {
        let mut written = lock(&self.written);
        if written.len() < MAX_REPOSITORIES {
            written.insert(repository.clone());
        }
    }

    /// Tells whether a repository took a manifest: then it may be written to.
    pub(super) fn writes(&self, repository: &Repository) -> bool {
        lock(&self.written).contains(repository)
    }

    /// Waits until nobody else brings the same blob to this registry: what they brought can then be
    /// mounted.
    pub(super) async fn turn(&self, digest: &Digest, watch: &Watch) -> Result<Turn, RegistryError> {
        let turn = {
            let mut turns = lock(&self.turns);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(*digest).or_default())
        };
        match watch.patient().over(&Pulse::default(), turn.lock_owned()).await {
            Ok(guard) => Ok(Turn(guard)),
            Err(Stop::Cancelled(cancelled)) => Err(cancelled.into()),
            Err(Stop::Idle) => Err(RegistryError::Ended),
        }
    }
}

/// The turn of one who brings a blob, until it is dropped.
pub(super) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] OwnedMutexGuard<()>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was saved, and how often.
    #[derive(Default)]
    struct Kept(Mutex<(Option<Vec<u8>>, usize)>);

    impl Memory for Kept {
        fn load(&self, registry: &str) -> Option<Vec<u8>> {
            assert_eq!(registry, "r.io");
            lock(&self.0).0.clone()
        }

        fn save(&self, registry: &str, bytes: &[u8]) {
            assert_eq!(registry, "r.io");
            let mut kept = lock(&self.0);
            *kept = (Some(bytes.to_vec()), kept.1 + 1);
        }
    }

    fn run(kept: &Arc<Kept>) -> Arc<Known> {
        Knowledge::new(Arc::clone(kept) as Arc<dyn Memory>).of("R.io")
    }

    #[test]
    fn mounts_that_come_to_nothing_are_not_asked_for_any_more_and_then_again() {
        let kept = Arc::new(Kept::default());
        let known = run(&kept);
        for did in [false, false, true, false, false] {
            known.mounted(did);
            assert!(known.mounts());
        }
        known.mounted(false);
        assert!(!known.mounts());
        let runs = (0..).take_while(|_| !run(&kept).mounts()).count();
        assert_eq!(runs, facts::MAX_RUNS as usize);
        assert!(run(&kept).mounts());
    }

    #[test]
    fn what_is_kept_is_found_by_the_next_run() {
        let kept = Arc::new(Kept::default());
        let known = run(&kept);
        assert_eq!(known.bodies(), Bodies::default());
        known.learn_of_bodies(|bodies| bodies.pass(500 << 10));
        known.learn_of_bodies(|bodies| bodies.refuse(900 << 10));
        known.keeps_referrers(false);
        let next = run(&kept);
        assert_eq!(next.bodies(), known.bodies());
        assert_eq!(
            (next.bodies().bound(), next.referrers(), next.had_no_referrers()),
            (500 << 10, None, true)
        );
        // What is taken now was not refused for its size.
        next.learn_of_bodies(|bodies| bodies.pass(900 << 10));
        assert_eq!(run(&kept).bodies().bound(), u64::MAX);
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        for bytes in
            [&b""[..], b"{}", b"[1]", b"{\"version\":2,\"mounts_refused\":9}", b"\xff", &[b' '; 99_999]]
        {
            let kept = Arc::new(Kept(Mutex::new((Some(bytes.to_vec()), 0))));
            assert!(run(&kept).mounts());
            assert_eq!(lock(&kept.0).1, 0);
        }
    }

    #[test]
    fn nothing_is_written_that_was_known() {
        let kept = Arc::new(Kept::default());
        let known = run(&kept);
        for _ in 0..5 {
            known.mounted(true);
            known.learn_of_bodies(|bodies| bodies.pass(1 << 20));
            known.keeps_referrers(true);
        }
        assert_eq!(lock(&kept.0).1, 1);
    }
}
