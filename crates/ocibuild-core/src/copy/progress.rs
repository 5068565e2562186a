//! Content that tells how far it was read, and stops being read when the run stops.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blob::Content;
use crate::copy::transfer::Outbox;
use crate::digest::Digest;
use crate::event::Event;
use crate::oci::Descriptor;
use crate::reference::Repository;

/// Bytes between two events of one blob.
const STEP: u64 = 128 << 10;

/// Wraps content; bytes that are read again are told once.
pub(super) struct Tracked<'a> {
    inner: &'a dyn Content,
    track: Track,
}

/// Outlives the content: a reader may be handed to another thread.
#[derive(Clone)]
struct Track {
    digest: Digest,
    size: u64,
    outbox: Outbox,
    told: Arc<AtomicU64>,
}

impl<'a> Tracked<'a> {
    pub(super) fn new(descriptor: &Descriptor, inner: &'a dyn Content, outbox: &Outbox) -> Self {
        let Descriptor { digest, size, .. } = *descriptor;
        Self { inner, track: Track { digest, size, outbox: outbox.clone(), told: Arc::default() } }
    }
}

impl Content for Tracked<'_> {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(self.track.follow(self.inner.open(offset)?, offset))
    }

    fn open_unverified(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(self.track.follow(self.inner.open_unverified()?, 0))
    }

    fn origins(&self) -> &[Repository] {
        self.inner.origins()
    }
}

struct TrackedReader {
    inner: Box<dyn Read + Send>,
    position: u64,
    track: Track,
}

impl Read for TrackedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Not of kind `Interrupted`, which readers take for a wish to try again.
        self.track.outbox.check().map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.position += count as u64;
        self.track.tell(self.position);
        Ok(count)
    }
}

impl Track {
    fn follow(&self, inner: Box<dyn Read + Send>, position: u64) -> Box<dyn Read + Send> {
        Box::new(TrackedReader { inner, position, track: self.clone() })
    }

    fn tell(&self, position: u64) {
        let told = self.told.load(Ordering::Relaxed);
        if position <= told || (position < self.size && position - told < STEP) {
            return;
        }
        let told = self.told.fetch_max(position, Ordering::Relaxed);
        if position > told {
            self.outbox.event(Event::PushProgress { digest: self.digest, bytes: position - told });
        }
    }
}
