//! Bytes to send, on their way from a [`Content`] that blocks to a request that must not.
//!
//! The request asks for one piece after the other, the thread that has the content answers. So at
//! most [`AHEAD`] pieces are in memory, and the thread never waits on anything but the next question.
//! A request is for any part of the bytes, and asks for the beginning of that first: so it can be
//! sent again, and what was broken off can be gone on with.
//!
//! Whatever parts are sent in whatever order, the last byte is let go only when size and digest of
//! all bytes were right: what is read is hashed from the start, marks are kept of how far that had
//! come, and a part is read from the mark before it. What lies between the mark and the part is read
//! once more and not sent. Bytes that were other ones when they were sent are thus not found here, but
//! by the registry, which holds all it got against the digest.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::blob::Content;
use crate::digest::{Verifying, VerifyingReader};
use crate::oci::Descriptor;
use crate::registry::RegistryError;
use crate::registry::http::watch::Pulse;

/// The size of a piece in bytes.
const PIECE: u64 = 256 << 10;
/// Pieces asked for before they can be sent.
const AHEAD: usize = 3;
/// From one mark to the next, in bytes.
const MARK: u64 = 4 << 20;

type Piece = io::Result<Bytes>;

enum Question {
    /// Go to this position, as the reading of this number.
    Open(u64, u64),
    /// So many bytes more of this reading.
    Next(u64, u64, oneshot::Sender<Piece>),
    /// Nothing more is needed.
    End,
}

/// The side that asks.
pub(crate) struct Feed {
    questions: mpsc::Sender<Question>,
    size: u64,
    readings: AtomicU64,
    /// The position up to which the newest reading was handed to its connection.
    handed: AtomicU64,
    /// Why the bytes could not be had, which the request that broke on it doesn't know.
    fault: Mutex<Option<io::Error>>,
}

/// Lets the other side go when it is dropped, even if a connection still holds a body.
pub(crate) struct Feeding(pub(crate) Arc<Feed>);

impl Drop for Feeding {
    fn drop(&mut self) {
        // Nobody left to tell is just as well.
        drop(self.0.questions.send(Question::End));
    }
}

/// The side that answers, on a thread that may block.
pub(crate) struct Feeder {
    questions: mpsc::Receiver<Question>,
    descriptor: Descriptor,
}

/// Makes both sides of the way for one blob's bytes.
pub(crate) fn feed(descriptor: &Descriptor) -> (Feeding, Feeder) {
    let (sender, receiver) = mpsc::channel();
    let feed = Feed {
        questions: sender,
        size: descriptor.size,
        readings: AtomicU64::new(0),
        handed: AtomicU64::new(0),
        fault: Mutex::new(None),
    };
    (Feeding(Arc::new(feed)), Feeder { questions: receiver, descriptor: descriptor.clone() })
}

/// A part of a [`Feed`]'s bytes, as what a request carries.
#[derive(Clone)]
pub(crate) struct Part {
    feed: Arc<Feed>,
    range: Range<u64>,
}

impl Part {
    /// Goes to the beginning, and returns the bytes as a request's body.
    pub(crate) fn body(&self, pulse: Pulse) -> FeedBody {
        let Range { start, end } = self.range;
        let reading = self.feed.readings.fetch_add(1, Ordering::Relaxed) + 1;
        self.feed.handed.store(start, Ordering::Relaxed);
        // Nobody left to ask shows with the first piece.
        drop(self.feed.questions.send(Question::Open(reading, start)));
        let left = end - start;
        FeedBody { feed: Arc::clone(&self.feed), reading, asked: VecDeque::new(), unasked: left, left, pulse }
    }

    /// Returns why the bytes could not be had, once.
    pub(crate) fn fault(&self) -> Option<RegistryError> {
        self.feed.fault()
    }
}

impl Feed {
    /// Names a part of the bytes.
    pub(crate) fn part(self: &Arc<Self>, range: Range<u64>) -> Part {
        Part { feed: Arc::clone(self), range }
    }

    /// Tells whether the last request was handed its last byte, so that it may have done what it was
    /// to do.
    pub(crate) fn is_spent(&self) -> bool {
        self.handed.load(Ordering::Relaxed) == self.size
    }

    /// Reads all the bytes, and verifies them.
    pub(crate) async fn whole(self: &Arc<Self>) -> Result<Bytes, RegistryError> {
        let mut body = self.part(0..self.size).body(Pulse::default());
        let mut bytes = Vec::new();
        // What is empty is asked for, too, so that it is verified.
        loop {
            let piece = std::future::poll_fn(|context| body.poll_piece(context)).await;
            bytes.extend_from_slice(&piece.map_err(|_| self.take_fault())?);
            if bytes.len() as u64 >= self.size {
                return Ok(bytes.into());
            }
        }
    }

    fn fault(&self) -> Option<RegistryError> {
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

/// The bytes of a [`Part`] as the body of one request.
pub(crate) struct FeedBody {
    feed: Arc<Feed>,
    reading: u64,
    asked: VecDeque<oneshot::Receiver<Piece>>,
    unasked: u64,
    left: u64,
    pulse: Pulse,
}

impl FeedBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        while self.asked.is_empty() || (self.asked.len() < AHEAD && self.unasked > 0) {
            let length = self.unasked.min(PIECE);
            let (sender, receiver) = oneshot::channel();
            drop(self.feed.questions.send(Question::Next(self.reading, length, sender)));
            self.unasked -= length;
            self.asked.push_back(receiver);
        }
        let first = self.asked.front_mut().expect("questions were just asked");
        let piece = ready!(Pin::new(first).poll(context));
        self.asked.pop_front();
        let piece = piece.unwrap_or_else(|_| Err(io::Error::other("reading was given up")));
        // A connection may go on asking for a request that another has taken the place of.
        let is_current = self.feed.readings.load(Ordering::Relaxed) == self.reading;
        Poll::Ready(piece.map_err(|error| if is_current { self.feed.keep(error) } else { error }))
    }

    fn hand_over(&mut self, piece: Bytes) -> Frame<Bytes> {
        self.left = self.left.saturating_sub(piece.len() as u64);
        if self.feed.readings.load(Ordering::Relaxed) == self.reading {
            self.feed.handed.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        self.pulse.beat();
        Frame::data(piece)
    }
}

impl Body for FeedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(context));
        Poll::Ready(Some(piece.map(|piece| self.hand_over(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Feeder {
    /// Answers until nothing more is needed.
    pub(crate) fn serve(self, content: &dyn Content) {
        let mut reading = Reading::new(content, &self.descriptor);
        let mut current = 0;
        // Nowhere, once reading has failed.
        let mut position = None;
        for question in &self.questions {
            match question {
                Question::Open(number, start) => (current, position) = (number, Some(start)),
                // A request that was given up may still ask for its next piece.
                Question::Next(number, ..) if number != current => {}
                Question::Next(_, length, reply) => {
                    let piece = match position {
                        Some(position) => reading.next(position, length),
                        None => Err(io::Error::other("reading has failed before")),
                    };
                    position = position.filter(|_| piece.is_ok()).map(|position| position + length);
                    // Nobody may want it any more.
                    drop(reply.send(piece));
                }
                Question::End => break,
            }
        }
    }
}

/// Reads parts of a content, and knows of all bytes whether they are right.
struct Reading<'a> {
    content: &'a dyn Content,
    open: Option<VerifyingReader<Box<dyn Read + Send>>>,
    /// How far hashing had come, in order; the first one is the beginning.
    marks: Vec<Verifying>,
    size: u64,
    /// Buffers that have been sent: making new ones costs as much as copying their bytes.
    spare: mpsc::Receiver<Vec<u8>>,
    back: mpsc::Sender<Vec<u8>>,
}

/// A buffer on its way.
struct Lent {
    buffer: Vec<u8>,
    back: mpsc::Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Whoever reads may be done.
        drop(self.back.send(std::mem::take(&mut self.buffer)));
    }
}

/// Reads until the buffer is full or the bytes end, and returns how many there were.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl<'a> Reading<'a> {
    fn new(content: &'a dyn Content, descriptor: &Descriptor) -> Self {
        let Descriptor { digest, size, .. } = *descriptor;
        let (back, spare) = mpsc::channel();
        Self { content, open: None, marks: vec![Verifying::new(digest, size)], size, spare, back }
    }

    /// The last piece is given only once all bytes are verified.
    fn next(&mut self, position: u64, length: u64) -> Piece {
        let mut reader = match self.open.take() {
            Some(reader) if reader.state().seen() == position => reader,
            _ => self.open_at(position)?,
        };
        let mut buffer = self.spare.try_recv().unwrap_or_default();
        buffer.resize(usize::try_from(length).unwrap_or_default(), 0);
        let count = fill(&mut reader, &mut buffer)? as u64;
        if count < length || position + count == self.size {
            io::copy(&mut reader, &mut io::sink())?;
        }
        if self.marks.last().is_some_and(|mark| position + count >= mark.seen() + MARK) {
            self.marks.push(reader.state().clone());
        }
        self.open = Some(reader);
        Ok(Bytes::from_owner(Lent { buffer, back: self.back.clone() }))
    }

    fn open_at(&self, position: u64) -> io::Result<VerifyingReader<Box<dyn Read + Send>>> {
        let mark = self.marks.iter().rfind(|mark| mark.seen() <= position);
        let mark = mark.expect("the first mark is the beginning").clone();
        let start = mark.seen();
        let inner = if start == 0 { self.content.open_unverified() } else { self.content.open(start) };
        let mut reader = VerifyingReader::resume(inner?, mark);
        io::copy(&mut reader.by_ref().take(position - start), &mut io::sink())?;
        Ok(reader)
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
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE] {
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

    /// Sends parts one after the other, and returns what went, or what is wrong with the content.
    fn parts(descriptor: &Descriptor, content: &dyn Content, parts: &[Range<u64>]) -> io::Result<Vec<u8>> {
        let (feeding, feeder) = feed(descriptor);
        std::thread::scope(|scope| {
            scope.spawn(|| feeder.serve(content));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let result = runtime.block_on(async {
                let mut sent = Vec::new();
                for part in parts {
                    let mut body = feeding.0.part(part.clone()).body(Pulse::default());
                    while !body.is_end_stream() {
                        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
                        sent.extend_from_slice(&frame.unwrap()?.into_data().unwrap());
                    }
                }
                Ok(sent)
            });
            drop(feeding);
            result
        })
    }

    #[test]
    fn any_parts_are_sent_in_any_order() {
        let size = 3 * MARK + 17;
        let bytes: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
        let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
        let content = BytesContent::new(bytes.clone());
        for order in [
            vec![0..0, 0..size],
            vec![0..1, 1..MARK, MARK..size],
            vec![0..2 * MARK + 1, MARK..size],
            vec![0..size, 0..size, size - 1..size],
            vec![5..6, 2 * MARK..size, 0..5],
        ] {
            let expected: Vec<u8> = order
                .iter()
                .flat_map(|part| &bytes[part.start as usize..part.end as usize])
                .copied()
                .collect();
            assert!(parts(&descriptor, &content, &order).unwrap() == expected, "{order:?}");
        }
    }

    #[test]
    fn the_last_byte_goes_only_where_all_before_it_were_right() {
        let size = 2 * MARK;
        let mut bytes: Vec<u8> = (0..size).map(|at| (at / 7) as u8).collect();
        let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
        bytes[10] ^= 1;
        let content = BytesContent::new(bytes);
        for order in [[0..0, 0..size], [0..MARK, MARK..size], [0..0, size - 1..size]] {
            let error = parts(&descriptor, &content, &order).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{order:?}");
        }
        assert!(parts(&descriptor, &content, &[0..MARK, 0..size - 1]).is_ok());
    }
}
