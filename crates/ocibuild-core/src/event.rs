//! How progress, warnings and numbers leave the core, and how the core is stopped.
//!
//! Events are values; what becomes of them (a bar, a log line, a metric) is the observer's matter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::digest::Digest;

/// Something worth telling happened.
///
/// Sizes are in bytes. Events of different layers and blobs interleave; those of one come in
/// order.
///
/// An event has a form for programs: a map whose `event` is the variant's name in kebab case, with
/// the fields beside it. The command line's JSON lines are made of it: names, once there, stay.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A layer's bytes are needed: its files are being looked up.
    LayerStarted {
        /// The layer's label: its name, with the platform where the same name is built for several.
        layer: String,
    },
    /// A layer's files are known; their bytes come next.
    LayerWalked {
        /// The layer's label.
        layer: String,
        /// Number of entries (files, directories, links).
        entries: u64,
        /// Uncompressed tar bytes to come.
        bytes: u64,
    },
    /// More of a layer is compressed.
    LayerProgress {
        /// The layer's label.
        layer: String,
        /// Uncompressed tar bytes done since the last such event.
        bytes: u64,
    },
    /// A layer was put together with blocks of the layer as it was built last, which are the same.
    LayerTaken {
        /// The layer's label.
        layer: String,
        /// Uncompressed tar bytes that were neither read nor compressed.
        bytes: u64,
    },
    /// A layer is there: made now, or answered by a cache.
    LayerFinished {
        /// The layer's label.
        layer: String,
        /// The blob's digest.
        digest: Digest,
        /// The blob's size.
        size: u64,
        /// Where it came from.
        #[serde(rename = "cache")]
        outcome: LayerOutcome,
        /// Time since the layer was started, or spent looking it up.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// A step's command is started, for the first time or again.
    StepStarted {
        /// The step's label: its name, with the platform where the same step runs for several.
        step: String,
        /// Which attempt it is, from 1.
        attempt: u32,
    },
    /// A step's command wrote a line.
    StepOutput {
        /// The step's label.
        step: String,
        /// To which of its streams.
        stream: Stream,
        /// The line without its end. What isn't UTF-8 is replaced, and so are secrets.
        line: String,
    },
    /// A step's command failed, and will be started again.
    StepRetry {
        /// The step's label.
        step: String,
        /// Why, as a lowercase phrase: `exit code 1`, `signal 9`.
        reason: String,
    },
    /// What a step made is known: its command ran, or a cache answered.
    StepFinished {
        /// The step's label.
        step: String,
        /// Where it came from: [`LayerOutcome::Built`] says that the command ran.
        #[serde(rename = "cache")]
        outcome: LayerOutcome,
        /// Time since the step was started, or spent looking it up.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// What a step made was brought back from a cache, because a command or a layer needs it.
    StepRestored {
        /// The step's label.
        step: String,
        /// The blob's size: as much was read, from wherever it was.
        size: u64,
        /// Time that took.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// A step failed for good.
    StepFailed {
        /// The step's label.
        step: String,
        /// Why, as a lowercase phrase: `exit code 1`, `signal 9`, `not done after 30s`.
        reason: String,
        /// Time since it was started.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// A step isn't run, because one that it needs failed.
    StepSkipped {
        /// The step's label.
        step: String,
        /// The label of the one that failed.
        because: String,
    },
    /// A blob or manifest is on its way to a destination.
    PushStarted {
        /// The destination, for people.
        place: String,
        /// What is sent.
        digest: Digest,
        /// Its size.
        size: u64,
    },
    /// More bytes of a blob were handed over.
    PushProgress {
        /// What is sent.
        digest: Digest,
        /// Bytes since the last such event.
        bytes: u64,
    },
    /// A blob or manifest is confirmed at its destination.
    PushFinished {
        /// The destination, for people.
        place: String,
        /// What is there now.
        digest: Digest,
        /// Its size.
        size: u64,
        /// How it came there.
        transfer: Transfer,
    },
    /// A registry, a token server or a storage behind them was asked something: the head of its
    /// answer is there, or there is none.
    Request {
        /// The request's method.
        method: String,
        /// Its address, without its query.
        url: String,
        /// The answer's status; none if there was no answer.
        status: Option<u16>,
        /// Time from when it was sent.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// A request is going to be made again.
    Retry {
        /// The request's method.
        method: String,
        /// Its address, without its query.
        url: String,
        /// The blob or manifest that it is about, where it is about one.
        digest: Option<Digest>,
        /// Why, as a lowercase phrase: `503 Service Unavailable`, `the connection was reset`.
        reason: String,
        /// How long it waits before.
        #[serde(rename = "wait", serialize_with = "seconds")]
        wait: Duration,
    },
    /// Something the user should know of, though nothing failed.
    Warning(Warning),
}

/// Writes a time in seconds; microseconds are enough.
fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_micros() as f64 / 1e6)
}

/// A stream that a command writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Where a finished layer came from, or what a step made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LayerOutcome {
    /// Its bytes were made in this run.
    Built,
    /// A record answered; nothing was written. Programs are told `local`, the cache it was in.
    #[serde(rename = "local")]
    Reused,
    /// An image that was pushed answered, and has the bytes: none were looked at. Programs are told
    /// `registry`.
    #[serde(rename = "registry")]
    Shared,
    /// A place answered that is in no registry. Programs are told `store`.
    #[serde(rename = "store")]
    Stored,
}

impl LayerOutcome {
    /// Tells whether nothing had to be made.
    #[must_use]
    pub fn is_reused(self) -> bool {
        self != Self::Built
    }
}

/// How a blob came to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transfer {
    /// It was there already.
    Present,
    /// Its bytes were sent.
    Sent,
    /// The destination took it over from another of its repositories.
    Mounted,
}

/// Something the user should know of, though nothing failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Warning {
    /// What happened, as a lowercase sentence without a full stop.
    pub message: String,
    /// What to do about it, if there is something to do.
    pub hint: Option<String>,
}

impl Warning {
    /// Makes a warning without a hint.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Receives events; called from many threads at once.
///
/// An observer must be quick and must not panic: it runs on the threads that do the work.
pub trait Observer: Send + Sync {
    /// Takes note of an event.
    fn event(&self, event: &Event);
}

/// Observes nothing.
impl Observer for () {
    fn event(&self, _: &Event) {}
}

impl<F: Fn(&Event) + Send + Sync> Observer for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}

/// Work was stopped because its [`Cancel`] was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
#[non_exhaustive]
pub struct Cancelled;

/// Asks running work to stop; shared by all its clones.
///
/// Work looks at it between blocks of at most 4 MiB and between requests, so it stops within a
/// fraction of a second (at zstd's highest levels within about one), leaving nothing half-written
/// behind.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    parent: Option<Arc<Cancel>>,
}

impl Cancel {
    /// Makes one that isn't set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shares a flag that something else sets, such as a signal handler; once it is true, work
    /// stops.
    #[must_use]
    pub fn on(flag: Arc<AtomicBool>) -> Self {
        Self { flag, parent: None }
    }

    /// Makes one that is set when this is, and can be set by itself: to stop a part of the work.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { flag: Arc::default(), parent: Some(Arc::new(self.clone())) }
    }

    /// Asks everything that shares this to stop. Does nothing but set a flag, so it may be called
    /// from a signal handler.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Tells whether work should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed) || self.parent.as_ref().is_some_and(|parent| parent.is_cancelled())
    }

    /// Returns an error once work should stop.
    ///
    /// # Errors
    /// [`Cancelled`] if [`Cancel::cancel`] was called.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_that_others_set_cancels() {
        let flag = Arc::new(AtomicBool::new(false));
        let cancel = Cancel::on(Arc::clone(&flag));
        assert!(cancel.check().is_ok());
        flag.store(true, Ordering::Relaxed);
        assert!(cancel.clone().check().is_err());
    }

    #[test]
    fn a_child_is_cancelled_with_its_parent_but_not_the_other_way() {
        let parent = Cancel::new();
        let (one, other) = (parent.child(), parent.child());
        one.cancel();
        assert!(one.is_cancelled() && !other.is_cancelled() && !parent.is_cancelled());
        parent.cancel();
        assert!(other.is_cancelled());
    }
}
