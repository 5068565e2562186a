//! Tables laid over tables, before anything of them is read: so that the reader needs to know
//! neither of files that extend others nor of defaults, and every value keeps its own place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::Value;

/// Keys of the whole file that aren't taken over from one that is extended: whom they are about is
/// that file itself. Its version has been looked at when this is asked.
const OWN: [&str; 4] = ["version", "extends", "name", "root"];

/// Keys of steps, layers, copies and images whose values are merged key by key; others are replaced.
const MERGED: [&str; 3] = ["env", "labels", "annotations"];

/// How far tables are merged into each other, before values are replaced.
#[derive(Clone, Copy)]
enum Depth {
    /// The table's values replace each other.
    Values,
    /// Tables in it are merged value by value: `vars` with the tables of platforms, `annotations`
    /// with their scopes.
    Tables,
    /// It is a step, a layer, a copy or an image.
    Part,
    /// It holds steps, layers or images by their names, or kinds of defaults.
    Parts,
}

/// Lays a file over the one it extends.
pub(super) fn extend<'t>(mut below: DeTable<'t>, own: DeTable<'t>) -> DeTable<'t> {
    for key in OWN {
        below.remove(key);
    }
    merge(&mut below, own, |key| match key {
        "vars" => Some(Depth::Tables),
        "steps" | "layers" | "images" | "defaults" => Some(Depth::Parts),
        _ => None,
    });
    below
}

/// Lays a layer, a copy or an image over values it doesn't have to say itself.
pub(super) fn over<'t>(mut below: DeTable<'t>, own: DeTable<'t>) -> DeTable<'t> {
    part(&mut below, own);
    below
}

fn part<'t>(below: &mut DeTable<'t>, own: DeTable<'t>) {
    merge(below, own, |key| MERGED.contains(&key).then_some(Depth::Tables));
}

fn tables<'t>(below: &mut DeTable<'t>, own: DeTable<'t>, depth: Depth) {
    match depth {
        Depth::Values => merge(below, own, |_| None),
        Depth::Tables => merge(below, own, |_| Some(Depth::Values)),
        Depth::Part => part(below, own),
        Depth::Parts => merge(below, own, |_| Some(Depth::Part)),
    }
}

/// Lays entries over those below: a value that `deeper` knows a depth for is merged if both are
/// tables, any other replaces what is there. The key is that of the upper one, as its place is
/// where a fault is to be mended.
fn merge<'t>(below: &mut DeTable<'t>, own: DeTable<'t>, deeper: impl Fn(&str) -> Option<Depth>) {
    for (key, mut value) in own {
        let old = below.remove(key.get_ref().as_ref());
        if let Some(depth) = deeper(key.get_ref())
            && let Some(DeValue::Table(mut merged)) = old.map(Spanned::into_inner)
            && let DeValue::Table(table) = value.get_mut()
        {
            tables(&mut merged, std::mem::take(table), depth);
            *table = merged;
        }
        below.insert(key, value);
    }
}

/// The table with all its places moved by `by` bytes.
pub(super) fn shifted(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    table.into_iter().map(|(key, value)| (moved(key, by), shifted_value(value, by))).collect()
}

fn shifted_value(value: Value<'_>, by: usize) -> Value<'_> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shifted(table, by)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| shifted_value(item, by)).collect())
        }
        other => other,
    };
    moved(Spanned::new(span, value), by)
}

fn moved<T>(value: Spanned<T>, by: usize) -> Spanned<T> {
    let span = value.span();
    Spanned::new(span.start + by..span.end + by, value.into_inner())
}
