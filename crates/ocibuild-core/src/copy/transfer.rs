//! Pushes, several at a time.
//!
//! The threads block on I/O and so are threads of their own, not of a pool of processors. What
//! they have to tell goes through a channel to the thread that copies, because content may be read
//! by a place's own threads, which outlive any borrow of an observer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::blob::{BlobError, Content, Sink};
use crate::copy::progress::Tracked;
use crate::copy::{CopyOptions, CopyReport};
use crate::event::{Cancel, Cancelled, Event, Observer, Transfer};
use crate::oci::Descriptor;

enum Message {
    Event(Event),
    /// A blob was found at the place before, and counted as such; so it is counted no more.
    Absent(u64),
    Failed(BlobError),
    /// A thread has ended, be it by a panic.
    Ended,
}

/// What a push needs of the run it belongs to.
#[derive(Clone)]
pub(super) struct Outbox {
    sender: Sender<Message>,
    cancel: Cancel,
    /// Set when another push has failed.
    abort: Cancel,
}

impl Outbox {
    /// Tells whether to go on.
    pub(super) fn check(&self) -> Result<(), Cancelled> {
        self.cancel.check()?;
        self.abort.check()
    }

    pub(super) fn event(&self, event: Event) {
        self.send(Message::Event(event));
    }

    /// Pushes a blob and tells of it.
    pub(super) fn push(
        &self,
        descriptor: &Descriptor,
        content: &dyn Content,
        sink: &dyn Sink,
    ) -> Result<Transfer, BlobError> {
        let Descriptor { digest, size, .. } = *descriptor;
        self.event(Event::PushStarted { place: sink.place(), digest, size });
        let transfer = sink.push(descriptor, &Tracked::new(descriptor, content, self))?;
        self.event(Event::PushFinished { place: sink.place(), digest, size, transfer });
        Ok(transfer)
    }

    /// Pushes a blob that the place said it had; `was_counted` tells, once, whether as being there.
    /// What is still said to be there is no news.
    pub(super) fn push_again(
        &self,
        descriptor: &Descriptor,
        content: &dyn Content,
        sink: &dyn Sink,
        was_counted: &dyn Fn() -> bool,
    ) -> Result<Transfer, BlobError> {
        let Descriptor { digest, size, .. } = *descriptor;
        let transfer = sink.push(descriptor, &Tracked::new(descriptor, content, self))?;
        if transfer != Transfer::Present {
            if was_counted() {
                self.send(Message::Absent(size));
            }
            self.event(Event::PushFinished { place: sink.place(), digest, size, transfer });
        }
        Ok(transfer)
    }

    fn send(&self, message: Message) {
        // Nobody listens any more only where a place still reads after its push has ended.
        let _ = self.sender.send(message);
    }
}

/// Says so when a thread has ended, however it did.
struct Ended(Outbox);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send(Message::Ended);
    }
}

/// Does `send` with each of the items, on up to `threads` threads, in order; stops all of them when
/// one fails. Counts what the pushes told.
pub(super) fn run<T: Sync>(
    items: &[T],
    threads: usize,
    options: &CopyOptions<'_>,
    report: &mut CopyReport,
    send: &(dyn Fn(&T, &Outbox) -> Result<Transfer, BlobError> + Sync),
) -> Result<(), BlobError> {
    if items.is_empty() {
        return Ok(());
    }
    let threads = threads.clamp(1, items.len());
    let (sender, receiver) = mpsc::channel();
    let outbox = Outbox { sender, cancel: options.cancel.clone(), abort: Cancel::new() };
    let next = AtomicUsize::new(0);
    let fault = thread::scope(|scope| {
        for _ in 0..threads {
            let ended = Ended(outbox.clone());
            let next = &next;
            scope.spawn(move || work(items, next, &ended.0, send));
        }
        listen(&receiver, threads, options.observer, report)
    });
    match fault {
        Some(_) if options.cancel.is_cancelled() => Err(Cancelled.into()),
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

fn work<T>(
    items: &[T],
    next: &AtomicUsize,
    outbox: &Outbox,
    send: &dyn Fn(&T, &Outbox) -> Result<Transfer, BlobError>,
) {
    while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
        let result = outbox.check().map_err(BlobError::from).and_then(|()| send(item, outbox));
        if let Err(error) = result {
            outbox.send(Message::Failed(error));
            outbox.abort.cancel();
            return;
        }
    }
}

/// Passes events on until all threads have ended; returns the first fault.
fn listen(
    receiver: &Receiver<Message>,
    mut running: usize,
    observer: &dyn Observer,
    report: &mut CopyReport,
) -> Option<BlobError> {
    let mut fault = None;
    while running > 0 {
        match receiver.recv().ok()? {
            Message::Event(event) => {
                if let Event::PushFinished { size, transfer, .. } = event {
                    report.count(size, transfer);
                }
                observer.event(&event);
            }
            Message::Absent(size) => report.uncount_present(size),
            Message::Failed(error) => fault = fault.or(Some(error)),
            Message::Ended => running -= 1,
        }
    }
    fault
}
