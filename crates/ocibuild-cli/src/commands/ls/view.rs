//! What is to be listed: a part of the merged view, or of one layer.

use std::path::Path;

use ocibuild_core::base::BaseError;
use ocibuild_core::contents::{Contents, Item, Merged, Place, Shadowed, Visible};

use crate::commands::ls::{LsArgs, Sort};
use crate::failure::Failure;
use crate::names;

/// What is to be listed.
pub(super) struct View {
    pub(super) source: Kind,
    /// The path as it was resolved; the root is empty.
    pub(super) path: Vec<u8>,
    pub(super) depth: Option<usize>,
    pub(super) sort: Sort,
}

/// Where it comes from.
pub(super) enum Kind {
    /// What a container would see.
    Merged(Box<Merged>),
    /// One layer, from 0.
    Layer(Contents, usize),
}

/// Makes sure that there is such a layer, before anything is read.
pub(super) fn check_layer(layer: Option<u32>, count: usize) -> Result<(), Failure> {
    match layer {
        Some(number) if number as usize > count => {
            let layers = if count == 1 { "one layer".to_owned() } else { format!("{count} layers") };
            let failure = Failure::usage(format!("there is no layer {number}: the image has {layers}"));
            Err(failure.with_hint("1 is the lowest layer; `ocibuild inspect IMAGE` shows them all"))
        }
        _ => Ok(()),
    }
}

impl View {
    /// Finds what the user asked for; `fault` is what layers that can't be merged mean.
    pub(super) fn new(
        args: &LsArgs,
        contents: Contents,
        fault: impl FnOnce(BaseError) -> Failure,
    ) -> Result<Self, Failure> {
        let wanted = args.path.as_deref().unwrap_or(Path::new("/")).as_os_str().as_encoded_bytes();
        let (source, path) = match args.layer {
            Some(number) => {
                let layer = number as usize - 1;
                let path = in_layer(&contents, layer, wanted)?;
                (Kind::Layer(contents, layer), path)
            }
            None => {
                let merged = contents.merged().map_err(fault)?;
                let path = in_view(&merged, wanted)?;
                (Kind::Merged(Box::new(merged)), path)
            }
        };
        Ok(Self { source, path, depth: args.depth, sort: args.sort })
    }

    /// What is seen, as far down as it is wanted, in the order of paths.
    pub(super) fn visible<'a>(&'a self, merged: &'a Merged) -> impl Iterator<Item = Visible<'a>> {
        merged.below(&self.path).filter(|visible| self.is_deep_enough(&visible.path))
    }

    /// The items of a layer, as far down as they are wanted, in its own order.
    pub(super) fn items<'a>(
        &'a self,
        contents: &'a Contents,
        layer: usize,
    ) -> impl Iterator<Item = Item<'a>> {
        contents.layers[layer].items().filter(|item| self.holds(item.path))
    }

    /// What can't be seen any more, as far down as it is wanted.
    pub(super) fn shadowed<'a>(&'a self, merged: &'a Merged) -> impl Iterator<Item = Shadowed> + 'a {
        let wanted = |shadowed: &&Shadowed| self.holds(merged.item(shadowed.item).path);
        merged.shadowed().iter().filter(wanted).copied()
    }

    fn holds(&self, path: &[u8]) -> bool {
        is_below(path, &self.path) && self.is_deep_enough(path)
    }

    fn is_deep_enough(&self, path: &[u8]) -> bool {
        self.depth.is_none_or(|depth| level(path) <= level(&self.path) + depth)
    }
}

/// The number of names in a path.
pub(super) fn level(path: &[u8]) -> usize {
    if path.is_empty() { 0 } else { 1 + path.iter().filter(|byte| **byte == b'/').count() }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    directory.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// A path without `.`, empty names, and a slash at either end.
fn clean(path: &[u8]) -> Vec<u8> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.collect::<Vec<_>>().join(&b'/')
}

fn in_layer(contents: &Contents, layer: usize, wanted: &[u8]) -> Result<Vec<u8>, Failure> {
    let path = clean(wanted);
    let is_there = path.is_empty() || contents.layers[layer].items().any(|item| is_below(item.path, &path));
    if is_there {
        return Ok(path);
    }
    let message = format!("layer {} has nothing at `{}`", layer + 1, names::path(&path));
    Err(Failure::usage(message).with_hint("leave out `--layer` to see what all layers together have"))
}

/// Follows the links on the way to a path, and the path's own if it ends in a slash.
fn in_view(merged: &Merged, wanted: &[u8]) -> Result<Vec<u8>, Failure> {
    let resolved = match wanted.ends_with(b"/") {
        true => merged.listing().resolve(wanted),
        false => merged.listing().resolve_parents(wanted),
    };
    let path = resolved.map_err(|error| Failure::usage(error.to_string()))?;
    if merged.get(&path).is_some() {
        return Ok(path);
    }
    let failure = Failure::usage(format!("there is no `{}` in the image", names::path(&clean(wanted))));
    Err(failure.with_hint(absence(merged, &path)))
}

/// Says where a path has gone, or how far it leads.
fn absence(merged: &Merged, path: &[u8]) -> String {
    let at = |place: &Place| merged.item(*place).path == path;
    if let Some(shadowed) = merged.shadowed().iter().rev().find(|shadowed| at(&shadowed.item)) {
        let (layer, by) = (shadowed.item.layer + 1, shadowed.by.layer + 1);
        return format!("layer {layer} has it, and layer {by} takes it away: `--layer {layer}` shows it");
    }
    let mut parent = path;
    while merged.get(parent).is_none() {
        parent = parent.iter().rposition(|byte| *byte == b'/').map_or(&[], |slash| &parent[..slash]);
    }
    format!("what is there leads as far as `{}`: list that with `--depth 1`", names::path(parent))
}
