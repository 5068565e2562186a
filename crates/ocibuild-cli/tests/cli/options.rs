//! The options of all commands, their variables, and the colours.

use ocibuild_testkit::{Output, run_any};

use crate::bench::{Bench, SPEC};

/// Flags, variables, and whether there is colour then.
type Colour<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], bool);

fn with(bench: &Bench, words: &[&str], variables: &[(&str, &str)]) -> Output {
    run_any(bench.command(words).envs(variables.iter().copied()))
}

#[test]
fn they_stand_before_or_behind_the_command() {
    let bench = Bench::with_spec(SPEC);
    let before = bench.ok(&["--cache-dir", "one", "--threads", "1", "-q", "build"]);
    let behind = bench.ok(&["build", "--cache-dir", "two", "--threads", "1", "-q"]);
    assert_eq!((before.errors(), before.text()), (String::new(), behind.text()));
    assert!(bench.path("one/blobs").is_dir() && bench.path("two/blobs").is_dir());
}

#[test]
fn flags_beat_variables() {
    let bench = Bench::with_spec(SPEC);
    let quiet = [("OCIBUILD_QUIET", "1")];
    assert_eq!(with(&bench, &["build"], &quiet).expect_code(0).errors(), "");
    let said = with(&bench, &["build", "-v", "--no-cache"], &quiet).expect_code(0).errors();
    assert!(said.contains("to compress"), "{said}");
    let said = with(&bench, &["build", "-q"], &[("OCIBUILD_VERBOSE", "true")]).expect_code(0).errors();
    assert_eq!(said, "");
    let cache = bench.tree.join("other").display().to_string();
    with(&bench, &["build", "--cache-dir", "mine"], &[("OCIBUILD_CACHE_DIR", &cache)]).expect_code(0);
    assert!(bench.path("mine/blobs").is_dir() && !bench.tree.join("other").exists());
    let said = with(&bench, &["--progress", "json", "build"], &[("OCIBUILD_PROGRESS", "none")]);
    assert!(said.expect_code(0).errors().starts_with('{'));
    let said = with(&bench, &["build", "--threads", "1"], &[("OCIBUILD_THREADS", "2")]);
    said.expect_code(0);
}

#[test]
fn opposites_are_refused_wherever_they_stand() {
    let bench = Bench::with_spec(SPEC);
    for words in [&["build", "-q", "-v"][..], &["-q", "build", "-v"], &["-qv", "build"]] {
        let said = bench.run(words).expect_code(2).errors();
        assert!(said.contains("`--quiet` and `--verbose`"), "{said}");
    }
    let both = [("OCIBUILD_QUIET", "1"), ("OCIBUILD_VERBOSE", "1")];
    let said = with(&bench, &["build"], &both).expect_code(2).errors();
    assert!(said.contains("`OCIBUILD_QUIET` and `OCIBUILD_VERBOSE`"), "{said}");
    with(&bench, &["build"], &[both[0], ("OCIBUILD_VERBOSE", "0")]).expect_code(0);
}

#[test]
fn a_bad_value_is_blamed_on_whoever_has_it() {
    let bench = Bench::with_spec(SPEC);
    for (name, flag, value) in [
        ("OCIBUILD_THREADS", "--threads", "many"),
        ("OCIBUILD_PROGRESS", "--progress", "loud"),
        ("OCIBUILD_COLOR", "--color", "pink"),
        ("OCIBUILD_QUIET", "--quiet", "perhaps"),
        ("OCIBUILD_VERBOSE", "--verbose", "perhaps"),
        ("OCIBUILD_VERBOSE", "--verbose", "-1"),
    ] {
        let said = with(&bench, &["build"], &[(name, value)]).expect_code(2).errors();
        let blamed = said.contains(&format!("for '{name} (like {flag})'")) && said.contains(value);
        assert!(blamed, "{name} is {value}, and it says:\n{said}");
        with(&bench, &["build"], &[(name, "")]).expect_code(0);
    }
    let both = with(&bench, &["build", "--threads", "some"], &[("OCIBUILD_THREADS", "many")]);
    let said = both.expect_code(2).errors();
    assert!(said.contains("some") && !said.contains("OCIBUILD_THREADS"), "{said}");
}

#[test]
fn verbosity_is_counted_wherever_it_stands() {
    let bench = Bench::with_spec(SPEC);
    let says_more = |words: &[&str], variable: &str| {
        let output = with(&bench, words, &[("OCIBUILD_VERBOSE", variable)]).expect_code(0);
        output.errors().contains("to compress")
    };
    for (words, variable, more) in [
        (&["build", "--no-cache"][..], "", false),
        (&["build", "--no-cache"], "0", false),
        (&["build", "--no-cache"], "2", true),
        (&["build", "--no-cache"], "yes", true),
        (&["-vv", "build", "--no-cache"], "0", true),
        (&["build", "--no-cache", "-v", "--verbose"], "off", true),
    ] {
        assert_eq!(says_more(words, variable), more, "{words:?} {variable}");
    }
}

#[test]
fn colour_is_a_matter_of_flag_and_environment() {
    let bench = Bench::new();
    let cases: [Colour<'_>; 6] = [
        (&[], &[], false),
        (&["--color", "always"], &[("NO_COLOR", "1")], true),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&["--color=never"], &[("CLICOLOR_FORCE", "1")], false),
        (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&[], &[("OCIBUILD_COLOR", "always")], true),
    ];
    for (flags, variables, is_coloured) in cases {
        // Ours, clap's error, clap's help.
        for (words, code) in [(&["build"][..], 2), (&["build", "--nope"], 2), (&["--help"], 0)] {
            let output = with(&bench, &[flags, words].concat(), variables).expect_code(code);
            let text = output.errors() + &output.text();
            assert_eq!(text.contains('\x1b'), is_coloured, "{flags:?} {words:?} {variables:?}: {text}");
        }
    }
    let red = "\x1b[1m\x1b[31merror:\x1b[0m ";
    for words in [&["build", "--color", "always"][..], &["build", "--color", "always", "--nope"]] {
        assert!(bench.run(words).errors().starts_with(red), "not in one colour");
    }
}
