//! What a cache holds: its records, its blobs, and what killed runs left behind.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cache::known::{directories, entries, file_name, is_directory, known_file};
use crate::cache::trees::Trees;
use crate::cache::{
    CacheError, Extent, KnownFile, OUTPUTS_DIRECTORY, Record, STEPS_DIRECTORY, blocks, hold, last, local,
    notes,
};
use crate::digest::Digest;
use crate::event::Cancel;
use crate::files::STAT_DIRECTORY;
use crate::key::Key;
use crate::oci::Descriptor;

/// What a cache has in its directory. `CACHEDIR.TAG` is what backups look for, and the user's.
const ENTRIES: [&str; 11] = [
    "blobs",
    "records",
    notes::NAME,
    STAT_DIRECTORY[0],
    blocks::DIRECTORY[0],
    last::DIRECTORY[0],
    OUTPUTS_DIRECTORY[0],
    STEPS_DIRECTORY[0],
    "tmp",
    hold::NAME,
    "CACHEDIR.TAG",
];

/// Those that are directories.
const DIRECTORIES: [&str; 9] = [
    "blobs",
    "records",
    notes::NAME,
    STAT_DIRECTORY[0],
    blocks::DIRECTORY[0],
    last::DIRECTORY[0],
    OUTPUTS_DIRECTORY[0],
    STEPS_DIRECTORY[0],
    "tmp",
];

/// What a cache holds, as it was when it was looked at: others may write to it meanwhile.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Survey {
    /// The directory.
    pub root: PathBuf,
    /// The records, the last used first.
    pub records: Vec<KnownRecord>,
    /// Files in the place of records that are none: they answer for nothing.
    pub broken: Vec<KnownFile>,
    /// The blobs. That one is here doesn't mean that its bytes are whole.
    pub blobs: BTreeMap<Digest, KnownBlob>,
    /// Notes on registries.
    pub notes: Vec<KnownFile>,
    /// What is known of the files of trees since they were last read, a file for each tree.
    pub stat: Vec<KnownFile>,
    /// What blocks of blobs were made from, a file for each blob, by its digest.
    pub blocks: Vec<(Digest, KnownFile)>,
    /// What layers were made of when they were last built, a file for each layer of an image.
    pub last_builds: Vec<KnownFile>,
    /// What steps made, as files: a directory for each set of outputs. The size of a directory is that of
    /// all files in it, and its time that of its last use.
    pub outputs: Vec<KnownFile>,
    /// The private directories of steps, and those that homes of steps share, with all that is in them.
    pub steps: Vec<KnownFile>,
    /// Notes on what tools of steps said of themselves.
    pub tools: Vec<KnownFile>,
    /// Directories of outputs that were being made, or of either kind that were being removed.
    pub unfinished: Vec<KnownFile>,
    /// Files that were being written: by a run that is under way, or one that was killed.
    pub temporary: Vec<KnownFile>,
    /// What lies among all that and is none of it. It is passed over, and never removed.
    pub strays: Vec<PathBuf>,
}

/// A record that a cache holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KnownRecord {
    /// What it says.
    pub record: Record,
    /// Its file.
    pub file: KnownFile,
    /// When it last answered or was written, or another did that names one of its layers: several
    /// keys answer with one.
    pub last_used: SystemTime,
    /// Whether all blobs that the cache keeps for it are there, with the size that it names.
    pub is_whole: bool,
}

/// A blob that a cache holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KnownBlob {
    /// Its file.
    pub file: KnownFile,
    /// Whether a record names it.
    pub is_named: bool,
}

impl Survey {
    /// Looks at a cache. One that isn't there is empty. Reads all records, and no blob.
    ///
    /// # Errors
    /// [`CacheError::Foreign`] if the directory is something else; [`CacheError::File`] if it
    /// can't be read.
    pub fn take(root: &Path, cancel: &Cancel) -> Result<Self, CacheError> {
        recognise(root)?;
        let mut survey = Self { root: root.to_owned(), ..Self::default() };
        let mut records = Vec::new();
        walk_records(root, &mut |file, record| {
            cancel.check()?;
            match record {
                Some(record) => records.push((file, record)),
                None => survey.broken.push(file),
            }
            Ok(true)
        })?;
        for directory in directories(&root.join("blobs"))? {
            cancel.check()?;
            survey.add_blobs(&directory)?;
        }
        for path in entries(&root.join("tmp"))?.into_iter().filter(|path| is_temporary(path)) {
            survey.temporary.extend(known_file(path)?);
        }
        for path in entries(&root.join(notes::NAME))?.into_iter().filter(|path| notes::is_note(path)) {
            survey.notes.extend(known_file(path)?);
        }
        for path in entries(&stat_directory(root))?.into_iter().filter(|path| is_stat(path)) {
            survey.stat.extend(known_file(path)?);
        }
        for path in entries(&blocks::directory(root))? {
            let index = blocks::blob_of(&path).zip(known_file(path)?);
            survey.blocks.extend(index);
        }
        for path in entries(&last_directory(root))?.into_iter().filter(|path| last::is_last_build(path)) {
            survey.last_builds.extend(known_file(path)?);
        }
        let trees = Trees::take(root, cancel)?;
        survey.strays = strays(root)?;
        survey.strays.extend(trees.strays);
        (survey.outputs, survey.steps, survey.unfinished) = (trees.outputs, trees.steps, trees.unfinished);
        survey.tools = trees.tools;
        survey.join(records);
        Ok(survey)
    }

    /// The records' files, those of what isn't one included.
    #[must_use]
    pub fn record_files(&self) -> Extent {
        Extent::of(self.records.iter().map(|known| &known.file).chain(&self.broken))
    }

    /// All blobs.
    #[must_use]
    pub fn all_blobs(&self) -> Extent {
        Extent::of(self.blobs.values().map(|blob| &blob.file))
    }

    /// The blobs that no record names.
    #[must_use]
    pub fn unnamed_blobs(&self) -> Extent {
        Extent::of(self.blobs.values().filter(|blob| !blob.is_named).map(|blob| &blob.file))
    }

    /// The notes on registries.
    #[must_use]
    pub fn note_files(&self) -> Extent {
        Extent::of(&self.notes)
    }

    /// The notes on what tools of steps said of themselves.
    #[must_use]
    pub fn tool_notes(&self) -> Extent {
        Extent::of(&self.tools)
    }

    /// What is known of trees.
    #[must_use]
    pub fn stat_files(&self) -> Extent {
        Extent::of(&self.stat)
    }

    /// What blocks of blobs were made from.
    #[must_use]
    pub fn block_indexes(&self) -> Extent {
        Extent::of(self.blocks.iter().map(|(_, file)| file))
    }

    /// What is known of the last builds of layers.
    #[must_use]
    pub fn last_build_files(&self) -> Extent {
        Extent::of(&self.last_builds)
    }

    /// The directories of what steps made, and the bytes in them.
    #[must_use]
    pub fn output_trees(&self) -> Extent {
        Extent::of(&self.outputs)
    }

    /// The directories of steps, and the bytes in them.
    #[must_use]
    pub fn step_directories(&self) -> Extent {
        Extent::of(&self.steps)
    }

    /// The files that were being written, and directories that were being made or removed.
    #[must_use]
    pub fn temporary_files(&self) -> Extent {
        Extent::of(self.temporary.iter().chain(&self.unfinished))
    }

    fn add_blobs(&mut self, directory: &Path) -> Result<(), CacheError> {
        let algorithm = file_name(directory).unwrap_or_default();
        for path in entries(directory)? {
            let Some(digest) = digest_of(algorithm, &path) else { continue };
            if let Some(file) = known_file(path)? {
                self.blobs.insert(digest, KnownBlob { file, is_named: false });
            }
        }
        Ok(())
    }

    /// Joins records and blobs, which were found apart.
    fn join(&mut self, records: Vec<(KnownFile, Record)>) {
        // By layers alone: the same content in another compression has the same inventory.
        let mut used: BTreeMap<Digest, SystemTime> = BTreeMap::new();
        for (file, record) in &records {
            for blob in record.kept() {
                self.blobs.entry(blob.digest).and_modify(|known| known.is_named = true);
            }
            for layer in own_layers(record) {
                let last = used.entry(layer).or_insert(file.modified);
                *last = file.modified.max(*last);
            }
        }
        let blobs = &self.blobs;
        let has =
            |blob: &Descriptor| blobs.get(&blob.digest).is_some_and(|known| known.file.size == blob.size);
        let known = records.into_iter().map(|(file, record)| {
            let is_whole = record.kept().all(has);
            let last_used = own_layers(&record).map(|layer| used[&layer]).max().unwrap_or(file.modified);
            KnownRecord { record, file, last_used, is_whole }
        });
        self.records = known.collect();
        self.records.sort_by_key(|known| (Reverse(known.last_used), known.record.key));
    }
}

/// The layers that a record answers with.
fn own_layers(record: &Record) -> impl Iterator<Item = Digest> {
    let layers = if record.is_listing() { &[] } else { &record.layers[..] };
    layers.iter().map(|layer| layer.descriptor.digest)
}

/// What a record says of a blob.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Naming {
    /// The record's key.
    pub key: Key,
    /// The names of the lockfiles that went into it; none if it is that of the content.
    pub materials: Vec<String>,
    /// The length of the layer's tar bytes, where the record has this layer alone.
    pub tar_size: Option<u64>,
}

/// Finds the records that answer with one of these layers, by its blob; looks at `limit` records at
/// most. A cache that isn't there, or isn't one, has none.
///
/// # Errors
/// [`CacheError::File`] if records can't be read.
pub fn find_layers(
    root: &Path,
    wanted: &BTreeSet<Digest>,
    limit: usize,
) -> Result<BTreeMap<Digest, Vec<Naming>>, CacheError> {
    let mut found: BTreeMap<Digest, Vec<Naming>> = BTreeMap::new();
    let mut left = limit;
    walk_records(root, &mut |_, record| {
        let record = record.filter(|record| !record.is_listing() && !record.is_trace);
        for layer in record.iter().flat_map(|record| &record.layers) {
            let Some(record) = record.as_ref().filter(|_| wanted.contains(&layer.descriptor.digest)) else {
                continue;
            };
            let tar_size = (record.layers.len() == 1).then_some(record.tar_size);
            let materials = record.materials.iter().map(|material| material.name.clone()).collect();
            let naming = Naming { key: record.key, materials, tar_size };
            found.entry(layer.descriptor.digest).or_default().push(naming);
        }
        left = left.saturating_sub(1);
        Ok(left > 0)
    })?;
    found.values_mut().for_each(|all| all.sort_by_key(|naming| naming.key));
    Ok(found)
}

/// Makes sure that a directory is a cache, or could become one.
pub(super) fn recognise(root: &Path) -> Result<(), CacheError> {
    let foreign = |path: &Path| CacheError::Foreign {
        root: root.to_owned(),
        entry: path.strip_prefix(root).unwrap_or(path).to_owned(),
    };
    for path in entries(root)? {
        let known = file_name(&path).filter(|name| ENTRIES.contains(name));
        let should_be_directory = known.is_some_and(|name| DIRECTORIES.contains(&name));
        if known.is_none() || should_be_directory != is_directory(&path) {
            return Err(foreign(&path));
        }
    }
    let records = root.join("records");
    let is_ours = is_directory(&records.join("v1"));
    // Another version's records may name blobs that this one takes for unnamed. A file is no
    // version's; but where nothing says that the directory is a cache's, it may be somebody else's.
    let is_foreign = |path: &&PathBuf| match file_name(path) {
        Some("v1") => !is_ours,
        _ => !is_ours || is_directory(path),
    };
    match entries(&records)?.iter().find(is_foreign) {
        Some(path) => Err(foreign(path)),
        None => Ok(()),
    }
}

/// What lies in the directories of a cache and is none of what it puts there.
fn strays(root: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let mut strays = Vec::new();
    let mut look = |directory: &Path, is_own: &dyn Fn(&Path) -> bool| {
        strays.extend(entries(directory)?.into_iter().filter(|path| !is_own(path)));
        Ok::<_, CacheError>(())
    };
    let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let records = root.join("records");
    look(&records, &|path| file_name(path) == Some("v1"))?;
    look(&records.join("v1"), &is_directory)?;
    for directory in directories(&records.join("v1"))? {
        look(&directory, &|path| key_of(path).is_some() && is_file(path))?;
    }
    look(&root.join("blobs"), &is_directory)?;
    for directory in directories(&root.join("blobs"))? {
        let algorithm = file_name(&directory).unwrap_or_default();
        look(&directory, &|path| digest_of(algorithm, path).is_some() && is_file(path))?;
    }
    look(&root.join(notes::NAME), &|path| notes::is_note(path) && is_file(path))?;
    look(&root.join(STAT_DIRECTORY[0]), &|path| {
        file_name(path) == Some(STAT_DIRECTORY[1]) && is_directory(path)
    })?;
    look(&stat_directory(root), &|path| is_stat(path) && is_file(path))?;
    look(&root.join(blocks::DIRECTORY[0]), &|path| {
        file_name(path) == Some(blocks::DIRECTORY[1]) && is_directory(path)
    })?;
    look(&blocks::directory(root), &|path| blocks::blob_of(path).is_some() && is_file(path))?;
    look(&root.join(last::DIRECTORY[0]), &|path| {
        file_name(path) == Some(last::DIRECTORY[1]) && is_directory(path)
    })?;
    look(&last_directory(root), &|path| last::is_last_build(path) && is_file(path))?;
    look(&root.join("tmp"), &|path| is_temporary(path) && is_file(path))?;
    // What is gone by now was nobody's.
    strays.retain(|path| path.symlink_metadata().is_ok());
    Ok(strays)
}

fn key_of(path: &Path) -> Option<Key> {
    file_name(path)?.strip_suffix(".json")?.parse().ok()
}

fn digest_of(algorithm: &str, path: &Path) -> Option<Digest> {
    format!("{algorithm}:{}", file_name(path)?).parse().ok()
}

fn last_directory(root: &Path) -> PathBuf {
    root.join(last::DIRECTORY[0]).join(last::DIRECTORY[1])
}

fn stat_directory(root: &Path) -> PathBuf {
    root.join(STAT_DIRECTORY[0]).join(STAT_DIRECTORY[1])
}

/// Tells whether a file goes by the name of what is known of a tree.
fn is_stat(path: &Path) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    file_name(path).is_some_and(|name| name.len() == 32 && name.bytes().all(is_digit))
}

/// Tells whether a file goes by the name of one that is being written.
fn is_temporary(path: &Path) -> bool {
    file_name(path).is_some_and(|name| name.starts_with(".tmp"))
}

/// Shows each record with its file; `None` for what isn't one. Goes on as long as it is told to.
fn walk_records(
    root: &Path,
    each: &mut dyn FnMut(KnownFile, Option<Record>) -> Result<bool, CacheError>,
) -> Result<(), CacheError> {
    for directory in directories(&root.join("records").join("v1"))? {
        for path in entries(&directory)? {
            let Some((key, file)) = key_of(&path).zip(known_file(path)?) else { continue };
            let bytes = match local::read(&file.path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(CacheError::File { action: "read", path: file.path, source }),
            };
            if !each(file, local::unseal(&bytes, &key))? {
                return Ok(());
            }
        }
    }
    Ok(())
}
