//! A listing in the making: entries are put, replaced and taken away, layer over layer.
//!
//! A directory that is replaced or removed leaves its node behind, and with it everything below:
//! so removing is cheap, and what is left behind is dropped at the end.

use std::collections::{BTreeMap, HashMap};

use crate::base::index::Index;
use crate::base::listing::{Kind, Listed, ListedKind, Listing, Node, Owner, name_at, target_at};
use crate::base::track::{NOBODY, Track, Tracked};
use crate::base::tree::{self, Step, Tree};
use crate::base::users::Users;
use crate::base::{ListingError, ListingLimits};

/// Gathers the entries of a [`Listing`].
pub struct ListingBuilder {
    nodes: Vec<Growing>,
    /// As in a [`Listing`].
    text: Vec<u8>,
    owners: Vec<Owner>,
    owner_numbers: HashMap<Owner, u32>,
    index: Index,
    root: u32,
    /// Contents that were asked to be kept, by node.
    contents: BTreeMap<u32, Vec<u8>>,
    limits: ListingLimits,
    /// Names looked at so far, which hostile layers could make endless.
    work: u64,
    /// Which entries are behind the nodes, if anybody wants to know.
    track: Option<Track>,
}

#[derive(Clone, Copy)]
struct Growing {
    parent: u32,
    name: u32,
    kind: Kind,
    value: u32,
}

/// How many names may be looked at in all: some seconds' worth.
const MAX_WORK: u64 = 1 << 27;
/// How many bytes of contents are kept, those of entries that were replaced since included.
const MAX_CONTENTS: u64 = 16 << 20;
const ABOVE_ROOT: u32 = u32::MAX;
const IMPLIED: Owner = Owner { mode: 0o755, uid: 0, gid: 0 };

impl ListingBuilder {
    /// Starts with nothing but a root, 0755 and 0:0.
    #[must_use]
    pub fn new(limits: &ListingLimits) -> Self {
        let kind = Kind::new(Kind::DIRECTORY, 0);
        Self {
            nodes: vec![Growing { parent: ABOVE_ROOT, name: 0, kind, value: 0 }],
            text: vec![0],
            owners: vec![IMPLIED],
            owner_numbers: HashMap::from([(IMPLIED, 0)]),
            index: Index::new(),
            root: 0,
            contents: BTreeMap::new(),
            limits: limits.clone(),
            work: 0,
            track: None,
        }
    }

    /// Starts with nothing but a root, and keeps in mind which entries are behind what it holds.
    pub(crate) fn tracking(limits: &ListingLimits) -> Self {
        Self { track: Some(Track::new()), ..Self::new(limits) }
    }

    /// Says which entry it is that is put, or takes something away, from now on.
    pub(crate) fn set_current(&mut self, entry: u32) {
        self.note(|track| track.current = entry);
    }

    fn note(&mut self, what: impl FnOnce(&mut Track)) {
        if let Some(track) = &mut self.track {
            what(track);
        }
    }

    /// Puts an entry, as unpacking would: through the links of its parents, which are made where
    /// they are missing; a directory over a directory changes its mode and owner only; everything
    /// else replaces what is there, with all below it.
    ///
    /// # Errors
    /// [`ListingError`] for a path that cannot be unpacked inside a root, for links that go in
    /// circles, and for more than the limits allow.
    pub fn insert(&mut self, path: &[u8], entry: Listed<'_>) -> Result<(), ListingError> {
        self.put(path, entry).map(drop)
    }

    /// Puts a regular file and keeps its content: for `etc/passwd` and `etc/group`, which names of
    /// users and groups are looked up in.
    ///
    /// # Errors
    /// As for [`ListingBuilder::insert`].
    pub fn insert_with_content(
        &mut self,
        path: &[u8],
        entry: Listed<'_>,
        content: Vec<u8>,
    ) -> Result<(), ListingError> {
        let node = self.put(path, entry)?;
        self.keep(node, content)
    }

    /// Puts another name of an entry that is no directory. Returns whether its content, if asked
    /// for, is at hand.
    ///
    /// # Errors
    /// [`ListingError::Path`] if there is no such entry; else as for [`ListingBuilder::insert`].
    pub fn insert_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<bool, ListingError> {
        let fault = |reason| ListingError::Path { path: path.to_vec(), reason };
        let node = self.lookup(target)?;
        let node = node.ok_or_else(|| fault("it is a hard link to what isn't there"))?;
        let Growing { kind, value, .. } = self.nodes[node as usize];
        if kind.kind() == Kind::DIRECTORY {
            return Err(fault("it is a hard link to a directory"));
        }
        if self.would_be_lost(path, node)? {
            return Err(fault("it is a hard link that takes the place of what it links to"));
        }
        let content = self.contents.get(&node).cloned();
        let inode = self.track.as_ref().map_or(NOBODY, |track| track.inode(node));
        let link = self.place(path, kind, value)?;
        self.note(|track| track.link(link, inode));
        let kept = content.is_some();
        if let Some(content) = content {
            self.keep(link, content)?;
        }
        Ok(kept)
    }

    /// Tells whether a node goes with what an entry at a path takes the place of: itself, or a
    /// directory that it lies in.
    fn would_be_lost(&mut self, path: &[u8], node: u32) -> Result<bool, ListingError> {
        let Some(replaced) = self.lookup(path)? else { return Ok(false) };
        let parent =
            |node: &u32| Some(self.nodes[*node as usize].parent).filter(|parent| *parent != ABOVE_ROOT);
        Ok(std::iter::successors(Some(node), parent).any(|above| above == replaced))
    }

    /// Takes away what is at a path, if anything is, through the links of its parents.
    ///
    /// # Errors
    /// As for [`ListingBuilder::insert`].
    pub fn remove(&mut self, path: &[u8]) -> Result<(), ListingError> {
        match self.lookup(path)? {
            Some(node) if node == self.root => {
                let fault = "the root cannot be removed";
                return Err(ListingError::Path { path: path.to_vec(), reason: fault });
            }
            Some(node) => {
                self.nodes[node as usize].kind = Kind::new(Kind::REMOVED, 0);
                self.note(|track| track.take(node));
            }
            None => {}
        }
        Ok(())
    }

    /// Takes away all that is in a directory, if it is there.
    ///
    /// # Errors
    /// As for [`ListingBuilder::insert`].
    pub fn clear(&mut self, path: &[u8]) -> Result<(), ListingError> {
        let names = tree::checked_names(path)?;
        let resolved = self.follow(&tree::join(&names), true)?;
        let Some(node) = self.descend(&resolved) else { return Ok(()) };
        let old = self.nodes[node as usize];
        if old.kind.kind() != Kind::DIRECTORY {
            return Ok(());
        }
        let fresh = self.push(old)?;
        self.note(|track| {
            track.take(node);
            track.copy(fresh, node);
        });
        match node == self.root {
            true => self.root = fresh,
            false => self.index_node(fresh),
        }
        Ok(())
    }

    /// Tells whether there is nothing but a root yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Finishes: drops what was left behind and puts everything in order.
    #[must_use]
    pub fn finish(self) -> Listing {
        self.finish_all().0
    }

    /// Finishes, and tells which entries are behind the listing's nodes.
    pub(crate) fn finish_tracked(self) -> (Listing, Tracked) {
        let (listing, tracked) = self.finish_all();
        (listing, tracked.expect("it was asked to keep them in mind"))
    }

    fn finish_all(mut self) -> (Listing, Option<Tracked>) {
        self.index = Index::new();
        let (nodes, text) = (&self.nodes, &self.text);
        let key = |node: u32| key(nodes, text, node);
        let mut order: Vec<u32> = (0..nodes.len() as u32).collect();
        // Of two nodes with one parent and name the later one counts.
        order.sort_unstable_by(|one, other| key(*one).cmp(&key(*other)).then(other.cmp(one)));
        order.dedup_by(|next, kept| key(*next) == key(*kept));
        order.retain(|node| nodes[*node as usize].kind.kind() != Kind::REMOVED);
        let sources = breadth_first(nodes, &order, self.root);
        drop(order);
        let parents = nodes.iter().map(|node| node.parent);
        let tracked = self.track.take().map(|track| track.finish(parents, &sources));
        let nodes = rearrange(self.nodes, &sources);
        let users = Users::default();
        let mut listing = Listing { nodes, text: self.text, owners: self.owners, users };
        let content = |path: &[u8]| {
            let node = listing.find(&listing.resolve(path).ok()?)?;
            self.contents.get(&sources[node as usize]).cloned()
        };
        listing.users = Users { passwd: content(b"etc/passwd"), group: content(b"etc/group") };
        (listing, tracked)
    }

    fn keep(&mut self, node: u32, content: Vec<u8>) -> Result<(), ListingError> {
        self.contents.insert(node, content);
        let size: usize = self.contents.values().map(Vec::len).sum();
        limit("the contents of files with users and groups", size as u64, MAX_CONTENTS)
    }

    fn put(&mut self, path: &[u8], entry: Listed<'_>) -> Result<u32, ListingError> {
        let owner = Owner { mode: entry.mode & 0o7777, uid: entry.uid, gid: entry.gid };
        let owner = self.owner(owner)?;
        let (kind, value) = match entry.kind {
            ListedKind::Directory => (Kind::DIRECTORY, 0),
            ListedKind::File { size } => match u32::try_from(size) {
                Ok(size) => (Kind::FILE, size),
                Err(_) => (Kind::LARGE_FILE, self.push_text(&[&size.to_le_bytes()])?),
            },
            ListedKind::Symlink { target } => (Kind::LINK, self.push_target(path, target)?),
            ListedKind::Other => (Kind::OTHER, 0),
        };
        self.place(path, Kind::new(kind, owner), value)
    }

    fn place(&mut self, path: &[u8], kind: Kind, value: u32) -> Result<u32, ListingError> {
        let names = tree::checked_names(path)?;
        let Some((name, parents)) = names.split_last() else {
            return self.place_root(path, kind);
        };
        let parent = self.make_parents(parents)?;
        self.place_child(parent, name, kind, value)
    }

    fn place_child(&mut self, parent: u32, name: &[u8], kind: Kind, value: u32) -> Result<u32, ListingError> {
        let Some(node) = self.indexed(parent, name) else {
            return self.push_named(parent, name, kind, value);
        };
        let old = &mut self.nodes[node as usize];
        match (old.kind.kind(), kind.kind()) {
            (Kind::DIRECTORY, Kind::DIRECTORY) => {
                old.kind = kind;
                self.note(|track| track.set(node));
            }
            (was @ (Kind::DIRECTORY | Kind::REMOVED), _) => {
                let fresh = Growing { kind, value, ..*old };
                if was == Kind::DIRECTORY {
                    self.note(|track| track.take(node));
                }
                let fresh = self.push(fresh)?;
                self.index_node(fresh);
                return Ok(fresh);
            }
            _ => {
                (old.kind, old.value) = (kind, value);
                self.contents.remove(&node);
                self.note(|track| track.replace(node));
            }
        }
        Ok(node)
    }

    fn place_root(&mut self, path: &[u8], kind: Kind) -> Result<u32, ListingError> {
        if kind.kind() != Kind::DIRECTORY {
            return Err(ListingError::Path { path: path.to_vec(), reason: "the root is a directory" });
        }
        self.nodes[self.root as usize].kind = kind;
        let root = self.root;
        self.note(|track| track.set(root));
        Ok(root)
    }

    /// Returns the directory that an entry goes to, making what is missing of it.
    fn make_parents(&mut self, parents: &[&[u8]]) -> Result<u32, ListingError> {
        self.spend(parents.len() as u64)?;
        let mut node = self.root;
        for name in parents {
            match self.child(node, name).map(|child| (child, self.step(child))) {
                Some((child, Step::Directory)) => node = child,
                Some((_, Step::Link(_))) => {
                    let path = tree::join(parents);
                    let resolved = self.follow(&path, true)?;
                    // Link over link, paths could grow to where walking them takes for ever.
                    if resolved.len() > tree::MAX_PATH {
                        return Err(ListingError::Path {
                            path,
                            reason: "it leads to a longer path than can be",
                        });
                    }
                    return self.make_directories(&resolved);
                }
                _ => return self.make_directories(&tree::join(parents)),
            }
        }
        Ok(node)
    }

    /// Makes directories along a path; there is no link in those that exist.
    fn make_directories(&mut self, path: &[u8]) -> Result<u32, ListingError> {
        let mut node = self.root;
        for name in tree::names(path) {
            node = match self.child(node, name).map(|child| (child, self.step(child))) {
                Some((child, Step::Directory)) => child,
                _ => {
                    let made = self.place_child(node, name, Kind::new(Kind::DIRECTORY, 0), 0)?;
                    self.note(|track| track.imply(made));
                    made
                }
            };
        }
        Ok(node)
    }

    /// Finds what is at a path, through the links of its parents.
    fn lookup(&mut self, path: &[u8]) -> Result<Option<u32>, ListingError> {
        let names = tree::checked_names(path)?;
        let resolved = self.follow(&tree::join(&names), false)?;
        Ok(self.descend(&resolved))
    }

    fn follow(&mut self, path: &[u8], last: bool) -> Result<Vec<u8>, ListingError> {
        let mut work = 0;
        let resolved = tree::resolve(self, path, last, &mut work)?;
        self.spend(work)?;
        Ok(resolved)
    }

    fn spend(&mut self, work: u64) -> Result<(), ListingError> {
        self.work += work;
        limit("the number of names in all paths", self.work, MAX_WORK)
    }

    fn descend(&self, path: &[u8]) -> Option<u32> {
        tree::names(path).try_fold(self.root, |node, name| self.child(node, name))
    }

    fn push_named(&mut self, parent: u32, name: &[u8], kind: Kind, value: u32) -> Result<u32, ListingError> {
        // A link's target may hold what no entry's path may.
        let length = u8::try_from(name.len()).map_err(|_| ListingError::Path {
            path: name.to_vec(),
            reason: "it is longer than names can be",
        })?;
        let offset = self.push_text(&[&[length], name])?;
        let node = self.push(Growing { parent, name: offset, kind, value })?;
        self.index_node(node);
        Ok(node)
    }

    fn push(&mut self, node: Growing) -> Result<u32, ListingError> {
        limit("the number of entries", self.nodes.len() as u64, self.limits.entries.into())?;
        self.nodes.push(node);
        self.note(Track::add);
        Ok(self.nodes.len() as u32 - 1)
    }

    fn push_target(&mut self, path: &[u8], target: &[u8]) -> Result<u32, ListingError> {
        let fault = |reason| ListingError::Path { path: path.to_vec(), reason };
        if target.is_empty() || target.len() > tree::MAX_PATH || target.contains(&0) {
            return Err(fault("it is a link whose target is no path"));
        }
        let length = u16::try_from(target.len()).expect("a path has a shorter limit");
        self.push_text(&[&length.to_le_bytes(), target])
    }

    /// Puts bytes behind all others, and returns where.
    fn push_text(&mut self, parts: &[&[u8]]) -> Result<u32, ListingError> {
        let (offset, length) = (self.text.len(), parts.iter().map(|part| part.len()).sum::<usize>());
        limit("the length of all names", (offset + length) as u64, self.limits.text.into())?;
        parts.iter().for_each(|part| self.text.extend_from_slice(part));
        Ok(u32::try_from(offset).expect("the limit is a u32"))
    }

    fn owner(&mut self, owner: Owner) -> Result<u32, ListingError> {
        if let Some(number) = self.owner_numbers.get(&owner) {
            return Ok(*number);
        }
        limit("the number of different owners", self.owners.len() as u64, Kind::MAX_OWNERS)?;
        let number = self.owners.len() as u32;
        self.owners.push(owner);
        self.owner_numbers.insert(owner, number);
        Ok(number)
    }

    fn indexed(&self, parent: u32, name: &[u8]) -> Option<u32> {
        self.index.find(parent, name, |node| key(&self.nodes, &self.text, node))
    }

    fn index_node(&mut self, node: u32) {
        let (nodes, text) = (&self.nodes, &self.text);
        self.index.set(node, |node| key(nodes, text, node));
    }
}

impl Tree for ListingBuilder {
    fn root(&self) -> u32 {
        self.root
    }

    fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        self.indexed(directory, name).filter(|node| self.nodes[*node as usize].kind.kind() != Kind::REMOVED)
    }

    fn step(&self, node: u32) -> Step<'_> {
        let Growing { kind, value, .. } = self.nodes[node as usize];
        match kind.kind() {
            Kind::DIRECTORY => Step::Directory,
            Kind::LINK => Step::Link(target_at(&self.text, value)),
            _ => Step::Other,
        }
    }
}

fn key<'a>(nodes: &[Growing], text: &'a [u8], node: u32) -> (u32, &'a [u8]) {
    let Growing { parent, name, .. } = nodes[node as usize];
    (parent, name_at(text, name))
}

/// Finds the order of a listing from the sorted entries of all directories: which node is in each place.
fn breadth_first(nodes: &[Growing], order: &[u32], root: u32) -> Vec<u32> {
    // Grown step by step it would leave holes behind, when the most memory is in use.
    let mut sources = Vec::with_capacity(order.len() + 1);
    sources.push(root);
    let mut place = 0;
    while let Some(source) = sources.get(place).copied() {
        let start = order.partition_point(|node| nodes[*node as usize].parent < source);
        let children = order[start..].iter().take_while(|node| nodes[**node as usize].parent == source);
        sources.extend(children);
        place += 1;
    }
    sources
}

/// Puts nodes into that order, and drops those that aren't in it. Without a second copy of them:
/// this is when the most memory is in use.
fn rearrange(mut nodes: Vec<Growing>, sources: &[u32]) -> Vec<Node> {
    const NOWHERE: usize = u32::MAX as usize;
    let mut places = vec![u32::MAX; nodes.len()];
    for (place, source) in sources.iter().enumerate() {
        places[*source as usize] = place as u32;
    }
    for number in 0..nodes.len() {
        // Each turn brings one node to its place.
        loop {
            let place = places[number] as usize;
            if place == NOWHERE || place == number {
                break;
            }
            nodes.swap(number, place);
            places.swap(number, place);
        }
    }
    drop(places);
    nodes.truncate(sources.len());
    parents_to_firsts(&mut nodes, sources);
    let node = |Growing { parent: first, name, kind, value }| Node { name, first, kind, value };
    nodes.into_iter().map(node).collect()
}

/// Puts the place of its first entry where each node has had its parent. Entries follow one another in
/// the order of their parents, and all of them their own, so no parent is read after that.
fn parents_to_firsts(nodes: &mut [Growing], sources: &[u32]) {
    let mut next = 1;
    for (place, source) in sources.iter().enumerate() {
        let first = next;
        while nodes.get(next).is_some_and(|node| node.parent == *source) {
            next += 1;
        }
        nodes[place].parent = first as u32;
    }
}

pub(super) fn limit(what: &'static str, size: u64, limit: u64) -> Result<(), ListingError> {
    if size > limit { Err(ListingError::Limit { what, limit }) } else { Ok(()) }
}
