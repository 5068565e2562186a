//! One file looked at, piece by piece as it is read.

use crate::inspect::elf::{self, Elf};
use crate::inspect::logins::login;
use crate::inspect::scan::{Found, MAX_HITS, REACH, scan};
use crate::inspect::script::{self, Script};
use crate::inspect::secrets::Hit;

/// What is to be said of a file, whatever image it comes into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFacts {
    /// The program or library it is.
    pub elf: Option<Box<Elf>>,
    /// The script it is.
    pub script: Option<Box<Script>>,
    /// Secrets in it, at most eight.
    pub secrets: Vec<Hit>,
}

/// Reads bytes of the file from an offset: all that are asked for, or none.
pub type Reader<'a> = dyn Fn(u64, usize) -> Option<Vec<u8>> + 'a;

/// A piece of a file. All pieces together are the whole file, each byte in one of them.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    /// The file's size.
    pub size: u64,
    /// Where the piece begins.
    pub start: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Reads what a program says behind its first piece, and what a secret has in the next one.
    pub read: &'a Reader<'a>,
}

/// Looks at files. Pieces may come from any thread and in any order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inspector;

/// Scripts of others: nobody starts them by their path, and there are thousands.
const FOREIGN: [&[u8]; 6] =
    [b"node_modules", b"site-packages", b"dist-packages", b"vendor", b".git", b"bower_components"];

/// Tells whether a path leads into what a package manager installs.
pub(crate) fn is_foreign(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| FOREIGN.contains(&name))
}

impl Inspector {
    /// Looks at a piece; nothing is returned where there is nothing to say.
    #[must_use]
    pub fn piece(self, piece: Piece<'_>) -> Option<FileFacts> {
        let mut facts = FileFacts::default();
        if piece.start == 0 {
            facts.elf = program(piece).map(Box::new);
            facts.script = script::parse(piece.bytes).map(Box::new);
        }
        facts.secrets = secrets(piece);
        Some(facts).filter(|facts| *facts != FileFacts::default())
    }
}

fn program(piece: Piece<'_>) -> Option<Elf> {
    if !piece.bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let read = |at: u64, length: usize| {
        let own = usize::try_from(at).ok().and_then(|at| piece.bytes.get(at..at.checked_add(length)?));
        match own {
            Some(own) => Some(own.to_vec()),
            None if at.checked_add(length as u64)? <= piece.size => (piece.read)(at, length),
            None => None,
        }
    };
    elf::parse(piece.size, &read)
}

fn secrets(piece: Piece<'_>) -> Vec<Hit> {
    let mut found: Vec<Found> = Vec::new();
    scan(piece.bytes, 0, &mut found);
    let mut hits: Vec<Hit> = found.iter().map(|found| found.hit(piece.bytes, piece.start)).collect();
    if piece.start == 0 {
        hits.extend(login(piece.bytes));
    }
    hits.extend(across(piece));
    hits.sort();
    hits.dedup_by(|one, other| (one.offset, &one.id) == (other.offset, &other.id));
    hits.truncate(MAX_HITS);
    hits
}

/// Secrets that go on in the next piece.
fn across(piece: Piece<'_>) -> Vec<Hit> {
    let end = piece.start + piece.bytes.len() as u64;
    let length = piece.size.saturating_sub(end).min(REACH as u64) as usize;
    let Some(next) = Some(length).filter(|length| *length > 0).and_then(|length| (piece.read)(end, length))
    else {
        return Vec::new();
    };
    let own = &piece.bytes[piece.bytes.len().saturating_sub(REACH)..];
    let (seam, start) = ([own, &next].concat(), end - own.len() as u64);
    let mut found = Vec::new();
    scan(&seam, own.len(), &mut found);
    let hits = found.iter().filter(|found| found.begin < own.len());
    hits.map(|found| Hit { line: None, ..found.hit(&seam, start) }).collect()
}

impl FileFacts {
    /// Tells whether there is nothing to say of it but that it is a script, which matters in some places
    /// only.
    #[must_use]
    pub fn is_script_alone(&self) -> bool {
        self.script.is_some() && self.elf.is_none() && self.secrets.is_empty()
    }

    /// Returns what is kept of a file that is there in an image; nothing where it is nothing. Scripts of
    /// others are passed over.
    #[must_use]
    pub fn at(&self, path: &[u8]) -> Option<Self> {
        let mut facts = self.clone();
        facts.script = facts.script.filter(|_| !is_foreign(path));
        Some(facts).filter(|facts| *facts != Self::default())
    }

    /// Adds what another piece of the same file says.
    pub fn add(&mut self, other: Self) {
        self.elf = self.elf.take().or(other.elf);
        self.script = self.script.take().or(other.script);
        self.secrets.extend(other.secrets);
        self.secrets.sort();
        self.secrets.dedup();
        self.secrets.truncate(MAX_HITS);
    }
}
