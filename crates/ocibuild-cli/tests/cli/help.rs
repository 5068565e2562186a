//! What the program teaches about itself.

use snapbox::{assert_data_eq, file};

use crate::bench::Bench;

fn help(arguments: &[&str]) -> String {
    String::from_utf8(Bench::new().ok(arguments).stdout).unwrap()
}

#[test]
fn help_of_all() {
    assert_data_eq!(help(&["--help"]), file!["snapshots/help.txt"].raw());
}

#[test]
fn help_of_build() {
    assert_data_eq!(help(&["build", "--help"]), file!["snapshots/build.txt"].raw());
}

#[test]
fn short_help_of_build() {
    assert_data_eq!(help(&["build", "-h"]), file!["snapshots/build-short.txt"].raw());
}

#[test]
fn help_of_inspect() {
    assert_data_eq!(help(&["inspect", "--help"]), file!["snapshots/inspect.txt"].raw());
}

#[test]
fn help_of_ls() {
    assert_data_eq!(help(&["ls", "--help"]), file!["snapshots/ls-help.txt"].raw());
}

#[test]
fn help_of_diff() {
    assert_data_eq!(help(&["diff", "--help"]), file!["snapshots/diff-help.txt"].raw());
}

#[test]
fn help_of_validate() {
    assert_data_eq!(help(&["validate", "--help"]), file!["snapshots/validate.txt"].raw());
}

#[test]
fn version_is_that_of_the_package() {
    assert_eq!(help(&["--version"]), format!("ocibuild {}\n", env!("CARGO_PKG_VERSION")));
}
