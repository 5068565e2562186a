//! Bytes to send, on their way from a [`Content`] that blocks to a request that must not.
//!
//! The request asks for one chunk after the other, the thread that has the content answers. So at
//! most [`AHEAD`] chunks are in memory, the thread never waits on anything but the next question,
//! and a request that has to be sent again starts over by asking for the beginning.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::blob::Content;
use crate::digest::VerifyingReader;
use crate::oci::Descriptor;
use crate::registry::RegistryError;
use crate::registry::watch::Pulse;

/// The size of a chunk in bytes.
const CHUNK: u64 = 128 << 10;
/// Chunks asked for before they can be sent.
const AHEAD: usize = 3;

type Chunk = io::Result<Bytes>;

enum Question {
    /// Start over, as the reading of this number.
    Open(u64),
    /// The next chunk of this reading; an empty one is the end.
    Next(u64, oneshot::Sender<Chunk>),
    /// Nothing more is needed.
    End,
}

/// The side that asks.
pub(super) struct Feed {
    questions: mpsc::Sender<Question>,
    size: u64,
    readings: AtomicU64,
    /// Why the bytes could not be had, which the request that broke on it doesn't know.
    fault: Mutex<Option<io::Error>>,
}

/// Lets the other side go when it is dropped, even if a connection still holds a body.
pub(super) struct Feeding(pub(super) Arc<Feed>);

impl Drop for Feeding {
    fn drop(&mut self) {
        // Nobody left to tell is just as well.
        drop(self.0.questions.send(Question::End));
    }
}

/// The side that answers, on a thread that may block.
pub(super) struct Feeder {
    questions: mpsc::Receiver<Question>,
    descriptor: Descriptor,
}

/// Makes both sides of the way for one blob's bytes.
pub(super) fn feed(descriptor: &Descriptor) -> (Feeding, Feeder) {
    let (sender, receiver) = mpsc::channel();
    let feed = Feed {
        questions: sender,
        size: descriptor.size,
        readings: AtomicU64::new(0),
        fault: Mutex::new(None),
    };
    (Feeding(Arc::new(feed)), Feeder { questions: receiver, descriptor: descriptor.clone() })
}

impl Feed {
    /// Starts over, and returns the bytes as a request's body.
    pub(super) fn body(self: &Arc<Self>, pulse: Pulse) -> FeedBody {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        // Nobody left to ask shows with the first chunk.
        drop(self.questions.send(Question::Open(reading)));
        FeedBody { feed: Arc::clone(self), reading, asked: VecDeque::new(), remaining: self.size, pulse }
    }

    /// Reads all the bytes, and verifies them.
    pub(super) async fn whole(self: &Arc<Self>) -> Result<Bytes, RegistryError> {
        let mut body = self.body(Pulse::default());
        let mut bytes = Vec::new();
        // Asked once more at the end: what is empty is verified, too.
        loop {
            let chunk = std::future::poll_fn(|context| body.poll_chunk(context)).await;
            match chunk.map_err(|_| self.take_fault())? {
                chunk if chunk.is_empty() => return Ok(bytes.into()),
                chunk => bytes.extend_from_slice(&chunk),
            }
        }
    }

    /// Returns why the bytes could not be had, once.
    pub(super) fn fault(&self) -> Option<RegistryError> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.take().map(RegistryError::Content)
    }

    fn take_fault(&self) -> RegistryError {
        self.fault().unwrap_or(RegistryError::Ended)
    }

    fn keep(&self, error: io::Error) -> io::Error {
        let told = io::Error::new(error.kind(), error.to_string());
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        told
    }
}

/// The bytes of a [`Feed`] as the body of one request.
pub(super) struct FeedBody {
    feed: Arc<Feed>,
    reading: u64,
    asked: VecDeque<oneshot::Receiver<Chunk>>,
    remaining: u64,
    pulse: Pulse,
}

impl FeedBody {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Chunk> {
        while self.asked.len() < AHEAD {
            let (sender, receiver) = oneshot::channel();
            drop(self.feed.questions.send(Question::Next(self.reading, sender)));
            self.asked.push_back(receiver);
        }
        let first = self.asked.front_mut().expect("questions were just asked");
        let chunk = ready!(Pin::new(first).poll(context));
        self.asked.pop_front();
        let chunk = chunk.unwrap_or_else(|_| Err(io::Error::other("reading was given up")));
        Poll::Ready(chunk.map_err(|error| self.feed.keep(error)))
    }
}

impl Body for FeedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.poll_chunk(context));
        Poll::Ready(Some(chunk.map(|chunk| {
            self.remaining = self.remaining.saturating_sub(chunk.len() as u64);
            self.pulse.beat();
            Frame::data(chunk)
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

impl Feeder {
    /// Answers until nothing more is needed.
    pub(super) fn serve(self, content: &dyn Content) {
        let mut current = 0;
        let mut reading = None;
        for question in &self.questions {
            match question {
                Question::Open(number) => {
                    current = number;
                    reading = Some(Reading::open(content, &self.descriptor));
                }
                // A request that was given up may still ask for its next chunk.
                Question::Next(number, _) if number != current => {}
                Question::Next(_, reply) => drop(reply.send(next(&mut reading))),
                Question::End => break,
            }
        }
    }
}

fn next(reading: &mut Option<io::Result<Reading>>) -> Chunk {
    match reading.take() {
        Some(Ok(mut open)) => {
            let chunk = open.next()?;
            *reading = Some(Ok(open));
            Ok(chunk)
        }
        Some(Err(error)) => Err(error),
        None => Err(io::Error::other("reading has failed before")),
    }
}

struct Reading {
    reader: VerifyingReader<Box<dyn Read + Send>>,
    remaining: u64,
}

impl Reading {
    fn open(content: &dyn Content, descriptor: &Descriptor) -> io::Result<Self> {
        let reader = VerifyingReader::new(content.open_unverified()?, descriptor.digest, descriptor.size);
        Ok(Self { reader, remaining: descriptor.size })
    }

    /// The last chunk is given only once all bytes are verified.
    fn next(&mut self) -> Chunk {
        let length = self.remaining.min(CHUNK);
        let mut chunk = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        let count = self.reader.by_ref().take(length).read_to_end(&mut chunk)? as u64;
        self.remaining -= count;
        if self.remaining == 0 || count < length {
            io::copy(&mut self.reader, &mut io::sink())?;
        }
        Ok(chunk.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BytesContent;
    use crate::oci::MediaType;

    fn whole(descriptor: &Descriptor, bytes: &[u8]) -> Result<Bytes, RegistryError> {
        let (feeding, feeder) = feed(descriptor);
        let content = BytesContent::new(bytes.to_vec());
        std::thread::scope(|scope| {
            scope.spawn(|| feeder.serve(&content));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let result = runtime.block_on(async { feeding.0.whole().await.and(feeding.0.whole().await) });
            drop(feeding);
            result
        })
    }

    #[test]
    fn bytes_arrive_again_and_verified() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
            let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
            assert_eq!(whole(&descriptor, &bytes).unwrap(), bytes);
        }
    }

    #[test]
    fn wrong_bytes_are_an_error_of_the_content() {
        let descriptor = Descriptor::of(MediaType::LAYER, b"hello");
        for bytes in [&b"hellO"[..], b"hell", b"hello!", b""] {
            let error = whole(&descriptor, bytes).unwrap_err();
            let RegistryError::Content(error) = error else { panic!("{error}") };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let empty = Descriptor::of(MediaType::LAYER, b"");
        assert!(whole(&empty, b"x").is_err());
    }
}
