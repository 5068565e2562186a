//! A bounded, streaming reader of anybody's tar: v7, ustar, star, GNU and PAX.
//!
//! Where well-known readers would see different entries in the same bytes, this one refuses: what
//! a base holds must not depend on who unpacks it. It tells what is written; whether a path is
//! fit to be used, what a whiteout means, and which entry goes with which, is for the caller.

mod header;
mod pax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek};

use header::{BLOCK, Format, Header, until_nul};
use pax::Pax;

/// The largest extended header (PAX, GNU long name) that is read, in bytes.
pub const MAX_EXTENSION: u64 = 1 << 20;
/// The longest path or link target that is read, in bytes.
pub const MAX_PATH: usize = 64 << 10;

/// Tar bytes could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes could not be had, or end in the middle of an entry.
    #[error("cannot read the tar bytes")]
    Read(#[source] io::Error),
    /// A header's checksum is wrong: this is no tar, or a damaged one.
    #[error("no tar header at byte {offset}: its checksum is wrong")]
    Checksum {
        /// Where, in bytes from the start.
        offset: u64,
    },
    /// A single block of zeros stands between entries, where some readers stop and others go on.
    #[error("a lone block of zeros before byte {offset} hides what follows it from some readers")]
    LoneZeroBlock {
        /// Where, in bytes from the start.
        offset: u64,
    },
    /// A number is malformed, negative, or over 63 bits.
    #[error("`{field}` holds no usable number")]
    Number {
        /// The field at fault.
        field: &'static str,
    },
    /// A PAX record is malformed.
    #[error("malformed record in a pax header")]
    Record,
    /// A path holds a NUL.
    #[error("`{field}` holds a NUL byte")]
    NulInPath {
        /// The field at fault.
        field: &'static str,
    },
    /// Something is larger than is read here.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes mean different things to different readers.
    #[error("`{}` is ambiguous: {reason}", path.escape_ascii())]
    Ambiguous {
        /// The entry at fault, as far as it is known.
        path: Vec<u8>,
        /// Why.
        reason: &'static str,
    },
}

impl From<io::Error> for ReadError {
    fn from(source: io::Error) -> Self {
        Self::Read(source)
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, raw.
        target: Vec<u8>,
    },
    /// Another name of an entry.
    Hardlink {
        /// The path of that entry, raw.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Its driver.
        major: u64,
        /// Its number with that driver.
        minor: u64,
    },
    /// A block device.
    BlockDevice {
        /// Its driver.
        major: u64,
        /// Its number with that driver.
        minor: u64,
    },
    /// A named pipe.
    Fifo,
    /// A type of entry that is not for file systems, or not known.
    Other(u8),
}

/// One entry's header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its path: raw bytes, neither cleaned nor checked.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, as written.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Owning group.
    pub gid: u64,
    /// Time of modification, in seconds since the epoch.
    pub mtime: i64,
    /// Size of its content in bytes; of a sparse file, with its holes.
    pub size: u64,
    /// Extended attributes, raw.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether holes are left out of the content, which cannot be read here then.
    pub sparse: bool,
}

impl Entry {
    /// Makes an entry of root's, without permissions, time or content.
    #[must_use]
    pub fn new(path: Vec<u8>, kind: EntryKind) -> Self {
        let (mode, uid, gid, mtime, size) = (0, 0, 0, 0, 0);
        Self { path, kind, mode, uid, gid, mtime, size, xattrs: BTreeMap::new(), sparse: false }
    }
}

/// Reads entries one after the other.
pub struct Reader<R> {
    inner: BufReader<R>,
    /// Bytes read from `inner`.
    offset: u64,
    /// Content of the current entry still to be read, and the padding after it.
    remaining: u64,
    padding: u64,
    sparse: bool,
    /// Whether there was a PAX header yet.
    pax_seen: bool,
    ended: bool,
}

/// What precedes an entry's own header.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.path.is_none() && self.link.is_none()
    }
}

impl<R: Read> Reader<R> {
    /// Starts at the first byte of a tar.
    pub fn new(inner: R) -> Self {
        Self {
            inner: BufReader::with_capacity(64 << 10, inner),
            offset: 0,
            remaining: 0,
            padding: 0,
            sparse: false,
            pax_seen: false,
            ended: false,
        }
    }

    /// Returns the next entry, after skipping what is left of the current one's content; `None`
    /// at the tar's end, which is two blocks of zeros or the end of the bytes.
    ///
    /// # Errors
    /// [`ReadError`]; nothing sensible can be read after one.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut extensions = Extensions::default();
        while let Some(block) = self.next_header()? {
            let header = Header::new(&block, self.offset - BLOCK as u64)?;
            match header.type_flag() {
                b'x' => {
                    self.pax_seen = true;
                    set_once(&mut extensions.pax, Pax::parse(&self.extension(&header)?)?)?;
                }
                b'g' => self.pass_global(&header, &extensions)?,
                b'L' => set_once(&mut extensions.path, self.long_name(&header)?)?,
                b'K' => set_once(&mut extensions.link, self.long_name(&header)?)?,
                _ => return self.entry(&header, extensions).map(Some),
            }
        }
        if !extensions.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(None)
    }

    /// Returns how many bytes were read so far: after [`Reader::next_entry`], where the entry's
    /// content begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the current entry's content. What isn't read is skipped by the next call.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { reader: self }
    }

    /// Reads all that is left, to the last byte, and gives the inner reader back: only then has a
    /// verifying reader below seen everything.
    ///
    /// # Errors
    /// [`ReadError::Read`].
    pub fn finish(mut self) -> Result<R, ReadError> {
        io::copy(&mut self.inner, &mut io::sink())?;
        Ok(self.inner.into_inner())
    }

    /// Passes over the current entry's content without reading it. Whether all of it is there is for
    /// the caller to know.
    ///
    /// # Errors
    /// [`ReadError::Read`] if the inner reader can't be moved.
    pub fn seek_over(&mut self) -> Result<(), ReadError>
    where
        R: Seek,
    {
        let ahead = self.remaining.saturating_add(self.padding);
        let step = i64::try_from(ahead).map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.inner.seek_relative(step)?;
        self.offset = self.offset.saturating_add(ahead);
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    fn entry(&mut self, header: &Header<'_>, extensions: Extensions) -> Result<Entry, ReadError> {
        let mut pax = extensions.pax.unwrap_or_default();
        let path = either(extensions.path, pax.path.take())?.unwrap_or_else(|| header.path());
        let link = either(extensions.link, pax.link.take())?.unwrap_or_else(|| header.link());
        let is_named_file = matches!(header.type_flag(), b'0' | b'7' | b'S') && path.ends_with(b"/");
        let by_name = is_named_file.then_some("it is a file by its type, and a directory by its name");
        if let Some(reason) = doubt(header, &pax, &path).or(by_name) {
            return Err(ReadError::Ambiguous { path, reason });
        }
        let mut entry = Entry {
            kind: kind(header, &path, link)?,
            path: pax.sparse_path.unwrap_or(path),
            mode: u32::try_from(header.mode()?).map_err(|_| ReadError::Number { field: "mode" })?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            size: pax.size.map_or_else(|| header.size(), Ok)?,
            xattrs: pax.xattrs,
            sparse: pax.sparse,
        };
        check_lengths(&entry)?;
        self.start_content(&mut entry)?;
        if let Some(size) = pax.sparse_size {
            entry.size = size;
        }
        if header.type_flag() == b'S' {
            self.old_sparse(header, &mut entry)?;
        }
        Ok(entry)
    }

    /// Sets how many bytes of content follow, which only some kinds have.
    fn start_content(&mut self, entry: &mut Entry) -> Result<(), ReadError> {
        match entry.kind {
            EntryKind::Regular | EntryKind::Other(_) => {}
            EntryKind::Hardlink { .. } if entry.size != 0 && self.pax_seen => {
                let reason = "it is a hard link with a size, behind which some readers see content";
                return Err(ReadError::Ambiguous { path: std::mem::take(&mut entry.path), reason });
            }
            // Some writers of older dialects note the size of the linked file, which no reader takes
            // for content there.
            EntryKind::Hardlink { .. } => entry.size = 0,
            _ if entry.size != 0 => {
                let reason = "it should have no content, but has a size";
                return Err(ReadError::Ambiguous { path: std::mem::take(&mut entry.path), reason });
            }
            _ => {}
        }
        self.sparse = entry.sparse;
        self.set_remaining(entry.size);
        Ok(())
    }

    fn set_remaining(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Passes over the rest of an old GNU sparse map, which stands between header and content.
    fn old_sparse(&mut self, header: &Header<'_>, entry: &mut Entry) -> Result<(), ReadError> {
        let (size, mut more) = header.gnu_sparse()?;
        (entry.size, entry.sparse, self.sparse) = (size, true, true);
        let start = self.offset;
        while more {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            more = block[504] != 0;
            limit("a sparse map", self.offset - start, MAX_EXTENSION)?;
        }
        Ok(())
    }

    /// Passes over a global header, which may hold remarks alone: what it says of all entries counts
    /// for GNU tar and Python, but not for Go, which unpacks images, nor for libarchive.
    fn pass_global(&mut self, header: &Header<'_>, extensions: &Extensions) -> Result<(), ReadError> {
        let ambiguous = |reason| Err(ReadError::Ambiguous { path: header.path(), reason });
        self.pax_seen = true;
        if !extensions.is_empty() {
            return ambiguous("a global header stands between an entry and what belongs to it");
        }
        if Pax::parse(&self.extension(header)?)?.speaks_of_entries() {
            return ambiguous("a global header says something of every entry");
        }
        Ok(())
    }

    fn long_name(&mut self, header: &Header<'_>) -> Result<Vec<u8>, ReadError> {
        self.extension(header).map(|body| until_nul(&body).to_vec())
    }

    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, ReadError> {
        let size = header.size()?;
        limit("an extended header", size, MAX_EXTENSION)?;
        self.sparse = false;
        self.set_remaining(size);
        let mut body = Vec::new();
        self.content().read_to_end(&mut body)?;
        Ok(body)
    }

    /// Reads the next header's block; `None` at the end.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        self.skip()?;
        let mut block = [0; BLOCK];
        let mut zeros = 0;
        while zeros < 2 && self.fill_or_end(&mut block)? {
            match block.iter().all(|byte| *byte == 0) {
                true => zeros += 1,
                false if zeros == 0 => return Ok(Some(block)),
                false => return Err(ReadError::LoneZeroBlock { offset: self.offset - BLOCK as u64 }),
            }
        }
        self.ended = true;
        Ok(None)
    }

    fn skip(&mut self) -> Result<(), ReadError> {
        let (content, padding) = (self.remaining, self.padding);
        let skipped = io::copy(&mut self.inner.by_ref().take(content + padding), &mut io::sink())?;
        self.offset += skipped;
        (self.remaining, self.padding) = (0, 0);
        // A tar may end with the last file's content: `umoci insert` never writes its padding.
        match skipped >= content {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    fn fill(&mut self, block: &mut [u8; BLOCK]) -> Result<(), ReadError> {
        match self.fill_or_end(block)? {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    fn fill_or_end(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ReadError> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += BLOCK as u64;
        Ok(true)
    }
}

/// The content of a [`Reader`]'s current entry.
pub struct Content<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.reader;
        if reader.sparse {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "sparse files cannot be read"));
        }
        let most = buffer.len().min(usize::try_from(reader.remaining).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = reader.inner.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        reader.remaining -= count as u64;
        reader.offset += count as u64;
        Ok(count)
    }
}

fn kind(header: &Header<'_>, path: &[u8], target: Vec<u8>) -> Result<EntryKind, ReadError> {
    Ok(match header.type_flag() {
        0 if path.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' => EntryKind::Regular,
        b'S' if header.format() == Format::Gnu => EntryKind::Regular,
        b'1' => EntryKind::Hardlink { target },
        b'2' => EntryKind::Symlink { target },
        b'3' | b'4' => {
            let (major, minor) = header.device()?;
            match header.type_flag() {
                b'3' => EntryKind::CharDevice { major, minor },
                _ => EntryKind::BlockDevice { major, minor },
            }
        }
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => EntryKind::Other(other),
    })
}

fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), ReadError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => {
            let reason = "two extended headers of one kind before it";
            Err(ReadError::Ambiguous { path: Vec::new(), reason })
        }
    }
}

/// Says why readers disagree on an entry, if its header and records make them.
fn doubt(header: &Header<'_>, pax: &Pax, path: &[u8]) -> Option<&'static str> {
    if header.is_buggy_gnu() {
        return Some("its GNU header has a prefix for some readers");
    }
    let is_file = matches!(header.type_flag(), 0 | b'0') && !path.ends_with(b"/");
    let is_doubtful = pax.is_sparse_by_halves() || (pax.sparse && !is_file);
    is_doubtful.then_some("only some readers take it for a sparse file")
}

/// Takes what GNU's or PAX's way of a long name says; both only if they agree.
fn either(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, ReadError> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => {
            Err(ReadError::Ambiguous { path: pax, reason: "a GNU long name says otherwise" })
        }
        (gnu, pax) => Ok(pax.or(gnu)),
    }
}

fn check_lengths(entry: &Entry) -> Result<(), ReadError> {
    let target = match &entry.kind {
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => target.len(),
        _ => 0,
    };
    limit("a path", entry.path.len() as u64, MAX_PATH as u64)?;
    limit("a link target", target as u64, MAX_PATH as u64)
}

fn limit(what: &'static str, size: u64, limit: u64) -> Result<(), ReadError> {
    if size > limit { Err(ReadError::TooLarge { what, size, limit }) } else { Ok(()) }
}
