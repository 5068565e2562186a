//! Blobs in a store, moved in parts, so that none is ever whole in memory.
//!
//! Most stores take an object part by part. One that takes it at once (Redis) is given an object for
//! each part.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use ocibuild_core::blob::{BlobError, Content, PlaceFault, Sink, Source, many};
use ocibuild_core::digest::VerifyingReader;
use ocibuild_core::event::Transfer;
use ocibuild_core::{Descriptor, Digest};
use opendal_core::{Buffer, Error, ErrorKind, Operator, Writer};

use crate::records::is_there;
use crate::runtime::{Pending, Stop, is_absence};
use crate::store::{Inner, ObjectStore, Opened, PART_TIME, QUESTION, StoreError};
use crate::{AT_ONCE, LARGE_AT_ONCE};

/// How much is moved at a time, in bytes: the stores' least is 5 MiB.
pub(crate) const PART: u64 = 8 << 20;

/// The largest blob that is kept: S3's parts have numbers up to this.
const MAX_BLOB: u64 = 10_000 * PART;

/// Where the bytes of a blob are.
#[derive(Clone)]
pub(crate) struct Blob {
    path: String,
    size: u64,
    /// An object for each part.
    in_parts: bool,
}

impl Blob {
    fn new(operator: &Operator, descriptor: &Descriptor) -> Self {
        let in_parts = !operator.info().capability().write_can_multi;
        let path = format!("v1/blobs/sha256/{}", descriptor.digest.hex());
        Self { path, size: descriptor.size, in_parts }
    }

    /// The objects that it is, with their sizes.
    fn objects(&self) -> Vec<(String, u64)> {
        if !self.in_parts {
            return vec![(self.path.clone(), self.size)];
        }
        let parts = 0..self.size.div_ceil(PART).max(1);
        parts.map(|part| (self.part(part), PART.min(self.size - part * PART))).collect()
    }

    fn part(&self, part: u64) -> String {
        format!("{}.{part:04}", self.path)
    }

    async fn found_in(self, operator: Operator) -> Result<bool, Error> {
        let stat = |(path, size): (String, u64)| {
            let operator = operator.clone();
            async move {
                match operator.stat(&path).await {
                    Ok(found) => Ok(found.content_length() == size),
                    Err(error) if is_absence(&error) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        };
        let answers = stream::iter(self.objects()).map(stat).buffer_unordered(AT_ONCE);
        answers.try_all(ready).await
    }

    /// Reads the part that an offset is in, from there on.
    async fn read(self, operator: Operator, offset: u64) -> Result<Buffer, Error> {
        let part = offset / PART;
        let end = ((part + 1) * PART).min(self.size);
        if self.in_parts {
            let start = part * PART;
            operator.read_with(&self.part(part)).range(offset - start..end - start).await
        } else {
            operator.read_with(&self.path).range(offset..end).await
        }
    }
}

impl Inner {
    /// Tells whether a blob is there whole, as far as its size tells.
    fn has(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        {
            let state = self.state();
            if state.damaged.contains(&descriptor.digest) || descriptor.size > MAX_BLOB {
                return Ok(false);
            }
            if state.present.contains(&descriptor.digest) {
                return Ok(true);
            }
        }
        let blob = Blob::new(&self.open()?.operator, descriptor);
        let is_there = self.ask(QUESTION, |operator| blob.found_in(operator))?.unwrap_or(false);
        if is_there {
            self.state().present.insert(descriptor.digest);
        }
        Ok(is_there)
    }

    fn distrust(&self, digest: &Digest) {
        let mut state = self.state();
        state.present.remove(digest);
        state.damaged.insert(*digest);
    }
}

impl ObjectStore {
    fn blob_fault(&self, fault: StoreError) -> BlobError {
        match fault {
            StoreError::Cancelled(cancelled) => cancelled.into(),
            fault => {
                let place = self.name();
                BlobError::Place { place, fault: PlaceFault::Unavailable, source: Box::new(fault) }
            }
        }
    }

    /// Sends a blob, whatever is there. What was sent of one that isn't as described can't be seen: the
    /// last part is only sent once all is verified.
    fn send(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<(), BlobError> {
        let opened = self.0.open().map_err(|fault| self.blob_fault(fault))?;
        let blob = Blob::new(&opened.operator, descriptor);
        let reader = content.open_unverified().map_err(|error| unreadable(descriptor, error))?;
        let reader = VerifyingReader::new(reader, descriptor.digest, descriptor.size);
        let parts = Parts { reader, left: descriptor.size, next: None };
        let sent =
            if blob.in_parts { in_parts(opened, &blob, parts) } else { at_once(opened, blob.path, parts) };
        sent.map_err(|fault| match fault {
            Fault::Unreadable(error) => unreadable(descriptor, error),
            Fault::Store(stop) => self.blob_fault(self.0.fail(stop)),
        })
    }
}

/// Why a blob isn't sent.
enum Fault {
    Unreadable(io::Error),
    Store(Stop),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Self::Store(stop)
    }
}

/// Sends each part as an object.
fn in_parts(opened: &Opened, blob: &Blob, parts: Parts<impl Read>) -> Result<(), Fault> {
    for (at, part) in parts.enumerate() {
        let part = part.map_err(Fault::Unreadable)?;
        let (operator, path) = (opened.operator.clone(), blob.part(at as u64));
        let job = async move { operator.write(&path, part).await.map(|_| ()) };
        opened.runtime.wait(PART_TIME, job)?;
    }
    Ok(())
}

/// Sends all parts as one object, which is there when it is closed.
fn at_once(opened: &Opened, path: String, parts: Parts<impl Read>) -> Result<(), Fault> {
    let operator = opened.operator.clone();
    let part_size = usize::try_from(PART).unwrap_or(usize::MAX);
    let open = async move { operator.writer_with(&path).chunk(part_size).await };
    let mut writer = opened.runtime.wait(QUESTION, open)?;
    for part in parts {
        let fault = match part {
            Ok(part) => {
                let (own, fault) = opened.runtime.wait(PART_TIME, write(writer, part))?;
                writer = own;
                fault.map(|error| Fault::Store(Stop::Failed(error)))
            }
            Err(error) => Some(Fault::Unreadable(error)),
        };
        if let Some(fault) = fault {
            // What is left of it there is nobody's object; the store's own rules see to it.
            let _ = opened.runtime.wait(QUESTION, async move { writer.abort().await });
            return Err(fault);
        }
    }
    match opened.runtime.wait(PART_TIME, async move { writer.close().await }) {
        Err(Stop::Failed(error)) if is_there(&error) => Ok(()),
        closed => Ok(closed.map(|_| ())?),
    }
}

type Written = (Writer, Option<Error>);

/// Hands the writer back whatever comes of it: it can be told to give up then.
async fn write(mut writer: Writer, part: Bytes) -> Result<Written, Error> {
    let fault = writer.write(part).await.err();
    Ok((writer, fault))
}

fn unreadable(descriptor: &Descriptor, source: io::Error) -> BlobError {
    let digest = descriptor.digest;
    match source.kind() {
        io::ErrorKind::InvalidData => BlobError::Corrupt { digest, source },
        _ => BlobError::Read { digest, source },
    }
}

/// What a reader has, part by part; there is one at least. A part is given once it is known that
/// reading goes on after it, or that it ends well.
struct Parts<R> {
    reader: R,
    /// How much there should be still.
    left: u64,
    next: Option<Bytes>,
}

impl<R: Read> Parts<R> {
    fn read(&mut self) -> io::Result<Bytes> {
        // One byte more, so that the end is found without growing.
        let size = usize::try_from(self.left.min(PART)).unwrap_or_default();
        let mut part = Vec::with_capacity(if self.left > 0 { size + 1 } else { 0 });
        self.reader.by_ref().take(PART).read_to_end(&mut part)?;
        self.left = self.left.saturating_sub(part.len() as u64);
        Ok(part.into())
    }
}

impl<R: Read> Iterator for Parts<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        let (current, is_first) = match self.next.take() {
            Some(part) => (part, false),
            None => match self.read() {
                Ok(part) => (part, true),
                Err(error) => return Some(Err(error)),
            },
        };
        if current.is_empty() && !is_first {
            return None;
        }
        match self.read() {
            Ok(part) => self.next = Some(part),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(current))
    }
}

impl Source for ObjectStore {
    fn place(&self) -> String {
        self.name()
    }

    /// Asks only for blobs that a record says were put there.
    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let is_said = {
            let state = self.0.state();
            state.said.contains(&descriptor.digest) || state.present.contains(&descriptor.digest)
        };
        if !is_said || self.0.has_failed() {
            return Ok(false);
        }
        match self.0.has(descriptor) {
            Ok(has) => Ok(has),
            Err(fault) => self.0.untold(fault).map_or(Ok(false), |fault| Err(self.blob_fault(fault))),
        }
    }

    fn lacking(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let has = many(descriptors, AT_ONCE, |descriptor| self.exists(descriptor))?;
        let all = descriptors.iter().zip(has);
        Ok(all.filter(|(_, has)| !has).map(|(descriptor, _)| descriptor.clone()).collect())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let missing = || BlobError::Missing { digest: descriptor.digest, place: self.name() };
        if self.0.has_failed() || !self.0.has(descriptor).map_err(|fault| self.blob_fault(fault))? {
            return Err(missing());
        }
        Ok(Box::new(Stored { store: Arc::clone(&self.0), descriptor: descriptor.clone() }))
    }
}

impl Sink for ObjectStore {
    fn place(&self) -> String {
        self.name()
    }

    /// One that was given up lacks nothing.
    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let has = many(descriptors, AT_ONCE, |descriptor| {
            if self.0.has_failed() {
                return Ok(true);
            }
            self.0.has(descriptor).map_err(|fault| self.blob_fault(fault))
        })?;
        let all = descriptors.iter().zip(has);
        Ok(all.filter(|(_, has)| !has).map(|(descriptor, _)| descriptor.clone()).collect())
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        if descriptor.size > MAX_BLOB {
            let source = format!("{} bytes are over the limit of {MAX_BLOB}", descriptor.size);
            let fault = PlaceFault::Refused;
            return Err(BlobError::Place { place: self.name(), fault, source: source.into() });
        }
        if self.0.has(descriptor).map_err(|fault| self.blob_fault(fault))? {
            return Ok(Transfer::Present);
        }
        self.send(descriptor, content)?;
        let mut state = self.0.state();
        state.damaged.remove(&descriptor.digest);
        state.present.insert(descriptor.digest);
        Ok(Transfer::Sent)
    }

    fn concurrency(&self) -> usize {
        LARGE_AT_ONCE
    }
}

/// A blob that is there.
struct Stored {
    store: Arc<Inner>,
    descriptor: Descriptor,
}

impl Content for Stored {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let Descriptor { digest, size, .. } = self.descriptor;
        let opened = self.store.open().map_err(io::Error::other)?;
        let blob = Blob::new(&opened.operator, &self.descriptor);
        let reader =
            Reader { store: Arc::clone(&self.store), blob, at: offset, part: Cursor::default(), next: None };
        if offset > 0 {
            return Ok(Box::new(reader));
        }
        let reader = VerifyingReader::new(reader, digest, size);
        Ok(Box::new(Watched { reader, store: Arc::clone(&self.store), digest }))
    }
}

/// Has what turns out to be damaged not be there any more: so it is sent anew.
struct Watched<R> {
    reader: R,
    store: Arc<Inner>,
    digest: Digest,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        if let Err(error) = &result
            && matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
        {
            self.store.distrust(&self.digest);
        }
        result
    }
}

/// Reads a blob part by part, each asked for while the one before it is used.
struct Reader {
    store: Arc<Inner>,
    blob: Blob,
    /// Where the next part that is asked for begins.
    at: u64,
    part: Cursor<Bytes>,
    next: Option<(u64, Pending<Buffer>)>,
}

impl Reader {
    /// Asks for the next part, if there is one.
    fn ask(&mut self) -> io::Result<()> {
        if self.at >= self.blob.size {
            return Ok(());
        }
        let opened = self.store.open().map_err(io::Error::other)?;
        let job = self.blob.clone().read(opened.operator.clone(), self.at);
        let end = ((self.at / PART + 1) * PART).min(self.blob.size);
        self.next = Some((end - self.at, opened.runtime.begin(PART_TIME, job)));
        self.at = end;
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.part.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            if self.next.is_none() {
                self.ask()?;
            }
            let Some((length, pending)) = self.next.take() else { return Ok(0) };
            let part = match pending.wait() {
                Ok(part) => part,
                Err(stop) if stop.is_absence() => return Err(io::ErrorKind::NotFound.into()),
                // A range that isn't there any more.
                Err(stop) if stop.kind() == Some(ErrorKind::RangeNotSatisfied) => return Err(cut()),
                Err(stop) => return Err(io::Error::other(stop)),
            };
            if part.len() as u64 != length {
                return Err(cut());
            }
            self.part = Cursor::new(part.to_bytes());
            self.ask()?;
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "there are fewer bytes than there should be")
}
