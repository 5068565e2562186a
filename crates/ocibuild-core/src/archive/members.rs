//! The files of an archive, found by one walk over its headers and read where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use crate::archive::ArchiveError;
use crate::blob::Content;
use crate::digest::VerifyingReader;
use crate::oci::Descriptor;
use crate::tar::{EntryKind, ReadError, Reader};

/// The most entries of an archive.
const MAX_ENTRIES: usize = 200_000;

/// The most bytes that all names of an archive have.
const MAX_NAMES: usize = 32 << 20;

/// How many links are followed from one file to another.
const MAX_LINKS: usize = 8;

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub(super) struct Member {
    file: Arc<File>,
    offset: u64,
    pub(super) size: u64,
}

#[derive(Debug)]
enum Found {
    File {
        offset: u64,
        size: u64,
        sparse: bool,
    },
    Link(String),
    /// There are two of this name.
    Twice,
}

/// All files and links of an archive, by their names without `./`.
#[derive(Debug)]
pub(super) struct Members {
    file: Arc<File>,
    found: BTreeMap<String, Found>,
}

impl Members {
    /// Walks over the headers; no content is read.
    pub(super) fn find(file: File) -> Result<Self, ArchiveError> {
        let end = file.metadata().map_err(ArchiveError::Read)?.len();
        let file = Arc::new(file);
        let mut reader = Reader::new(Section { file: Arc::clone(&file), position: 0, end });
        let (mut found, mut entries, mut names) = (BTreeMap::new(), 0, 0);
        while let Some(entry) = reader.next_entry().map_err(ArchiveError::Tar)? {
            let offset = reader.offset();
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(ArchiveError::TooMuch { what: "entries", limit: MAX_ENTRIES });
            }
            if let Some(name) = name(&entry.path) {
                let member = match entry.kind {
                    EntryKind::Regular if !entry.sparse && end.saturating_sub(offset) < entry.size => {
                        return Err(ArchiveError::Tar(ReadError::Read(io::ErrorKind::UnexpectedEof.into())));
                    }
                    EntryKind::Regular => Found::File { offset, size: entry.size, sparse: entry.sparse },
                    EntryKind::Symlink { target } => link(name.rsplit_once('/').map(|(to, _)| to), &target),
                    EntryKind::Hardlink { target } => link(None, &target),
                    _ => {
                        reader.seek_over().map_err(ArchiveError::Tar)?;
                        continue;
                    }
                };
                names += name.len() + if let Found::Link(to) = &member { to.len() } else { 0 };
                if names > MAX_NAMES {
                    return Err(ArchiveError::TooMuch { what: "bytes of names", limit: MAX_NAMES });
                }
                found.entry(name).and_modify(|known| *known = Found::Twice).or_insert(member);
            }
            reader.seek_over().map_err(ArchiveError::Tar)?;
        }
        Ok(Self { file, found })
    }

    /// Tells whether there is anything of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// Finds a file, behind however many links.
    pub(super) fn get(&self, name: &str) -> Result<Option<Member>, ArchiveError> {
        let mut at = name;
        for _ in 0..=MAX_LINKS {
            match self.found.get(at) {
                None => return Ok(None),
                Some(Found::Link(target)) => at = target,
                Some(Found::Twice) => return Err(ArchiveError::Twice(at.to_owned())),
                Some(Found::File { sparse: true, .. }) => return Err(ArchiveError::Sparse(at.to_owned())),
                Some(Found::File { offset, size, .. }) => {
                    let file = Arc::clone(&self.file);
                    return Ok(Some(Member { file, offset: *offset, size: *size }));
                }
            }
        }
        Err(ArchiveError::Links(name.to_owned()))
    }

    /// Reads a file whole, if it is there and has at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(member) = self.get(name)? else { return Ok(None) };
        if member.size > limit {
            let (name, size) = (name.to_owned(), member.size);
            return Err(ArchiveError::TooLarge { name, size, limit });
        }
        let mut bytes = Vec::new();
        member.open(0).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
        Ok(Some(bytes))
    }
}

/// Returns a name by which a file can be asked for; nothing of those that lead elsewhere.
fn name(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    normal(text.split('/'))
}

fn normal<'t>(parts: impl Iterator<Item = &'t str>) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for part in parts {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            part => kept.push(part),
        }
    }
    (!kept.is_empty()).then(|| kept.join("/"))
}

/// A link that leads out of the archive leads to nothing that could be there.
fn link(from: Option<&str>, target: &[u8]) -> Found {
    let target = std::str::from_utf8(target).ok().filter(|target| !target.starts_with('/'));
    let parts =
        target.and_then(|target| normal(from.unwrap_or_default().split('/').chain(target.split('/'))));
    Found::Link(parts.unwrap_or_default())
}

impl Member {
    /// Opens the bytes from `offset` on.
    pub(super) fn open(&self, offset: u64) -> impl Read + Send + use<> {
        let (start, end) = (self.offset, self.offset + self.size);
        Section { file: Arc::clone(&self.file), position: start.saturating_add(offset).min(end), end }
    }
}

/// A run of a file's bytes; any number of them can be read at once.
struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let most = buffer.len().min(rest);
        let count = read_at(&self.file, &mut buffer[..most], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for Section {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::End(step) => self.end.checked_add_signed(step),
            io::SeekFrom::Current(step) => self.position.checked_add_signed(step),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// A blob in an archive; verified when it is read from its start to its end.
pub(super) struct MemberContent {
    pub(super) member: Member,
    pub(super) descriptor: Descriptor,
}

impl Content for MemberContent {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let reader = self.member.open(offset);
        if offset == 0 {
            let Descriptor { digest, size, .. } = self.descriptor;
            return Ok(Box::new(VerifyingReader::new(reader, digest, size)));
        }
        Ok(Box::new(reader))
    }

    fn open_unverified(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.member.open(0)))
    }
}
