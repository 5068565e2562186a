//! What the files of a layer say of themselves, put together for its record.
//!
//! Found in the pass that reads a file, whichever that is: the one that writes the layer, or the one
//! that hashes it before. Of a file that isn't read, as the stat cache knows it, it is noted there
//! whether it was looked at, and whether anything was found; what was found is then in the layer's last
//! record, by the file's digest. A file of which neither is known is read.

use std::collections::{BTreeMap, HashMap};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::digest::to_hex;
use crate::files::{Entry, EntryKind, FileSource, display};
use crate::inspect::{FileFacts, Inspected, Inspection, Inspector, Piece, is_foreign};
use crate::layer::content::Content;
use crate::layer::inputs::Inputs;
use crate::layer::inventory::ContentDigest;
use crate::layer::{LayerError, Workshop};

/// What was found, by the entry's place.
pub(super) type Findings = BTreeMap<usize, FileFacts>;

/// Whether a file was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// It wasn't, or for other things.
    #[default]
    Unknown,
    /// There is nothing to say of it.
    Plain,
    /// It is a script, which matters in some places only.
    Script,
    /// There is something else.
    Telling,
}

impl Look {
    /// Of a file that was looked at, by what was found.
    pub(super) fn at(found: Option<&FileFacts>) -> Self {
        match found {
            None => Self::Plain,
            Some(found) if found.is_script_alone() => Self::Script,
            Some(_) => Self::Telling,
        }
    }
}

/// As much of a file is read at once.
const PIECE: u64 = 4 << 20;

/// The most paths of a kind.
const MAX_PATHS: usize = 100;

const SETID: u32 = 0o6000;
const WRITABLE: u32 = 0o0002;
const STICKY: u32 = 0o1000;

/// Says of each entry whether its file was looked at, where all were hashed first.
pub(super) fn looks(content: &Content) -> Vec<Look> {
    let mut looks = vec![Look::Plain; content.contents.len()];
    content.unread.iter().for_each(|(index, look)| looks[*index] = *look);
    content.findings.iter().for_each(|(index, found)| looks[*index] = Look::at(Some(found)));
    looks
}

/// Looks at a piece of an entry's file.
pub(super) fn look(inputs: Inputs<'_>, entry: &Entry, start: u64, bytes: &[u8]) -> Option<FileFacts> {
    let EntryKind::File { source, size } = &entry.kind else { return None };
    let read = |at: u64, length: usize| match source {
        FileSource::Bytes(all) => {
            let at = usize::try_from(at).ok()?;
            Some(all.get(at..at.checked_add(length)?)?.to_vec())
        }
        FileSource::Tree { path, seen, .. } => {
            let mut out = Vec::new();
            inputs.read(path, seen, at..at.checked_add(length as u64)?, &mut out).ok()?;
            Some(out)
        }
    };
    Inspector.piece(Piece { size: *size, start, bytes, read: &read })
}

/// Adds what was found in a piece.
pub(super) fn add(findings: &mut Findings, found: impl IntoIterator<Item = (usize, FileFacts)>) {
    for (index, facts) in found {
        findings.entry(index).or_default().add(facts);
    }
}

/// Puts together what was found of a layer whose files were hashed before it was made, or weren't made
/// at all. What neither pass has seen is looked up in the layer's last record, or read.
pub(super) fn complete(
    inputs: Inputs<'_>,
    entries: &[Entry],
    content: &Content,
    workshop: Workshop<'_>,
) -> Result<Inspection, LayerError> {
    let mut findings = content.findings.clone();
    let known: HashMap<&str, &Inspected> = workshop
        .last_inspection
        .into_iter()
        .flat_map(|last| last.files.iter().map(|file| (&*file.content, file)))
        .collect();
    let mut unread = Vec::new();
    for (index, look) in &content.unread {
        if *look == Look::Script && is_foreign(&entries[*index].path) {
            continue;
        }
        let last = content.contents[*index].and_then(|content| known.get(&*name(content)));
        match last.filter(|_| *look != Look::Unknown) {
            Some(last) => add(&mut findings, [(*index, last.facts())]),
            None => unread.push(*index),
        }
    }
    let read = |index: &usize| read(inputs, &entries[*index], workshop).map(|facts| Some((*index, facts?)));
    let read = unread.par_iter().map(read).collect::<Result<Vec<_>, LayerError>>()?;
    add(&mut findings, read.into_iter().flatten());
    let entries: Vec<&Entry> = entries.iter().collect();
    Ok(gather(&entries, &|index| content.contents[index], &findings))
}

/// Reads a file for nothing else.
fn read(inputs: Inputs<'_>, entry: &Entry, workshop: Workshop<'_>) -> Result<Option<FileFacts>, LayerError> {
    let EntryKind::File { source, size } = &entry.kind else { return Ok(None) };
    let mut facts: Option<FileFacts> = None;
    let mut take = |start: u64, bytes: &[u8]| {
        if let Some(found) = look(inputs, entry, start, bytes) {
            facts.get_or_insert_default().add(found);
        }
    };
    match source {
        FileSource::Bytes(bytes) => take(0, bytes),
        FileSource::Tree { path, seen, .. } => {
            let mut bytes = Vec::new();
            for start in (0..*size).step_by(PIECE as usize) {
                workshop.cancel.check()?;
                let range = start..(start + PIECE).min(*size);
                let _room = workshop.budget.take(range.end - range.start);
                bytes.clear();
                inputs.read(path, seen, range, &mut bytes).map_err(|fault| fault.at(inputs.span(entry)))?;
                take(start, &bytes);
            }
        }
    }
    Ok(facts)
}

/// Puts together what was found, as far as it can be kept.
pub(super) fn gather(
    entries: &[&Entry],
    content: &dyn Fn(usize) -> Option<ContentDigest>,
    findings: &Findings,
) -> Inspection {
    let mut inspection = Inspection::new();
    let mut findings = findings.iter().peekable();
    for (index, entry) in entries.iter().enumerate() {
        let facts = findings.next_if(|(of, _)| **of == index).and_then(|(_, facts)| facts.at(&entry.path));
        if let Some(facts) = facts {
            let content = content(index).map(name).unwrap_or_default();
            let file = Inspected::new(display(&entry.path), entry.mode, content, facts);
            inspection.files.push(file);
        }
        match &entry.kind {
            EntryKind::Symlink(target) if may_lead_to_program(&entry.path) => {
                inspection.links.insert(display(&entry.path), display(target));
            }
            EntryKind::Hardlink(target) if may_lead_to_program(&entry.path) => {
                inspection.links.insert(display(&entry.path), format!("/{}", display(target)));
            }
            EntryKind::Directory | EntryKind::File { .. } => take_mode(&mut inspection, entry),
            EntryKind::Symlink(_) | EntryKind::Hardlink(_) => {}
        }
    }
    inspection.trimmed()
}

fn take_mode(inspection: &mut Inspection, entry: &Entry) {
    let is_directory = matches!(entry.kind, EntryKind::Directory);
    let is_shared = is_directory && entry.mode & STICKY != 0;
    if entry.mode & WRITABLE != 0 && !is_shared && inspection.writable.len() < MAX_PATHS {
        inspection.writable.push(display(&entry.path));
    }
    if !is_directory && entry.mode & SETID != 0 && inspection.setuid.len() < MAX_PATHS {
        inspection.setuid.push(display(&entry.path));
    }
}

/// Tells whether somebody may look for a program or a library by this path: others are thousands.
fn may_lead_to_program(path: &[u8]) -> bool {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let is_bin = matches!(directory.rsplit(|byte| *byte == b'/').next(), Some(b"bin" | b"sbin"));
    is_bin || directory.is_empty() || name.windows(3).any(|part| part == b".so") || name.starts_with(b"ld-")
}

fn name(content: ContentDigest) -> String {
    to_hex(&content.0[..16])
}
