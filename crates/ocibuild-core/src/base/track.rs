//! Which entries of the layers are behind what a listing in the making holds, and which of them
//! took away what it no longer holds. Entries are numbers here, for whoever gave them.

/// In place of an entry's number, where none is.
pub(crate) const NOBODY: u32 = u32::MAX;

/// The entries behind the nodes of a growing listing.
#[derive(Default)]
pub(super) struct Track {
    /// The entry that is being put now.
    pub(super) current: u32,
    /// By node, the entry that has this name.
    names: Vec<u32>,
    /// By node, the entry that its metadata and content come from: for a hard link, another one.
    inodes: Vec<u32>,
    /// By node, the entry that took it away, with all below it.
    takers: Vec<u32>,
    /// Entries whose nodes were given to others, with those others.
    replaced: Vec<(u32, u32)>,
}

/// The entries behind a finished listing.
pub(crate) struct Tracked {
    /// By node of the listing, the entry that has this name; nobody for directories that were
    /// implied, and for the root.
    pub(crate) names: Vec<u32>,
    /// By node of the listing, the entry that its metadata and content come from.
    pub(crate) inodes: Vec<u32>,
    /// Entries that can't be seen any more, each with the one that hides it. There are directories
    /// among them whose node merely was made anew.
    pub(crate) hidden: Vec<(u32, u32)>,
}

impl Track {
    /// Starts with a root that no entry stands for.
    pub(super) fn new() -> Self {
        let mut track = Self { current: NOBODY, ..Self::default() };
        track.add();
        track
    }

    /// A node was added for the current entry.
    pub(super) fn add(&mut self) {
        self.names.push(self.current);
        self.inodes.push(self.current);
        self.takers.push(NOBODY);
    }

    /// The current entry changes what a directory is like.
    pub(super) fn set(&mut self, node: u32) {
        self.names[node as usize] = self.current;
        self.inodes[node as usize] = self.current;
    }

    /// The current entry stands in a node's place.
    pub(super) fn replace(&mut self, node: u32) {
        self.replaced.push((self.names[node as usize], self.current));
        self.set(node);
    }

    /// The current entry takes a node away, with all below it.
    pub(super) fn take(&mut self, node: u32) {
        self.takers[node as usize] = self.current;
    }

    /// A directory is there only because something lies in it.
    pub(super) fn imply(&mut self, node: u32) {
        self.names[node as usize] = NOBODY;
        self.inodes[node as usize] = NOBODY;
    }

    /// A node is another one made anew.
    pub(super) fn copy(&mut self, node: u32, of: u32) {
        self.names[node as usize] = self.names[of as usize];
        self.inodes[node as usize] = self.inodes[of as usize];
    }

    /// Returns where a node's metadata and content come from.
    pub(super) fn inode(&self, node: u32) -> u32 {
        self.inodes[node as usize]
    }

    /// A node is another name of what is elsewhere.
    pub(super) fn link(&mut self, node: u32, inode: u32) {
        self.inodes[node as usize] = inode;
    }

    /// Gives the result for a listing whose nodes were `sources` here; `parents` has the parent of
    /// each node, which always is a lower one.
    pub(super) fn finish(self, parents: impl Iterator<Item = u32>, sources: &[u32]) -> Tracked {
        let Self { names, inodes, mut takers, replaced: mut hidden, .. } = self;
        for (node, parent) in parents.enumerate() {
            if takers[node] == NOBODY {
                takers[node] = takers.get(parent as usize).copied().unwrap_or(NOBODY);
            }
        }
        let taken = names.iter().zip(&takers).filter(|(name, taker)| **name != NOBODY && **taker != NOBODY);
        hidden.extend(taken.map(|(name, taker)| (*name, *taker)));
        let of_listing = |all: Vec<u32>| sources.iter().map(|node| all[*node as usize]).collect();
        Tracked { names: of_listing(names), inodes: of_listing(inodes), hidden }
    }
}
