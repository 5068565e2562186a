//! What a layer holds by its inventory, for whoever asks about paths.

use std::ops::ControlFlow;

use crate::blob::{BlobError, Source};
use crate::cache::Record;
use crate::layer::held::{Held, each_line};

/// Something that a layer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedEntry {
    /// Its path, relative to the image's root.
    pub path: Vec<u8>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Where it points, if it is a symbolic link.
    pub target: Option<Vec<u8>>,
    /// Its size in bytes, if it is a file.
    pub size: Option<u64>,
}

/// Hands out all that a layer holds. Tells whether its inventory is known at all.
///
/// # Errors
/// [`BlobError`] if it can't be read.
pub fn each_entry(
    record: &Record,
    source: &dyn Source,
    mut each: impl FnMut(ListedEntry),
) -> Result<bool, BlobError> {
    let Some(inventory) = &record.inventory else { return Ok(false) };
    each_line(inventory, source, |line| {
        let (path, held) = Held::parse(line)?;
        let target = held.target.filter(|_| held.kind == "symlink");
        each(ListedEntry { path, is_directory: held.kind == "directory", target, size: held.size });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(true)
}
