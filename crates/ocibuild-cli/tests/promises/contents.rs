//! What `ls` tells is what another program unpacks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ocibuild::Ocibuild;
use ocibuild_testkit::{Entry, Kind, TempTree, Umoci, entries, require, run};
use serde_json::Value;

/// Adds a layer to an image with umoci: `change` is a shell command, run in the root file system.
fn layer(umoci: &Umoci, layout: &Path, home: &Path, number: usize, change: &str) {
    let bundle = home.join(format!("bundle-{number}"));
    let image = format!("{}:app", layout.display());
    run(umoci.command().args(["unpack", "--image", &image]).arg(&bundle));
    run(Command::new("sh").args(["-euc", change]).current_dir(bundle.join("rootfs")));
    run(umoci.command().args(["repack", "--image", &image]).arg(&bundle));
}

/// What `ls` tells of everything below the root, in the words of the testkit.
fn listed(items: &[Value]) -> BTreeMap<PathBuf, Told> {
    let told = |item: &Value| {
        let path = item["path"].as_str()?.trim_start_matches('/');
        let number = |name: &str| item[name].as_i64().unwrap_or_default();
        let kind = match item["kind"].as_str()? {
            "symlink" => format!("-> {}", item["target"].as_str()?),
            "file" => format!("file {}", item["size"]),
            "fifo" | "character-device" | "block-device" => "special".to_owned(),
            kind => kind.to_owned(),
        };
        let mode = u32::from_str_radix(item["mode"].as_str()?, 8).ok()?;
        Some((PathBuf::from(path), (kind, mode, number("uid"), number("gid"), number("mtime"))))
    };
    items.iter().filter_map(told).filter(|(path, _)| !path.as_os_str().is_empty()).collect()
}

/// Kind, mode, owner, group, time.
type Told = (String, u32, i64, i64, i64);

fn unpacked(entry: &Entry) -> Told {
    let kind = match &entry.kind {
        Kind::Directory => "directory".to_owned(),
        Kind::File { length, .. } => format!("file {length}"),
        Kind::Symlink { target } => format!("-> {}", target.display()),
        Kind::Special(_) => "special".to_owned(),
    };
    (kind, entry.mode, entry.uid.into(), entry.gid.into(), entry.modified)
}

#[test]
fn ls_tells_what_umoci_unpacks() {
    let umoci = require!(Umoci::new());
    let tree = TempTree::new();
    let (layout, ocibuild) = (tree.join("layout"), Ocibuild::new());
    run(umoci.command().args(["init", "--layout"]).arg(&layout));
    run(umoci.command().args(["new", "--image", &format!("{}:app", layout.display())]));
    let changes = [
        "mkdir -p a/b usr/lib gone/deep; echo one > a/one; echo two > a/b/two; ln -s usr/lib lib
         echo x > gone/deep/x; echo k > kept; ln kept linked; mkfifo pipe; mknod null c 1 3
         chmod 4711 a/one; chown 7:8 a/b/two; mkdir -m 1777 tmp; echo f > file-or-directory",
        "rm -r gone a/b/two; echo three > a/b/three; echo changed > a/one; rm kept
         rm file-or-directory; mkdir file-or-directory; echo y > file-or-directory/y; chmod 700 tmp",
        "rm -r a; mkdir a; echo anew > a/anew; echo module > lib/module; rm lib; mkdir lib
         ln linked a/again; touch -d @1000000000 linked; chown -h 9:9 usr",
    ];
    for (number, change) in changes.iter().enumerate() {
        layer(&umoci, &layout, tree.path(), number, change);
    }
    let image = format!("{}:app", layout.display());
    let list = run(ocibuild.command().args(["ls", "--format", "json", &image])).json();
    let bundle = umoci.unpack(&layout, "app");
    let expected: BTreeMap<PathBuf, Told> =
        entries(&bundle.rootfs()).iter().map(|(path, entry)| (path.clone(), unpacked(entry))).collect();
    let listed = listed(list["entries"].as_array().unwrap());
    assert!(expected.len() > 12, "{expected:#?}");
    assert_eq!(listed, expected);
}
