//! Unusual file systems: the same digests from them, and builds that keep their cache and their
//! results on them, or say why not.

use crate::ocibuild::{Ocibuild, text};
use crate::same_digest::{copied, same, source};
use ocibuild_testkit::{Mounted, TempTree, require, run, run_any};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn same_from_memory() {
    let memory = require!(Mounted::tmpfs());
    let copy = copied(&["--archive"], &source(false), &memory.path().join("copy"));
    same("tmpfs", &[], &copy, &[], &[]);
}

#[test]
fn same_from_where_nothing_can_be_written() {
    let tree = source(false);
    let view = require!(Mounted::read_only(tree.path()));
    assert!(fs::write(view.path().join("file"), "").is_err());
    same("read-only", &[], &view.path(), &[], &[]);
}

#[test]
fn same_from_layers_that_lie_over_each_other() {
    let tree = source(false);
    let view = require!(Mounted::overlay(tree.path()));
    same("as it was", &[], &view.path(), &[], &[]);
    // Directories that are opaque or hold whiteouts, and files with their data above or below.
    let path = |name: &str| view.path().join(name);
    fs::remove_dir_all(path("tree/modules/m3")).unwrap();
    fs::remove_file(path("tree/empty")).unwrap();
    fs::write(path("assets/gone"), "").unwrap();
    fs::remove_file(path("assets/gone")).unwrap();
    for name in ["tree/modules/m3", "tree/empty"] {
        run(Command::new("cp").arg("--archive").arg(tree.join(name)).arg(path(name)));
    }
    run(Command::new("chmod").arg("0755").arg(path("assets/large.bin")));
    run(Command::new("touch").arg(path("assets/small.bin")));
    same("changed and changed back", &[], &view.path(), &[], &[]);
}

/// A spec for files whose modes a file system may not know.
const SPEC: &str = r#"
version = 1

[layers.app]
copy = [
  { from = "docs", to = "/docs", exclude = ["notes.md"], mode = "0644" },
  { content = "lower", to = "/app/name" },
  { content = "upper", to = "/app/Name" },
]

[images.app]
base = "scratch"
layers = ["app"]
"#;

fn documents() -> TempTree {
    TempTree::new()
        .file("ocibuild.toml", SPEC)
        .file("docs/README", "read me")
        .file("docs/Notes.md", "a note")
        .file("docs/.hidden", "")
        .file(".dockerignore", "docs/readme\n")
}

/// What an image holds, a line each without what stands before its path.
fn paths(ocibuild: &Ocibuild, layout: &Path) -> Vec<String> {
    let image = format!("oci:{}:app", layout.display());
    let shown = run(ocibuild.command().args(["ls", &image]));
    shown.text().lines().filter_map(|line| Some(line.split_once('/')?.1.to_owned())).collect()
}

#[test]
fn names_keep_their_case_where_case_means_nothing() {
    let card = require!(Mounted::exfat());
    let tree = documents();
    let directory = card.path().join("project");
    run(Command::new("cp").arg("-R").arg(tree.path()).arg(&directory));
    assert!(directory.join("DOCS/readme").exists(), "case means nothing here");

    // Names are as they are on disk, and patterns and ignore files mean one spelling: no other
    // file system has to make the same image of them.
    let ocibuild = Ocibuild::new();
    let layout = tree.join("layout");
    let output = format!("type=oci,dest={}", layout.display());
    let built = |spec: &Path| Ocibuild::new().build_one(&["-f", text(spec), "--output", &output]);
    let digest = built(&directory.join("ocibuild.toml"));
    assert_eq!(digest, built(&tree.join("ocibuild.toml")));
    let kept = ["", "app", "app/Name", "app/name", "docs", "docs/.hidden", "docs/Notes.md", "docs/README"];
    assert_eq!(paths(&ocibuild, &layout), kept);
    ocibuild.check(&layout, "app");

    // A `from` is looked up by the file system; what it is called is the spec's to say.
    let spec = SPEC.replace("from = \"docs\"", "from = \"DOCS\"").replace(
        "copy = [",
        "copy = [\n  { from = \"Docs/Readme\", to = \"/as-written/\" },\n  { from = \"docs/readME\", to = \"/named\" },",
    );
    fs::write(directory.join("ocibuild.toml"), &spec).unwrap();
    built(&directory.join("ocibuild.toml"));
    let kept = [&kept[..], &["as-written", "as-written/Readme", "named"]].concat();
    let mut kept: Vec<&str> = kept;
    kept.sort_unstable();
    assert_eq!(paths(&ocibuild, &layout), kept);
    ocibuild.check(&layout, "app");

    // Where case means something it isn't there, and what is meant is told.
    fs::write(tree.join("ocibuild.toml"), &spec).unwrap();
    let output = ocibuild.build_any(&["-f", text(&tree.join("ocibuild.toml"))]).expect_code(3);
    assert!(output.errors().contains("did you mean `docs/README`?"), "{output}");
}

#[test]
fn a_cache_and_results_may_lie_where_there_are_no_links() {
    let card = require!(Mounted::exfat());
    let memory = require!(Mounted::tmpfs());
    let tree = documents();
    let spec = tree.join("ocibuild.toml");
    let expected = Ocibuild::new().build_one(&["-f", text(&spec), "--output", "type=oci,dest=plain"]);
    for place in [card.path(), memory.path()] {
        let ocibuild = Ocibuild::new().within(&place);
        let arguments = ["-f", text(&spec), "--cache-dir", "cache", "--output", "type=oci,dest=layout"];
        let arguments = [&arguments[..], &["--output", "type=oci-archive,dest=app.tar"]].concat();
        for _ in 0..2 {
            assert_eq!(ocibuild.build_one(&arguments), expected);
            ocibuild.check(&place.join("layout"), "app");
            ocibuild.check_archive(&place.join("app.tar"), "app");
        }
        assert_eq!(fs::read_dir(place.join("cache/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn without_a_place_to_write_to_it_says_which() {
    let tree = documents();
    let spec = tree.join("ocibuild.toml");
    let place = TempTree::new().directory("empty");
    let inline = place.join("inline.toml");
    fs::write(&inline, SPEC.replace("  { from", "  # { from")).unwrap();
    let ocibuild = Ocibuild::new().within(place.path());
    let warm = ["-f", text(&inline), "--cache-dir", "cache", "--output", "type=oci,dest=layout"];
    let expected = ocibuild.build_one(&warm);
    let view = require!(Mounted::read_only(place.path()));
    let view = text(&view.path()).to_owned();
    let cache = format!("{view}/cache");

    // A cache that answers everything needn't be written to.
    let from_cache = ["-f", text(&inline), "--cache-dir", &cache, "--output", "type=oci,dest=again"];
    assert_eq!(ocibuild.build_one(&from_cache), expected);
    ocibuild.check(&place.join("again"), "app");

    let failures: [(&[&str], i32, &str, &str); 5] = [
        (&["--cache-dir", &cache], 6, "cannot create a file in", "choose another (`--cache-dir DIR`)"),
        (&["--cache-dir", &format!("{view}/new")], 6, "cannot create", "choose another (`--cache-dir DIR`)"),
        (&["--output", &format!("type=oci,dest={view}/empty/new")], 3, "cannot create", "may be written to"),
        (&["--output", &format!("type=oci,dest={view}/layout")], 3, "cannot ", "may be written to"),
        (
            &["--output", &format!("type=oci-archive,dest={view}/a.tar")],
            3,
            "cannot write",
            "may be written to",
        ),
    ];
    for (arguments, code, what, hint) in failures {
        let mut command = ocibuild.command();
        command.args(["build", "-f", text(&spec)]).args(arguments);
        let said = run_any(&mut command).expect_code(code).errors();
        assert!(said.contains(what) && said.contains(&view) && said.contains(hint), "{arguments:?}\n{said}");
        assert!(said.contains("Read-only file system"), "{said}");
    }
}
