//! One bound on the memory that all layers of a build have under way.

use std::sync::{Condvar, Mutex, PoisonError};

/// A number of bytes that blocks share.
///
/// A layer takes room for its blocks in their order, so the first block that isn't written yet
/// always has its room: whoever waits, waits for work that goes on.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    /// The budget where none is given: 32 MiB.
    pub const DEFAULT: u64 = 32 << 20;

    /// Makes a budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { total: bytes, free: Mutex::new(bytes), freed: Condvar::new() }
    }

    /// Waits until there is room. What is larger than the whole budget waits for all of it.
    pub(super) fn take(&self, bytes: u64) -> Room<'_> {
        let bytes = bytes.min(self.total);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.freed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Room { budget: self, bytes }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::DEFAULT)
    }
}

/// Room taken from a [`Budget`]; given back when dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.budget.freed.notify_all();
    }
}
