//! Spec files that extend others.

use snapbox::{assert_data_eq, file};

use crate::bench::Bench;

const TEAM: &str = r#"version = 1
root = "nowhere"

[defaults.images]
base = { builtin = "static@1" }
user = "65532"

[layers.app]
copy = [{ from = "hello", to = "/app/hello" }]

[layers.unused]
copy = [{ content = "", to = "/unused" }]
"#;

const OWN: &str = r#"version = 1
extends = "../team/team.toml"

[images.app]
layers = ["app"]
entrypoint = ["/app/hello"]
"#;

#[test]
fn an_extended_file_counts_from_the_root_of_the_one_that_extends() {
    let bench = Bench::with_spec(
        "version = 1\n[layers.app]\ncopy = [{ from = \"hello\", to = \"/app/hello\" }]\n[images.app]\n\
         base = { builtin = \"static@1\" }\nuser = \"65532\"\nlayers = [\"app\"]\nentrypoint = [\"/app/hello\"]\n",
    );
    let plain = bench.digest(&[]);
    bench.tree.write("team/team.toml", TEAM);
    bench.write("ocibuild.toml", OWN);
    let output = bench.ok(&["build"]);
    assert_eq!(output.text(), plain);
    assert!(!output.errors().contains("warning"), "{output}");
    bench.valid("app.oci");
}

#[test]
fn faults_of_an_extended_file_show_its_lines() {
    let bench = Bench::with_spec(OWN);
    bench.tree.write("team/team.toml", TEAM.replace("user = \"65532\"", "user = \"a b\""));
    let said = bench.said(&bench.run(&["build"]).expect_code(2));
    assert_data_eq!(said, file!["snapshots/extended-fault.txt"].raw());
}

#[test]
fn a_missing_file_of_an_extended_layer_shows_the_line_of_its_copy() {
    let bench = Bench::with_spec(OWN);
    bench.tree.write("team/team.toml", TEAM.replace("\"hello\"", "\"hallo\""));
    let said = bench.said(&bench.run(&["build", "--progress", "none"]).expect_code(3));
    assert_data_eq!(said, file!["snapshots/extended-missing-source.txt"].raw());
}

#[test]
fn a_circle_and_a_file_that_is_not_there() {
    let bench = Bench::with_spec(OWN);
    let said = bench.said(&bench.run(&["build"]).expect_code(2));
    assert_data_eq!(said, file!["snapshots/extended-absent.txt"].raw());
    // By another name it is the same file.
    bench.tree.write("team/team.toml", format!("extends = \"../team/../work/ocibuild.toml\"\n{TEAM}"));
    let said = bench.said(&bench.run(&["build"]).expect_code(2));
    assert_data_eq!(said, file!["snapshots/extended-circle.txt"].raw());
}

#[test]
fn an_unknown_owner_is_told_where_it_is_written_if_that_is_among_defaults() {
    let bench = Bench::new();
    bench.tree.write("team/team.toml", format!("{TEAM}\n[defaults.copies]\nowner = \"ghost\"\n"));
    bench.write("ocibuild.toml", OWN);
    for command in ["build", "check"] {
        let said = bench.run(&[command]).expect_code(3).errors();
        let place = "../team/team.toml:15:9: layer `app`: the base has no user `ghost`\n  15 | owner = \"ghost\"\n     |         ^^^^^^^\n";
        assert!(said.contains(place), "{said}");
    }
}
