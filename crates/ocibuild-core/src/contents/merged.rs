//! The merged view: which item of which layer is seen at each path, and which no longer is.

use crate::base::{BaseError, Entries, ListedKind, Listing, ListingBuilder, ListingError, ListingLimits};
use crate::base::{Listed, NOBODY, Tracked, layer_fault};
use crate::contents::{Contents, Item, ItemKind, LayerContents, Xattrs};

/// Where an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The layer, from 0 for the lowest.
    pub layer: usize,
    /// The item's number in that layer.
    pub item: usize,
}

/// What the layers of an image leave when they are put over each other: the files that a container
/// of it would see.
///
/// Layers are carried out as for a base ([`Listing`]): through the links of lower layers, and
/// whiteouts before everything else of their layer. Paths are raw bytes, with or without a leading
/// `/` where they are taken, without one where they are given; the root is the empty path.
#[derive(Debug, Clone)]
pub struct Merged {
    contents: Contents,
    listing: Listing,
    /// The first item of each layer in one numbering of all.
    starts: Vec<u32>,
    /// By node of the listing, the items that it comes from, in that numbering.
    names: Vec<u32>,
    inodes: Vec<u32>,
    shadowed: Vec<Shadowed>,
}

/// What is seen at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Visible<'a> {
    /// The path.
    pub path: Vec<u8>,
    /// The item that put it there; none for a directory that is there only because something lies
    /// in it, and for a root that no layer has.
    pub place: Option<Place>,
    /// The item that its metadata and content come from: another one for a hard link.
    pub inode: Option<Place>,
    /// Its metadata and content: never a hard link, but the file it is a name of; a directory that
    /// no layer has is 0755 and 0:0. Its path is that in its layer.
    pub item: Item<'a>,
    /// For a hard link, the path it was made from, as the layer has it.
    pub link: Option<&'a [u8]>,
}

/// An item that can't be seen any more, because another one replaced or removed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shadowed {
    /// The item: anything but directories, whose metadata alone is replaced.
    pub item: Place,
    /// What hides it: an item in its place or in that of a directory above it, or a whiteout.
    pub by: Place,
    /// The bytes of content that are in the image for nothing: none where the file still has
    /// another name.
    pub bytes: u64,
}

impl Merged {
    pub(super) fn new(contents: &Contents) -> Result<Self, BaseError> {
        let entries = contents.layers.iter().map(LayerContents::len).sum::<usize>();
        // What was read within its limits is not measured again; implied directories come on top.
        let entries = u32::try_from(entries).unwrap_or(u32::MAX).saturating_mul(2).max(2_000_000);
        let limits = ListingLimits { entries, text: u32::MAX, ..ListingLimits::default() };
        let mut builder = ListingBuilder::tracking(&limits);
        let mut starts = Vec::new();
        let mut start = 0;
        for layer in &contents.layers {
            starts.push(start);
            apply(&mut builder, layer, start).map_err(|error| layer_fault(&layer.descriptor, error))?;
            start += layer.len() as u32;
        }
        let (listing, Tracked { names, inodes, hidden }) = builder.finish_tracked();
        let contents = contents.clone();
        let mut merged = Self { contents, listing, starts, names, inodes, shadowed: Vec::new() };
        merged.shadowed = merged.find_shadowed(hidden, start);
        Ok(merged)
    }

    /// Returns the layers that it was made of.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Returns the paths alone, and what they resolve to. Users and groups aren't known to it.
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Returns an item.
    ///
    /// # Panics
    /// If there is none at that place.
    #[must_use]
    pub fn item(&self, place: Place) -> Item<'_> {
        self.contents.layers[place.layer].item(place.item)
    }

    /// Returns what is at a path itself; links are not followed.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Visible<'_>> {
        let node = self.listing.find(path)?;
        Some(self.visible(crate::base::clean(path), node))
    }

    /// Goes over what is at a path and all below it, parents first, in component-wise byte order.
    #[must_use]
    pub fn below(&self, path: &[u8]) -> Below<'_> {
        Below { merged: self, entries: self.listing.entries(path) }
    }

    /// Returns what can't be seen any more, in the order of layers and items.
    #[must_use]
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    fn visible(&self, path: Vec<u8>, node: u32) -> Visible<'_> {
        let place = self.place(self.names[node as usize]);
        let inode = self.place(self.inodes[node as usize]);
        let item = inode.map_or_else(|| implied(self.listing.listed(node)), |place| self.item(place));
        let link = place.and_then(|place| match self.item(place).kind {
            ItemKind::HardLink { target } => Some(target),
            _ => None,
        });
        Visible { path, place, inode, item, link }
    }

    fn place(&self, number: u32) -> Option<Place> {
        if number == NOBODY {
            return None;
        }
        // Of layers without items the last one counts, which the item is in.
        let layer = self.starts.partition_point(|start| *start <= number) - 1;
        Some(Place { layer, item: (number - self.starts[layer]) as usize })
    }

    fn find_shadowed(&self, hidden: Vec<(u32, u32)>, items: u32) -> Vec<Shadowed> {
        let mut alive = vec![false; items as usize];
        for number in self.inodes.iter().filter(|number| **number != NOBODY) {
            alive[*number as usize] = true;
        }
        let mut shadowed: Vec<Shadowed> = hidden
            .into_iter()
            .filter_map(|(number, by)| {
                let (item, by) = (self.place(number)?, self.place(by)?);
                let kind = self.item(item).kind;
                let bytes = if alive[number as usize] { 0 } else { kind.size() };
                (kind != ItemKind::Directory).then_some(Shadowed { item, by, bytes })
            })
            .collect();
        shadowed.sort_unstable_by_key(|shadowed| shadowed.item);
        shadowed
    }
}

/// A directory that no layer has.
fn implied(listed: Listed<'_>) -> Item<'static> {
    let Listed { mode, uid, gid, .. } = listed;
    Item { path: b"", kind: ItemKind::Directory, mode, uid, gid, mtime: 0, xattrs: Xattrs::default() }
}

/// Puts a layer over those before it: first what hides, then what is put.
fn apply(builder: &mut ListingBuilder, layer: &LayerContents, start: u32) -> Result<(), ListingError> {
    let hides = |item: &Item<'_>| matches!(item.kind, ItemKind::Whiteout | ItemKind::OpaqueDirectory);
    let is_first = builder.is_fresh();
    for (number, item) in layer.items().enumerate().filter(|(_, item)| !is_first && hides(item)) {
        builder.set_current(start + number as u32);
        match item.kind {
            ItemKind::Whiteout => builder.remove(item.path)?,
            _ => builder.clear(item.path)?,
        }
    }
    for (number, item) in layer.items().enumerate().filter(|(_, item)| !hides(item)) {
        builder.set_current(start + number as u32);
        put(builder, &item)?;
    }
    Ok(())
}

fn put(builder: &mut ListingBuilder, item: &Item<'_>) -> Result<(), ListingError> {
    let kind = match item.kind {
        ItemKind::File { size, .. } => ListedKind::File { size },
        ItemKind::Directory => ListedKind::Directory,
        ItemKind::Symlink { target } => ListedKind::Symlink { target },
        ItemKind::HardLink { target } => return builder.insert_hard_link(item.path, target).map(drop),
        _ => ListedKind::Other,
    };
    let Item { mode, uid, gid, .. } = *item;
    builder.insert(item.path, Listed { kind, mode, uid, gid })
}

/// What is seen at a path and below it.
pub struct Below<'a> {
    merged: &'a Merged,
    entries: Entries<'a>,
}

impl<'a> Iterator for Below<'a> {
    type Item = Visible<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, node) = self.entries.next_node()?;
        let path = path.to_vec();
        Some(self.merged.visible(path, node))
    }
}
