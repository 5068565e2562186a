//! What uploads have found out about registries in this run, so that no two of them find it out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The largest body that is tried first where a whole blob is too large, in bytes.
const FIRST_CHUNK: u64 = 16 << 20;

/// What is known of each registry, by its name in references.
#[derive(Default)]
pub(super) struct Learned(Mutex<BTreeMap<String, Bodies>>);

/// Which bodies a registry takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bodies {
    /// The size of the largest that was taken, in bytes.
    passed: u64,
    /// The size of the smallest that was too large.
    refused: Option<u64>,
    /// Whether blobs that came in chunks came out wrong.
    pub(super) whole_only: bool,
}

impl Learned {
    /// Returns what is known of a registry.
    pub(super) fn bodies(&self, registry: &str) -> Bodies {
        self.all().get(&registry.to_ascii_lowercase()).copied().unwrap_or_default()
    }

    /// Adds to what is known of a registry.
    pub(super) fn learn(&self, registry: &str, lesson: impl FnOnce(&mut Bodies)) {
        lesson(self.all().entry(registry.to_ascii_lowercase()).or_default());
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Bodies>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bodies {
    /// Returns the size up to which a body will do, as far as is known.
    pub(super) fn bound(&self) -> u64 {
        match self.refused {
            None => u64::MAX,
            Some(refused) => self.passed.max((refused / 2).min(FIRST_CHUNK)),
        }
    }

    /// Takes note of a body that was taken; what was said of smaller ones before no longer holds.
    pub(super) fn pass(&mut self, size: u64) {
        self.passed = self.passed.max(size);
        self.refused = self.refused.filter(|refused| *refused > self.passed);
    }

    /// Takes note of a body that was too large.
    pub(super) fn refuse(&mut self, size: u64) {
        self.refused = Some(self.refused.map_or(size, |refused| refused.min(size)));
        if self.passed >= size {
            self.passed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_halved_until_one_passes_and_that_is_kept_to() {
        let mut bodies = Bodies::default();
        bodies.pass(300);
        assert_eq!(bodies.bound(), u64::MAX);
        bodies.refuse(8 << 20);
        assert_eq!(bodies.bound(), 4 << 20);
        bodies.refuse(4 << 20);
        assert_eq!(bodies.bound(), 2 << 20);
        bodies.pass(2 << 20);
        bodies.refuse(100 << 20);
        assert_eq!(bodies.bound(), 2 << 20);
        bodies.pass((3 << 20) + 1);
        assert_eq!(bodies.bound(), (3 << 20) + 1);
        let mut large = Bodies::default();
        large.refuse(1 << 30);
        assert_eq!(large.bound(), FIRST_CHUNK);
    }

    #[test]
    fn what_no_longer_holds_is_forgotten() {
        let mut bodies = Bodies::default();
        bodies.pass(10 << 20);
        bodies.refuse(8 << 20);
        assert_eq!(bodies.bound(), 4 << 20);
        bodies.pass(9 << 20);
        assert_eq!(bodies.bound(), u64::MAX);
    }

    #[test]
    fn registries_are_told_apart_but_not_by_case() {
        let learned = Learned::default();
        learned.learn("One.example", |bodies| bodies.refuse(8));
        assert_eq!(learned.bodies("one.example").bound(), 4);
        assert_eq!(learned.bodies("two.example").bound(), u64::MAX);
    }
}
