//! Digests that must stay what they are: of layers, their contents and whole images made from a
//! fixed tree, by each compression, at one thread and at many.
//!
//! `UPDATE_GOLDEN=1 cargo test -p ocibuild-core --test golden` writes down what they are now; that
//! is a change every user sees, and belongs into `CHANGELOG.md`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod support;

use std::fs;
use std::path::Path;

use ocibuild_core::files::{DiskTree, FileTree, MemoryTree};
use ocibuild_core::oci::{Compression, Platform};
use ocibuild_core::spec::{ImageSpec, LayerSpec};
use ocibuild_testkit::TempTree;
use support::{Setup, build_image, root, text};

const FILES: usize = 60;

fn name(number: usize) -> String {
    match number % 5 {
        0 => format!("lib/{number}.js"),
        1 => format!("lib/deep/{}/{number}", "d".repeat(120)),
        2 => format!("lib.d/grün {number}"),
        3 => format!("lib-{number}/{}", "n".repeat(101)),
        _ => format!("{number}"),
    }
}

fn content(number: usize) -> Vec<u8> {
    let length = if number == 7 { (1 << 20) + 4321 } else { number * 1733 % 40_000 };
    text(number as u32, length)
}

fn memory() -> MemoryTree {
    let tree =
        MemoryTree::new().program("bin/run", "#!/bin/sh\n").symlink("latest", "lib//deep/").directory("void");
    (0..FILES).fold(tree, |tree, number| tree.file(name(number), content(number)))
}

fn on_disk() -> TempTree {
    let tree = TempTree::new()
        .file_with_mode("bin/run", "#!/bin/sh\n", 0o700)
        .symlink("latest", "lib//deep/")
        .directory_with_mode("void", 0o700);
    (0..FILES).rev().fold(tree, |tree, number| tree.file_with_mode(name(number), content(number), 0o600))
}

fn image(compression: Compression) -> ImageSpec {
    let app = LayerSpec::named("app").copy(".", "/srv/app").copy("bin", "/usr/bin").owner(65_532, 3_000_000);
    let config = LayerSpec::named("config")
        .content("/etc/app.conf", "x = 1\n")
        .mode(0o600)
        .symlink("/etc/link", "app.conf")
        .directory("/tmp")
        .mode(0o1777);
    ImageSpec::scratch(Platform::linux_amd64())
        .layer(app.compression(compression))
        .layer(config.compression(compression))
        .entrypoint(["/usr/bin/run"])
        .env("PATH", "/usr/bin")
        .label("org.example.label", "é")
        .user("65532")
}

/// The digests that an image comes to, one a line.
fn digests(tree: &dyn FileTree, compression: &str, threads: usize) -> String {
    let cache = tempfile::tempdir().unwrap();
    let setup = Setup { threads, use_records: false, ..Setup::new(cache.path()) };
    let built = build_image(tree, &image(compression.parse().unwrap()), &setup);
    let mut text = String::new();
    for layer in built.layers.iter().flat_map(|layer| &layer.record.layers) {
        text += &format!("layer    {}\ndiff_id  {}\n", layer.descriptor.digest, layer.diff_id);
    }
    text + &format!("manifest {}\n", root(&built))
}

#[track_caller]
fn check(compression: &str) {
    let one = digests(&memory(), compression, 1);
    assert_eq!(digests(&memory(), compression, 4), one, "at four threads");
    let disk = on_disk();
    assert_eq!(digests(&DiskTree::open(disk.path()).unwrap(), compression, 2), one, "from disk");
    let file = format!("tests/golden/{}.txt", compression.replace(':', "-"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    #[expect(clippy::disallowed_methods, reason = "a test is told by the environment what to do")]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    if update {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &one).unwrap();
    }
    assert_eq!(one, fs::read_to_string(&file).unwrap_or_default(), "{}", file.display());
}

#[test]
fn uncompressed_layers_keep_their_digests() {
    check("none");
}

#[test]
fn layers_by_default_keep_their_digests() {
    check(&Compression::default().to_string());
}

#[test]
fn layers_at_the_fastest_level_keep_their_digests() {
    check("gzip:1");
}

#[test]
fn layers_at_pigz_s_level_keep_their_digests() {
    check("gzip:6");
}

#[test]
fn layers_by_zstd_keep_their_digests() {
    check("zstd:3");
}

#[test]
fn layers_by_zstd_at_a_level_that_looks_further_keep_their_digests() {
    check("zstd:9");
}

#[test]
fn layers_at_the_slowest_level_keep_their_digests() {
    check("gzip:9");
}
