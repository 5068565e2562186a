//! A flat list, a line an item.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::io::{self, Write};

use ocibuild_core::contents::{Item, ItemKind, Merged, Place, Visible};

use crate::commands::ls::Sort;
use crate::commands::ls::view::{Kind, View};
use crate::names;
use crate::text;

/// The columns before the path.
struct Row {
    mode: String,
    owner: String,
    size: String,
    layer: String,
    digest: Option<String>,
    path: String,
    bytes: u64,
}

/// Shows what is seen, or what a layer holds.
pub(super) fn show(view: &View, out: &mut dyn Write) -> io::Result<()> {
    match &view.source {
        Kind::Merged(merged) => {
            list(|| view.visible(merged).map(|visible| of_view(&visible)), view.sort, out)
        }
        Kind::Layer(contents, layer) => {
            list(|| view.items(contents, *layer).map(|item| of_layer(&item, *layer)), view.sort, out)
        }
    }
}

/// Goes over the rows twice, for the widths and for the lines, so that they needn't be kept.
fn list<I: Iterator<Item = Row>>(rows: impl Fn() -> I, sort: Sort, out: &mut dyn Write) -> io::Result<()> {
    let widths = rows().fold(Widths::default(), Widths::with);
    if sort == Sort::Path {
        return rows().try_for_each(|row| widths.write(&row, out));
    }
    let mut rows: Vec<Row> = rows().collect();
    rows.sort_by_key(|row| Reverse(row.bytes));
    rows.iter().try_for_each(|row| widths.write(row, out))
}

/// Shows what is in the image for nothing, and how much that is.
pub(super) fn shadowed(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let Kind::Merged(merged) = &view.source else { return Ok(()) };
    let mut all: Vec<_> = view.shadowed(merged).collect();
    if view.sort == Sort::Size {
        all.sort_by_key(|shadowed| Reverse(shadowed.bytes));
    }
    let width = all.iter().map(|shadowed| shadowed.bytes.to_string().len()).max().unwrap_or(1);
    for shadowed in &all {
        let (path, layer) = (names::path(merged.item(shadowed.item).path), shadowed.item.layer + 1);
        let by = hidden_by(merged, shadowed.item, shadowed.by);
        writeln!(out, "{:>width$}  {layer:>3}  {path}  {by}", shadowed.bytes)?;
    }
    let bytes = text::bytes(all.iter().map(|shadowed| shadowed.bytes).sum());
    writeln!(out, "{bytes} in {}", text::count(all.len(), "shadowed item"))
}

fn hidden_by(merged: &Merged, item: Place, by: Place) -> String {
    let (path, what) = (merged.item(item).path, merged.item(by));
    let verb = match what.kind {
        ItemKind::Whiteout | ItemKind::OpaqueDirectory => "removed",
        _ => "replaced",
    };
    let own = what.path == path;
    let through = if own { String::new() } else { format!(" at {}", names::path(what.path)) };
    format!("{verb} by layer {}{through}", by.layer + 1)
}

fn of_view(visible: &Visible<'_>) -> Row {
    let layer = visible.place.map_or("-".to_owned(), |place| (place.layer + 1).to_string());
    let mut row = row(&visible.path, &visible.item, layer);
    if let Some(link) = visible.link {
        let _ = write!(row.path, " link to {}", names::path(link));
    }
    row
}

fn of_layer(item: &Item<'_>, layer: usize) -> Row {
    row(item.path, item, (layer + 1).to_string())
}

fn row(path: &[u8], item: &Item<'_>, layer: String) -> Row {
    let mut path = names::path(path);
    match item.kind {
        ItemKind::Symlink { target } => {
            let _ = write!(path, " -> {}", names::escape(target));
        }
        ItemKind::HardLink { target } => {
            let _ = write!(path, " link to {}", names::path(target));
        }
        _ => {}
    }
    let size = match item.kind {
        ItemKind::CharDevice { major, minor } | ItemKind::BlockDevice { major, minor } => {
            format!("{major},{minor}")
        }
        kind => kind.size().to_string(),
    };
    let digest = match item.kind {
        ItemKind::File { digest, .. } => digest.map(|digest| digest.to_string()),
        _ => None,
    };
    let owner = format!("{}:{}", item.uid, item.gid);
    Row { mode: names::mode(item), owner, size, layer, digest, path, bytes: item.kind.size() }
}

/// How wide the columns are.
#[derive(Default)]
struct Widths {
    owner: usize,
    size: usize,
    layer: usize,
    digest: usize,
}

impl Widths {
    fn with(self, row: Row) -> Self {
        Self {
            owner: self.owner.max(row.owner.len()),
            size: self.size.max(row.size.len()),
            layer: self.layer.max(row.layer.len()),
            digest: self.digest.max(row.digest.map_or(0, |digest| digest.len())),
        }
    }

    fn write(&self, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        let Self { owner, size, layer, digest } = *self;
        let Row { mode, owner: of, size: bytes, layer: number, path, .. } = row;
        write!(out, "{mode:10}  {of:>owner$}  {bytes:>size$}  {number:>layer$}  ")?;
        if digest > 0 {
            write!(out, "{:digest$}  ", row.digest.as_deref().unwrap_or("-"))?;
        }
        writeln!(out, "{path}")
    }
}
