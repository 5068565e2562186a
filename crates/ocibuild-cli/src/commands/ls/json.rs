//! The list as one JSON document, written as it is gone over: it may be long.

use std::cmp::Reverse;

use ocibuild_core::base::Base;
use ocibuild_core::contents::{Contents, LayerContents, Merged};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::commands::ls::Sort;
use crate::commands::ls::view::{Kind, View};
use crate::failure::Failure;
use crate::names::{ItemJson, PathJson};
use crate::text;

/// The document's form. Fields may be added within a version.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    name: &'a str,
    descriptor: Value,
    platform: Value,
    layers: Vec<Value>,
    /// `merged`, or `layer` with its number.
    view: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    entries: Entries<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadowed: Option<Shadowed<'a>>,
}

/// Prints the document.
pub(super) fn print(name: &str, base: &Base, view: &View) -> Result<(), Failure> {
    let (contents, layer, shadowed) = match &view.source {
        Kind::Merged(merged) => (merged.contents(), None, Some(Shadowed(view, merged))),
        Kind::Layer(contents, layer) => (contents, Some(layer + 1), None),
    };
    let document = Document {
        version: VERSION,
        name,
        descriptor: json!(base.descriptor),
        platform: json!(base.platform),
        layers: layers(contents),
        view: if layer.is_some() { "layer" } else { "merged" },
        layer,
        entries: Entries(view),
        shadowed,
    };
    text::stream(|stdout| {
        serde_json::to_writer(&mut *stdout, &document)?;
        stdout.write_all(b"\n")
    })
}

fn layers(contents: &Contents) -> Vec<Value> {
    let layer = |layer: &LayerContents| {
        json!({
            "descriptor": layer.descriptor,
            "diff_id": layer.diff_id,
            "tar_size": layer.tar_size,
            "entries": layer.len(),
        })
    };
    contents.layers.iter().map(layer).collect()
}

struct Entries<'a>(&'a View);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        match &view.source {
            Kind::Merged(merged) if view.sort == Sort::Size => {
                let mut all: Vec<_> = view.visible(merged).collect();
                all.sort_by_key(|visible| Reverse(visible.item.kind.size()));
                serializer.collect_seq(all.iter().map(ItemJson::of_view))
            }
            Kind::Merged(merged) => {
                serializer.collect_seq(view.visible(merged).map(|visible| ItemJson::of_view(&visible)))
            }
            Kind::Layer(contents, layer) => {
                let mut all: Vec<_> = view.items(contents, *layer).collect();
                if view.sort == Sort::Size {
                    all.sort_by_key(|item| Reverse(item.kind.size()));
                }
                serializer.collect_seq(all.iter().map(|item| ItemJson::of_layer(item, *layer)))
            }
        }
    }
}

#[derive(Serialize)]
struct ShadowedJson {
    #[serde(flatten)]
    path: PathJson,
    layer: usize,
    bytes: u64,
    by: ByJson,
}

#[derive(Serialize)]
struct ByJson {
    #[serde(flatten)]
    path: PathJson,
    layer: usize,
}

struct Shadowed<'a>(&'a View, &'a Merged);

impl Serialize for Shadowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view, merged) = self;
        serializer.collect_seq(view.shadowed(merged).map(|shadowed| {
            let path = |place| PathJson::absolute(merged.item(place).path);
            let by = ByJson { path: path(shadowed.by), layer: shadowed.by.layer + 1 };
            let layer = shadowed.item.layer + 1;
            ShadowedJson { path: path(shadowed.item), layer, bytes: shadowed.bytes, by }
        }))
    }
}
