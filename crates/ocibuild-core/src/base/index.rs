//! Finds the entry of a directory by name: a hash table that holds four bytes an entry, because
//! the names already lie with the nodes.

use std::hash::{BuildHasher as _, RandomState};

/// Node numbers in open addressing, keyed by parent and name; nothing is ever taken out.
pub(super) struct Index {
    /// A node's number plus one, or zero.
    slots: Vec<u32>,
    used: usize,
    /// Keyed at random, so that nobody can choose names that collide. Nothing depends on the
    /// order that follows from it.
    state: RandomState,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), used: 0, state: RandomState::new() }
    }

    /// Finds a node; `key` gives the parent and name of a node.
    pub(super) fn find<'a>(
        &self,
        parent: u32,
        name: &[u8],
        key: impl Fn(u32) -> (u32, &'a [u8]),
    ) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.slots[self.slot(parent, name, key)].checked_sub(1)
    }

    /// Enters a node under its key, taking the place of another one there.
    pub(super) fn set<'a>(&mut self, node: u32, key: impl Fn(u32) -> (u32, &'a [u8])) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow(&key);
        }
        let (parent, name) = key(node);
        let slot = self.slot(parent, name, &key);
        self.used += usize::from(self.slots[slot] == 0);
        self.slots[slot] = node + 1;
    }

    /// Returns the slot that holds a key, or the free one where it belongs.
    fn slot<'a>(&self, parent: u32, name: &[u8], key: impl Fn(u32) -> (u32, &'a [u8])) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.state.hash_one((parent, name)) as usize & mask;
        while let Some(node) = self.slots[slot].checked_sub(1) {
            if key(node) == (parent, name) {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow<'a>(&mut self, key: impl Fn(u32) -> (u32, &'a [u8])) {
        let larger = vec![0; (self.slots.len() * 2).max(64)];
        let slots = std::mem::replace(&mut self.slots, larger);
        for node in slots.into_iter().filter_map(|slot| slot.checked_sub(1)) {
            let (parent, name) = key(node);
            let slot = self.slot(parent, name, &key);
            self.slots[slot] = node + 1;
        }
    }
}
