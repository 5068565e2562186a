//! Reading the files of a layer: as they were found, or not at all.

use std::ops::Range;

use crate::files::{Entry, EntryKind, FileSource, FileTree, Metadata, display};
use crate::inspect::is_foreign;
use crate::layer::{LayerError, machine};
use crate::plan::PlannedLayer;
use crate::spec::Span;

/// Where a layer's files are read.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) layer: &'a PlannedLayer,
    pub(super) tree: &'a dyn FileTree,
}

impl Inputs<'_> {
    /// Reads a range of a file that must be as it was found; adds it to `out`.
    pub(super) fn read(
        &self,
        path: &[u8],
        seen: &Metadata,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), LayerError> {
        let fault = |source| LayerError::read(path, source);
        let file = self.tree.open(path).map_err(fault)?;
        let at = out.len();
        let length = (range.end - range.start) as usize;
        out.resize(at + length, 0);
        let count = file.read_at(&mut out[at..], range.start).map_err(fault)?;
        if count != length || !file.metadata().map_err(fault)?.is_unchanged(seen) {
            return Err(LayerError::changed(path));
        }
        Ok(())
    }

    /// Makes sure that a program runs on all platforms of the layer, and returns the machine that it counts
    /// for. What package managers bring may be for others: whether they brought one that fits is seen when
    /// all is there.
    pub(super) fn check_machine(
        &self,
        entry: &Entry,
        machine: &'static str,
    ) -> Result<&'static str, LayerError> {
        match self.layer.platforms.iter().find(|platform| !machine::runs(platform, machine)) {
            Some(_) if is_foreign(&entry.path) => Ok(machine::BROUGHT),
            Some(platform) => Err(LayerError::Foreign {
                path: display(&entry.path),
                machine: machine::describe(platform, machine),
                platform: platform.to_string(),
                span: self.span(entry),
            }),
            None => Ok(machine),
        }
    }

    /// Where the spec has the copy that an entry comes from.
    pub(super) fn span(&self, entry: &Entry) -> Option<Span> {
        match &entry.kind {
            EntryKind::File { source: FileSource::Tree { copy, .. }, .. } => {
                self.layer.copies.get(*copy as usize)?.span
            }
            _ => None,
        }
    }
}
