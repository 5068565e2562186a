//! A tree with sizes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};

use ocibuild_core::contents::{ItemKind, Place, Visible};

use crate::commands::ls::Sort;
use crate::commands::ls::view::{Kind, View, level};
use crate::names;
use crate::text;

/// Something in the tree.
struct Node {
    label: String,
    layer: String,
    /// Its bytes, and those of all below it; those of a file with several names once.
    bytes: u64,
    children: Vec<usize>,
}

/// Draws the tree. Sizes count everything below, however deep is drawn.
pub(super) fn show(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let Kind::Merged(merged) = &view.source else { return Ok(()) };
    // A file's bytes belong to its own name, if that is in the tree, else to its first hard link.
    let own = merged.below(&view.path).filter(|visible| visible.link.is_none());
    let counted: BTreeSet<Place> = own.filter_map(|visible| visible.inode).collect();
    let mut nodes = grow(merged.below(&view.path), counted);
    add_up(&mut nodes);
    if view.sort == Sort::Size {
        sort(&mut nodes);
    }
    Page { out, depth: view.depth.unwrap_or(usize::MAX), nodes: &nodes }.draw(0, "", "", 0)
}

fn grow<'a>(all: impl Iterator<Item = Visible<'a>>, mut counted: BTreeSet<Place>) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    // The nodes on the way to the one that comes next.
    let mut open: Vec<usize> = Vec::new();
    let mut top = 0;
    for visible in all {
        let number = nodes.len();
        if number == 0 {
            top = level(&visible.path);
        } else {
            open.truncate(level(&visible.path) - top);
            let parent = open.last().copied().unwrap_or(0);
            nodes[parent].children.push(number);
        }
        nodes.push(node(&visible, number == 0, &mut counted));
        open.push(number);
    }
    nodes
}

fn node(visible: &Visible<'_>, is_top: bool, counted: &mut BTreeSet<Place>) -> Node {
    let kind = visible.item.kind;
    let name = visible.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mut label = if is_top { names::path(&visible.path) } else { names::escape(name) };
    match (kind, visible.link) {
        (ItemKind::Directory, _) if !label.ends_with('/') => label.push('/'),
        (ItemKind::Symlink { target }, _) => {
            let _ = write!(label, " -> {}", names::escape(target));
        }
        (_, Some(link)) => {
            let _ = write!(label, " link to {}", names::path(link));
        }
        _ => {}
    }
    let is_new = visible.link.is_none() || visible.inode.is_none_or(|inode| counted.insert(inode));
    let layer = visible.place.map_or("-".to_owned(), |place| (place.layer + 1).to_string());
    Node { label, layer, bytes: if is_new { kind.size() } else { 0 }, children: Vec::new() }
}

/// Adds the sizes of what is below to each: what is below comes later.
fn add_up(nodes: &mut [Node]) {
    for number in (0..nodes.len()).rev() {
        let below: u64 = nodes[number].children.iter().map(|child| nodes[*child].bytes).sum();
        nodes[number].bytes += below;
    }
}

fn sort(nodes: &mut [Node]) {
    for number in 0..nodes.len() {
        let mut children = std::mem::take(&mut nodes[number].children);
        children.sort_by_key(|child| Reverse(nodes[*child].bytes));
        nodes[number].children = children;
    }
}

struct Page<'a> {
    out: &'a mut dyn Write,
    depth: usize,
    nodes: &'a [Node],
}

impl Page<'_> {
    /// Draws a node with its branch, and all below it. Not deeper than a path has names.
    fn draw(&mut self, number: usize, before: &str, branch: &str, depth: usize) -> io::Result<()> {
        let Some(Node { label, layer, bytes, children }) = self.nodes.get(number) else { return Ok(()) };
        writeln!(self.out, "{:>8}  {layer:>3}  {before}{branch}{label}", text::bytes(*bytes))?;
        if depth >= self.depth {
            return Ok(());
        }
        let before = match branch {
            "" => before.to_owned(),
            "└── " => format!("{before}    "),
            _ => format!("{before}│   "),
        };
        for (place, child) in children.iter().enumerate() {
            let branch = if place + 1 == children.len() { "└── " } else { "├── " };
            self.draw(*child, &before, branch, depth + 1)?;
        }
        Ok(())
    }
}
