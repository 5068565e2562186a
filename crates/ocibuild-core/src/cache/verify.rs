//! Reading all that a cache holds, to find what is damaged before a build does.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};

use crate::cache::known::known_file;
use crate::cache::prune::remove;
use crate::cache::{CacheError, Extent, KnownBlob, KnownFile, KnownRecord, Survey, blocks, last, notes};
use crate::digest::{Digest, VerifyingReader};
use crate::event::Cancel;
use crate::files::StatCache;
use crate::key::Key;
use crate::own;

/// Something in a cache isn't as it was written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Damage {
    /// A file in the place of a record is none, or is another's.
    Record {
        /// The file.
        file: KnownFile,
    },
    /// What is known of a tree isn't as it was written.
    Stat {
        /// The file.
        file: KnownFile,
    },
    /// What the blocks of a blob were made from isn't as it was written.
    Blocks {
        /// The file.
        file: KnownFile,
    },
    /// What is known of a layer's last build isn't as it was written.
    LastBuild {
        /// The file.
        file: KnownFile,
    },
    /// A note on a registry isn't as it was written.
    Note {
        /// The file.
        file: KnownFile,
    },
    /// A blob's bytes aren't those that its name stands for, or can't be read.
    Blob {
        /// Its name.
        digest: Digest,
        /// The file.
        file: KnownFile,
        /// What is wrong with it.
        reason: String,
    },
    /// A record names a blob that isn't there, or has another size.
    Incomplete {
        /// The record's key.
        key: Key,
        /// The record's file.
        file: KnownFile,
        /// The blob.
        blob: Digest,
    },
}

/// Reads all blobs and holds them against their names, and the records against the blobs. Works in
/// the rayon pool that it is called from; `progress` is told of bytes as they are read.
///
/// What others remove meanwhile is not missed.
///
/// # Errors
/// [`CacheError`] if a file may not be read, or it was cancelled.
pub fn verify(
    survey: &Survey,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> Result<Vec<Damage>, CacheError> {
    let mut blobs: Vec<(&Digest, &KnownBlob)> = survey.blobs.iter().collect();
    // The largest first, so that none is begun when the others are done.
    blobs.sort_by_key(|(digest, blob)| (std::cmp::Reverse(blob.file.size), **digest));
    let faults = blobs.into_par_iter().with_max_len(1).filter_map(|(digest, blob)| {
        let fault = check(digest, &blob.file, progress, cancel).transpose()?;
        Some(fault.map(|reason| (*digest, Damage::Blob { digest: *digest, file: blob.file.clone(), reason })))
    });
    let mut faults = faults.collect::<Result<Vec<_>, CacheError>>()?;
    faults.sort_by_key(|(digest, _)| *digest);
    let damaged: BTreeSet<Digest> = faults.iter().map(|(digest, _)| *digest).collect();
    let broken = survey.broken.iter().map(|file| Damage::Record { file: file.clone() });
    let mut all: Vec<Damage> = broken.chain(faults.into_iter().map(|(_, damage)| damage)).collect();
    let file = |file: &KnownFile| file.clone();
    all.extend(damaged_of(&survey.stat, StatCache::is_whole).map(|of| Damage::Stat { file: file(of) }));
    let indexes = survey.blocks.iter().map(|(_, file)| file);
    all.extend(damaged_of(indexes, blocks::is_whole).map(|of| Damage::Blocks { file: file(of) }));
    let builds = damaged_of(&survey.last_builds, last::is_whole);
    all.extend(builds.map(|of| Damage::LastBuild { file: file(of) }));
    all.extend(damaged_of(&survey.notes, notes::is_whole).map(|of| Damage::Note { file: file(of) }));
    for known in survey.records.iter().filter(|known| !known.is_whole) {
        all.extend(missing(known, survey, &damaged)?);
    }
    Ok(all)
}

/// The files that aren't as they were written. What is gone by now was nobody's loss; what is cut so
/// short that a part of it isn't there is damaged.
fn damaged_of<'a>(
    files: impl IntoIterator<Item = &'a KnownFile>,
    is_whole: impl Fn(&Path) -> io::Result<bool>,
) -> impl Iterator<Item = &'a KnownFile> {
    let is_damaged = move |file: &&KnownFile| match is_whole(&file.path) {
        Ok(is_whole) => !is_whole,
        Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
    };
    files.into_iter().filter(is_damaged)
}

/// Reads a blob; returns what is wrong with it. One that is gone is no fault.
fn check(
    digest: &Digest,
    file: &KnownFile,
    progress: &(dyn Fn(u64) + Sync),
    cancel: &Cancel,
) -> Result<Option<String>, CacheError> {
    cancel.check()?;
    let read = || -> io::Result<()> {
        let mut reader = VerifyingReader::new(own::open_regular(&file.path)?, *digest, file.size);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => progress(count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if cancel.is_cancelled() {
                return Ok(());
            }
        }
    };
    let result = read();
    cancel.check()?;
    match result {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            Err(CacheError::File { action: "read", path: file.path.clone(), source })
        }
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// Finds what a record lacks, as far as that isn't told of the blob itself.
fn missing(
    known: &KnownRecord,
    survey: &Survey,
    damaged: &BTreeSet<Digest>,
) -> Result<Option<Damage>, CacheError> {
    for blob in known.record.kept().filter(|blob| !damaged.contains(&blob.digest)) {
        let has = survey.blobs.get(&blob.digest).map(|known| known.file.size);
        // It may have been removed, or written, while all was looked at.
        let is_current = || {
            let record = known_file(known.file.path.clone())?;
            Ok::<_, CacheError>(record.is_some_and(|now| now.modified == known.file.modified))
        };
        if has != Some(blob.size) && is_current()? {
            let (key, file) = (known.record.key, known.file.clone());
            return Ok(Some(Damage::Incomplete { key, file, blob: blob.digest }));
        }
    }
    Ok(None)
}

/// Removes what is damaged, with the records that name it, so that the next build makes it anew.
///
/// # Errors
/// [`CacheError::File`] if something can't be removed.
pub fn drop_damaged(survey: &Survey, damages: &[Damage]) -> Result<Extent, CacheError> {
    let mut files: Vec<&KnownFile> = Vec::new();
    let mut digests = BTreeSet::new();
    for damage in damages {
        match damage {
            Damage::Record { file }
            | Damage::Stat { file }
            | Damage::Blocks { file }
            | Damage::LastBuild { file }
            | Damage::Note { file }
            | Damage::Incomplete { file, .. } => files.push(file),
            Damage::Blob { digest, .. } => {
                digests.insert(*digest);
            }
        }
    }
    let names = |known: &&KnownRecord| known.record.kept().any(|blob| digests.contains(&blob.digest));
    files.extend(survey.records.iter().filter(names).map(|known| &known.file));
    // Blobs go last: no record may name what isn't there.
    files.extend(digests.iter().filter_map(|digest| survey.blobs.get(digest)).map(|blob| &blob.file));
    let mut gone = Extent::default();
    for file in files {
        if remove(&file.path)? {
            gone.add(file);
        }
    }
    Ok(gone)
}
