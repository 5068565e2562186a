//! Bytes from a registry, for a reader that blocks.
//!
//! A job on the requests' thread reads the answer, as far ahead of the reader as the credit that
//! the reader gives; so memory is bounded however slow the reader is.

use std::io::{self, Read};
use std::sync::{Arc, mpsc};

use hyper::StatusCode;
use hyper::body::{Buf as _, Bytes};
use hyper::header;
use tokio::sync::Semaphore;

use crate::blob::Content;
use crate::digest::VerifyingReader;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::http::retry::Patience;
use crate::registry::http::runtime::Runtime;
use crate::registry::http::transport::Answer;
use crate::registry::mirror::Route;

/// Chunks read ahead; each is as large as a connection's buffer at most.
const AHEAD: usize = 8;

/// A blob in a registry.
pub(super) struct RemoteContent {
    pub(super) route: Route,
    pub(super) runtime: Arc<Runtime>,
    pub(super) descriptor: Descriptor,
}

impl RemoteContent {
    fn download(&self, offset: u64) -> io::Result<Download> {
        let opening = Stream::open(self.route.clone(), self.descriptor.clone(), offset);
        let opened = self.runtime.wait(opening, || ()).map_err(io::Error::other)?;
        let Some(stream) = opened else {
            let digest = self.descriptor.digest;
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the registry has no `{digest}`")));
        };
        Download::start(Arc::clone(&self.runtime), stream).map_err(io::Error::other)
    }
}

impl Content for RemoteContent {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let Descriptor { digest, size, .. } = self.descriptor;
        if offset > 0 && offset >= size {
            return Ok(Box::new(io::empty()));
        }
        let reader = self.download(offset)?;
        if offset == 0 {
            return Ok(Box::new(VerifyingReader::new(reader, digest, size)));
        }
        Ok(Box::new(reader.take(size - offset)))
    }

    fn open_unverified(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.download(0)?))
    }

    fn origins(&self) -> &[Repository] {
        std::slice::from_ref(self.route.own.repository())
    }
}

/// An empty chunk is the end, to be told from a job that came to nothing.
type Chunk = Result<Bytes, RegistryError>;

/// A blob's bytes as they come. Where they break off, they are asked for from there on: as long as
/// some come, as often as need be.
struct Stream {
    route: Route,
    descriptor: Descriptor,
    answer: Answer,
    /// How much of the blob has come.
    position: u64,
    /// Bytes that the answer has and that are not wanted, or not again.
    skip: u64,
    patience: Patience,
    /// Whether the last try brought nothing.
    is_stuck: bool,
}

impl Stream {
    async fn open(
        route: Route,
        descriptor: Descriptor,
        position: u64,
    ) -> Result<Option<Self>, RegistryError> {
        let Some((answer, skip)) = route.open(&descriptor, position).await? else { return Ok(None) };
        let own = &route.own;
        let patience = own.client().patience().about(descriptor.digest);
        Ok(Some(Self { route, descriptor, answer, position, skip, patience, is_stuck: false }))
    }

    async fn next(&mut self) -> Chunk {
        loop {
            let error = match self.answer.chunk().await {
                Ok(Some(chunk)) => match self.wanted(chunk) {
                    chunk if chunk.is_empty() => continue,
                    chunk => return Ok(chunk),
                },
                Ok(None) if self.is_at_end() => return Ok(Bytes::new()),
                Ok(None) => self.ended_early(),
                // All has come, and how the connection ends doesn't matter.
                Err(error) if self.position >= self.descriptor.size && error.is_transient() => {
                    return Ok(Bytes::new());
                }
                Err(error) => error,
            };
            self.resume(error).await?;
        }
    }

    fn wanted(&mut self, mut chunk: Bytes) -> Bytes {
        let skipped = chunk.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
        chunk.advance(skipped);
        self.skip -= skipped as u64;
        if !chunk.is_empty() {
            self.position += chunk.len() as u64;
            if std::mem::take(&mut self.is_stuck) {
                self.patience.progressed();
            }
        }
        chunk
    }

    /// Where an answer said how long it is, it is whole, be it as long as it should or not; but of a
    /// range, servers may give less than was asked for.
    fn is_at_end(&self) -> bool {
        let is_told = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        self.position >= self.descriptor.size
            || self.answer.status != StatusCode::PARTIAL_CONTENT
                && is_told.into_iter().any(|name| self.answer.header(name).is_some())
    }

    fn ended_early(&self) -> RegistryError {
        let (method, url) = self.answer.blame.parts();
        let Descriptor { size, .. } = self.descriptor;
        let source = format!("it ended after {} of {size} bytes", self.position).into();
        RegistryError::Broken { method, url, source }
    }

    /// Asks for the rest. A mirror that breaks twice in a row is left for the registry itself.
    async fn resume(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        let gone = RegistryError::Gone { digest: self.descriptor.digest };
        self.route.own.client().again(&mut self.patience, error).await?;
        if std::mem::replace(&mut self.is_stuck, true) {
            self.route.mirrors.clear();
        }
        let opened = self.route.open(&self.descriptor, self.position).await?;
        (self.answer, self.skip) = opened.ok_or(gone)?;
        Ok(())
    }
}

struct Download {
    chunks: mpsc::Receiver<Chunk>,
    credit: Arc<Semaphore>,
    current: Bytes,
    ended: bool,
    /// Kept running until the last byte is read.
    _runtime: Arc<Runtime>,
}

impl Download {
    fn start(runtime: Arc<Runtime>, stream: Stream) -> Result<Self, RegistryError> {
        let credit = Arc::new(Semaphore::new(AHEAD));
        let (sender, chunks) = mpsc::channel();
        runtime.start(read(stream, Arc::clone(&credit), sender))?;
        Ok(Self { chunks, credit, current: Bytes::new(), ended: false, _runtime: runtime })
    }
}

async fn read(mut stream: Stream, credit: Arc<Semaphore>, sender: mpsc::Sender<Chunk>) {
    // Without credit for ever, the reader is gone.
    while let Ok(permit) = credit.acquire().await {
        permit.forget();
        let chunk = stream.next().await;
        let last = chunk.as_ref().map_or(true, Bytes::is_empty);
        if sender.send(chunk).is_err() || last {
            return;
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !buffer.is_empty() && !self.ended {
            let chunk = self.chunks.recv().unwrap_or(Err(RegistryError::Ended));
            self.current = chunk.map_err(io::Error::other)?;
            self.ended = self.current.is_empty();
            self.credit.add_permits(1);
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.credit.close();
    }
}
