//! `docs/spec.md`, made of the schema, so that it can't drift from it.

use std::collections::BTreeSet;
use std::path::Path;

use ocibuild_core::spec::SCHEMA;
use serde_json::Value;
use snapbox::{Data, assert_data_eq};

const HEAD: &str = "\
# The spec

<!-- Made of the JSON schema by a test: `SNAPSHOTS=overwrite cargo test -p ocibuild-cli --test cli reference`. -->

A spec is a file `ocibuild.toml`. It names steps, which are commands with what they read and make; layers, which are files and the places where they go; and images, which are layers on a base. Every key there is:
";

const TAIL: &str = r#"
What these places are, what is asked first, which object stores there are and how they are addressed: [caching.md](caching.md).

## Names in braces

`{os}`, `{arch}`, `{variant}` and `{var.NAME}` stand for values of the platform that is built, in all strings marked `text`, `path` or `glob`; `{{` and `}}` are braces. A value given by `--var` counts first, then the platform's own with its variant, then without, then the plain one.

In `run` of a step they stand for the same, but all other braces are the command's own, so that a shell and awk can have theirs: `{ echo a; }`, `${HOME}`, `{a,b}`, `{{.Os}}`. A name after a `$` is the shell's: `${arch}` is its variable, not ours. For a brace that stands for itself nothing has to be written there.

## How a step is run

In a directory of its own, at the same paths as in the root, with its `inputs` and with the `outputs` of the steps it `needs`, where those made them; not with what these need in turn. A step that reads anything else doesn't find it. Globs and directories among the inputs find nothing that the step or one it needs makes, nor its `cache-dirs`: what an earlier run outside left in the root is no input. An input that is named inside an output is a fault, and so are two outputs in one place.

A step is planned for each platform of the images that need it, or once with `platforms = "any"`; what is for any platform can't need what is for one. With a list, an image for another platform that needs it is a fault, told with the way: the image, its layer, the steps between.

A copy with `step` takes of its outputs what `from` names, which is written as the step made it: `outputs = ["web/dist"]` is copied by `from = "web/dist"`. Of their metadata only modes can be kept (`preserve = ["mode"]`); a layer's `preserve` and `ignore-file` count for its other copies.

A spec may have steps and no images. One that no image needs is no fault: it may be a test.

## Files that extend others

`extends = "../base.toml"` lays this file over another one: as if the tables of that file stood first and this one's came over them, key by key. A step, layer or image of the same name is merged: a key that is given replaces the whole value, but `vars`, `env`, `labels` and `annotations` are merged by their own keys. `name` and `root` aren't taken over, so all paths count from the root of the file that is built. What both files name stands where the upper one has it. `[cache]` is replaced whole: who says where to look doesn't look elsewhere as well. A file that is extended needs no images, may extend another (at most eight in a row), and its layers needn't be used.

## Defaults

`[defaults.layers]`, `[defaults.copies]` and `[defaults.images]` hold what each layer, copy and image says unless it says otherwise: as if it stood there, merged as above. A copy gets those that its kind can have: `owner` and `on-base-symlink` all of them, `mode` files and `content`, the rest `from`; `dir-mode` is also the mode of what `directory` makes. A default of a copy therefore counts before what its layer says; but `owner`, `mode` and `dir-mode` give way to what a copy or its layer keeps (`preserve`). What tells one part from another (`copy`, `to`, `layers`, `tags` and the like) can't have a default, and steps have none.

## Split layers

`split` makes several blobs of one layer, its parts, so that one changed package re-sends one of them. Which part a file is in follows from the layer's files alone, never from what was built before:

- The eight largest files of 8 MiB or more have a part each.
- The rest goes by packages: what is in one stays in one part, and its name without a version decides which, so the next version takes the place of this one. Packages are known in `node_modules` (with scopes, nested ones, and pnpm's `.pnpm/NAME@VERSION`), in `site-packages`, `dist-packages` and wherever `*.dist-info` lies (a package with its metadata), in `vendor` (Go's modules by host, Rust's crates), and a `.jar` is one. Anything else goes by the first directory below `to`.
- A package of more than 8 MiB goes by its directories.
- `split = N` makes N parts of that. `split = "auto"` cuts a part in two wherever it would hold more than 8 MiB, and makes 64 parts at most; several such layers of an image share these, two have 32 each. Packages that come, grow or go move no others: only a part that passes 8 MiB is cut.

Parts have the directories they need, with the same metadata. Hard links that are kept stay with their file, and what `remove` takes away is in the first part. An image with split layers has 100 layers at most, those of its base among them.

## What vouches for a layer

A layer with `manifests` is known by its lockfiles: while they and what the spec says of the layer are the same, its files needn't be there. Where there are programs in it (ELF, Mach-O or PE), or `allow-foreign` lets any in, its key names the host's system, architecture and C library as well, since an installation for another one has other programs; anything else is the same from any host, and so is an image of it, manifest included.

`trust = "content"` leaves lockfiles out of it: the files are looked at each time, unchanged ones without reading them, and nothing but what they hold is the layer's key. So the image has the same digest wherever the files are the same, and an installation that doesn't follow from its lockfile can't be taken for one that does.

## In an editor

`ocibuild schema > ocibuild.schema.json`, and as the first line of the spec

```text
#:schema ./ocibuild.schema.json
```

which Taplo and what is built on it understand, such as Even Better TOML for VS Code. The schema is as strict as it can be. It can't follow names (unknown steps, layers and variables), see one thing in two spellings (`8080` and `"8080/tcp"`), add durations up, or know of extended files: `ocibuild check` tells all of that.

## In CI

`ocibuild check --format json` prints one document, whatever it finds: `version` (1: fields may be added, none changed), `file`, `sound`, the names of `images`, `layers` and `steps` (`null` where the spec can't be planned), `omitted` (faults beyond the first hundred), and `findings`, each with `severity` (`error` or `warning`), `file`, `line`, `column`, `end_line`, `end_column` (from 1, in characters; `null` where there is no place), `message` and `hint`.
"#;

/// The tables of keys, in the order of the document: the title, and where the schema has them.
const TABLES: [(&str, &str); 9] = [
    ("The file", "/properties"),
    ("Steps: `[steps.NAME]`", "/definitions/step/properties"),
    ("Secrets: `secrets = [{ … }]` of a step", "/definitions/secret/properties"),
    ("Layers: `[layers.NAME]`", "/definitions/layer/properties"),
    ("Copies: `copy = [{ … }]` of a layer", "/definitions/copy/properties"),
    ("Images: `[images.NAME]`", "/definitions/image/properties"),
    ("Healthchecks: `healthcheck` of an image", "/definitions/healthcheck/properties"),
    ("Defaults: `[defaults]`", "/definitions/defaults/properties"),
    ("The cache: `[cache]`", "/properties/cache/properties"),
];

/// The order of keys within a table; those that aren't here follow by name.
const ORDER: &str = "version name root extends vars defaults cache steps layers images \
    run inputs outputs needs manifests trust key copy remove \
    step id file from content symlink directory to mode dir-mode owner on-base-symlink include exclude preserve pyc ignore-file \
    base platforms tags entrypoint cmd env as target optional user workdir expose volumes labels annotations author \
    test";

/// How the schema's kinds of strings are called.
const KINDS: [(&str, &str); 22] = [
    ("text", "text"),
    ("destination", "path"),
    ("directory", "path"),
    ("removal", "glob"),
    ("source", "glob"),
    ("pattern", "glob"),
    ("file", "path"),
    ("mode", "mode"),
    ("owner", "owner"),
    ("compression", "compression"),
    ("duration", "duration"),
    ("time", "duration"),
    ("platform", "platform"),
    ("tag", "text"),
    ("cache-place", "text"),
    ("script", "text"),
    ("input", "glob"),
    ("output", "path"),
    ("cache-dir", "path"),
    ("variable", "string"),
    ("tool", "string"),
    ("secret-file", "path"),
];

#[test]
fn the_reference_is_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut text = HEAD.to_owned();
    for (title, place) in TABLES {
        text.push_str(&format!("\n## {title}\n\n| key | type | default | |\n|---|---|---|---|\n"));
        let keys = schema.pointer(place).unwrap().as_object().unwrap();
        let rank = |key: &str| ORDER.split_whitespace().position(|known| known == key).unwrap_or(usize::MAX);
        let ordered: BTreeSet<(usize, &String)> = keys.keys().map(|key| (rank(key), key)).collect();
        for (_, key) in ordered {
            text.push_str(&row(key, &keys[key]));
        }
    }
    text.push_str(TAIL);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec.md");
    assert_data_eq!(text, Data::read_from(&file, None).raw());
}

fn row(key: &str, schema: &Value) -> String {
    let default = schema.get("default").map(|value| format!("`{}`", toml(value))).unwrap_or_default();
    let examples = schema["examples"].as_array().unwrap().iter().map(|value| format!("`{}`", toml(value)));
    let cells = [
        format!("`{key}`"),
        kind(schema),
        default,
        format!("{} {}", schema["description"].as_str().unwrap(), examples.collect::<Vec<_>>().join(", ")),
    ];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// The type of a value, in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.strip_prefix("#/definitions/")) {
        let known = KINDS.iter().find(|(known, _)| *known == name).map(|(_, word)| (*word).to_owned());
        return known.unwrap_or_else(|| match name {
            "command" => "list of strings".to_owned(),
            "words" => "list of texts".to_owned(),
            "name" => "string".to_owned(),
            "base" => "string or table".to_owned(),
            _ => "table".to_owned(),
        });
    }
    if schema.get("additionalProperties").is_none()
        && let Some(all) = schema["allOf"].as_array()
    {
        return kind(&all[0]);
    }
    if schema.get("pattern").is_some() && schema.get("anyOf").is_some() {
        return "text".to_owned();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", of_many(&kind(&schema["items"]))),
        Some("object") => "table".to_owned(),
        Some(other) => other.to_owned(),
        None => panic!("no type: {schema}"),
    }
}

fn of_many(kind: &str) -> String {
    match kind {
        "text" => "texts".to_owned(),
        kind if kind.contains(" or ") || kind.starts_with('`') => kind.to_owned(),
        kind => format!("{kind}s"),
    }
}

/// A value as TOML has it.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(object) if object.is_empty() => "{}".to_owned(),
        Value::Object(object) => {
            let is_bare = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let entry = |(key, value): (&String, &Value)| match is_bare(key) {
                true => format!("{key} = {}", toml(value)),
                false => format!("{key:?} = {}", toml(value)),
            };
            format!("{{ {} }}", object.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
