//! Many questions at a time: what takes long is the way there and back.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Works on all items, so many at a time, on threads that may wait and on the caller's, which would wait
/// otherwise; returns what came of each, in order. Where no thread is to be had, the others do its work.
///
/// # Errors
/// The first failure; nothing is begun after it.
pub fn many<I: Sync, T: Send + Sync, E: Send + Sync>(
    items: &[I],
    at_once: usize,
    work: impl Fn(&I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (next, fault) = (AtomicUsize::new(0), OnceLock::new());
    let done: Vec<OnceLock<T>> = items.iter().map(|_| OnceLock::new()).collect();
    let take = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        items.get(at).zip(done.get(at))
    };
    let go = || {
        for (item, place) in std::iter::from_fn(take) {
            match work(item) {
                // Nobody else has this number.
                Ok(result) => drop(place.set(result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    drop(fault.set(error));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..at_once.min(items.len()) {
            if thread::Builder::new().spawn_scoped(scope, go).is_err() {
                break;
            }
        }
        go();
    });
    match fault.into_inner() {
        Some(error) => Err(error),
        None => Ok(done.into_iter().filter_map(OnceLock::into_inner).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_worked_on_side_by_side_and_told_in_order() {
        let items: Vec<usize> = (0..100).collect();
        // Who waits for another would wait for ever, were they not side by side.
        let barrier = std::sync::Barrier::new(10);
        let twice = many(&items, 10, |item| {
            barrier.wait();
            Ok::<_, ()>(item * 2)
        });
        assert_eq!(twice.unwrap(), (0..100).map(|item| item * 2).collect::<Vec<_>>());
        assert!(many(&[] as &[usize], 7, |_| Ok::<_, ()>(())).unwrap().is_empty());
        // One at a time takes no thread.
        let caller = thread::current().id();
        let at = many(&items, 1, |_| Ok::<_, ()>(thread::current().id())).unwrap();
        assert!(at.iter().all(|thread| *thread == caller));
    }

    #[test]
    fn after_a_failure_nothing_is_begun() {
        let (items, begun) = ((0..100).collect::<Vec<usize>>(), AtomicUsize::new(0));
        let work = |item: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 5 { Err("five") } else { Ok(()) }
        };
        assert_eq!(many(&items, 1, work), Err("five"));
        assert_eq!(begun.into_inner(), 6);
    }
}
