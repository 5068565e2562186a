//! What a page tells of one image.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ocibuild_core::Descriptor;
use ocibuild_core::contents::{Item, ItemKind, LayerContents, Merged, Place, Shadowed};

use crate::commands::inspect::image::Image;
use crate::commands::inspect::picture::tree::{Drawing, File, Tree};
use crate::names;

/// One image.
pub(super) struct Facts<'i> {
    pub(super) image: &'i Image,
    pub(super) layers: Vec<Layer>,
    /// The largest files that a container sees, of them all.
    pub(super) largest: Top<Large>,
    /// The largest files that later layers hide.
    pub(super) wasted: Top<Wasted>,
    pub(super) drawing: Drawing,
}

/// One layer.
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) diff_id: String,
    /// What the history says that made it.
    pub(super) created_by: Option<String>,
    /// What the history says of it beside that.
    pub(super) comment: Option<String>,
    /// The bytes of its tar.
    pub(super) tar: u64,
    /// The bytes of its files' contents.
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// What it holds beside files: directories, links, devices, whiteouts.
    pub(super) others: u64,
    /// The bytes of its files that later layers hide.
    pub(super) wasted: u64,
}

/// A large file.
pub(super) struct Large {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) layer: usize,
}

/// A file that can't be seen any more.
pub(super) struct Wasted {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) layer: usize,
    pub(super) by: usize,
    /// It was taken away, not replaced.
    pub(super) is_removed: bool,
}

/// The first of a list, and what the others come to.
pub(super) struct Top<T> {
    pub(super) rows: Vec<T>,
    pub(super) more: u64,
    pub(super) more_bytes: u64,
    /// All of it.
    pub(super) bytes: u64,
}

impl<'i> Facts<'i> {
    /// Gathers what there is to tell, with `budget` bytes for the tree and so many rows a table.
    pub(super) fn new(image: &'i Image, merged: &Merged, budget: usize, rows: usize) -> Self {
        let seen = Seen::of(merged);
        let wasted: Vec<&Shadowed> = merged.shadowed().iter().filter(|shadowed| shadowed.bytes > 0).collect();
        let mut layers: Vec<Layer> = merged
            .contents()
            .layers
            .iter()
            .enumerate()
            .map(|(at, layer)| Layer::new(image, at, layer))
            .collect();
        for shadowed in &wasted {
            let layer = &mut layers[shadowed.item.layer];
            layer.wasted = layer.wasted.saturating_add(shadowed.bytes);
        }
        Self {
            image,
            layers,
            drawing: tree(merged, &seen).draw(budget),
            largest: largest(&seen, rows),
            wasted: Top::new(
                wasted,
                rows,
                |shadowed| shadowed.bytes,
                |shadowed| Wasted::new(merged, shadowed),
            ),
        }
    }

    /// The bytes of all layers as they are stored.
    pub(super) fn stored(&self) -> u64 {
        sum(self.layers.iter().map(|layer| layer.blob.size))
    }

    /// The bytes of all files of all layers.
    pub(super) fn bytes(&self) -> u64 {
        sum(self.layers.iter().map(|layer| layer.bytes))
    }

    /// The files of all layers.
    pub(super) fn files(&self) -> u64 {
        self.layers.iter().map(|layer| layer.files).sum()
    }

    /// What layers hold beside files.
    pub(super) fn others(&self) -> u64 {
        self.layers.iter().map(|layer| layer.others).sum()
    }

    /// What it runs on.
    pub(super) fn platform(&self) -> String {
        self.image.platform().map_or("no platform".to_owned(), |platform| platform.to_string())
    }
}

fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// The files that a container sees, each once.
struct Seen(Vec<(Vec<u8>, Place, u64)>);

impl Seen {
    fn of(merged: &Merged) -> Self {
        let mut inodes = BTreeSet::new();
        let seen = merged.below(b"").filter_map(|visible| {
            let (place, size) = (visible.inode?, file_size(&visible.item)?);
            inodes.insert(place).then_some((visible.path, place, size))
        });
        Self(seen.collect())
    }
}

fn file_size(item: &Item<'_>) -> Option<u64> {
    matches!(item.kind, ItemKind::File { .. }).then(|| item.kind.size())
}

fn tree(merged: &Merged, seen: &Seen) -> Tree {
    let mut tree = Tree::new();
    let mut told = BTreeSet::new();
    for (path, place, bytes) in &seen.0 {
        told.insert(*place);
        tree.add(path, File { layer: place.layer, bytes: *bytes, hidden_by: None });
    }
    for Shadowed { item, by, .. } in merged.shadowed() {
        let hidden = merged.item(*item);
        // What has another name is seen there.
        if let (Some(bytes), true) = (file_size(&hidden), told.insert(*item)) {
            tree.add(hidden.path, File { layer: item.layer, bytes, hidden_by: Some(by.layer) });
        }
    }
    tree
}

fn largest(seen: &Seen, rows: usize) -> Top<Large> {
    let files: Vec<_> = seen.0.iter().filter(|(_, _, bytes)| *bytes > 0).collect();
    Top::new(
        files,
        rows,
        |(_, _, bytes)| *bytes,
        |(path, place, bytes)| Large { path: names::path(path), bytes: *bytes, layer: place.layer },
    )
}

impl<T> Top<T> {
    /// Takes the largest of a list; those of one size stay in order.
    fn new<A>(mut all: Vec<&A>, rows: usize, size: impl Fn(&A) -> u64, row: impl Fn(&A) -> T) -> Self {
        all.sort_by_key(|one| Reverse(size(one)));
        let (first, others) = all.split_at(rows.min(all.len()));
        Self {
            rows: first.iter().map(|one| row(one)).collect(),
            more: others.len() as u64,
            more_bytes: sum(others.iter().map(|one| size(one))),
            bytes: sum(all.iter().map(|one| size(one))),
        }
    }

    /// The number of all.
    pub(super) fn count(&self) -> u64 {
        self.rows.len() as u64 + self.more
    }
}

impl Wasted {
    fn new(merged: &Merged, shadowed: &Shadowed) -> Self {
        let Shadowed { item, by, bytes, .. } = *shadowed;
        let removes = |kind| matches!(kind, ItemKind::Whiteout | ItemKind::OpaqueDirectory);
        Self {
            path: names::path(merged.item(item).path),
            bytes,
            layer: item.layer,
            by: by.layer,
            is_removed: removes(merged.item(by).kind),
        }
    }
}

impl Layer {
    fn new(image: &Image, at: usize, layer: &LayerContents) -> Self {
        let history = image.history(at);
        let text = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let files = layer.items().filter_map(|item| file_size(&item));
        let (files, bytes) =
            files.fold((0u64, 0u64), |(files, bytes), size| (files + 1, bytes.saturating_add(size)));
        Self {
            blob: layer.descriptor.clone(),
            diff_id: layer.diff_id.to_string(),
            created_by: history.and_then(|history| text(&history.created_by)),
            comment: history.and_then(|history| text(&history.comment)),
            tar: layer.tar_size,
            bytes,
            files,
            others: layer.len() as u64 - files,
            wasted: 0,
        }
    }

    /// A name for it: what made it, or that it is unknown.
    pub(super) fn name(&self) -> String {
        let name = self.created_by.as_ref().or(self.comment.as_ref());
        let words = name.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" "));
        words.unwrap_or_else(|| "no history".to_owned())
    }
}
