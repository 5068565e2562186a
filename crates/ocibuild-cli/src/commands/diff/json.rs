//! The differences as one JSON document, written as they are gone over.

use std::io::{self, Write};

use ocibuild_core::base::Base;
use ocibuild_core::contents::{Aspect, Difference};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::commands::diff::config::Change;
use crate::commands::diff::files::Summary;
use crate::commands::diff::layers::Pair;
use crate::commands::diff::{Comparison, Side};
use crate::image_place::FoundImage;
use crate::names::{ItemJson, PathJson};

/// The document's form. Fields may be added within a version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    same: bool,
    summary: &'a Summary,
    before: Value,
    after: Value,
    layers: Vec<Value>,
    config: Vec<Value>,
    files: Files<'a>,
}

/// Writes the document.
pub(super) fn write(comparison: &Comparison, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let (before, after) = (&comparison.before, &comparison.after);
    let document = Document {
        version: VERSION,
        same: summary.is_same(),
        summary,
        before: side(before),
        after: side(after),
        layers: comparison.layers.iter().map(|pair| layer(*pair, &before.base, &after.base)).collect(),
        config: comparison.config.iter().map(field).collect(),
        files: Files(comparison),
    };
    serde_json::to_writer(&mut *out, &document)?;
    out.write_all(b"\n")
}

/// Writes that two indexes are one and the same.
pub(super) fn write_same(before: &FoundImage, after: &FoundImage, out: &mut dyn Write) -> io::Result<()> {
    let side = |found: &FoundImage| json!({ "name": found.name, "descriptor": found.root, "platform": null });
    let document = json!({
        "version": VERSION,
        "same": true,
        "summary": Summary::default(),
        "before": side(before),
        "after": side(after),
        "layers": [],
        "config": [],
        "files": [],
    });
    serde_json::to_writer(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn side(side: &Side) -> Value {
    json!({
        "name": side.found.name,
        "descriptor": side.base.descriptor,
        "platform": side.base.platform,
    })
}

fn layer(pair: Pair, before: &Base, after: &Base) -> Value {
    let (relation, one, other) = match pair {
        Pair::SameBlob(one, other) => ("same-blob", Some(one), Some(other)),
        Pair::SameContent(one, other) => ("same-content", Some(one), Some(other)),
        Pair::Removed(one) => ("removed", Some(one), None),
        Pair::Added(other) => ("added", None, Some(other)),
    };
    let side = |base: &Base, layer: Option<usize>| {
        layer.map(|layer| {
            let (descriptor, diff_id) = (&base.layers[layer], &base.diff_ids[layer]);
            json!({ "layer": layer + 1, "descriptor": descriptor, "diff_id": diff_id })
        })
    };
    json!({ "relation": relation, "before": side(before, one), "after": side(after, other) })
}

fn field(change: &Change) -> Value {
    let Change { field, member, before, after } = change;
    json!({ "field": field, "member": member, "before": before, "after": after })
}

struct Files<'a>(&'a Comparison);

#[derive(Serialize)]
struct FileJson {
    #[serde(flatten)]
    path: PathJson,
    change: &'static str,
    aspects: Vec<&'static str>,
    before: Option<ItemJson>,
    after: Option<ItemJson>,
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.differences().map(|difference| file(&difference)))
    }
}

fn file(difference: &Difference<'_>) -> FileJson {
    let (before, after) = (difference.before.as_ref(), difference.after.as_ref());
    FileJson {
        path: PathJson::absolute(difference.path()),
        change: match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        },
        aspects: difference.aspects.iter().map(|aspect| word(*aspect)).collect(),
        before: before.map(ItemJson::of_view),
        after: after.map(ItemJson::of_view),
    }
}

fn word(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Kind => "kind",
        Aspect::Content => "content",
        Aspect::Size => "size",
        Aspect::Target => "target",
        Aspect::Device => "device",
        Aspect::Mode => "mode",
        Aspect::Owner => "owner",
        Aspect::Mtime => "mtime",
        Aspect::Xattrs => "xattrs",
        _ => "other",
    }
}
