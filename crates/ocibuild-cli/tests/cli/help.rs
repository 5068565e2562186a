//! What the program teaches about itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ocibuild_testkit::run;
use snapbox::{Data, assert_data_eq};

use crate::bench::Bench;

/// Runs the program without a variable that would show in the help.
pub(crate) fn help(words: &[&str], columns: Option<&str>) -> String {
    let bench = Bench::new();
    let mut command = bench.command(words);
    command.env_remove("OCIBUILD_CACHE_DIR");
    if let Some(columns) = columns {
        command.env("COLUMNS", columns);
    }
    String::from_utf8(run(&mut command).stdout).unwrap()
}

/// Finds all commands, by what the help says of them, however deep: none can be forgotten.
pub(crate) fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(command) = found.get(next).cloned() {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let text = help(&words, None);
        let listed = text.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        let listed = listed.lines().take_while(|line| !line.is_empty());
        for name in listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = name.split_whitespace().next().unwrap();
            if name != "help" {
                found.push([&command[..], &[name.to_owned()]].concat());
            }
        }
        next += 1;
    }
    found
}

fn snapshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots/help")
}

#[test]
fn every_command_has_help_with_an_example() {
    let mut files = BTreeSet::new();
    for command in commands() {
        let name = [&["ocibuild".to_owned()], &command[..]].concat().join("-");
        for (flag, kind) in [("-h", "short"), ("--help", "long")] {
            let words: Vec<&str> = command.iter().map(String::as_str).chain([flag]).collect();
            let text = help(&words, None);
            assert!(text.contains("\nExamples:\n"), "`{}` shows no example", words.join(" "));
            let file = snapshots().join(format!("{name}-{kind}.txt"));
            assert_data_eq!(text, Data::read_from(&file, None).raw());
            files.insert(file);
        }
    }
    let there = snapshots().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files, there, "snapshots of commands that are gone");
}

#[test]
fn help_fits_the_width_of_the_terminal() {
    let options = |text: &str| text.split("\nExamples:").next().unwrap().to_owned();
    for columns in [60, 80] {
        let text = options(&help(&["validate", "--help"], Some(&columns.to_string())));
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns), "{widest:?} is more than {columns}:\n{text}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    assert_eq!(help(&["--version"], None), format!("ocibuild {}\n", env!("CARGO_PKG_VERSION")));
}
