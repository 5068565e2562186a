//! What becomes of a base's symbolic links on the way to a destination, as umoci unpacks it.

use crate::ocibuild::{Ocibuild, text};
use ocibuild_testkit::{Entry, Kind, TempTree, Umoci, entries, require, run_any};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A base with a merged `/usr`.
const BASE: &str = r#"version = 1
[layers.base]
copy = [
  { directory = "/usr/lib", mode = "0750" },
  { content = "of the base", to = "/usr/lib/base.so" },
  { symlink = "usr/lib", to = "/lib" },
  { directory = "/opt", mode = "0711" },
  { symlink = "/usr/lib", to = "/opt/app" },
]
[images.base]
layers = ["base"]
platforms = ["linux/amd64"]
tags = ["localhost/base:1"]
"#;

fn spec(what: &str, copies: &str) -> String {
    format!(
        "version = 1\n[defaults.copies]\non-base-symlink = \"{what}\"\n[layers.app]\ncopy = [\n{copies}\n]\n\
         [images.app]\nbase = {{ layout = \"base\" }}\nlayers = [\"app\"]\nplatforms = [\"linux/amd64\"]\n\
         tags = [\"localhost/app:1\"]\n"
    )
}

/// One of each kind, behind both links.
const COPIES: &str = r#"  { content = "new", to = "/lib/app.so" },
  { from = "tree", to = "/opt/app/tree" },
  { directory = "/opt/app/empty" },"#;

fn build(ocibuild: &Ocibuild, tree: &TempTree, what: &str) -> PathBuf {
    tree.write("ocibuild.toml", spec(what, COPIES));
    let out = tree.join(what);
    let output = format!("type=oci,dest={}", out.display());
    ocibuild.build_one(&["-f", text(&tree.join("ocibuild.toml")), "--output", &output]);
    ocibuild.check(&out, "1");
    out
}

fn unpacked(umoci: &Umoci, layout: &Path) -> BTreeMap<PathBuf, Entry> {
    entries(&umoci.unpack(layout, "1").rootfs())
}

#[track_caller]
fn check(found: &BTreeMap<PathBuf, Entry>, path: &str, mode: u32, is_directory: bool) {
    let entry = found.get(Path::new(path)).unwrap_or_else(|| panic!("{path}: {found:?}"));
    assert_eq!((entry.kind == Kind::Directory, entry.mode), (is_directory, mode), "{path}");
}

#[test]
fn links_of_a_base_are_followed_replaced_or_an_error() {
    let umoci = require!(Umoci::new());
    let ocibuild = Ocibuild::new();
    let tree = TempTree::new().file("tree/d/file", "x").file("base.toml", BASE);
    let output = format!("type=oci,dest={}", tree.join("base").display());
    ocibuild.build_one(&["-f", text(&tree.join("base.toml")), "--output", &output]);

    let found = unpacked(&umoci, &build(&ocibuild, &tree, "follow"));
    for (link, target) in [("lib", "usr/lib"), ("opt/app", "/usr/lib")] {
        assert_eq!(found[Path::new(link)].kind, Kind::Symlink { target: target.into() });
    }
    check(&found, "usr/lib", 0o750, true);
    check(&found, "usr/lib/app.so", 0o644, false);
    check(&found, "usr/lib/tree/d/file", 0o644, false);
    check(&found, "usr/lib/empty", 0o755, true);

    let found = unpacked(&umoci, &build(&ocibuild, &tree, "replace"));
    check(&found, "lib", 0o755, true);
    check(&found, "lib/app.so", 0o644, false);
    check(&found, "opt", 0o711, true);
    check(&found, "opt/app", 0o755, true);
    check(&found, "opt/app/tree/d/file", 0o644, false);
    check(&found, "opt/app/empty", 0o755, true);
    check(&found, "usr/lib", 0o750, true);
    check(&found, "usr/lib/base.so", 0o644, false);
    assert!(
        !found.contains_key(Path::new("usr/lib/app.so")) && !found.contains_key(Path::new("lib/base.so"))
    );

    tree.write("ocibuild.toml", spec("error", COPIES));
    let refused = run_any(ocibuild.command().args(["build", "-f", text(&tree.join("ocibuild.toml"))]));
    let words = "`/lib/app.so` goes through `/lib`, which the base has as a symbolic link to `usr/lib`";
    assert!(refused.errors().contains(words) && refused.errors().contains("ocibuild.toml:6:"), "{refused}");
    let unchanged = fs::read_dir(tree.path()).unwrap().all(|entry| entry.unwrap().file_name() != "error");
    assert!(unchanged, "nothing is written");
}
