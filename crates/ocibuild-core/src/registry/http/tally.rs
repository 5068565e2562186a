//! What is counted of requests, and who hears of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::digest::Digest;
use crate::event::{Event, Observer, Warning};

/// The most warnings that are passed on.
const MAX_WARNINGS: usize = 32;

/// What a [`Registry`](crate::registry::Registry) and its clones did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Requests that were made: of registries, token servers and storages, answered or not.
    pub requests: u64,
    /// How many of them repeat one that failed, or whose token wasn't good any more.
    pub retries: u64,
    /// Bytes of bodies that were handed to connections, also of those that broke, and of all that
    /// was sent more than once.
    pub bytes_sent: u64,
    /// Bytes of bodies that came.
    pub bytes_received: u64,
    /// Time spent waiting before repeating a request, and because a registry asked for it; added up
    /// over requests that wait at the same time.
    pub waited: Duration,
}

/// Counts, and tells.
pub(crate) struct Tally {
    observer: Arc<dyn Observer>,
    requests: AtomicU64,
    retries: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    /// In microseconds.
    waited: AtomicU64,
    warned: Mutex<BTreeSet<String>>,
}

impl Tally {
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            observer,
            requests: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            warned: Mutex::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            retries: read(&self.retries),
            bytes_sent: read(&self.bytes_sent),
            bytes_received: read(&self.bytes_received),
            waited: Duration::from_micros(read(&self.waited)),
        }
    }

    pub(crate) fn asked(&self, (method, url): (String, String), status: Option<u16>, elapsed: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.observer.event(&Event::Request { method, url, status, elapsed });
    }

    pub(crate) fn asks_again(
        &self,
        (method, url): (String, String),
        digest: Option<Digest>,
        reason: String,
        wait: Duration,
    ) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        // What is asked for by digest says itself what it is.
        let digest = digest.or_else(|| url.rsplit('/').next()?.parse().ok());
        self.observer.event(&Event::Retry { method, url, digest, reason, wait });
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.waited.fetch_add(time, Ordering::Relaxed);
    }

    /// Passes a host's warning on, once.
    pub(crate) fn warn(&self, host: &str, text: &str) {
        let message = format!("`{host}` says: {text}");
        let is_new = {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            warned.len() < MAX_WARNINGS && warned.insert(message.clone())
        };
        if is_new {
            self.observer.event(&Event::Warning(Warning::new(message)));
        }
    }
}
