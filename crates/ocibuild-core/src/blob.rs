//! Content-addressed storage: the traits that every place of blobs has, and the two places that
//! are nothing but storage, on disk ([`Store`]) and in memory ([`Memory`]).
//!
//! Everything is keyed by a [`Descriptor`]; a manifest is a blob like any other. Knows nothing of
//! what blobs mean or how they hang together.

mod ahead;
mod content;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod many;
mod memory;
mod store;
mod union;

use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use crate::digest::{Digest, VerifyingReader};
use crate::event::{Cancelled, Transfer};
use crate::oci::Descriptor;
use crate::reference::Repository;

pub(crate) use ahead::AheadFile;
pub use content::{BytesContent, FileContent};
pub(crate) use files::BlobFiles;
pub use many::many;
pub use memory::Memory;
pub(crate) use store::SealedBlob;
pub use store::{BlobWriter, Store};
pub use union::Union;

/// A place of blobs could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The blob isn't there.
    #[error("`{digest}` is not in {place}")]
    Missing {
        /// The blob asked for.
        digest: Digest,
        /// Where it was looked for.
        place: String,
    },
    /// The bytes aren't those the descriptor promises; nothing was kept of them.
    #[error("the bytes of `{digest}` are not what they should be")]
    Corrupt {
        /// The blob at fault.
        digest: Digest,
        /// How they differ.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The bytes to send could not be read, or those asked for broke off.
    #[error("cannot read `{digest}`")]
    Read {
        /// The blob at fault.
        digest: Digest,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A name is not known in a place.
    #[error("{place} has no `{name}`")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// A place answered with a fault of its own.
    #[error("cannot use {place}")]
    Place {
        /// The place, for people.
        place: String,
        /// What kind of fault it is.
        fault: PlaceFault,
        /// The fault.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl BlobError {
    /// Tells whether the blob isn't there, or went before it could be opened.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Read { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// What kind of fault a place of blobs has, so that a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaceFault {
    /// Credentials are missing or not accepted.
    Unauthorized,
    /// It cannot be reached, or is out of order.
    Unavailable,
    /// It refused the request, or answered what can't be understood.
    Refused,
    /// It didn't take a manifest because it lacks something below, whatever it said before. Of that it
    /// isn't believed again: what is pushed is sent.
    Lacking,
    /// It is not a place of the kind expected.
    Unsuitable,
}

/// Bytes that can be read again, from any offset: replayed, resumed, or taken over from elsewhere.
pub trait Content: Send + Sync {
    /// Opens the bytes from `offset` on. From offset 0, reading to the end verifies size and
    /// digest where the content comes from a [`Source`]; from elsewhere nothing is verified.
    ///
    /// # Errors
    /// Whatever opening the bytes meets.
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>>;

    /// Opens the bytes from their start, for a reader that verifies them itself, as every [`Sink`]
    /// does: so that none is hashed twice on its way.
    ///
    /// # Errors
    /// Whatever opening the bytes meets.
    fn open_unverified(&self) -> io::Result<Box<dyn io::Read + Send>> {
        self.open(0)
    }

    /// Names repositories known to hold the same bytes, so that a registry may take them over from
    /// there without being sent any.
    fn origins(&self) -> &[Repository] {
        &[]
    }
}

/// A place that blobs come from.
pub trait Source: Send + Sync {
    /// Names the place, for people.
    fn place(&self) -> String;

    /// Tells whether the blob is there, without reading it: success does not mean that its bytes
    /// are whole.
    ///
    /// # Errors
    /// [`BlobError`] if the place cannot tell.
    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError>;

    /// Returns those of the blobs that aren't there. Where each question takes its time, all are asked
    /// at once, as far as the place bears it.
    ///
    /// # Errors
    /// [`BlobError`] if the place cannot tell of one of them.
    fn lacking(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        lacking(descriptors, |descriptor| self.exists(descriptor))
    }

    /// Returns the blob's bytes, to be read when wanted.
    ///
    /// # Errors
    /// [`BlobError::Missing`] if it isn't there. What is wrong with the bytes themselves shows at
    /// the end of reading them.
    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError>;
}

/// A place that blobs go to.
pub trait Sink: Send + Sync {
    /// Names the place, for people.
    fn place(&self) -> String;

    /// Returns those of the blobs that would have to be pushed.
    ///
    /// # Errors
    /// [`BlobError`] if the place cannot tell.
    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError>;

    /// Makes sure that the blob is there: idempotent, and nothing of it is visible before it is
    /// whole. The bytes are hashed on the way; what isn't as described is refused.
    ///
    /// The bytes are opened again as often as the place needs to send them again.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is then visible at the place.
    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError>;

    /// Tells how many pushes the place has a use for at a time. Where it is one, the place is a
    /// stream whose bytes follow the order of the pushes: whoever pushes several blobs then pushes
    /// them one after the other, in an order that depends on nothing but the blobs.
    fn concurrency(&self) -> usize {
        usize::MAX
    }
}

/// A place that blobs come from and go to, and where names can be given to them.
pub trait Target: Source + Sink {
    /// Looks a name up.
    ///
    /// # Errors
    /// [`BlobError::UnknownName`] if nothing has that name.
    fn resolve(&self, name: &str) -> Result<Descriptor, BlobError>;

    /// Gives a name to what is there already, taking it from whatever had it.
    ///
    /// # Errors
    /// [`BlobError`]; the name then means what it meant before.
    fn tag(&self, descriptor: &Descriptor, name: &str) -> Result<(), BlobError>;
}

/// Reads a blob whole and verifies it, if it has at most `limit` bytes.
///
/// # Errors
/// [`BlobError`] if it isn't there, is larger, or its bytes aren't what they should be.
pub fn read_whole(source: &dyn Source, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, BlobError> {
    let digest = descriptor.digest;
    if descriptor.size > limit {
        let reason = format!("{} bytes are over the limit of {limit}", descriptor.size);
        return Err(BlobError::Corrupt {
            digest,
            source: io::Error::new(io::ErrorKind::InvalidData, reason),
        });
    }
    let content = source.fetch(descriptor)?;
    let mut bytes = Vec::new();
    let mut read = || io::Read::read_to_end(&mut content.open(0)?, &mut bytes);
    read().map_err(|source| read_fault(digest, source))?;
    Ok(bytes)
}

/// Copies content into a writer and verifies it on the way; `fault` is what a failing writer means.
///
/// # Errors
/// [`BlobError`]; what was written so far is then worth nothing.
pub(crate) fn pour(
    descriptor: &Descriptor,
    content: &dyn Content,
    writer: &mut dyn io::Write,
    fault: &dyn Fn(io::Error) -> BlobError,
) -> Result<(), BlobError> {
    let digest = descriptor.digest;
    let reader = content.open_unverified().map_err(|source| read_fault(digest, source))?;
    let reader = VerifyingReader::new(reader, digest, descriptor.size);
    if descriptor.size >= BESIDE {
        return pour_beside(digest, reader, writer, fault);
    }
    let mut runs = Runs { reader, length: usize::try_from(descriptor.size).unwrap_or(RUN).clamp(1, RUN) };
    let mut buffer = Vec::new();
    while runs.next(&mut buffer).map_err(|source| read_fault(digest, source))? {
        writer.write_all(&buffer).map_err(fault)?;
    }
    Ok(())
}

/// How many bytes are read at a time.
const RUN: usize = 256 << 10;

/// From this size on, bytes are read and hashed while those before them are written.
const BESIDE: u64 = 4 << 20;

fn pour_beside(
    digest: Digest,
    reader: impl io::Read + Send,
    writer: &mut dyn io::Write,
    fault: &dyn Fn(io::Error) -> BlobError,
) -> Result<(), BlobError> {
    let (full, filled) = mpsc::sync_channel(4);
    let (empty, emptied) = mpsc::channel::<Vec<u8>>();
    thread::scope(|scope| {
        let reading = scope.spawn(move || -> io::Result<()> {
            let mut runs = Runs { reader, length: RUN };
            loop {
                let mut buffer = emptied.try_recv().unwrap_or_default();
                // Nobody takes it any more once writing failed.
                if !runs.next(&mut buffer)? || full.send(buffer).is_err() {
                    return Ok(());
                }
            }
        });
        let written = filled.into_iter().try_for_each(|buffer| {
            writer.write_all(&buffer)?;
            let _ = empty.send(buffer);
            Ok(())
        });
        let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.map_err(fault)?;
        read.map_err(|source| read_fault(digest, source))
    })
}

/// The bytes of a reader, some at a time.
struct Runs<R> {
    reader: R,
    length: usize,
}

impl<R: io::Read> Runs<R> {
    /// Fills the buffer with the next bytes; tells whether there were any.
    fn next(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        buffer.resize(self.length, 0);
        loop {
            match self.reader.read(buffer) {
                Ok(count) => {
                    buffer.truncate(count);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns those of the blobs that a place hasn't.
pub(crate) fn lacking(
    descriptors: &[Descriptor],
    has: impl Fn(&Descriptor) -> Result<bool, BlobError>,
) -> Result<Vec<Descriptor>, BlobError> {
    let asked = descriptors.iter().map(|descriptor| Ok((!has(descriptor)?).then(|| descriptor.clone())));
    asked.filter_map(Result::transpose).collect()
}

/// Tells bytes that are wrong from bytes that could not be had.
pub(crate) fn read_fault(digest: Digest, source: io::Error) -> BlobError {
    match source.kind() {
        io::ErrorKind::InvalidData => BlobError::Corrupt { digest, source },
        _ => BlobError::Read { digest, source },
    }
}
