//! What was asked and answered, for who watches the server.

use std::fmt;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::faults::Asked;
use crate::storage::lock;

/// A request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// Path and query, as they came.
    pub path: String,
    /// The status that was answered; there is none while or where there is no answer.
    pub status: Option<u16>,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub sent: u64,
    /// Whether there was an `Authorization`.
    pub authorized: bool,
    /// The `Range` or `Content-Range` that was asked for, if there was one.
    pub range: Option<String>,
    /// How long it took, until the last byte was handed to the connection.
    pub time: Duration,
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Writes down all exchanges, for tests: it keeps them in memory for as long as it lives.
///
/// They stand in the order in which requests came, and the status is there before the client can
/// see it.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Arc<Entry>>>>);

impl Recorder {
    /// Begins with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns all that was asked so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.0).iter().map(|entry| entry.exchange()).collect()
    }

    /// Returns methods and paths.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.exchanges().iter().map(ToString::to_string).collect()
    }

    /// Counts the exchanges that are of this kind.
    #[must_use]
    pub fn count(&self, is_one: impl Fn(&Exchange) -> bool) -> usize {
        self.exchanges().iter().filter(|exchange| is_one(exchange)).count()
    }

    /// Forgets all.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// Hears of each exchange when it is over.
pub type Listener = Arc<dyn Fn(&Exchange) + Send + Sync>;

/// An exchange under way.
pub(crate) struct Entry {
    method: String,
    path: String,
    authorized: bool,
    range: Option<String>,
    begun: Instant,
    status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
    /// In microseconds; nothing until it is over.
    time: AtomicU64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exchange().fmt(f)
    }
}

impl Entry {
    pub(crate) fn begin(asked: &Asked, recorder: Option<&Recorder>) -> Arc<Self> {
        let entry = Arc::new(Self {
            method: asked.method().to_owned(),
            path: asked.path().to_owned(),
            authorized: asked.header("authorization").is_some(),
            range: asked.header("content-range").or(asked.header("range")).map(str::to_owned),
            begun: Instant::now(),
            status: AtomicU16::default(),
            received: AtomicU64::default(),
            sent: AtomicU64::default(),
            time: AtomicU64::default(),
        });
        if let Some(recorder) = recorder {
            lock(&recorder.0).push(Arc::clone(&entry));
        }
        entry
    }

    pub(crate) fn set_status(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::SeqCst);
    }

    pub(crate) fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::SeqCst);
    }

    fn exchange(&self) -> Exchange {
        let status = self.status.load(Ordering::SeqCst);
        let time = match self.time.load(Ordering::SeqCst) {
            0 => self.begun.elapsed(),
            time => Duration::from_micros(time),
        };
        Exchange {
            method: self.method.clone(),
            path: self.path.clone(),
            status: (status != 0).then_some(status),
            received: self.received.load(Ordering::SeqCst),
            sent: self.sent.load(Ordering::SeqCst),
            authorized: self.authorized,
            range: self.range.clone(),
            time,
        }
    }
}

/// Ends an exchange when it is dropped, with the answer or with the connection.
pub(crate) struct Ending {
    pub(crate) entry: Arc<Entry>,
    pub(crate) listener: Option<Listener>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let time = u64::try_from(self.entry.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.entry.time.store(time.max(1), Ordering::SeqCst);
        if let Some(listener) = &self.listener {
            listener(&self.entry.exchange());
        }
    }
}
