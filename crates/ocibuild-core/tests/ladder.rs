//! The ladder of `docs/architecture.md`, held against every path in the sources.

#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The row of each module, as the table in the document has it.
fn ladder() -> BTreeMap<String, usize> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/architecture.md");
    let text = fs::read_to_string(document).unwrap();
    let section = text.split("## The ladder").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Ok(row) = cells[1].parse::<usize>() else { continue };
        for module in cells[2].split(',').map(|module| module.trim().trim_matches('`')) {
            assert!(rows.insert(module.to_owned(), row).is_none(), "`{module}` stands in two rows");
        }
    }
    rows
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Takes comments away, and the tests at the end of a file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The first names of all paths that begin with `prefix`, those of groups in braces included.
fn first_names(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(group_names(group));
        } else {
            names.push(identifier(rest));
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The names that begin the parts of `a::b, c::{d, e}, …}`, up to the closing brace.
fn group_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut begins) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if c.is_whitespace() => {}
            _ if begins && depth == 0 => {
                names.push(identifier(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

/// Everything that a file names of the crate's top level.
fn uses(file: &Path, root: &Path, text: &str) -> Vec<String> {
    let code = code(text);
    let mut names = first_names(&code, "crate::");
    let parts = file.strip_prefix(root).unwrap().components().count();
    let is_mod = file.file_name().is_some_and(|name| name == "mod.rs");
    let up = "super::".repeat(if is_mod { parts - 1 } else { parts });
    names.extend(first_names(&code, &up));
    names
}

#[test]
fn every_module_uses_only_those_above_it() {
    let ladder = ladder();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut faults, mut steps) = (Vec::new(), 0);
    for file in files {
        let below = file.strip_prefix(&root).unwrap();
        let module = below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_test = below.iter().skip(1).any(|part| part.to_str().unwrap().starts_with("test"));
        if module == "lib" || is_test || file.file_stem().is_some_and(|stem| stem == "fixture") {
            continue;
        }
        let row = ladder.get(&module).unwrap_or_else(|| panic!("`{module}` is not in the ladder"));
        for name in uses(&file, &root, &fs::read_to_string(&file).unwrap()) {
            if name == module {
                continue;
            }
            match ladder.get(&name) {
                Some(other) if other < row => steps += 1,
                Some(other) => {
                    faults.push(format!("{}: row {row} uses `{name}` of row {other}", below.display()))
                }
                None => {
                    faults.push(format!("{}: uses `{name}`, which is not in the ladder", below.display()))
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(steps > 100, "only {steps} steps were found: does this test still read the sources?");
}

#[test]
fn a_step_down_is_found() {
    let root = Path::new("/src");
    let text = "use crate::{digest::Digest, build::{Built, Context}};\nfn f() { super::copy::copy() } // crate::no\n";
    assert_eq!(uses(Path::new("/src/key.rs"), root, text), ["digest", "build", "copy"]);
    let text =
        "use super::super::registry;\nuse super::own;\n#[cfg(test)]\nmod tests { use crate::layout; }\n";
    assert_eq!(uses(Path::new("/src/key/part.rs"), root, text), ["registry"]);
}
