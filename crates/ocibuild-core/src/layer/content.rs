//! What a layer holds, before any of it is written: its content key.
//!
//! Digests come from the stat cache where a file is as it was, else from reading it; then the
//! inventory's lines are hashed without being written. What comes of it is what the pipeline finds
//! on its way, warnings and refusals included, so that a record can answer in its place.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;

use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSlice as _;

use crate::digest::{Digest, Sha256Hasher};
use crate::event::Cancel;
use crate::files::{Entry, EntryKind, FileSource, Metadata, StatCache};
use crate::inspect::FileFacts;
use crate::layer::budget::Budget;
use crate::layer::facts::{self, Facts};
use crate::layer::inputs::Inputs;
use crate::layer::inspect::{self, Findings, Look};
use crate::layer::inventory::{CHUNK, ChunkDigest, ContentDigest, write_line};
use crate::layer::ordered::Ordered;
use crate::layer::previous::Lines;
use crate::layer::{LayerError, pyc};

/// As many runs of files are read by a worker before it looks for others to share with.
const RUNS: usize = 32;

/// As many lines are made in one go.
const LINES: usize = 1024;

/// What a layer holds.
pub(super) struct Content {
    /// The digest of the inventory's lines.
    pub(super) root: Digest,
    /// The machines that programs among the files are for.
    pub(super) machines: BTreeSet<String>,
    /// The number of compiled Python files that check a timestamp.
    pub(super) stale_pyc: u64,
    /// The inventory's lines, if they are kept.
    pub(super) lines: Option<Lines>,
    /// The digests of what its entries hold, in their order; of a directory or link none.
    pub(super) contents: Vec<Option<ContentDigest>>,
    /// What was found in the files that were read.
    pub(super) findings: Findings,
    /// The files that weren't, unless it is known that there is nothing to say of them.
    pub(super) unread: Vec<(usize, Look)>,
}

/// What it is found out with.
#[derive(Clone, Copy)]
pub(super) struct Examiner<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) entries: &'a [Entry],
    pub(super) stat: Option<&'a StatCache>,
    pub(super) budget: &'a Budget,
    pub(super) cancel: &'a Cancel,
    /// Whether the lines are wanted again.
    pub(super) keeps_lines: bool,
    /// Whether files that are read are looked at for programs and secrets.
    pub(super) inspects: bool,
}

/// A run of a file that has to be read.
struct Run<'a> {
    index: usize,
    path: &'a [u8],
    seen: &'a Metadata,
    range: Range<u64>,
}

/// What a run came to; facts come with the first.
type Hashed = (usize, ChunkDigest, Facts);

/// What was found in a run.
type Found = (usize, FileFacts);

/// The state of hashing lines in order.
struct Hashing {
    hasher: Sha256Hasher,
    kept: Option<Lines>,
    machines: BTreeSet<&'static str>,
    stale_pyc: u64,
}

/// Some lines, and what is to be said of their files.
struct Part {
    lines: Lines,
    machines: BTreeSet<&'static str>,
    stale_pyc: u64,
}

impl Examiner<'_> {
    /// Finds out what the layer holds, in the rayon pool this is called from.
    pub(super) fn run(&self) -> Result<Content, LayerError> {
        let known = self.entries.par_iter().map(|entry| self.known(entry));
        let mut known: Vec<Option<(ContentDigest, Facts)>> = known.collect();
        let findings = self.read_unknown(&mut known)?;
        let look = |(index, known): (usize, &Option<(ContentDigest, Facts)>)| {
            let (_, Facts { look, .. }) = known.as_ref()?;
            (self.inspects && *look != Look::Plain && !findings.contains_key(&index))
                .then_some((index, *look))
        };
        let unread = known.iter().enumerate().filter_map(look).collect();
        Ok(Content { findings, unread, ..self.hash_lines(&known)? })
    }

    fn known(&self, entry: &Entry) -> Option<(ContentDigest, Facts)> {
        let EntryKind::File { source, size } = &entry.kind else { return None };
        match source {
            FileSource::Bytes(bytes) => {
                Some((ContentDigest::of(*size, ChunkDigest::all(bytes)), Facts::of(bytes)))
            }
            FileSource::Tree { path, seen, .. } => facts::known(self.stat?, path, seen),
        }
    }

    fn read_unknown(&self, known: &mut [Option<(ContentDigest, Facts)>]) -> Result<Findings, LayerError> {
        let mut runs = Vec::new();
        for (index, entry) in self.entries.iter().enumerate().filter(|(index, _)| known[*index].is_none()) {
            if let EntryKind::File { source: FileSource::Tree { path, seen, .. }, size } = &entry.kind {
                let starts = (0..(*size).max(1)).step_by(CHUNK as usize);
                let run = |from: u64| Run { index, path, seen, range: from..(from + CHUNK).min(*size) };
                runs.extend(starts.map(run));
            }
        }
        let hashed = runs.par_chunks(RUNS).map(|runs| self.read(runs));
        let all = hashed.collect::<Result<Vec<(Vec<Hashed>, Vec<Found>)>, LayerError>>()?;
        let (mut hashed, mut findings) = (Vec::with_capacity(runs.len()), Findings::new());
        for (own, found) in all {
            hashed.extend(own);
            inspect::add(&mut findings, found);
        }
        for file in hashed.chunk_by(|one: &Hashed, other| one.0 == other.0) {
            let (index, _, facts) = file[0];
            let content = ContentDigest::of(self.entries[index].size(), file.iter().map(|run| run.1));
            let look = if self.inspects { Look::at(findings.get(&index)) } else { Look::Unknown };
            known[index] = Some((content, Facts { look, ..facts }));
        }
        self.learn(&hashed, known);
        Ok(findings)
    }

    /// Reads and hashes some runs, one after the other.
    fn read(&self, runs: &[Run<'_>]) -> Result<(Vec<Hashed>, Vec<Found>), LayerError> {
        self.cancel.check()?;
        let length = |run: &Run<'_>| run.range.end - run.range.start;
        // One buffer for all of them, so it takes as much as the longest.
        let _room = self.budget.take(runs.iter().map(length).max().unwrap_or_default());
        let mut buffer = Vec::new();
        let (mut hashed, mut found) = (Vec::with_capacity(runs.len()), Vec::new());
        for run in runs {
            buffer.clear();
            let span = || self.inputs.span(&self.entries[run.index]);
            self.inputs
                .read(run.path, run.seen, run.range.clone(), &mut buffer)
                .map_err(|fault| fault.at(span()))?;
            let facts = if run.range.start == 0 { Facts::of(&buffer) } else { Facts::default() };
            hashed.extend(ChunkDigest::all(&buffer).map(|digest| (run.index, digest, facts)));
            if self.inspects {
                let own = inspect::look(self.inputs, &self.entries[run.index], run.range.start, &buffer);
                found.extend(own.map(|facts| (run.index, facts)));
            }
        }
        Ok((hashed, found))
    }

    fn learn(&self, hashed: &[Hashed], known: &[Option<(ContentDigest, Facts)>]) {
        let Some(stat) = self.stat else { return };
        hashed.par_iter().with_min_len(RUNS).for_each(|(index, ..)| {
            let entry = &self.entries[*index];
            let EntryKind::File { source: FileSource::Tree { path, seen, .. }, .. } = &entry.kind else {
                return;
            };
            if let Some(learned) = known[*index] {
                facts::learn((stat, self.inputs.tree), (path, seen), entry, learned);
            }
        });
    }

    fn hash_lines(&self, known: &[Option<(ContentDigest, Facts)>]) -> Result<Content, LayerError> {
        let kept = self.keeps_lines.then(Lines::default);
        let state = Hashing { hasher: Sha256Hasher::new(), kept, machines: BTreeSet::new(), stale_pyc: 0 };
        let ordered: Ordered<Part, Hashing> = Ordered::new(state);
        let fault = Mutex::new(None);
        let parts = self.entries.par_chunks(LINES).zip(known.par_chunks(LINES)).enumerate();
        parts.for_each(|(index, (entries, known))| match self.part(entries, known) {
            Ok(part) => {
                let Ok(()) = ordered.push(index, part, |state, part| {
                    state.hasher.update(&part.lines.bytes);
                    if let Some(kept) = &mut state.kept {
                        kept.append(&part.lines);
                    }
                    state.machines.extend(part.machines);
                    state.stale_pyc += part.stale_pyc;
                    Ok::<(), std::convert::Infallible>(())
                });
            }
            Err(error) => {
                fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        });
        if let Some(fault) = fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(fault);
        }
        let Hashing { hasher, kept, machines, stale_pyc } = ordered.into_state();
        let machines = machines.into_iter().map(str::to_owned).collect();
        let contents = known.iter().map(|known| known.map(|(content, _)| content)).collect();
        let (root, findings, unread) = (hasher.finish().0, Findings::new(), Vec::new());
        Ok(Content { root, machines, stale_pyc, lines: kept, contents, findings, unread })
    }

    fn part(&self, entries: &[Entry], known: &[Option<(ContentDigest, Facts)>]) -> Result<Part, LayerError> {
        self.cancel.check()?;
        let mut part = Part { lines: Lines::default(), machines: BTreeSet::new(), stale_pyc: 0 };
        part.lines.bytes.reserve(entries.len() * 256);
        for (entry, known) in entries.iter().zip(known) {
            write_line(&mut part.lines.bytes, entry, known.map(|(content, _)| content));
            part.lines.ends.push(part.lines.bytes.len());
            let (EntryKind::File { source, .. }, Some((_, facts))) = (&entry.kind, known) else { continue };
            let is_ours = matches!(source, FileSource::Tree { allow_foreign: false, .. });
            if let Some(machine) = facts.machine.filter(|_| is_ours) {
                part.machines.insert(self.inputs.check_machine(entry, machine)?);
            }
            if facts.pyc.is_some_and(|checked| pyc::is_stale(&entry.path, entry.mtime, checked)) {
                part.stale_pyc += 1;
            }
        }
        Ok(part)
    }
}
