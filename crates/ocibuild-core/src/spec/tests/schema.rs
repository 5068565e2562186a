//! The JSON schema, held against the reader: what one takes the other takes, and what one refuses
//! the other refuses, but for the faults that are listed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use super::*;

mod corpus;

/// Faults that no schema can find, as they are told (`…` stands for anything): another value or
/// another file would have to be looked at, or a sum made. Each of them is met by the mutated specs
/// or a faulty one, and nothing else gets past the schema.
const BEYOND: [(&str, Where); 27] = [
    // Names that lead elsewhere.
    ("unknown layer `…`", Where::Anywhere),
    ("unknown variable `…`", Where::Anywhere),
    ("unknown step `…`", Where::Anywhere),
    ("step `…` doesn't make `…`", Where::Anywhere),
    ("step `…` needs itself", Where::Anywhere),
    ("steps need each other: …", Where::Anywhere),
    ("the step is for any platform, but needs `…`, which isn't", Where::Anywhere),
    // Several things in one place.
    ("output `…` is listed twice", Where::Anywhere),
    ("`…` and `…` run in place and both make `…`", Where::Anywhere),
    ("output `…` lies in output `…`", Where::Anywhere),
    ("output `…` clashes with `…`, which `…` makes", Where::Anywhere),
    ("`…` makes `…` in `…`, which `…` makes; both are needed", Where::Anywhere),
    ("both `…` and `…` make `…`, and both are needed", Where::Anywhere),
    ("input `…` lies in output `…`, which is removed before a run", Where::Anywhere),
    ("input `…` lies in `…`, which `…` makes", Where::Anywhere),
    ("cache directory `…` lies in output `…`", Where::Anywhere),
    ("variable `…` is set twice", Where::Anywhere),
    // What a file lacks may come from one that it extends, or that extends it.
    ("the spec has no images", Where::InParts),
    ("step `…` runs nothing", Where::InParts),
    ("layer `…` copies nothing", Where::InParts),
    ("image `…` has no layers and no base", Where::InParts),
    // One thing in two spellings.
    ("port … is listed twice", Where::Anywhere),
    ("platform … is listed twice", Where::Anywhere),
    // Sums.
    ("`stop-timeout` is whole seconds", Where::Anywhere),
    ("`…` is not a duration", Where::Anywhere),
    ("a healthcheck's times are 1ms or more", Where::Anywhere),
    // Calendars.
    ("`…` is not what `org.opencontainers.image.created` holds", Where::Anywhere),
];

/// Where a fault gets past the schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Anywhere,
    /// In files that extend another, or have no images and are there to be extended.
    InParts,
}

/// The kind of a fault that the schema couldn't find.
fn excuse(fault: &Fault, spec: &Value) -> Option<&'static str> {
    let is_part = spec.get("images").is_none() || spec.get("extends").is_some();
    let fits = |(kind, place): &&(&str, Where)| {
        matches(kind, &fault.message) && (*place == Where::Anywhere || is_part)
    };
    BEYOND.iter().find(fits).map(|(kind, _)| *kind)
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft7::new(&serde_json::from_str(SCHEMA).unwrap()).unwrap()
}

fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Integer(number) => json!(i64::from_str_radix(number.as_str(), number.radix()).unwrap()),
        DeValue::Float(number) => json!(number.as_str().parse::<f64>().unwrap()),
        DeValue::Boolean(flag) => json!(flag),
        DeValue::Datetime(time) => json!({ "datetime": time.to_string() }),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => table_to_json(table),
    }
}

fn table_to_json(table: &DeTable<'_>) -> Value {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        (key.to_string(), to_json(value.get_ref()))
    };
    Value::Object(table.iter().map(entry).collect::<Map<_, _>>())
}

fn refusals(validator: &jsonschema::Validator, spec: &Value) -> Vec<String> {
    validator.iter_errors(spec).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[track_caller]
fn accepts(name: &str, text: &str) {
    let found = refusals(&validator(), &table_to_json(DeTable::parse(text).unwrap().get_ref()));
    assert!(found.is_empty(), "{name}: {found:#?}");
}

/// What `read` says of a spec, with a file at hand that every `extends` finds.
fn decoded(text: &str) -> Result<Spec, SpecError> {
    let loader = |_: &SourceFile, _: &str| Ok(SourceFile::new("base", corpus::EXTENDED));
    Spec::read(&Sources::load(SourceFile::new("own", text), &loader), &BTreeMap::new())
}

#[test]
fn the_schema_is_one() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    assert!(jsonschema::draft7::meta::is_valid(&schema));
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}

/// Shows every key that a file can have, with its own schema.
fn keys(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    match schema {
        Value::Object(object) => {
            for (name, inner) in object {
                if name == "properties" && !path.contains("/then/") && !path.contains("/dependencies/") {
                    for (key, own) in inner.as_object().unwrap() {
                        visit(&format!("{path}/{key}"), own);
                        keys(own, &format!("{path}/{key}"), visit);
                    }
                } else if !["examples", "default", "if", "then", "not", "dependencies"]
                    .contains(&name.as_str())
                {
                    keys(inner, &format!("{path}/{name}"), visit);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, visit)),
        _ => {}
    }
}

#[test]
fn every_key_has_a_description_and_sound_examples() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut checked = 0;
    keys(&schema, "", &mut |path, key| {
        if key.get("$ref").is_some() || key == &json!(false) {
            return;
        }
        assert!(
            key["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{path}: no description"
        );
        let examples = key["examples"].as_array().unwrap_or_else(|| panic!("{path}: no examples"));
        let mut own = key.clone();
        own["definitions"] = schema["definitions"].clone();
        let validator = jsonschema::draft7::new(&own).unwrap();
        for example in examples.iter().chain(key.get("default")) {
            let found = refusals(&validator, example);
            assert!(found.is_empty(), "{path}: {example}: {found:?}");
            checked += 1;
        }
    });
    assert!(checked >= 80, "{checked}");
}

#[test]
fn keys_that_can_have_defaults_are_those_of_the_reader() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let names = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let defaults = &schema["definitions"]["defaults"]["properties"];
    for (part, own) in [("layers", "layer"), ("copies", "copy"), ("images", "image")] {
        let all = names(&schema["definitions"][own]["properties"]);
        let listed = names(&defaults[part]["properties"]);
        for key in &all {
            let text = format!(
                "version = 1\n[defaults.{part}]\n{key} = {{ n = 0 }}\n[images.a]\nbase = {{ layout = 'b' }}\n"
            );
            let error = decoded(&text).unwrap_err();
            let refused = error.faults.iter().any(|fault| fault.message.ends_with("can't have a default"));
            assert_eq!(refused, !listed.contains(key), "{part}: {key}: {error}");
        }
    }
}

#[test]
fn sound_files_are_accepted() {
    accepts("the example", sound::EXAMPLE);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for spec in corpus::SOUND {
        decoded(spec).unwrap_or_else(|error| panic!("{error}: {spec}"));
        accepts("the corpus", spec);
    }
    let mut files = Vec::new();
    find(&root.join("examples"), &mut files);
    find(&root.join("testdata"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        accepts(&file.display().to_string(), &text);
        let first = text.lines().next().unwrap();
        let named =
            first.strip_prefix("#:schema ").unwrap_or_else(|| panic!("{}: no schema", file.display()));
        let named = file.parent().unwrap().join(named);
        assert_eq!(fs::read_to_string(named).unwrap(), SCHEMA, "{}", file.display());
    }
    for name in ["README.md", "docs/spec.md", "docs/steps.md", "examples/quickstart/README.md"] {
        let text = fs::read_to_string(root.join(name)).unwrap_or_default();
        for block in text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            accepts(name, block);
        }
    }
}

/// Spec files at any depth.
fn find(directory: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("ocibuild.toml")) {
            files.push(path);
        }
    }
}

#[test]
fn faulty_files_are_refused() {
    let validator = validator();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec/tests/faulty");
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let Ok(table) =
            DeTable::parse(&fs::read_to_string(&path).unwrap()).map(|table| table_to_json(table.get_ref()))
        else {
            continue;
        };
        assert!(!refusals(&validator, &table).is_empty(), "{}", path.display());
    }
}

/// How many specs are made: half with one other string somewhere, half with up to three changes of
/// any kind.
const MUTANTS: u64 = 8_000;

#[test]
#[allow(clippy::print_stdout, reason = "`--nocapture` shows what was counted")]
fn reader_and_schema_agree_on_mutated_specs() {
    let (validator, sound) = (validator(), corpus::sound());
    let mut counts: BTreeMap<&str, usize> = BEYOND.iter().map(|(kind, _)| (*kind, 0)).collect();
    let (mut taken, mut refused, mut wrong) = (0, 0, Vec::new());
    let mutants = (0..MUTANTS).map(|seed| corpus::mutant(&sound, seed));
    for mutant in mutants.chain([corpus::parsed(corpus::FAULTY)]) {
        let text = corpus::to_toml(&mutant);
        let found = refusals(&validator, &mutant);
        match decoded(&text) {
            Ok(_) if found.is_empty() => taken += 1,
            Ok(_) => wrong.push(format!("refused by the schema alone: {found:?}: {text}")),
            Err(_) if !found.is_empty() => refused += 1,
            Err(error) => {
                for fault in &error.faults {
                    match excuse(fault, &mutant) {
                        Some(kind) => *counts.entry(kind).or_default() += 1,
                        None => wrong.push(format!("accepted by the schema: {}: {text}", fault.message)),
                    }
                }
            }
        }
    }
    let shown = wrong.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {MUTANTS}:\n{shown}", wrong.len());
    println!("{taken} taken and {refused} refused by both; past the schema: {counts:#?}");
    assert!(taken > 1000 && refused > 3000, "{taken} taken, {refused} refused");
    let unmet: Vec<_> = counts.iter().filter(|(_, count)| **count == 0).collect();
    assert!(unmet.is_empty(), "never met, so not beyond it: {unmet:?}");
}

/// Tells whether a message is of a kind, in which `…` stands for anything.
fn matches(kind: &str, message: &str) -> bool {
    let mut rest = message;
    let mut parts = kind.split('…');
    let Some(after) = rest.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    rest = after;
    for part in parts {
        match rest.find(part) {
            Some(_) if part.is_empty() => return true,
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}
