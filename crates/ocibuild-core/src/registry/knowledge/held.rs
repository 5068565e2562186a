//! Which repositories of a registry hold what.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::remote::kind;

/// How long it is taken for true: programs may keep a client for days, and registries tidy up.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// The most blobs and manifests of which something is noted; beyond, all is forgotten.
const MAX_ITEMS: usize = 20_000;
/// The most repositories of one blob of which something is noted; beyond, the first are forgotten.
const MAX_REPOSITORIES: usize = 16;

/// How something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Mark {
    /// It was sent, mounted, read or asked for there.
    Held,
    /// It should be there, as it is below a manifest that is.
    Assumed,
    /// It was asked for, and wasn't there.
    Lacked,
}

/// A blob and a manifest of the same bytes are two things.
type Item = (Digest, &'static str);

struct Note {
    repository: Repository,
    mark: Mark,
    at: Instant,
}

/// What all repositories of a registry hold, as far as it is known.
#[derive(Default)]
pub(super) struct Held(BTreeMap<Item, Vec<Note>>);

impl Held {
    pub(super) fn note(&mut self, repository: &Repository, descriptor: &Descriptor, mark: Mark) {
        // What is sure isn't made less so, and what was asked before it was sent is old.
        if mark != Mark::Held && self.holds(repository, descriptor) {
            return;
        }
        self.forget(repository, descriptor);
        if self.0.len() >= MAX_ITEMS {
            self.0.clear();
        }
        let notes = self.0.entry(item(descriptor)).or_default();
        if notes.len() >= MAX_REPOSITORIES {
            notes.remove(0);
        }
        notes.push(Note { repository: repository.clone(), mark, at: Instant::now() });
    }

    pub(super) fn forget(&mut self, repository: &Repository, descriptor: &Descriptor) {
        if let Some(notes) = self.0.get_mut(&item(descriptor)) {
            notes.retain(|note| note.repository != *repository);
        }
    }

    pub(super) fn forget_repository(&mut self, repository: &Repository) {
        self.0.values_mut().for_each(|notes| notes.retain(|note| note.repository != *repository));
    }

    pub(super) fn holds(&self, repository: &Repository, descriptor: &Descriptor) -> bool {
        self.mark(repository, descriptor) == Some(Mark::Held)
    }

    pub(super) fn lacks(&mut self, repository: &Repository, descriptor: &Descriptor) -> bool {
        let lacks = self.mark(repository, descriptor) == Some(Mark::Lacked);
        if lacks {
            self.forget(repository, descriptor);
        }
        lacks
    }

    pub(super) fn holders(&self, blob: &Descriptor) -> Vec<(Repository, bool)> {
        let with = |mark: Mark| {
            let notes = self.fresh(blob).filter(move |note| note.mark == mark);
            notes.map(move |note| (note.repository.clone(), mark == Mark::Held))
        };
        with(Mark::Held).chain(with(Mark::Assumed)).collect()
    }

    fn mark(&self, repository: &Repository, descriptor: &Descriptor) -> Option<Mark> {
        self.fresh(descriptor).find(|note| note.repository == *repository).map(|note| note.mark)
    }

    fn fresh(&self, descriptor: &Descriptor) -> impl Iterator<Item = &Note> {
        let notes = self.0.get(&item(descriptor)).into_iter().flatten();
        notes.filter(|note| note.at.elapsed() < FRESH)
    }
}

fn item(descriptor: &Descriptor) -> Item {
    (descriptor.digest, kind(descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;
    use crate::reference::Reference;

    fn repository(path: &str) -> Repository {
        format!("r.io/{path}").parse::<Reference>().unwrap().repository().clone()
    }

    #[test]
    fn what_is_noted_last_counts_and_a_guess_takes_nothing_back() {
        let mut held = Held::default();
        let (one, other) = (repository("one"), repository("other"));
        let blob = Descriptor::of(MediaType::LAYER, b"x");
        let manifest = Descriptor::of(MediaType::MANIFEST, b"x");
        held.note(&one, &blob, Mark::Lacked);
        assert!(!held.holds(&one, &blob) && !held.lacks(&other, &blob));
        assert!(held.lacks(&one, &blob));
        assert!(!held.lacks(&one, &blob), "it is told once");
        held.note(&one, &blob, Mark::Assumed);
        assert!(!held.holds(&one, &blob));
        held.note(&other, &blob, Mark::Held);
        held.note(&other, &blob, Mark::Assumed);
        assert_eq!(held.holders(&blob), [(other.clone(), true), (one.clone(), false)]);
        assert!(held.holders(&manifest).is_empty());
        held.note(&other, &manifest, Mark::Held);
        held.forget(&other, &blob);
        assert_eq!(held.holders(&blob), [(one.clone(), false)]);
        held.forget_repository(&other);
        assert!(held.holders(&manifest).is_empty() && !held.holders(&blob).is_empty());
    }

    #[test]
    fn there_is_a_bound_on_what_is_noted() {
        let mut held = Held::default();
        let blob = Descriptor::of(MediaType::LAYER, b"x");
        for number in 0..100 {
            held.note(&repository(&format!("a{number}")), &blob, Mark::Held);
        }
        let holders = held.holders(&blob);
        assert_eq!((holders.len(), holders[15].0.path()), (MAX_REPOSITORIES, "a99"));
        for number in 0..MAX_ITEMS as u32 {
            held.note(&repository("a"), &Descriptor::of(MediaType::LAYER, &number.to_le_bytes()), Mark::Held);
        }
        assert!(held.0.len() <= MAX_ITEMS);
    }
}
