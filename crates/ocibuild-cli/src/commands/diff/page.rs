//! The differences, for people.

use std::io::{self, Write};

use ocibuild_core::base::Base;
use ocibuild_core::contents::{Aspect, Difference, Item, ItemKind, Visible};
use serde_json::Value;

use crate::commands::diff::Comparison;
use crate::commands::diff::config::Change;
use crate::commands::diff::files::Summary;
use crate::commands::diff::layers::Pair;
use crate::image_place::FoundImage;
use crate::{names, text};

/// What is said of an image and itself.
const ONE_IMAGE: &str = "it is one and the same image";

/// Writes all of it, and a line that sums it up.
pub(super) fn write(comparison: &Comparison, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    for (sign, side) in [('-', &comparison.before), ('+', &comparison.after)] {
        let name = names::escape(side.found.name.as_bytes());
        writeln!(out, "{sign}{sign}{sign} {name}  {}", side.base.descriptor.digest)?;
    }
    if !summary.is_same() {
        writeln!(out, "\nlayers")?;
        let (before, after) = (&comparison.before.base, &comparison.after.base);
        comparison.layers.iter().try_for_each(|pair| write_layer(*pair, before, after, out))?;
    }
    if !comparison.config.is_empty() {
        writeln!(out, "\nconfig")?;
        comparison.config.iter().try_for_each(|change| write_field(change, out))?;
    }
    let mut differences = comparison.differences().peekable();
    if differences.peek().is_some() {
        writeln!(out, "\nfiles")?;
        differences.try_for_each(|difference| write_file(&difference, out))?;
    }
    writeln!(out, "\n{}", sum_up(comparison, summary))
}

/// Writes that two indexes are one and the same.
pub(super) fn write_same(before: &FoundImage, after: &FoundImage, out: &mut dyn Write) -> io::Result<()> {
    for (sign, found) in [('-', before), ('+', after)] {
        let name = names::escape(found.name.as_bytes());
        writeln!(out, "{sign}{sign}{sign} {name}  {}", found.root.digest)?;
    }
    writeln!(out, "\n{ONE_IMAGE}")
}

fn write_layer(pair: Pair, before: &Base, after: &Base, out: &mut dyn Write) -> io::Result<()> {
    let blob = |base: &Base, layer: usize| {
        format!("{}  {}", base.layers[layer].digest, text::bytes(base.layers[layer].size))
    };
    match pair {
        Pair::SameBlob(one, other) => {
            writeln!(out, "  =  {}  {}", numbers(Some(one), Some(other)), blob(before, one))
        }
        Pair::SameContent(one, other) => {
            let layers = numbers(Some(one), Some(other));
            writeln!(out, "  =  {layers}  {}, in another blob", before.diff_ids[one])
        }
        Pair::Removed(one) => writeln!(out, "  -  {}  {}", numbers(Some(one), None), blob(before, one)),
        Pair::Added(other) => writeln!(out, "  +  {}  {}", numbers(None, Some(other)), blob(after, other)),
    }
}

/// The numbers of layers on both sides.
fn numbers(before: Option<usize>, after: Option<usize>) -> String {
    let number = |layer: Option<usize>| layer.map_or(String::new(), |layer| (layer + 1).to_string());
    format!("{:>3} {:>3}", number(before), number(after))
}

fn write_field(change: &Change, out: &mut dyn Write) -> io::Result<()> {
    let Change { field, member, before, after } = change;
    let member = member.as_ref().map(|member| format!(" {}", names::escape(member.as_bytes())));
    let name = format!("{}{}", names::escape(field.as_bytes()), member.unwrap_or_default());
    match (before, after) {
        (None, Some(after)) => writeln!(out, "  +  {name}  {}", value(after)),
        (Some(before), None) => writeln!(out, "  -  {name}  {}", value(before)),
        (before, after) => {
            let shown = [before, after].map(|side| side.as_ref().map(value).unwrap_or_default());
            writeln!(out, "  ~  {name}  {} -> {}", shown[0], shown[1])
        }
    }
}

/// JSON, which doesn't escape all that steers a terminal; not too much of it.
fn value(value: &Value) -> String {
    const MOST: usize = 200;
    let text = value.to_string();
    let shown: String = text.chars().take(MOST).collect();
    let rest = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{rest}", names::escape_rest(&shown))
}

fn write_file(difference: &Difference<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (before, after) = (difference.before.as_ref(), difference.after.as_ref());
    let layers = numbers(before.and_then(layer), after.and_then(layer));
    match (before, after) {
        (None, Some(after)) => writeln!(out, "  +  {layers}  {}", alone(after)),
        (Some(before), None) => writeln!(out, "  -  {layers}  {}", alone(before)),
        (Some(before), Some(after)) => {
            let told =
                difference.aspects.iter().filter_map(|aspect| told(*aspect, &before.item, &after.item));
            let told: Vec<String> = told.collect();
            writeln!(out, "  ~  {layers}  {}  {}", names::path(&before.path), told.join(", "))
        }
        (None, None) => Ok(()),
    }
}

fn layer(visible: &Visible<'_>) -> Option<usize> {
    visible.place.map(|place| place.layer)
}

/// What only one image has.
fn alone(visible: &Visible<'_>) -> String {
    let path = names::path(&visible.path);
    match visible.item.kind {
        ItemKind::File { size, .. } => format!("{path}  {}", text::bytes(size)),
        ItemKind::Directory => format!("{path}/"),
        ItemKind::Symlink { target } => format!("{path} -> {}", names::escape(target)),
        kind => format!("{path}  {}", names::kind(&kind)),
    }
}

/// What differs, with both values where they are short.
fn told(aspect: Aspect, before: &Item<'_>, after: &Item<'_>) -> Option<String> {
    let both = |name: &str, of: &dyn Fn(&Item<'_>) -> String| {
        Some(format!("{name} {} -> {}", of(before), of(after)).trim_start().to_owned())
    };
    match aspect {
        Aspect::Kind => both("", &|item| names::kind(&item.kind).to_owned()),
        Aspect::Content => Some("content".to_owned()),
        Aspect::Size => both("size", &|item| item.kind.size().to_string()),
        Aspect::Target => both("target", &|item| match item.kind {
            ItemKind::Symlink { target } => names::escape(target),
            _ => String::new(),
        }),
        Aspect::Device => both("device", &|item| match item.kind {
            ItemKind::CharDevice { major, minor } | ItemKind::BlockDevice { major, minor } => {
                format!("{major},{minor}")
            }
            _ => String::new(),
        }),
        Aspect::Mode => both("mode", &|item| format!("{:04o}", item.mode)),
        Aspect::Owner => both("owner", &|item| format!("{}:{}", item.uid, item.gid)),
        Aspect::Mtime => both("mtime", &|item| item.mtime.to_string()),
        Aspect::Xattrs => Some(format!("xattrs {}", xattrs(before, after).join(" "))),
        _ => None,
    }
}

/// The names of extended attributes that differ, with a sign where only one has them.
fn xattrs(before: &Item<'_>, after: &Item<'_>) -> Vec<String> {
    let value = |item: &Item<'_>, name: &[u8]| {
        let found: Option<Vec<u8>> =
            item.xattrs.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_vec());
        found
    };
    let gone = before.xattrs.iter().filter(|(name, _)| value(after, name).is_none());
    let mut all: Vec<String> = gone.map(|(name, _)| format!("-{}", names::escape(name))).collect();
    for (name, new) in after.xattrs.iter() {
        match value(before, name) {
            None => all.push(format!("+{}", names::escape(name))),
            Some(old) if old != new => all.push(names::escape(name)),
            Some(_) => {}
        }
    }
    all
}

fn sum_up(comparison: &Comparison, summary: &Summary) -> String {
    let Comparison { before, after, .. } = comparison;
    if before.base.descriptor.digest == after.base.descriptor.digest {
        return ONE_IMAGE.to_owned();
    }
    if summary.is_same() {
        return "no difference in files, config and layers".to_owned();
    }
    let Summary { files_added, files_removed, files_changed, config_changes, .. } = *summary;
    let layers = after.base.layers.len();
    format!(
        "files: {files_added} added, {files_removed} removed, {files_changed} changed; \
         config: {}; layers: {} of {layers} the same",
        text::count(config_changes, "difference"),
        summary.layers_common,
    )
}
