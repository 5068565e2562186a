//! How the files of two images differ.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::Arc;

use crate::contents::{Below, Item, ItemKind, Merged, Place, Visible};

/// One path at which two images differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference<'a> {
    /// What the first image has there; nothing if only the second one has it.
    pub before: Option<Visible<'a>>,
    /// What the second image has there; nothing if only the first one has it.
    pub after: Option<Visible<'a>>,
    /// What differs, each once, if both have it: then never empty.
    pub aspects: Vec<Aspect>,
}

impl Difference<'_> {
    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        let side = self.before.as_ref().or(self.after.as_ref());
        side.map_or(b"", |visible| &visible.path)
    }
}

/// What may differ between two things at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Aspect {
    /// A file, a directory, a link, …: then nothing else of what it is gets compared.
    Kind,
    /// A file's bytes.
    Content,
    /// A file's length.
    Size,
    /// A symbolic link's target.
    Target,
    /// A device's numbers.
    Device,
    /// The permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// The time of modification.
    Mtime,
    /// Extended attributes.
    Xattrs,
}

impl Merged {
    /// Compares what a container of this image would see with what one of another would.
    ///
    /// Contents are compared by digest, so the contents of both images should have been read with
    /// [`ContentsOptions::digests`](crate::contents::ContentsOptions::digests): a file without one,
    /// which is how sparse files come, counts as different from all others. Of directories that no
    /// layer has, the time of modification isn't compared. Whether files are hard links of each
    /// other isn't either.
    ///
    /// Items that two images share, because the same layer was read once for both, aren't looked
    /// at.
    #[must_use]
    pub fn differences<'a>(&'a self, after: &'a Self) -> Differences<'a> {
        Differences {
            before: (self, self.below(b"").peekable()),
            after: (after, after.below(b"").peekable()),
        }
    }

    /// Tells whether two images have one and the same item.
    fn shares(&self, place: Option<Place>, other: &Self, others: Option<Place>) -> bool {
        let (Some(one), Some(two)) = (place, others) else { return false };
        let items = |merged: &Self, layer: usize| Arc::clone(&merged.contents().layers[layer].items);
        one.item == two.item && Arc::ptr_eq(&items(self, one.layer), &items(other, two.layer))
    }
}

/// The differences between two images, in component-wise byte order of their paths.
pub struct Differences<'a> {
    before: (&'a Merged, Peekable<Below<'a>>),
    after: (&'a Merged, Peekable<Below<'a>>),
}

impl<'a> Iterator for Differences<'a> {
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.before.1.peek(), self.after.1.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => compare(&before.path, &after.path),
            };
            let before = order.is_le().then(|| self.before.1.next()).flatten();
            let after = order.is_ge().then(|| self.after.1.next()).flatten();
            let aspects = match (&before, &after) {
                (Some(one), Some(two)) if self.before.0.shares(one.inode, self.after.0, two.inode) => {
                    continue;
                }
                (Some(one), Some(two)) => aspects(one, two),
                _ => return Some(Difference { before, after, aspects: Vec::new() }),
            };
            if !aspects.is_empty() {
                return Some(Difference { before, after, aspects });
            }
        }
    }
}

/// Compares paths name by name.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let names = |path| <[u8]>::split(path, |byte| *byte == b'/');
    names(one).cmp(names(other))
}

fn aspects(before: &Visible<'_>, after: &Visible<'_>) -> Vec<Aspect> {
    let (one, other) = (&before.item, &after.item);
    let mut aspects = of_kind(one, other);
    let is_known = before.inode.is_some() && after.inode.is_some();
    let rest = [
        (one.mode != other.mode, Aspect::Mode),
        ((one.uid, one.gid) != (other.uid, other.gid), Aspect::Owner),
        (is_known && one.mtime != other.mtime, Aspect::Mtime),
        (one.xattrs != other.xattrs, Aspect::Xattrs),
    ];
    aspects.extend(rest.into_iter().filter_map(|(differs, aspect)| differs.then_some(aspect)));
    aspects
}

fn of_kind(one: &Item<'_>, other: &Item<'_>) -> Vec<Aspect> {
    use ItemKind::{BlockDevice, CharDevice, File, Symlink};
    match (one.kind, other.kind) {
        (File { size: one, digest: first }, File { size: other, digest: second }) => {
            let same = first.is_some() && first == second;
            match (same, one == other) {
                (true, _) => Vec::new(),
                (false, true) => vec![Aspect::Content],
                (false, false) => vec![Aspect::Content, Aspect::Size],
            }
        }
        (one, other) if one == other => Vec::new(),
        (Symlink { .. }, Symlink { .. }) => vec![Aspect::Target],
        (CharDevice { .. }, CharDevice { .. }) | (BlockDevice { .. }, BlockDevice { .. }) => {
            vec![Aspect::Device]
        }
        _ => vec![Aspect::Kind],
    }
}
