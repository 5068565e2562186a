//! What a copy leaves out of what lies below its `from`, though its patterns take it: what the
//! ignore file names, and compiled Python where that is to be dropped.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::files::{FileKind, FileTree, resolve};
use crate::layer::LayerError;
use crate::layer::gather::below;
use crate::pattern::IgnoreRules;
use crate::plan::{From, Ignore, PlannedCopy, What};
use crate::spec::Pyc;

/// The ignore file where none is named.
const DEFAULT: &str = ".dockerignore";

/// The most that is read of an ignore file, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// What Python calls the directories that it compiles into.
const CACHE: &[u8] = b"__pycache__";

/// Decides what is left out of a copy.
pub(super) struct Filter<'a> {
    /// The ignore file, as people name it.
    file: &'a str,
    rules: IgnoreRules,
    /// What paths of the copy are relative to.
    start: &'a [u8],
    drops_pyc: bool,
    /// Whether the ignore file left anything out.
    has_ignored: AtomicBool,
}

impl<'a> Filter<'a> {
    /// Reads the ignore file of a copy.
    pub(super) fn new(copy: &PlannedCopy, from: &'a From, tree: &dyn FileTree) -> Result<Self, LayerError> {
        let file = file_name(&from.ignore).unwrap_or_default();
        let rules = match contents(&from.ignore, tree)? {
            Some(bytes) => IgnoreRules::parse(&bytes).map_err(|source| LayerError::IgnoreRule {
                path: file.to_owned(),
                span: None,
                source,
            })?,
            None => IgnoreRules::default(),
        };
        Ok(Self {
            file,
            rules: rules.below(&from.literal),
            start: &from.literal,
            drops_pyc: copy.pyc == Pyc::Drop,
            has_ignored: AtomicBool::new(false),
        })
    }

    /// Tells whether something below the copy's `from`, which its patterns take, stays in it.
    pub(super) fn takes(&self, path: &[u8], is_directory: bool) -> bool {
        if is_directory && self.is_dropped(path) {
            return false;
        }
        let ignored = !self.rules.is_empty() && self.rules.ignores(&below(self.start, path));
        self.note(ignored)
    }

    /// Tells whether anything below a directory may stay in it.
    pub(super) fn enters(&self, path: &[u8]) -> bool {
        if self.is_dropped(path) {
            return false;
        }
        let ignored = !self.rules.is_empty() && !self.rules.may_hold_kept(&below(self.start, path));
        self.note(ignored)
    }

    /// Returns the ignore file, if it left anything out.
    pub(super) fn culprit(&self) -> Option<String> {
        self.has_ignored.load(Ordering::Relaxed).then(|| self.file.to_owned())
    }

    fn note(&self, ignored: bool) -> bool {
        if ignored {
            self.has_ignored.store(true, Ordering::Relaxed);
        }
        !ignored
    }

    fn is_dropped(&self, directory: &[u8]) -> bool {
        self.drops_pyc && directory.rsplit(|byte| *byte == b'/').next() == Some(CACHE)
    }
}

fn file_name(ignore: &Ignore) -> Option<&str> {
    match ignore {
        Ignore::Nothing | Ignore::Given(_) => None,
        Ignore::Default => Some(DEFAULT),
        Ignore::File(file) => Some(&file.path),
    }
}

/// Returns the ignore file of a copy, as people name it, if it goes by one.
pub(super) fn name(copy: &PlannedCopy) -> Option<&str> {
    match &copy.what {
        What::From(from) => file_name(&from.ignore),
        _ => None,
    }
}

/// Reads the ignore file; nothing if there is none, which only one that is named may not be.
pub(super) fn contents(ignore: &Ignore, tree: &dyn FileTree) -> Result<Option<Vec<u8>>, LayerError> {
    if let Ignore::Given(lines) = ignore {
        return Ok(Some(lines.to_vec()));
    }
    let Some(name) = file_name(ignore) else { return Ok(None) };
    let path = resolve(tree, name.as_bytes())?;
    match read(tree, &path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && *ignore == Ignore::Default => Ok(None),
        Err(source) => {
            let span = match ignore {
                Ignore::File(file) => file.span,
                _ => None,
            };
            Err(LayerError::IgnoreFile { path: name.to_owned(), span, source })
        }
    }
}

fn read(tree: &dyn FileTree, path: &[u8]) -> io::Result<Vec<u8>> {
    let metadata = tree.metadata(path)?;
    if metadata.kind != FileKind::Regular {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.size > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any ignore file"));
    }
    let mut bytes = vec![0; metadata.size as usize];
    let count = tree.open(path)?.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}
