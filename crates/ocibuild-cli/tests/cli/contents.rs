//! `ls` and `diff`.

use ocibuild_core::blob::{BytesContent, Sink as _, Target as _};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{ImageConfig, Index, Manifest, MediaType, Platform, RootFs, to_json};
use ocibuild_core::{Descriptor, DiffId, Digest};
use serde_json::Value;
use snapbox::{assert_data_eq, file};

use crate::bench::{Bench, without_digests};

/// A tar from lines: what kind, the path, mode and owner, then a content or target. In a path and
/// in what is behind it, `\` stands for a byte in hexadecimal.
pub(crate) fn tar(lines: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines.lines().map(str::trim) {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, path, mode, owner, rest @ ..] = &words[..] else { panic!("{line}") };
        let (uid, gid) = owner.split_once(':').unwrap();
        let mut rest = bytes(&rest.join(" "));
        let mut header = tar::Header::new_ustar();
        header.set_mode(u32::from_str_radix(mode, 8).unwrap());
        header.set_uid(uid.parse().unwrap());
        header.set_gid(gid.parse().unwrap());
        header.set_mtime(1);
        if let Some((time, content)) = std::str::from_utf8(&rest).ok().and_then(|text| text.split_once(" @"))
        {
            header.set_mtime(content.parse().unwrap());
            rest = time.as_bytes().to_vec();
        }
        let path = bytes(path);
        header.as_mut_bytes()[..path.len()].copy_from_slice(&path);
        header.set_entry_type(match *kind {
            "d" => tar::EntryType::Directory,
            "f" | "x" => tar::EntryType::Regular,
            "l" => tar::EntryType::Symlink,
            "h" => tar::EntryType::Link,
            "c" => tar::EntryType::Char,
            "p" => tar::EntryType::Fifo,
            _ => panic!("{line}"),
        });
        match *kind {
            "l" | "h" => header.set_link_name_literal(std::mem::take(&mut rest)).unwrap(),
            "c" => {
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            }
            "x" => builder.append_pax_extensions([("SCHILY.xattr.user.note", &b"\xff"[..])]).unwrap(),
            _ => {}
        }
        header.set_size(rest.len() as u64);
        header.set_cksum();
        builder.append(&header, &rest[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}

/// Puts blobs into a layout of the bench.
pub(crate) struct Images(pub(crate) Layout);

impl Images {
    pub(crate) fn new(bench: &Bench) -> Self {
        Self(Layout::open_or_create(bench.path("images")).unwrap())
    }

    pub(crate) fn blob(&self, media_type: MediaType, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        self.0.push(&descriptor, &BytesContent::new(bytes)).unwrap();
        descriptor
    }

    /// Writes an image of these layers, with a config of these fields.
    pub(crate) fn image(&self, architecture: &str, layers: &[&str], fields: Value) -> Descriptor {
        self.image_of(architecture, layers.iter().map(|layer| tar(layer)).collect(), fields)
    }

    /// Writes an image of layers that are tars already.
    pub(crate) fn image_of(&self, architecture: &str, layers: Vec<Vec<u8>>, fields: Value) -> Descriptor {
        let diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
        let blobs = layers.into_iter().map(|layer| self.blob(MediaType::LAYER, layer)).collect();
        let mut config = ImageConfig::new("linux", architecture);
        config.rootfs = RootFs::new(diff_ids);
        config.config = serde_json::from_value(fields).unwrap();
        let config = self.blob(MediaType::CONFIG, to_json(&config));
        self.blob(MediaType::MANIFEST, to_json(&Manifest::new(config, blobs)))
    }

    pub(crate) fn named(&self, name: &str, layers: &[&str], fields: Value) {
        let image = self.image("amd64", layers, fields);
        self.0.tag(&image, name).unwrap();
    }
}

pub(crate) const LOWER: &str = "d app 0755 0:0
    f app/server 4755 0:0 the old server
    f app/config 0640 65532:7 key = value
    f app/gone 0644 0:0 wasted
    h app/again 0644 0:0 app/config
    d lib 0755 0:0
    l lib64 0777 0:0 lib
    c null 0666 0:0
    p pipe 0600 0:0
    d tmp 1777 0:0
    f \\1b[31m\\0ared 0644 0:0 x
    f \\ff 0644 0:0 x";

pub(crate) const UPPER: &str = "f app/server 0755 0:0 the new server, which is longer
    f app/.wh.gone 0000 0:0
    f lib64/module 0644 0:0 behind a link
    d cache 0755 0:0
    f cache/.wh..wh..opq 0000 0:0
    f srv/www/index.html 0644 0:0 <html>";

fn bench() -> Bench {
    let bench = Bench::new();
    Images::new(&bench).named("app", &[LOWER, UPPER], Value::Null);
    bench
}

fn show(bench: &Bench, arguments: &[&str]) -> String {
    String::from_utf8(bench.ok(arguments).stdout).unwrap()
}

#[test]
fn ls_lists_what_a_container_would_see() {
    let bench = bench();
    bench.valid("images:app");
    assert_data_eq!(show(&bench, &["ls", "images:app"]), file!["snapshots/ls.txt"].raw());
    let part = show(&bench, &["ls", "oci:images:app", "app", "--sort", "size", "--depth", "1"]);
    let paths: Vec<&str> = part.lines().map(|line| line.split("  ").last().unwrap()).collect();
    assert_eq!(paths, ["/app/server", "/app/again link to /app/config", "/app/config", "/app"]);
    // A link is one, and with a slash what it leads to.
    assert!(show(&bench, &["ls", "images:app", "/lib64"]).ends_with("/lib64 -> lib\n"));
    assert!(show(&bench, &["ls", "images:app", "/lib64/"]).ends_with("/lib/module\n"));
    assert_eq!(show(&bench, &["ls", "images:app", "/lib64/module", "--depth", "0"]).lines().count(), 1);
}

#[test]
fn ls_draws_a_tree_with_sizes() {
    let bench = bench();
    assert_data_eq!(show(&bench, &["ls", "--tree", "images:app"]), file!["snapshots/ls-tree.txt"].raw());
    let part = show(&bench, &["ls", "--tree", "--depth", "1", "--sort", "size", "images:app", "/app"]);
    assert!(part.lines().nth(1).unwrap().ends_with("├── server"), "{part}");
}

#[test]
fn ls_shows_a_layer_as_it_is_and_what_is_wasted() {
    let bench = bench();
    let layer = show(&bench, &["ls", "--layer", "2", "images:app"]);
    assert_data_eq!(layer, file!["snapshots/ls-layer.txt"].raw());
    let shadowed = show(&bench, &["ls", "--shadowed", "images:app"]);
    assert_data_eq!(shadowed, file!["snapshots/ls-shadowed.txt"].raw());
}

#[test]
fn ls_tells_programs_everything() {
    let bench = bench();
    let list = bench.ok(&["ls", "--format", "json", "--digests", "images:app"]).json();
    let list_text = without_digests(&format!("{list:#}\n"));
    assert_data_eq!(list_text, file!["snapshots/ls.json"].raw());
    let layer = bench.ok(&["ls", "--format", "json", "--layer", "2", "images:app", "/app"]).json();
    assert_eq!((&layer["view"], &layer["layer"]), (&"layer".into(), &2.into()));
    let kinds: Vec<&str> =
        layer["entries"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["file", "whiteout"]);
}

#[test]
fn what_ls_cannot_find_is_told_with_where_it_is() {
    let bench = bench();
    let said = |arguments: &[&str]| {
        let output = bench.run(&[&["ls", "images:app"], arguments].concat()).expect_code(2);
        assert!(output.stdout.is_empty(), "{output}");
        bench.said(&output)
    };
    assert_data_eq!(said(&["/app/gone"]), file!["snapshots/ls-gone.txt"].raw());
    assert!(said(&["/app/none/at/all"]).contains("leads as far as `/app`"));
    assert!(said(&["--layer", "3"]).contains("there is no layer 3: the image has 2 layers"));
    assert!(said(&["--layer", "2", "/tmp"]).contains("layer 2 has nothing at `/tmp`"));
    said(&["--tree", "--layer", "1"]);
    said(&["--tree", "--format", "json"]);
    let output = bench.run(&["ls", "nope"]).expect_code(3).errors();
    assert!(output.contains("there is no such directory"), "{output}");
}

#[test]
fn one_of_several_platforms_has_to_be_named() {
    let bench = Bench::new();
    let images = Images::new(&bench);
    let platforms = [("amd64", "f amd64 0644 0:0"), ("arm64", "f arm64 0644 0:0")];
    let manifests = platforms.map(|(architecture, layer)| {
        let mut image = images.image(architecture, &[layer], Value::Null);
        image.platform = Some(Platform::new("linux", architecture));
        image
    });
    let index = images.blob(MediaType::INDEX, to_json(&Index::new(manifests.to_vec())));
    images.0.tag(&index, "both").unwrap();
    let said = bench.said(&bench.run(&["ls", "images:both"]).expect_code(2));
    assert_data_eq!(said, file!["snapshots/ls-platforms.txt"].raw());
    let arm64 = show(&bench, &["ls", "--platform", "linux/arm64", "images:both"]);
    assert!(arm64.ends_with("/arm64\n"), "{arm64}");
    let output = bench.run(&["ls", "--platform", "linux/s390x", "images:both"]).expect_code(2).errors();
    assert!(output.contains("only for `linux/amd64`, `linux/arm64`"), "{output}");
}

const COMMON: &str = "f shared 0644 0:0 shared\nd etc 0755 0:0";
const BEFORE: &str = "f content 0644 0:0 one\nf length 0644 0:0 one\nf mode 0644 0:0 x\nf owner 0644 0:0 x
    f time 0644 0:0 x @5\nl link 0777 0:0 old\\1b\nx attributes 0644 0:0\nf kind 0644 0:0\nf gone 0644 0:0 gone
    f moved 0644 0:0 same";
const AFTER: &str = "f content 0644 0:0 two\nf length 0644 0:0 three\nf mode 0755 0:0 x\nf owner 0644 5:6 x
    f time 0644 0:0 x @6\nl link 0777 0:0 new\nf attributes 0644 0:0\nd kind 0755 0:0\nd new 0755 0:0
    f new/file 0644 0:0 new\nf moved 0644 0:0 same";

fn two() -> Bench {
    let bench = Bench::new();
    let images = Images::new(&bench);
    let config = |env: &[&str], cmd: &str| serde_json::json!({ "Env": env, "Cmd": [cmd], "User": "1" });
    images.named("old", &[COMMON, BEFORE], config(&["A=1", "B=2"], "run"));
    images.named("new", &[COMMON, AFTER], config(&["A=1", "B=3", "C="], "serve"));
    bench
}

#[test]
fn diff_tells_each_kind_of_change_and_ends_with_1() {
    let bench = two();
    let output = bench.run(&["diff", "images:old", "images:new"]).expect_code(1);
    assert!(output.stderr.is_empty(), "{output}");
    assert_data_eq!(without_digests(&output.text()), file!["snapshots/diff.txt"].raw());
    let output = bench.run(&["diff", "--format", "json", "images:old", "images:new"]).expect_code(1).json();
    let text = without_digests(&format!("{output:#}\n"));
    assert_data_eq!(text, file!["snapshots/diff.json"].raw());
}

#[test]
fn diff_of_images_that_are_alike_ends_with_0() {
    let bench = two();
    let same = show(&bench, &["diff", "images:old", "oci:images:old"]);
    assert!(same.ends_with("\nit is one and the same image\n"), "{same}");
    // The same spec in another compression: other blobs, the same content.
    bench.write("ocibuild.toml", crate::bench::SPEC);
    for compression in ["none", "gzip"] {
        bench.digest(&["--compression", compression, "--output", &format!("type=oci,dest={compression}")]);
    }
    let same = show(&bench, &["diff", "none", "gzip"]);
    assert!(same.contains("no difference in files, config and layers"), "{same}");
    let json = bench.ok(&["diff", "--format", "json", "none", "gzip"]).json();
    assert_eq!(json["layers"][0]["relation"], "same-content");
    assert_eq!(json["same"], true);
}

#[test]
fn diff_leaves_out_what_it_is_told_to() {
    let bench = Bench::new();
    let images = Images::new(&bench);
    images.named("old", &["f x 0644 0:0 1 @5\nf y 0644 0:0 1"], Value::Null);
    images.named("new", &["f x 0644 0:0 1 @6\nf y 0644 1:1 1"], Value::Null);
    let summary = |arguments: &[&str]| {
        let arguments = [&["diff", "--format", "json", "images:old", "images:new"], arguments].concat();
        bench.run(&arguments).expect_code(1).json()["summary"].clone()
    };
    assert_eq!(summary(&[])["files_changed"], 2);
    assert_eq!(summary(&["--ignore", "mtime"])["files_changed"], 1);
    assert_eq!(summary(&["--ignore", "mtime", "--ignore", "owner"])["files_changed"], 0);
}

#[test]
fn a_damaged_layer_is_not_shown() {
    let bench = bench();
    let inspected = bench.ok(&["inspect", "--format", "json", "images:app"]).json();
    let digest = inspected["images"][0]["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let blob = bench.path("images/blobs/sha256").join(digest);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    for arguments in [&["ls", "images:app"][..], &["ls", "--layer", "2", "images:app"]] {
        let output = bench.run(arguments).expect_code(3);
        assert!(output.stdout.is_empty(), "{output}");
    }
}
