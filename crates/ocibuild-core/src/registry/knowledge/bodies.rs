//! How large requests a registry takes.

use serde::{Deserialize, Serialize};

/// The largest body that is tried first where a whole blob is too large, in bytes.
const FIRST_CHUNK: u64 = 16 << 20;

/// A registry that takes no body of this size takes none of use, in bytes: it isn't the size then.
pub(in crate::registry) const LEAST_BODY: u64 = 64 << 10;
/// A bound that is smaller is found out again in each run, in bytes.
const LEAST_REFUSED: u64 = 128 << 10;
/// Larger numbers aren't the same to all readers of JSON.
const MAX_SIZE: u64 = 1 << 53;

/// Which bodies a registry takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::registry) struct Bodies {
    /// The size of the largest that was taken, in bytes.
    passed: u64,
    /// The size of the smallest that was too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
    /// Whether blobs that came in chunks came out wrong.
    pub(in crate::registry) whole_only: bool,
}

impl Bodies {
    /// The same as far as another run has a use for it: what is taken matters where not all is.
    pub(super) fn lasting(self) -> Self {
        Self { passed: self.refused.map_or(0, |_| self.passed), ..self }
    }

    /// What was kept by another run, if it makes sense: nothing is sent in crumbs because of a file.
    pub(super) fn plausible(self) -> Self {
        let is_plausible = |refused| refused >= LEAST_REFUSED && self.passed < refused;
        if self.refused.is_none_or(is_plausible) { self } else { Self::default() }
    }

    /// Returns the size up to which a body will do, as far as is known.
    pub(in crate::registry) fn bound(&self) -> u64 {
        match self.refused {
            None => u64::MAX,
            Some(refused) => self.passed.max((refused / 2).min(FIRST_CHUNK)),
        }
    }

    /// Takes note of a body that was taken; what was said of smaller ones before no longer holds.
    pub(in crate::registry) fn pass(&mut self, size: u64) {
        self.passed = self.passed.max(size.min(MAX_SIZE));
        self.refused = self.refused.filter(|refused| *refused > self.passed);
    }

    /// Takes note of a body that was too large, so that it can't go whole. What is said of a small one is
    /// no measure for others, which would be sent in crumbs.
    pub(in crate::registry) fn refuse(&mut self, size: u64) {
        if size <= LEAST_BODY {
            return;
        }
        self.whole_only = false;
        let size = size.min(MAX_SIZE);
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
    fn small_bodies_are_no_measure() {
        for size in [0, 1, 1000, LEAST_BODY] {
            let mut bodies = Bodies::default();
            bodies.pass(size);
            bodies.refuse(size);
            assert_eq!(bodies.bound(), u64::MAX, "{size}");
        }
        let mut bodies = Bodies::default();
        bodies.refuse(LEAST_BODY + 1);
        assert_eq!(bodies.bound(), LEAST_BODY / 2);
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
}
