//! What a layer is gathered from, and its entries as single copies want them.

use crate::base::{ListedKind, Listing};
use crate::event::Cancel;
use crate::files::{Entry, FileId, FileTree, StatCache, display};
use crate::layer::{LayerError, StepKey};

/// Names that begin like this are whiteouts: they take away what lies below.
pub(super) const WHITEOUT: &[u8] = b".wh.";

/// What a layer's entries are gathered from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) tree: &'a dyn FileTree,
    pub(super) listing: &'a Listing,
    pub(super) skip: &'a [FileId],
    pub(super) cancel: &'a Cancel,
    /// The latest time that a file may keep.
    pub(super) latest: Option<i64>,
    /// What is known of the tree's files since they were last read.
    pub(super) stat: Option<&'a StatCache>,
    /// The steps of the plan, whose trees are mounted by their places in it.
    pub(super) steps: &'a [StepKey],
}

/// An entry as one copy wants it.
pub(super) struct Draft {
    pub(super) entry: Entry,
    /// The copy it comes from.
    pub(super) copy: u32,
    /// How much the copy insists on the metadata of a directory.
    pub(super) claim: Claim,
}

/// How much a copy insists on a directory's metadata: the stronger claim decides, and two equal
/// ones must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// The directory only came along.
    Default,
    /// The copy names a mode or owner for its directories, or keeps their source's metadata.
    Rule,
    /// The directory itself was asked for.
    Directory,
}

/// Refuses names that mean the absence of a file.
pub(super) fn check_name(path: &[u8]) -> Result<(), LayerError> {
    if path.split(|byte| *byte == b'/').any(|name| name.starts_with(WHITEOUT)) {
        return Err(LayerError::Whiteout { path: display(path), span: None });
    }
    Ok(())
}

/// Tells whether the base has something at a path that isn't a directory.
pub(super) fn is_obstacle(listing: &Listing, path: &[u8]) -> bool {
    listing.get(path).is_some_and(|listed| listed.kind != ListedKind::Directory)
}
