//! The one graph copy between any [`Source`] and any [`Sink`].
//!
//! Children go before parents, so that whoever finds a manifest at a place finds what it names
//! there too. Of that the copy itself makes use: **a place that has a manifest is taken to have
//! everything below it**, and is asked no further. That holds of every place this library or a
//! registry fills; it doesn't of a layout that somebody thinned out by hand, or that was left
//! with some platforms of an index only. Where a place says so of what it hasn't, that shows when the
//! manifest above isn't taken ([`PlaceFault::Lacking`](crate::blob::PlaceFault::Lacking)): what is
//! below is then pushed again, and the manifest once more.
//!
//! Raw bytes travel: nothing is decoded but to learn what a manifest names, and nothing is encoded
//! again. A manifest's `subject` is not below it: it may be absent by the specification. What refers
//! to an image is copied on demand ([`copy_referred`]). Knows nothing of names; whoever copies tags
//! afterwards.

mod graph;
mod mend;
mod progress;
mod referrers;
mod transfer;

use crate::blob::{BlobError, Content, Sink, Source};
use crate::event::{Cancel, Event, Observer, Transfer};
use crate::oci::Descriptor;

pub use graph::{GraphError, children};
pub use referrers::{Listing, Referrers, copy_referred, referral, referrers};

pub(crate) use referrers::referring;

use graph::{Graph, Node};
use mend::Way;
use transfer::Outbox;

/// How a graph is copied.
#[derive(Clone)]
#[non_exhaustive]
pub struct CopyOptions<'a> {
    /// The most blobs that are on their way at a time; a place that takes fewer gets fewer.
    pub threads: usize,
    /// Hears of every blob; called on the thread that copies.
    pub observer: &'a dyn Observer,
    /// Stops the copy between two reads.
    pub cancel: Cancel,
}

impl Default for CopyOptions<'_> {
    fn default() -> Self {
        Self { threads: 4, observer: &(), cancel: Cancel::new() }
    }
}

impl<'a> CopyOptions<'a> {
    /// Makes the default: four blobs at a time, unobserved.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many blobs may be on their way at a time; at least one is.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets who hears of every blob.
    #[must_use]
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = observer;
        self
    }

    /// Sets what stops the copy.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

/// A number of blobs, manifests included, and of their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Number of blobs.
    pub blobs: u64,
    /// Sum of their sizes in bytes.
    pub bytes: u64,
}

impl Tally {
    /// Adds a blob of this size.
    pub fn add(&mut self, size: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(size);
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.blobs += more.blobs;
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// What a copy did, each blob counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// What was sent.
    pub sent: Tally,
    /// What was found there; of a graph whose root is there, the root alone.
    pub present: Tally,
    /// What the place took over from elsewhere without being sent it.
    pub mounted: Tally,
    /// Layers that may not be distributed, or that only their `urls` have: left where they are.
    pub foreign: Tally,
}

impl std::ops::AddAssign for CopyReport {
    fn add_assign(&mut self, more: Self) {
        self.sent += more.sent;
        self.present += more.present;
        self.mounted += more.mounted;
        self.foreign += more.foreign;
    }
}

impl CopyReport {
    fn count(&mut self, size: u64, transfer: Transfer) {
        match transfer {
            Transfer::Present => self.present.add(size),
            Transfer::Sent => self.sent.add(size),
            Transfer::Mounted => self.mounted.add(size),
        }
    }

    /// Takes back that a blob was found there.
    fn uncount_present(&mut self, size: u64) {
        self.present.blobs -= 1;
        self.present.bytes = self.present.bytes.saturating_sub(size);
    }
}

/// Makes sure that a place has these images or indexes and everything below them.
///
/// Each blob is asked for and sent once, however many of the roots share it, and a root that is
/// there costs one question. Success means that the place has confirmed every blob; no name was
/// given to anything. Blobs of which the media type isn't known are copied like any other. With a
/// place that takes one push at a time ([`Sink::concurrency`]) the order of the pushes is that of
/// the graph: all blobs, then the manifests, then the indexes.
///
/// # Errors
/// [`BlobError`] of the first blob that failed, once all others have stopped;
/// [`BlobError::Corrupt`] with a [`GraphError`] inside for a manifest that can't be followed;
/// [`BlobError::Cancelled`]. Blobs that were complete by then are there; nothing is half there,
/// and no manifest without what is below it.
pub fn copy(
    roots: &[Descriptor],
    source: &dyn Source,
    sink: &dyn Sink,
    options: &CopyOptions<'_>,
) -> Result<CopyReport, BlobError> {
    let graph = Graph::discover(roots, source, sink, &options.cancel)?;
    let mut report = CopyReport { foreign: graph.foreign, ..CopyReport::default() };
    for descriptor in &graph.present {
        let Descriptor { digest, size, .. } = *descriptor;
        let transfer = Transfer::Present;
        report.count(size, transfer);
        options.observer.event(&Event::PushFinished { place: sink.place(), digest, size, transfer });
    }
    let way = Way::new(source, sink, &graph.present);
    for level in &graph.levels {
        let send = |node: &Node, outbox: &Outbox| {
            let content = node.content(source)?;
            way.push(&node.descriptor, &*content, outbox)
        };
        transfer::run(level, options.threads.min(sink.concurrency()), options, &mut report, &send)?;
    }
    Ok(report)
}

/// Makes sure that a place has one blob, with the events and the cancelling of a [`copy`]: for
/// blobs that are sent as soon as they are made, ahead of the copy of the image that names them.
///
/// # Errors
/// [`BlobError`]; nothing is then there.
pub fn push(
    descriptor: &Descriptor,
    content: &dyn Content,
    sink: &dyn Sink,
    options: &CopyOptions<'_>,
) -> Result<Transfer, BlobError> {
    let mut report = CopyReport::default();
    let send = |descriptor: &Descriptor, outbox: &Outbox| outbox.push(descriptor, content, sink);
    transfer::run(std::slice::from_ref(descriptor), 1, options, &mut report, &send)?;
    Ok(match report {
        CopyReport { sent: Tally { blobs: 1, .. }, .. } => Transfer::Sent,
        CopyReport { mounted: Tally { blobs: 1, .. }, .. } => Transfer::Mounted,
        _ => Transfer::Present,
    })
}

#[cfg(test)]
mod tests;
