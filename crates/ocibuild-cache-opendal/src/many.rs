//! Many questions at a time: what takes long is the way there and back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many questions are asked at a time, and how many blobs of one part sent.
pub(crate) const AT_ONCE: usize = 16;

/// How many blobs of several parts are sent at a time: of each some parts are in memory.
pub(crate) const LARGE_AT_ONCE: usize = 4;

/// Works on all of them, so many at a time, and gives what came of it, in order.
///
/// # Errors
/// The first failure; nothing is begun after it.
pub(crate) fn many<I: Sync, T: Send, E: Send>(
    items: &[I],
    at_once: usize,
    work: impl Fn(&I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let (done, fault) = (Mutex::new(Vec::with_capacity(items.len())), Mutex::new(None));
    let go = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            match work(item) {
                Ok(result) => done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..at_once.min(items.len()) {
            scope.spawn(go);
        }
        go();
    });
    if let Some(error) = fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_worked_on_in_their_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(many(&items, 7, |item| Ok::<_, ()>(item * 2)).unwrap()[..3], [0, 2, 4]);
        assert!(many(&[] as &[usize], 7, |_| Ok::<_, ()>(())).unwrap().is_empty());
        let begun = AtomicUsize::new(0);
        let work = |item: &usize| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 5 { Err("five") } else { Ok(()) }
        };
        assert_eq!(many(&items, 1, work), Err("five"));
        assert_eq!(begun.into_inner(), 6);
    }
}
