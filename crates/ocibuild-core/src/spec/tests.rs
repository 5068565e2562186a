//! Faulty specs lie in `tests/faulty`, each beside what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;

mod layered;
mod property;
mod schema;
mod sound;

fn parse(source: &str) -> Result<Spec, SpecError> {
    Spec::parse(source, &BTreeMap::new())
}

/// What is said of a spec with faults.
fn said(source: &str) -> String {
    match parse(source) {
        Ok(spec) => panic!("a faulty spec passed: {spec:?}"),
        Err(error) => error.render(&Sources::of("ocibuild.toml", source)),
    }
}

#[test]
fn every_fault_is_told_with_its_line() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec/tests/faulty");
    let mut cases = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
            let found = said(&fs::read_to_string(&path).unwrap());
            assert!(found == expected, "{}: expected\n{expected}\nfound\n{found}", path.display());
            cases += 1;
        }
    }
    assert!(cases >= 20);
}

#[test]
fn what_a_fault_quotes_reaches_no_terminal_as_it_is() {
    let source = "version = 1\n[images.\"\\u001b[2J\\u0007a\"]\nlayers = [\"\\u202e\\nb\"]\n";
    let said = said(source);
    assert!(said.contains(r"`\u{1b}[2J\u{7}a` is not a name"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{said:?}");
}
