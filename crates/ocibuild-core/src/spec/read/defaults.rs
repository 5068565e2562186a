//! `[defaults]`: what each layer, copy and image says unless it says otherwise itself.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::fields::{Context, Key, Value, in_order, mismatch, unknown_key};
use super::merge::over;
use super::{START, image, keep, layer};
use crate::spec::log::Log;
use crate::spec::{Cache, Checks, Fault, Located, Span, Spec, VERSION, Vars, validate};

/// What can have defaults, the keys that can, and those that can't.
struct Part {
    name: &'static str,
    kind: &'static str,
    keys: &'static [&'static str],
    own: &'static [&'static str],
}

const LAYERS: Part = Part {
    name: "layers",
    kind: "layer",
    keys: &["compression", "ignore-file", "key", "max-size", "preserve", "pyc", "split", "trust"],
    own: &["comment", "copy", "manifests", "remove"],
};

const COPIES: Part = Part {
    name: "copies",
    kind: "copy",
    keys: &[
        "allow-empty",
        "allow-foreign",
        "dir-mode",
        "exclude",
        "ignore-file",
        "include",
        "mode",
        "on-base-symlink",
        "owner",
        "preserve",
        "pyc",
    ],
    own: &["content", "directory", "from", "step", "symlink", "to"],
};

const IMAGES: Part = Part {
    name: "images",
    kind: "image",
    keys: &[
        "annotations",
        "author",
        "base",
        "cmd",
        "compression",
        "entrypoint",
        "env",
        "expose",
        "healthcheck",
        "inherit",
        "labels",
        "max-layers",
        "max-size",
        "on-build",
        "platforms",
        "shell",
        "static",
        "stop-signal",
        "stop-timeout",
        "user",
        "volumes",
        "workdir",
    ],
    own: &["layers", "tags"],
};

const PARTS: [Part; 3] = [LAYERS, COPIES, IMAGES];

/// The defaults of a spec.
pub(super) struct Defaults<'t> {
    layers: DeTable<'t>,
    copies: DeTable<'t>,
    images: DeTable<'t>,
}

impl<'t> Defaults<'t> {
    /// Takes the defaults out of a spec, and reports keys that can't be among them.
    pub(super) fn take(root: &mut DeTable<'t>, log: &mut Log) -> Option<Self> {
        let value = root.remove("defaults")?;
        let Some(table) = value.get_ref().as_table() else {
            log.report(mismatch("defaults", "a table", &value).hint("write `[defaults.copies]`"));
            return None;
        };
        for (key, _) in in_order(table) {
            if !PARTS.iter().any(|part| part.name == key.get_ref()) {
                log.report(unknown_key(key.get_ref(), place(key), &PARTS.map(|part| part.name)));
            }
        }
        let mut table = table.clone();
        let mut part = |part: &Part| checked(part, table.remove(part.name), log);
        Some(Self { layers: part(&LAYERS), copies: part(&COPIES), images: part(&IMAGES) })
    }

    /// Lays every layer, copy and image of the spec over its defaults.
    pub(super) fn apply(&self, root: &mut DeTable<'t>) {
        for layer in tables_in(root.get_mut("layers")) {
            let own = std::mem::take(layer);
            let said: DeTable<'_> = own
                .get_key_value("preserve")
                .map(|(key, value)| (key.clone(), value.clone()))
                .into_iter()
                .collect();
            *layer = over(self.layers.clone(), own);
            let Some(DeValue::Array(copies)) = layer.get_mut("copy").map(Spanned::get_mut) else { continue };
            for copy in copies.iter_mut().filter_map(|copy| as_table(copy.get_mut())) {
                let own = std::mem::take(copy);
                *copy = over(self.for_copy(&own, &said), own);
            }
        }
        for image in tables_in(root.get_mut("images")) {
            let own = std::mem::take(image);
            *image = over(self.images.clone(), own);
        }
    }

    /// The defaults that a copy of this kind can have, in a layer that says this of its own.
    fn for_copy(&self, copy: &DeTable<'t>, layer: &DeTable<'t>) -> DeTable<'t> {
        let mut kinds = layer::KINDS.into_iter().filter(|kind| copy.contains_key(*kind));
        let keys: &[&str] = match (kinds.next(), kinds.next()) {
            (Some("from"), None) => COPIES.keys,
            (Some("content"), None) => &["mode", "on-base-symlink", "owner"],
            (Some("symlink" | "directory"), None) => &["on-base-symlink", "owner"],
            // What it is, is a fault that will be told.
            _ => &[],
        };
        let fits = |(key, value): (&Key<'t>, &Value<'t>)| {
            keys.contains(&key.get_ref().as_ref()).then(|| (key.clone(), value.clone()))
        };
        let mut fitting: DeTable<'t> = self.copies.iter().filter_map(fits).collect();
        // The mode of a directory is `dir-mode` where there are files, too, and `mode` where not.
        if let (true, Some(mode)) = (copy.contains_key("directory"), self.copies.get("dir-mode")) {
            fitting.insert(Spanned::new(mode.span(), DeString::Borrowed("mode")), mode.clone());
        }
        if copy.contains_key("step") {
            fitting.remove("ignore-file");
            keep::only_mode(&mut fitting);
        }
        if copy.contains_key("from") {
            keep::give_way(&mut fitting, layer, copy);
        }
        fitting
    }

    /// Reads the defaults by themselves, as those of a layer, a copy and an image that have
    /// nothing else, so that what is wrong with them is told even if nothing uses them.
    pub(super) fn check(self, vars: &BTreeSet<String>, log: &mut Log) {
        keep::contradictions(&self.copies, log);
        let mut probe = log.beside();
        let context = &mut Context { log: &mut probe, vars };
        let named = |name: &str| Located::from(name.to_owned());
        let copies = [entry("from", "."), entry("to", "/")].into_iter().collect();
        let copy = DeValue::Table(over(self.copies, copies));
        let copies = DeValue::Array([Spanned::new(0..0, copy)].into_iter().collect());
        let copies = [(Spanned::new(0..0, DeString::Borrowed("copy")), Spanned::new(0..0, copies))];
        let table = over(self.layers, copies.into_iter().collect());
        let one = layer::read(named("defaults"), super::Fields::new(&table, START), context);
        let image = image::read(named("defaults"), super::Fields::new(&self.images, START), context);
        let spec = Spec {
            version: VERSION,
            name: None,
            root: None,
            vars: Vars::default(),
            cache: Cache::default(),
            steps: Vec::new(),
            checks: Checks::default(),
            layers: vec![one],
            images: vec![image],
            warnings: Vec::new(),
        };
        validate::spec(&spec, &mut probe);
        // What has no place is about the rest, which isn't the writer's.
        let meant = |fault: &&Fault| fault.span.is_some_and(|span| Some(span) != START);
        probe.faults().iter().filter(meant).for_each(|fault| log.report(fault.clone()));
    }
}

fn entry<'t>(key: &'t str, value: &'t str) -> (Key<'t>, Value<'t>) {
    let value = DeValue::String(DeString::Borrowed(value));
    (Spanned::new(0..0, DeString::Borrowed(key)), Spanned::new(0..0, value))
}

fn place(key: &Key<'_>) -> Option<Span> {
    Some(key.span().into())
}

/// The table of one part, without keys that can't have a default: those are reported.
fn checked<'t>(part: &Part, value: Option<Value<'t>>, log: &mut Log) -> DeTable<'t> {
    let Some(value) = value else { return DeTable::new() };
    let Some(table) = value.get_ref().as_table() else {
        let hint = format!("write `[defaults.{}]`", part.name);
        log.report(mismatch(part.name, "a table", &value).hint(hint));
        return DeTable::new();
    };
    let mut table = table.clone();
    for (key, _) in in_order(&table.clone()) {
        let name: &str = key.get_ref();
        if part.keys.contains(&name) {
            continue;
        }
        table.remove(name);
        log.report(match part.own.contains(&name) {
            true => Fault::new(format!("`{name}` can't have a default"), place(key))
                .hint(format!("it is what tells one {} from another: write it there", part.kind)),
            false => unknown_key(name, place(key), part.keys),
        });
    }
    table
}

/// Shows all copies of a spec.
pub(super) fn copies_in<'t>(root: &mut DeTable<'t>, mut each: impl FnMut(&DeTable<'t>)) {
    for layer in tables_in(root.get_mut("layers")) {
        let Some(DeValue::Array(copies)) = layer.get("copy").map(Spanned::get_ref) else { continue };
        copies.iter().filter_map(|copy| copy.get_ref().as_table()).for_each(&mut each);
    }
}

fn tables_in<'a, 't>(value: Option<&'a mut Value<'t>>) -> impl Iterator<Item = &'a mut DeTable<'t>> {
    let table = value.and_then(|value| as_table(value.get_mut()));
    table.into_iter().flat_map(|table| table.iter_mut()).filter_map(|(_, value)| as_table(value.get_mut()))
}

fn as_table<'a, 't>(value: &'a mut DeValue<'t>) -> Option<&'a mut DeTable<'t>> {
    match value {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}
