//! Work that is done in order, on items that come in any order, by whoever is there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes numbered items in any order from many threads, and works on them in their order, one at a
/// time.
///
/// No thread waits: whoever brings an item works on all that are due, unless somebody is at it
/// already, who then takes this one along.
pub(super) struct Ordered<T, S> {
    queue: Mutex<Queue<T>>,
    state: Mutex<S>,
}

struct Queue<T> {
    next: usize,
    waiting: BTreeMap<usize, T>,
    busy: bool,
    abandoned: bool,
}

impl<T, S> Ordered<T, S> {
    /// Starts with item 0 due, and the state that the work goes on.
    pub(super) fn new(state: S) -> Self {
        Self {
            queue: Mutex::new(Queue { next: 0, waiting: BTreeMap::new(), busy: false, abandoned: false }),
            state: Mutex::new(state),
        }
    }

    /// Brings an item.
    ///
    /// # Errors
    /// The first error of the work, to whoever does it; nothing is worked on after it.
    pub(super) fn push<E>(
        &self,
        index: usize,
        item: T,
        work: impl Fn(&mut S, T) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut queue = self.queue();
        if queue.abandoned {
            return Ok(());
        }
        queue.waiting.insert(index, item);
        if queue.busy {
            return Ok(());
        }
        queue.busy = true;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = queue.next;
            let Some(item) = queue.waiting.remove(&next) else {
                queue.busy = false;
                return Ok(());
            };
            drop(queue);
            if let Err(fault) = work(&mut state, item) {
                self.abandon();
                return Err(fault);
            }
            queue = self.queue();
            queue.next += 1;
        }
    }

    /// Drops what waits and what still comes: an item is missing that will never come.
    pub(super) fn abandon(&self) {
        let mut queue = self.queue();
        queue.abandoned = true;
        queue.waiting.clear();
    }

    /// Gives the state back, after every item has been worked on.
    pub(super) fn into_state(self) -> S {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_worked_on_in_order_from_many_threads() {
        let ordered = Ordered::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let ordered = &ordered;
                scope.spawn(move || {
                    for index in (0..1000).filter(|index| index % 4 == thread) {
                        let work = |seen: &mut Vec<usize>, item| {
                            seen.push(item);
                            Ok::<(), ()>(())
                        };
                        ordered.push(index, index, work).unwrap();
                    }
                });
            }
        });
        assert_eq!(ordered.into_state(), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_follows_an_error() {
        let ordered = Ordered::new(Vec::new());
        let work = |seen: &mut Vec<usize>, item| {
            seen.push(item);
            if item == 1 { Err(()) } else { Ok(()) }
        };
        assert!(ordered.push(1, 1, work).is_ok());
        assert!(ordered.push(0, 0, work).is_err());
        assert!(ordered.push(2, 2, work).is_ok());
        assert_eq!(ordered.into_state(), [0, 1]);
    }
}
