//! An image's layers to their items, several layers side by side.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::base::{Base, BaseError, ListingError, read_layer};
use crate::blob::Source;
use crate::contents::items::{Budget, Items};
use crate::contents::{Contents, ContentsOptions, LayerContents};
use crate::digest::DiffId;
use crate::event::Cancel;
use crate::oci::Descriptor;
use crate::tar::{Entry, EntryKind, ReadError};

/// Items by what they are the items of, with the number of tar bytes.
type Found = BTreeMap<DiffId, (u64, Arc<Items>)>;

pub(super) fn read(
    source: &dyn Source,
    image: &Base,
    known: &Contents,
    options: &ContentsOptions,
    cancel: &Cancel,
) -> Result<Contents, BaseError> {
    let mut found: Found = BTreeMap::new();
    let usable = known.layers.iter().filter(|layer| layer.items.hashed || !options.digests);
    found.extend(usable.map(|layer| (layer.diff_id, (layer.tar_size, Arc::clone(&layer.items)))));
    let mut jobs: BTreeMap<DiffId, &Descriptor> = BTreeMap::new();
    for (descriptor, diff_id) in image.layers.iter().zip(&image.diff_ids) {
        if !found.contains_key(diff_id) {
            jobs.insert(*diff_id, descriptor);
        }
    }
    let stop = cancel.child();
    let run = Run {
        source,
        options,
        jobs: jobs.into_iter().collect(),
        next: AtomicUsize::new(0),
        budget: Budget::new(&options.limits),
        result: Mutex::new(Ok(found)),
        stop,
    };
    run.all();
    // A layer that was stopped for another's fault is none of the user's doing.
    cancel.check()?;
    let found = run.result.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    let layers = image.layers.iter().zip(&image.diff_ids);
    let layer = |(descriptor, diff_id): (&Descriptor, &DiffId)| {
        let (tar_size, items) = &found[diff_id];
        let (descriptor, diff_id, tar_size) = (descriptor.clone(), *diff_id, *tar_size);
        LayerContents { descriptor, diff_id, tar_size, items: Arc::clone(items) }
    };
    Ok(Contents { layers: layers.map(layer).collect() })
}

/// Layers being read.
struct Run<'a> {
    source: &'a dyn Source,
    options: &'a ContentsOptions,
    jobs: Vec<(DiffId, &'a Descriptor)>,
    next: AtomicUsize,
    budget: Budget,
    result: Mutex<Result<Found, BaseError>>,
    stop: Cancel,
}

impl Run<'_> {
    fn all(&self) {
        thread::scope(|scope| {
            for _ in 1..self.options.threads.min(self.jobs.len()) {
                // Where no thread is to be had, the others do its work.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.work());
            }
            self.work();
        });
    }

    fn work(&self) {
        while let Some((diff_id, descriptor)) = self.jobs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let layer = self.layer(descriptor, *diff_id);
            let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *result, layer) {
                (Ok(found), Ok(layer)) => {
                    found.insert(*diff_id, layer);
                }
                (Ok(_), Err(error)) => {
                    *result = Err(error);
                    self.stop.cancel();
                }
                (Err(_), _) => {}
            }
            if result.is_err() {
                return;
            }
        }
    }

    fn layer(&self, descriptor: &Descriptor, diff_id: DiffId) -> Result<(u64, Arc<Items>), BaseError> {
        let mut items = Items::new(self.options.digests);
        let decode = &self.options.limits.decode;
        let size =
            read_layer(self.source, descriptor, diff_id, decode, &self.stop, &mut |entry, content| {
                let digest = if items.hashed { digest(&entry, content)? } else { None };
                items.push(&entry, digest, &self.budget)
            })?;
        items.shrink();
        Ok((size, Arc::new(items)))
    }
}

fn digest(entry: &Entry, content: &mut dyn Read) -> Result<Option<[u8; 32]>, ListingError> {
    if entry.kind != EntryKind::Regular || entry.sparse {
        return Ok(None);
    }
    let mut hashed = Hashed(Sha256::new());
    io::copy(content, &mut hashed).map_err(ReadError::from)?;
    Ok(Some(hashed.0.finalize().into()))
}

/// Hashes what is written to it.
struct Hashed(Sha256);

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
