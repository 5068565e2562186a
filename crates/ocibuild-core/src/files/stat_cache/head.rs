//! What a file begins with: whose it is, from when, on which devices, and what was noted.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::files::stat_cache::rows::{self, MAX_DEVICES};
use crate::own;

/// The form, and the version of what is noted in it.
const MAGIC: &[u8; 16] = b"ocibuild stat 1\n";

/// The magic, the name, the moment, the number of devices, of rows, and of bytes of notes.
const HEADER: usize = 16 + 32 + 8 + 8 + 8 + 8;

/// The length of a digest, of the head as of the rows.
pub(super) const CHECKSUM: usize = 32;

/// As many notes are kept, the last ones, and of so many bytes altogether.
const NOTES_KEPT: usize = 8;
pub(super) const MAX_NOTES: usize = 64 << 10;

/// A note, and what it was made of.
pub(super) type Note = ([u8; 32], Vec<u8>);

/// What a file begins with.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) name: [u8; 32],
    pub(super) moment: i64,
    pub(super) devices: Vec<u64>,
    pub(super) notes: Vec<Note>,
    /// The number of rows that follow.
    pub(super) rows: usize,
    pub(super) checksum: [u8; CHECKSUM],
}

impl Head {
    /// Reads the head of the file that goes by a name, and returns what is left of that.
    pub(super) fn read(path: &Path, name: &[u8; 32]) -> Option<(Self, File)> {
        let mut file = own::open_regular(path).ok()?;
        let head = Self::parse(&mut file).ok()??;
        (head.name == *name).then_some((head, file))
    }

    pub(super) fn parse(file: &mut File) -> io::Result<Option<Self>> {
        let mut bytes = vec![0; HEADER];
        file.read_exact(&mut bytes)?;
        let number =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let [devices, rows, notes] = [56, 64, 72].map(|at| number(&bytes, at));
        let is_sane = devices <= MAX_DEVICES as u64 && rows <= rows::MAX as u64 && notes <= MAX_NOTES as u64;
        if !bytes.starts_with(MAGIC) || !is_sane {
            return Ok(None);
        }
        let noted = HEADER + devices as usize * 8;
        let end = noted + notes as usize;
        bytes.resize(end + CHECKSUM, 0);
        file.read_exact(&mut bytes[HEADER..])?;
        let checksum: [u8; CHECKSUM] = bytes[end..].try_into().expect("the rest is a checksum");
        if *blake3::hash(&bytes[..end]).as_bytes() != checksum {
            return Ok(None);
        }
        let devices = (HEADER..noted).step_by(8).map(|at| number(&bytes, at)).collect();
        let Some(notes) = read_notes(&bytes[noted..end]) else { return Ok(None) };
        let name = bytes[16..48].try_into().expect("32 bytes");
        let moment = number(&bytes, 48).cast_signed();
        Ok(Some(Self { name, moment, devices, notes, rows: rows as usize, checksum }))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.name);
        bytes.extend_from_slice(&self.moment.to_le_bytes());
        let notes: Vec<u8> = self
            .notes
            .iter()
            .flat_map(|(of, note)| [&of[..], &(note.len() as u64).to_le_bytes(), note].concat())
            .collect();
        for number in [self.devices.len(), self.rows, notes.len()] {
            bytes.extend_from_slice(&(number as u64).to_le_bytes());
        }
        self.devices.iter().for_each(|device| bytes.extend_from_slice(&device.to_le_bytes()));
        bytes.extend_from_slice(&notes);
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }
}

fn read_notes(mut bytes: &[u8]) -> Option<Vec<Note>> {
    let mut notes = Vec::new();
    while !bytes.is_empty() {
        let (of, rest) = bytes.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (note, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        notes.push((*of, note.to_vec()));
        bytes = rest;
    }
    Some(notes)
}

/// Takes as many notes as are kept, of which the newest come first.
pub(super) fn newest(notes: Vec<Note>) -> Vec<Note> {
    let mut kept: Vec<Note> = Vec::new();
    let mut room = MAX_NOTES;
    for (of, note) in notes {
        let length = of.len() + 8 + note.len();
        if kept.len() < NOTES_KEPT && length <= room && kept.iter().all(|(known, _)| *known != of) {
            room -= length;
            kept.push((of, note));
        }
    }
    kept
}
