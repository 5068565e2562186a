//! Removing from a cache what was least recently used, and what nothing names.
//!
//! Records go before the blobs that they name: a run that is killed in between leaves blobs that
//! nothing names, for the next to remove, and no record of what isn't there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cache::known::known_file;
use crate::cache::survey::recognise;
use crate::cache::{CacheError, Extent, Hold, KnownFile, KnownRecord, Survey, trees};
use crate::digest::Digest;
use crate::event::Cancel;

/// While there are builds, nothing is removed that was used or made so short a time ago: a build
/// may have found a record answering, or may have written a blob and not yet the record that names
/// it. One that takes longer and loses a blob finds that, and makes it anew.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// As old as a file must be that was being written, to have been left behind by a killed run.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// The same where there are no builds: what else writes to a cache does so without a pause.
const IDLE: Duration = Duration::from_secs(60);

/// What is to be removed, beside what is of no use to anybody.
#[derive(Debug, Clone, Copy, Default)]
pub struct PruneOptions {
    /// Everything.
    pub all: bool,
    /// What was least recently used, until what is left has no more bytes.
    pub max_size: Option<u64>,
    /// What wasn't used for so long.
    pub max_age: Option<Duration>,
    /// Nothing: only tell what it would be.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// The records that are gone, or would be.
    pub records: Extent,
    /// The blobs.
    pub blobs: Extent,
    /// The notes on registries: all of them, or those that are too old.
    pub notes: Extent,
    /// What is known of the files of trees: all of it, or what is too old.
    pub stat: Extent,
    /// What blocks of blobs were made from: of those that are gone.
    pub blocks: Extent,
    /// What is known of the last builds of layers: all of it, or what is too old.
    pub last_builds: Extent,
    /// What steps made, as files.
    pub outputs: Extent,
    /// Private directories of steps, and those that their homes share.
    pub steps: Extent,
    /// Notes on what tools of steps said of themselves: all of them, or those that are too old.
    pub tools: Extent,
    /// The files and directories that killed runs had left.
    pub temporary: Extent,
    /// What is left of records, blobs, what is known of trees, what steps made, and their directories.
    pub left: Extent,
    /// Whether something was spared because there are builds: see [`GRACE`].
    pub is_spared: bool,
    /// What lies in the cache and is none of it: it stays.
    pub strays: Vec<PathBuf>,
}

/// Removes from a cache what options say, blobs that no record names, records that can't be
/// understood, and what killed runs left. `now` is the time by the clock that files have theirs
/// from.
///
/// Safe beside builds in other processes, which wait while files are removed if they begin just
/// then.
///
/// # Errors
/// [`CacheError::Foreign`] if the directory is no cache, and nothing is removed then; others if a
/// file can't be read or removed.
pub fn prune(
    root: &Path,
    options: &PruneOptions,
    now: SystemTime,
    cancel: &Cancel,
) -> Result<Pruned, CacheError> {
    // Before there is a lock in what may be anything.
    recognise(root)?;
    let hold = if options.dry_run { None } else { Hold::alone(root) };
    let is_free = if options.dry_run { Hold::is_free(root) } else { hold.is_some() };
    let survey = Survey::take(root, cancel)?;
    let grace = if is_free { Duration::ZERO } else { GRACE };
    let choice = Choice::make(&survey, options, now, grace);
    let mut pruned = choice.pruned(&survey);
    if !options.dry_run {
        let gone = choice.carry_out(cancel)?;
        pruned = Pruned { is_spared: pruned.is_spared || gone.is_spared, ..gone };
        pruned.left = left(sized(&survey), &pruned);
    }
    drop(hold);
    pruned.strays = survey.strays;
    Ok(pruned)
}

/// All that a bound on the size is about. The rest is small.
fn sized(survey: &Survey) -> [Extent; 5] {
    let (outputs, steps) = (survey.output_trees(), survey.step_directories());
    [survey.record_files(), survey.all_blobs(), survey.stat_files(), outputs, steps]
}

fn left(all: [Extent; 5], gone: &Pruned) -> Extent {
    let gone = [gone.records, gone.blobs, gone.stat, gone.outputs, gone.steps];
    let sum = |of: fn(&Extent) -> u64| all.iter().map(of).sum::<u64>() - gone.iter().map(of).sum::<u64>();
    Extent { count: sum(|extent| extent.count), bytes: sum(|extent| extent.bytes) }
}

/// What may go for its age or size.
#[derive(Clone, Copy)]
enum Used<'a> {
    Record(&'a KnownRecord),
    Stat(&'a KnownFile),
    Outputs(&'a KnownFile),
    Step(&'a KnownFile),
}

impl Used<'_> {
    fn last(&self) -> SystemTime {
        match self {
            Self::Record(known) => known.last_used,
            Self::Stat(file) | Self::Outputs(file) | Self::Step(file) => file.modified,
        }
    }

    /// A directory that goes as a whole.
    fn tree(&self) -> Option<&KnownFile> {
        match self {
            Self::Outputs(tree) | Self::Step(tree) => Some(tree),
            Self::Record(_) | Self::Stat(_) => None,
        }
    }
}

/// All of that, the least recently used first.
fn by_use(survey: &Survey) -> Vec<Used<'_>> {
    let records = survey.records.iter().rev().map(Used::Record);
    let files = survey.stat.iter().map(Used::Stat).chain(survey.outputs.iter().map(Used::Outputs));
    let mut all: Vec<Used<'_>> = records.chain(files).chain(survey.steps.iter().map(Used::Step)).collect();
    all.sort_by_key(Used::last);
    all
}

/// What is to go.
#[derive(Debug, Default)]
struct Choice<'a> {
    /// Records with the blobs that go with them, if they do.
    records: Vec<(&'a KnownFile, Vec<Digest>)>,
    blobs: BTreeMap<Digest, &'a KnownFile>,
    notes: Vec<&'a KnownFile>,
    stat: Vec<&'a KnownFile>,
    blocks: Vec<&'a KnownFile>,
    last_builds: Vec<&'a KnownFile>,
    outputs: Vec<&'a KnownFile>,
    steps: Vec<&'a KnownFile>,
    tools: Vec<&'a KnownFile>,
    temporary: Vec<&'a KnownFile>,
    unfinished: Vec<&'a KnownFile>,
    is_spared: bool,
}

impl<'a> Choice<'a> {
    fn make(survey: &'a Survey, options: &PruneOptions, now: SystemTime, grace: Duration) -> Self {
        // A time to come is as good as now.
        let age = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let is_old = |file: &KnownFile| age(file.modified) >= grace;
        let mut choice = Self::default();
        choice.take_unnamed(survey, &is_old);
        let is_old_note = |note: &&KnownFile| {
            options.all && is_old(note) || options.max_age.is_some_and(|most| age(note.modified) > most)
        };
        choice.notes = survey.notes.iter().filter(is_old_note).collect();
        choice.tools = survey.tools.iter().filter(is_old_note).collect();
        choice.last_builds = survey.last_builds.iter().filter(is_old_note).collect();
        choice.records.extend(survey.broken.iter().map(|file| (file, Vec::new())));
        let is_abandoned = |file: &&KnownFile| match (options.all, grace.is_zero()) {
            (true, true) => true,
            (false, true) => age(file.modified) > IDLE,
            (_, false) => age(file.modified) > ABANDONED,
        };
        choice.temporary = survey.temporary.iter().filter(is_abandoned).collect();
        let unfinished = survey.unfinished.iter().filter(is_abandoned);
        choice.unfinished = unfinished.filter(|tree| !trees::is_used(tree)).collect();
        let mut left = choice.pruned(survey).left.bytes;
        let mut names = count_names(survey);
        for used in by_use(survey) {
            let is_unwanted = options.all
                || options.max_age.is_some_and(|most| age(used.last()) > most)
                || options.max_size.is_some_and(|most| left > most);
            if !is_unwanted {
                continue;
            }
            if age(used.last()) < grace || used.tree().is_some_and(trees::is_used) {
                choice.is_spared = true;
                continue;
            }
            left -= match used {
                Used::Record(known) => choice.take(known, survey, &mut names, &is_old),
                Used::Stat(file) => {
                    choice.stat.push(file);
                    file.size
                }
                Used::Outputs(tree) => {
                    choice.outputs.push(tree);
                    tree.size
                }
                Used::Step(tree) => {
                    choice.steps.push(tree);
                    tree.size
                }
            };
        }
        // An index is of use as long as its blob is there.
        let stays = |blob: &Digest| survey.blobs.contains_key(blob) && !choice.blobs.contains_key(blob);
        let indexes = survey.blocks.iter().filter(|(blob, file)| !stays(blob) && is_old(file));
        choice.blocks = indexes.map(|(_, file)| file).collect();
        choice
    }

    /// Takes the blobs that no record names.
    fn take_unnamed(&mut self, survey: &'a Survey, is_old: &dyn Fn(&KnownFile) -> bool) {
        for (digest, blob) in survey.blobs.iter().filter(|(_, blob)| !blob.is_named) {
            match is_old(&blob.file) {
                true => drop(self.blobs.insert(*digest, &blob.file)),
                false => self.is_spared = true,
            }
        }
    }

    /// Takes a record, and the blobs that no other names; returns their bytes.
    fn take(
        &mut self,
        known: &'a KnownRecord,
        survey: &'a Survey,
        names: &mut BTreeMap<Digest, u64>,
        is_old: &dyn Fn(&KnownFile) -> bool,
    ) -> u64 {
        let digests: BTreeSet<Digest> = known.record.kept().map(|blob| blob.digest).collect();
        let mut bytes = known.file.size;
        for digest in &digests {
            let count = names.entry(*digest).or_default();
            *count = count.saturating_sub(1);
            if let Some(blob) = survey.blobs.get(digest).filter(|_| *count == 0) {
                match is_old(&blob.file) {
                    true => {
                        self.blobs.insert(*digest, &blob.file);
                        bytes += blob.file.size;
                    }
                    false => self.is_spared = true,
                }
            }
        }
        self.records.push((&known.file, digests.into_iter().collect()));
        bytes
    }

    /// What it would come to.
    fn pruned(&self, survey: &Survey) -> Pruned {
        let mut pruned = Pruned {
            records: Extent::of(self.records.iter().map(|(file, _)| *file)),
            blobs: Extent::of(self.blobs.values().copied()),
            notes: Extent::of(self.notes.iter().copied()),
            stat: Extent::of(self.stat.iter().copied()),
            blocks: Extent::of(self.blocks.iter().copied()),
            last_builds: Extent::of(self.last_builds.iter().copied()),
            outputs: Extent::of(self.outputs.iter().copied()),
            steps: Extent::of(self.steps.iter().copied()),
            tools: Extent::of(self.tools.iter().copied()),
            temporary: Extent::of(self.temporary.iter().chain(&self.unfinished).copied()),
            left: Extent::default(),
            is_spared: self.is_spared,
            strays: Vec::new(),
        };
        pruned.left = left(sized(survey), &pruned);
        pruned
    }

    /// Removes what was chosen. What was used since it was looked at stays, and so do the blobs of
    /// a record that stays.
    fn carry_out(mut self, cancel: &Cancel) -> Result<Pruned, CacheError> {
        let mut gone = Pruned::default();
        for (file, digests) in &self.records {
            cancel.check()?;
            match remove_unchanged(file)? {
                true => gone.records.add(file),
                false => self.blobs.retain(|digest, _| !digests.contains(digest)),
            }
        }
        for (files, extent) in [
            (self.blobs.values().copied().collect::<Vec<_>>(), &mut gone.blobs),
            (self.notes, &mut gone.notes),
            (self.tools, &mut gone.tools),
            (self.stat, &mut gone.stat),
            (self.blocks, &mut gone.blocks),
            (self.last_builds, &mut gone.last_builds),
            (self.temporary, &mut gone.temporary),
        ] {
            for file in files {
                cancel.check()?;
                if remove_unchanged(file)? {
                    extent.add(file);
                }
            }
        }
        for (all, extent) in [
            (self.outputs, &mut gone.outputs),
            (self.steps, &mut gone.steps),
            (self.unfinished, &mut gone.temporary),
        ] {
            for tree in all {
                cancel.check()?;
                match trees::remove(tree, cancel)? {
                    true => extent.add(tree),
                    false => gone.is_spared = true,
                }
            }
        }
        Ok(gone)
    }
}

/// How many records name each blob.
fn count_names(survey: &Survey) -> BTreeMap<Digest, u64> {
    let mut names = BTreeMap::new();
    for known in &survey.records {
        let digests: BTreeSet<Digest> = known.record.kept().map(|blob| blob.digest).collect();
        digests.into_iter().for_each(|digest| *names.entry(digest).or_default() += 1);
    }
    names
}

/// Removes a file, unless it was written or noted as used since; tells whether it did.
pub(super) fn remove_unchanged(file: &KnownFile) -> Result<bool, CacheError> {
    match known_file(file.path.clone())? {
        Some(now) if now.modified == file.modified => remove(&file.path),
        _ => Ok(false),
    }
}

/// Removes a file; tells whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, CacheError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(CacheError::File { action: "remove", path: path.to_owned(), source }),
    }
}
