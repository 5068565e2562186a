//! Bytes from a registry, for a reader that blocks.
//!
//! A job on the requests' thread reads the answer, as far ahead of the reader as the credit that
//! the reader gives; so memory is bounded however slow the reader is.

use std::io::{self, Read};
use std::sync::{Arc, mpsc};

use hyper::body::{Buf as _, Bytes};
use tokio::sync::Semaphore;

use crate::blob::Content;
use crate::digest::VerifyingReader;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::mirror::Route;
use crate::registry::runtime::Runtime;
use crate::registry::transport::Answer;

/// Chunks read ahead; each is as large as a connection's buffer at most.
const AHEAD: usize = 8;

/// A blob in a registry.
pub(super) struct RemoteContent {
    pub(super) route: Route,
    pub(super) runtime: Arc<Runtime>,
    pub(super) descriptor: Descriptor,
}

impl RemoteContent {
    fn download(&self, offset: u64) -> io::Result<(Download, u64)> {
        let (route, digest) = (self.route.clone(), self.descriptor.digest);
        let opening = async move { route.open(&digest, offset).await };
        let opened = self.runtime.wait(opening, || ()).map_err(io::Error::other)?;
        let Some((answer, skip)) = opened else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("the registry has no `{digest}`")));
        };
        let download = Download::start(Arc::clone(&self.runtime), answer).map_err(io::Error::other)?;
        Ok((download, skip))
    }
}

impl Content for RemoteContent {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let Descriptor { digest, size, .. } = self.descriptor;
        if offset > 0 && offset >= size {
            return Ok(Box::new(io::empty()));
        }
        let (mut reader, skip) = self.download(offset)?;
        if offset == 0 {
            return Ok(Box::new(VerifyingReader::new(reader, digest, size)));
        }
        io::copy(&mut reader.by_ref().take(skip), &mut io::sink())?;
        Ok(Box::new(reader.take(size - offset)))
    }

    fn open_unverified(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.download(0)?.0))
    }

    fn origins(&self) -> &[Repository] {
        std::slice::from_ref(self.route.own.repository())
    }
}

/// An empty chunk is the end, to be told from a job that came to nothing.
type Chunk = Result<Bytes, RegistryError>;

struct Download {
    chunks: mpsc::Receiver<Chunk>,
    credit: Arc<Semaphore>,
    current: Bytes,
    ended: bool,
    /// Kept running until the last byte is read.
    _runtime: Arc<Runtime>,
}

impl Download {
    fn start(runtime: Arc<Runtime>, answer: Answer) -> Result<Self, RegistryError> {
        let credit = Arc::new(Semaphore::new(AHEAD));
        let (sender, chunks) = mpsc::channel();
        runtime.start(read(answer, Arc::clone(&credit), sender))?;
        Ok(Self { chunks, credit, current: Bytes::new(), ended: false, _runtime: runtime })
    }
}

async fn read(mut answer: Answer, credit: Arc<Semaphore>, sender: mpsc::Sender<Chunk>) {
    // Without credit for ever, the reader is gone.
    while let Ok(permit) = credit.acquire().await {
        permit.forget();
        let chunk = next(&mut answer).await;
        let last = chunk.as_ref().map_or(true, Bytes::is_empty);
        if sender.send(chunk).is_err() || last {
            return;
        }
    }
}

async fn next(answer: &mut Answer) -> Chunk {
    while let Some(chunk) = answer.chunk().await? {
        if !chunk.is_empty() {
            return Ok(chunk);
        }
    }
    Ok(Bytes::new())
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
