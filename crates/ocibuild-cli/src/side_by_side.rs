//! Work on several repositories: those of one registry one after the other, so that what one was sent
//! the next can mount from it; registries side by side.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use ocibuild_core::Cancel;
use ocibuild_core::blob::BlobError;

/// Works on each of the items, and gives what came of it, in order. What fails stops the others, and
/// is what is told.
///
/// # Errors
/// [`BlobError`] of the first that failed.
pub(crate) fn by_registry<I: Send, T: Send>(
    items: impl IntoIterator<Item = I>,
    registry: impl Fn(&I) -> String,
    cancel: &Cancel,
    work: impl Fn(I, &Cancel) -> Result<T, BlobError> + Sync,
) -> Result<Vec<T>, BlobError> {
    let mut groups: BTreeMap<String, Vec<(usize, I)>> = BTreeMap::new();
    for (at, item) in items.into_iter().enumerate() {
        groups.entry(registry(&item)).or_default().push((at, item));
    }
    let (stop, fault) = (cancel.child(), Mutex::new(None));
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    let go = |group: Vec<(usize, I)>| {
        for (at, item) in group {
            match work(item, &stop) {
                Ok(result) => lock(&done).push((at, result)),
                Err(error) => {
                    // Those that are stopped by it come later.
                    lock(&fault).get_or_insert(error);
                    stop.cancel();
                    return;
                }
            }
        }
    };
    let mut groups = groups.into_values();
    let last = groups.next_back();
    thread::scope(|scope| {
        for group in groups {
            scope.spawn(|| go(group));
        }
        last.into_iter().for_each(go);
    });
    if let Some(error) = lock(&fault).take() {
        return Err(error);
    }
    let mut done = std::mem::take(&mut *lock(&done));
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Locks what only whole values are put into.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_go_side_by_side_and_repositories_in_order() {
        let items = ["a/1", "b/1", "a/2", "c/1", "a/3"];
        let registry = |item: &&str| item[..1].to_owned();
        let order = Mutex::new(Vec::new());
        let results = by_registry(items, registry, &Cancel::new(), |item, _| {
            lock(&order).push(item);
            Ok(item.to_uppercase())
        });
        assert_eq!(results.unwrap(), ["A/1", "B/1", "A/2", "C/1", "A/3"]);
        let order = order.into_inner().unwrap();
        assert!(order.iter().filter(|item| item.starts_with('a')).is_sorted());
        let cancel = Cancel::new();
        let failed = by_registry(items, registry, &cancel, |item, stop| match item {
            "a/1" => Err(BlobError::UnknownName { name: "x".into(), place: "y".into() }),
            // Waits for the other to fail.
            _ => loop {
                stop.check()?;
            },
        });
        let failed: Result<Vec<()>, _> = failed;
        assert!(matches!(failed, Err(BlobError::UnknownName { .. })));
        assert!(!cancel.is_cancelled());
    }
}
