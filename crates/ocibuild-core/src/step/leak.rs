//! Secrets found in what a command made, before anybody else gets that.
//!
//! Only what can be no accident is looked for: whole values of some length, as they are and in base64.

use std::io::{self, Read};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::event::Cancel;
use crate::files::{FileKind, FileTree, OpenFile};
use crate::step::StepError;
use crate::step::mask::Masker;
use crate::step::sync::each;

/// Shorter values, in bytes, are found where nobody put them.
const MIN: usize = 8;

/// What is looked for.
#[derive(Default)]
pub(super) struct Needles {
    search: Option<AhoCorasick>,
    /// The secrets' names, one for each pattern.
    ids: Vec<String>,
}

impl Needles {
    /// Prepares for secrets: their names and values.
    pub(super) fn new<'a>(secrets: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let (mut ids, mut patterns) = (Vec::new(), Vec::new());
        for (id, value) in secrets.map(|(id, value)| (id, value.trim_ascii())) {
            if value.len() >= MIN {
                ids.extend([id.to_owned(), id.to_owned()]);
                patterns.extend([value.to_vec(), STANDARD_NO_PAD.encode(value).into_bytes()]);
            }
        }
        // As many as can be masked can be looked for.
        let search = if patterns.is_empty() { None } else { AhoCorasick::new(patterns).ok() };
        Self { search, ids }
    }

    /// Looks through files below outputs, their names, and where links point to: side by side in the pool
    /// that this is called from, if it is.
    ///
    /// # Errors
    /// [`StepError::Leak`] for a secret that is found; others if something can't be read.
    pub(super) fn search(
        &self,
        made: &dyn FileTree,
        outputs: &[&[u8]],
        masker: &Masker,
        cancel: &Cancel,
    ) -> Result<(), StepError> {
        let Some(search) = &self.search else { return Ok(()) };
        let look = |path: Vec<u8>| {
            cancel.check()?;
            let shown = || String::from_utf8_lossy(&masker.mask(&path)).into_owned();
            match look(made, &path, search, cancel) {
                Ok(Look::Found(pattern)) => {
                    Err(StepError::Leak { id: self.ids[pattern].clone(), path: shown() })
                }
                Ok(Look::Clean(below)) => Ok(below),
                Err(source) => {
                    cancel.check()?;
                    Err(StepError::Input { path: shown(), source })
                }
            }
        };
        let mut level: Vec<Vec<u8>> = outputs.iter().map(|path| path.to_vec()).collect();
        while !level.is_empty() {
            level = each(level, look)?.into_iter().flatten().collect();
        }
        Ok(())
    }
}

/// What was found in a file.
enum Look {
    /// The pattern of this number.
    Found(usize),
    /// None. If it is a directory, these are below it.
    Clean(Vec<Vec<u8>>),
}

/// Looks at one file, or lists what is below it.
fn look(made: &dyn FileTree, path: &[u8], search: &AhoCorasick, cancel: &Cancel) -> io::Result<Look> {
    let found = |bytes: &[u8]| search.find(bytes).map(|found| found.pattern().as_usize());
    if let Some(found) = found(path) {
        return Ok(Look::Found(found));
    }
    let pattern = match made.metadata(path)?.kind {
        FileKind::Directory => {
            let below = |name: &[u8]| [path, b"/", name].concat();
            return Ok(Look::Clean(made.read_dir(path)?.iter().map(|(name, _)| below(name)).collect()));
        }
        FileKind::Symlink => found(&made.read_link(path)?),
        FileKind::Regular => {
            let file = Reader { file: made.open(path)?, at: 0, cancel };
            let first = search.stream_find_iter(file).next().transpose()?;
            first.map(|found| found.pattern().as_usize())
        }
        // No other kind is kept.
        _ => None,
    };
    Ok(pattern.map_or(Look::Clean(Vec::new()), Look::Found))
}

/// A file that is read from its beginning to its end, unless that is cancelled.
struct Reader<'a> {
    file: Box<dyn OpenFile>,
    at: u64,
    cancel: &'a Cancel,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryTree;

    const VALUE: &[u8] = b"canary-5up3r-s3cret";

    fn search(tree: &MemoryTree, cancel: &Cancel) -> Result<(), StepError> {
        let needles = Needles::new([("npm", VALUE)].into_iter());
        needles.search(tree, &[b"out"], &Masker::new([VALUE]).unwrap(), cancel)
    }

    #[test]
    fn a_secret_is_found_in_contents_and_names_in_a_pool_and_without() {
        let value = String::from_utf8(VALUE.to_vec()).unwrap();
        let many =
            || (0..50).fold(MemoryTree::new(), |tree, n| tree.file(format!("out/{n}/a/file"), "clean"));
        let long = [vec![b'x'; 300_000], VALUE.to_vec()].concat();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for (tree, place) in [
            (many(), None),
            (many().file("out/7/long", long), Some("out/7/long")),
            (many().file(format!("out/8/{value}"), ""), Some("out/8/***")),
        ] {
            let both = [search(&tree, &Cancel::new()), pool.install(|| search(&tree, &Cancel::new()))];
            for found in both {
                let found = match found {
                    Ok(()) => None,
                    Err(StepError::Leak { path, .. }) => Some(path),
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(found.as_deref(), place);
            }
        }
    }

    #[test]
    fn reading_a_file_ends_when_it_is_cancelled() {
        let cancel = Cancel::new();
        let tree = MemoryTree::new().file("out", "clean");
        let mut reader = Reader { file: tree.open(b"out").unwrap(), at: 0, cancel: &cancel };
        assert_eq!(reader.read(&mut [0; 2]).unwrap(), 2);
        cancel.cancel();
        assert!(reader.read(&mut [0; 2]).is_err());
        assert!(matches!(search(&tree, &cancel), Err(StepError::Cancelled(_))));
    }
}
