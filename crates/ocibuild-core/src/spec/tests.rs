//! Faulty specs lie in `tests/faulty`, each beside what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;

mod layered;
mod property;
mod schema;
mod sound;
mod steps;

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
fn no_fault_shows_the_credentials_in_an_address() {
    let of = |from: &str| {
        format!(
            "version = 1\n[cache]\nfrom = {from}\n[layers.a]\ncopy = [{{ from = \"a\", to = \"/a\" }}]\n\
             [images.a]\nlayers = [\"a\"]\n"
        )
    };
    for address in
        ["Redis://me:hidden@host", "redis://me:hid den@host", "docker://me:hidden@host", "me:hidden@h"]
    {
        parse(&of(&format!("['{address}']"))).unwrap();
        let said =
            said(&of(&format!("['https://host', 'redis://me:hidden@host', \"{address}\", '{address}']")));
        assert!(said.contains("`https` is no kind of cache") && said.contains("listed twice"), "{said}");
        assert!(!said.contains("hid"), "{said}");
        let place = check::cache_place(address).unwrap();
        assert_eq!(place.to_string(), "an address with credentials");
    }
    let digest = format!("host/team/cache:main@sha256:{}", "0".repeat(64));
    assert!(check::cache_place(&digest).unwrap_err().message.contains("has a digest"));
}

#[test]
fn what_a_fault_quotes_reaches_no_terminal_as_it_is() {
    let source = "version = 1\n[images.\"\\u001b[2J\\u0007a\"]\nlayers = [\"\\u202e\\nb\"]\n";
    let said = said(source);
    assert!(said.contains(r"`\u{1b}[2J\u{7}a` is not a name"), "{said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{said:?}");
}
