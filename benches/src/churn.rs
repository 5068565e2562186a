//! How much of a blob changes when one file does: the argument for or against a rule of borders.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rayon::prelude::*;

use crate::blocks::{Former, Rule};
use crate::encode::{Encoder, Scratch, compress};
use crate::error::{Error, io_error};
use crate::random::Random;
use crate::stream::header;
use crate::walk::{Entry, Kind, walk};

/// Tells blocks apart: length and CRC-32. Two of a thousand that share both would only make one
/// change go unnoticed, and a quick check lets more edits be drawn.
pub type Key = (usize, u32);

fn key(block: &[u8]) -> Key {
    (block.len(), crc32fast::hash(block))
}

/// A tree, read into memory.
pub struct Loaded {
    entries: Vec<Entry>,
    contents: Vec<Vec<u8>>,
    files: Vec<usize>,
}

/// What happens to one file between two builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// 1 to 16 bytes are inserted somewhere in a file. As tar pads files to 512 bytes, most such
    /// edits don't move what follows.
    FewBytes,
    /// 512 to 4096 bytes are inserted somewhere in a file.
    FewRecords,
    /// A file is added, with the content of another.
    Added,
}

impl Loaded {
    /// Reads the tree below `root`.
    ///
    /// # Errors
    /// If something in it can't be read.
    pub fn read(root: &Path) -> Result<Self, Error> {
        let entries = walk(root)?;
        let content = |entry: &Entry| match entry.kind {
            Kind::File { .. } => {
                let path = root.join(std::ffi::OsStr::from_bytes(&entry.path));
                fs::read(&path).map_err(io_error("read", &path))
            }
            _ => Ok(Vec::new()),
        };
        let contents = entries.par_iter().map(content).collect::<Result<_, _>>()?;
        let files = (0..entries.len()).filter(|&at| matches!(entries[at].kind, Kind::File { .. })).collect();
        Ok(Loaded { entries, contents, files })
    }

    /// Compresses the tree's blocks: their compressed sizes by their keys.
    ///
    /// # Errors
    /// If the encoder fails.
    pub fn baseline(&self, rule: Rule, encoder: Encoder) -> Result<BTreeMap<Key, u64>, Error> {
        let mut blocks = Vec::new();
        self.form(rule, None, |block| blocks.push(block.to_vec()))?;
        blocks
            .par_iter()
            .map_init(Scratch::default, |scratch, block| {
                let piece = compress(encoder, scratch, block, &[])?;
                Ok((key(block), piece.bytes.len() as u64))
            })
            .collect()
    }

    /// Says which part of the baseline's blob (0 to 1) lies in blocks that are gone after each of
    /// `draws` edits, each made to the unchanged tree.
    ///
    /// # Errors
    /// If a header can't be made.
    pub fn lost(
        &self,
        rule: Rule,
        baseline: &BTreeMap<Key, u64>,
        edit: Edit,
        draws: u64,
    ) -> Result<Vec<f64>, Error> {
        let total: u64 = baseline.values().sum();
        let one = |seed| {
            let mut left = baseline.clone();
            self.form(rule, Some((edit, Random::new(seed))), |block| {
                left.remove(&key(block));
            })?;
            Ok(left.values().sum::<u64>() as f64 / total as f64)
        };
        (0..draws).into_par_iter().map(one).collect()
    }

    fn form(
        &self,
        rule: Rule,
        edit: Option<(Edit, Random)>,
        mut block: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let mut former = Former::new(rule, vec![0; rule.capacity()], |buffer: Vec<u8>, length| {
            block(&buffer[..length]);
            Ok(buffer)
        });
        let (edit, mut random) = edit.map_or((None, Random::new(0)), |(edit, random)| (Some(edit), random));
        let chosen = self.files[random.index(self.files.len())];
        for (at, (entry, content)) in self.entries.iter().zip(&self.contents).enumerate() {
            match edit {
                Some(Edit::FewBytes) if at == chosen => {
                    add(&mut former, entry, &insert(content, 1, 16, &mut random))?
                }
                Some(Edit::FewRecords) if at == chosen => {
                    add(&mut former, entry, &insert(content, 512, 4096, &mut random))?;
                }
                _ => add(&mut former, entry, content)?,
            }
            if at == chosen && edit == Some(Edit::Added) {
                let mut new = entry.clone();
                new.path.extend_from_slice(b".added");
                add(&mut former, &new, &self.contents[self.files[random.index(self.files.len())]])?;
            }
        }
        former.finish()
    }
}

fn add<F>(former: &mut Former<F>, entry: &Entry, content: &[u8]) -> Result<(), Error>
where
    F: FnMut(Vec<u8>, usize) -> Result<Vec<u8>, Error>,
{
    let mut entry = entry.clone();
    if let Kind::File { size, .. } = &mut entry.kind {
        *size = content.len() as u64;
    }
    let mut head = Vec::new();
    header(&entry, &mut head)?;
    let mut rest = content;
    former.entry(&entry.path, &head, content.len() as u64, |piece| {
        let (now, later) = rest.split_at(piece.len());
        piece.copy_from_slice(now);
        rest = later;
        Ok(())
    })
}

fn insert(content: &[u8], least: usize, most: usize, random: &mut Random) -> Vec<u8> {
    let at = random.index(content.len() + 1);
    let count = least + random.index(most - least + 1);
    let new: Vec<u8> = (0..count).map(|_| random.index(256) as u8).collect();
    [&content[..at], &new, &content[at..]].concat()
}
