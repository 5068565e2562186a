//! What a step's directory is to hold, put in order: as a whole, and directory by directory.

use std::collections::BTreeMap;

use crate::files::{Entry, FileTree, Metadata, display};
use crate::step::StepError;

/// Something that a step's directory is to hold.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// Where, below the directory: without a leading `/`, and without `.` and `..`.
    pub path: Vec<u8>,
    /// What.
    pub what: WantedKind<'a>,
}

/// What a step's directory is to hold somewhere. Parents of everything are directories without being
/// named.
#[derive(Clone)]
#[non_exhaustive]
pub enum WantedKind<'a> {
    /// A directory, of mode 0755.
    Directory,
    /// A symbolic link to this target, as it is.
    Symlink(Vec<u8>),
    /// A regular file.
    File {
        /// The tree it is copied from.
        tree: &'a dyn FileTree,
        /// Its path there.
        source: Vec<u8>,
        /// What was known of it when its digest was taken; it must still be so when it was copied.
        seen: Metadata,
        /// The BLAKE3 digest of its content.
        digest: [u8; 32],
        /// Its permission bits, the lower twelve, whatever the source's are.
        mode: u32,
        /// What its attribute `security.capability` is to hold, where there is one. It is left out where
        /// that isn't permitted, as only root may.
        capability: Option<Vec<u8>>,
    },
}

/// What is wanted, in order, so that what lies below a directory follows it; each path once.
pub(super) fn sorted<'w, 'a>(wanted: &'w [Wanted<'a>]) -> Result<Vec<&'w Wanted<'a>>, StepError> {
    let mut sorted: Vec<&Wanted<'_>> = wanted.iter().collect();
    for one in &sorted {
        check_path(&one.path)?;
    }
    sorted.sort_by(|one, other| Entry::compare_paths(&one.path, &other.path));
    for pair in sorted.windows(2).filter(|pair| pair[0].path == pair[1].path) {
        if !pair[0].what.is_same(&pair[1].what) {
            return Err(StepError::Overlap { path: display(&pair[0].path) });
        }
    }
    sorted.dedup_by(|one, other| one.path == other.path);
    Ok(sorted)
}

/// The directories that are kept, in order, without those that lie in others of them.
pub(super) fn sorted_kept<'k>(kept: &[&'k [u8]]) -> Result<Vec<&'k [u8]>, StepError> {
    let mut sorted: Vec<&[u8]> = Vec::new();
    let mut all = kept.to_vec();
    all.sort_by(|one, other| Entry::compare_paths(one, other));
    for path in all {
        check_path(path)?;
        if !sorted.last().is_some_and(|outer| is_at_or_below(path, outer)) {
            sorted.push(path);
        }
    }
    Ok(sorted)
}

fn is_at_or_below(path: &[u8], outer: &[u8]) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Paths are our own: this only keeps a mistake of ours from leading out of the directory.
pub(in crate::step) fn check_path(path: &[u8]) -> Result<(), StepError> {
    let is_fit = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    match path.split(|byte| *byte == b'/').all(is_fit) {
        true => Ok(()),
        false => Err(StepError::Path { path: display(path) }),
    }
}

impl WantedKind<'_> {
    fn is_same(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::Directory, Self::Directory) => true,
            (Self::Symlink(one), Self::Symlink(other)) => one == other,
            (Self::File { mode, .. }, Self::File { mode: other, .. }) => {
                mode == other && self.identity() == others.identity()
            }
            _ => false,
        }
    }

    /// What a file is known by: its content, and what it may do as a program.
    pub(super) fn identity(&self) -> Option<[u8; 32]> {
        match self {
            Self::File { digest, capability: None, .. } => Some(*digest),
            Self::File { digest, capability: Some(value), .. } => {
                Some(*blake3::Hasher::new().update(digest).update(value).finalize().as_bytes())
            }
            _ => None,
        }
    }
}

/// A directory, with what is wanted and kept below it.
#[derive(Clone, Copy)]
pub(super) struct Place<'w, 'a> {
    pub(super) path: &'w [u8],
    pub(super) wanted: &'w [&'w Wanted<'a>],
    pub(super) kept: &'w [&'w [u8]],
}

/// What a name in a directory should be.
pub(super) enum Child<'w, 'a> {
    /// A directory, that is looked at in its turn.
    Directory(Place<'w, 'a>),
    /// A directory, in which everything stays as it is.
    Kept,
    /// A link or a file.
    Leaf(&'w Wanted<'a>),
}

impl<'w, 'a> Child<'w, 'a> {
    pub(super) fn place(&self) -> Option<Place<'w, 'a>> {
        match self {
            Self::Directory(place) => Some(*place),
            Self::Kept | Self::Leaf(_) => None,
        }
    }
}

/// What should be in a directory, by name.
pub(super) fn children<'w, 'a>(
    place: &Place<'w, 'a>,
) -> Result<BTreeMap<&'w [u8], Child<'w, 'a>>, StepError> {
    let start = if place.path.is_empty() { 0 } else { place.path.len() + 1 };
    let mut children = BTreeMap::new();
    for group in place.wanted.chunk_by(|one, other| first(&one.path, start) == first(&other.path, start)) {
        let path = first(&group[0].path, start);
        let (own, wanted) = match group[0].path.len() == path.len() {
            true => (Some(group[0]), &group[1..]),
            false => (None, group),
        };
        let child = match own.filter(|own| !matches!(own.what, WantedKind::Directory)) {
            Some(leaf) if wanted.is_empty() => Child::Leaf(leaf),
            Some(_) => return Err(StepError::Overlap { path: display(path) }),
            None => Child::Directory(Place { path, wanted, kept: &[] }),
        };
        children.insert(&path[start..], child);
    }
    for group in place.kept.chunk_by(|one, other| first(one, start) == first(other, start)) {
        let path = first(group[0], start);
        let is_itself = group[0].len() == path.len();
        let child = match children.remove(&path[start..]) {
            None if is_itself => Child::Kept,
            Some(Child::Directory(place)) if is_itself && place.wanted.is_empty() => Child::Kept,
            None => Child::Directory(Place { path, wanted: &[], kept: group }),
            Some(Child::Directory(place)) if !is_itself => Child::Directory(Place { kept: group, ..place }),
            Some(_) => return Err(StepError::Overlap { path: display(path) }),
        };
        children.insert(&path[start..], child);
    }
    Ok(children)
}

/// A path up to the end of the part that begins at `start`.
fn first(path: &[u8], start: usize) -> &[u8] {
    let end = path[start..].iter().position(|byte| *byte == b'/');
    &path[..end.map_or(path.len(), |end| start + end)]
}
