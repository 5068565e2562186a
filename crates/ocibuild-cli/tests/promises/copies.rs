//! Images are copied between places of all kinds without a byte of them changing, from what other
//! tools wrote and to what other tools read.

use crate::ocibuild::{Ocibuild, digest, lines, text};
use ocibuild_testkit::{Containerd, Docker, Podman, Skopeo, TempTree, docker, registry, require, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A layout `app.oci` of an image for two platforms, beside the program.
fn built() -> (Ocibuild, TempTree, String) {
    let tree = TempTree::from_text("files/a = text\n files/b/c = other");
    let ocibuild = Ocibuild::new().within(tree.path());
    let flags = ["--copy", "files:/files", "--cmd", "/files/a", "--name", "app"];
    let line = ocibuild.build_one(&[&flags[..], &["--platform", "linux/amd64,linux/arm64"]].concat());
    (ocibuild, tree, digest(&line).to_owned())
}

#[track_caller]
fn one(ocibuild: &Ocibuild, arguments: &[&str]) -> String {
    lines(&run(ocibuild.command().args(arguments))).remove(0)
}

#[track_caller]
fn config(ocibuild: &Ocibuild, image: &str) -> String {
    let shown = ocibuild.inspect(image);
    shown["images"][0]["config"]["rootfs"]["diff_ids"].to_string()
}

#[test]
fn what_skopeo_wrote_is_taken() {
    let skopeo = require!(Skopeo::new());
    let (ocibuild, tree, whole) = built();
    let amd = one(&ocibuild, &["copy", "--platform", "linux/amd64", "app.oci", "oci:amd:1"]);
    let at = |name: &str| tree.join(name).display().to_string();
    skopeo.copy_with(
        &["--all"],
        &format!("oci:{}", at("app.oci")),
        &format!("oci-archive:{}:x", at("oci.tar")),
    );
    assert_eq!(one(&ocibuild, &["copy", "oci-archive:oci.tar:x", "oci:whole:1"]), whole);
    let docker = format!("docker-archive:{}:r.io/app:1", at("docker.tar"));
    skopeo.copy(&format!("oci:{}:1", at("amd")), &docker);
    let image = one(&ocibuild, &["copy", "docker-archive:docker.tar:r.io/app:1", "oci:docker:1"]);
    assert_ne!(image, amd, "layers come uncompressed");
    assert_eq!(config(&ocibuild, "docker"), config(&ocibuild, "amd"));
    ocibuild.check(&tree.join("whole"), "1");
    ocibuild.check(&tree.join("docker"), "1");
    // By way of a registry the made manifest stays the same.
    let address = require!(registry());
    let pushed = one(&ocibuild, &["push", "docker.tar", &format!("{address}/copies/skopeo:1")]);
    assert_eq!(digest(&pushed), image);
    let raw = skopeo.raw_manifest(&format!("docker://{address}/copies/skopeo:1"));
    let kept = tree.join("docker/blobs/sha256").join(image.trim_start_matches("sha256:"));
    assert_eq!(raw, fs::read(kept).unwrap());
    let preserve = ["--preserve-digests"];
    skopeo.copy_with(
        &preserve,
        &format!("docker://{address}/copies/skopeo:1"),
        &format!("oci:{}:1", at("back")),
    );
    assert_eq!(one(&ocibuild, &["copy", "back", "oci:again:1"]), image);
}

#[test]
fn what_is_written_is_taken_by_skopeo_and_podman() {
    let podman = require!(Podman::new());
    let skopeo = require!(Skopeo::new());
    let (ocibuild, tree, _) = built();
    one(&ocibuild, &["save", "--platform", "linux/amd64", "app.oci", "one.tar", "-t", "localhost/one:1"]);
    let archive = tree.join("one.tar");
    for transport in ["oci-archive", "docker-archive"] {
        run(skopeo.command().args(["inspect", &format!("{transport}:{}", archive.display())]));
    }
    assert_eq!(podman.load(&archive), "localhost/one:1");
    for format in ["docker-archive", "oci-archive"] {
        let saved = tree.join(format!("{format}.tar"));
        run(podman
            .command()
            .args(["save", "--quiet", "--format", format, "--output"])
            .arg(&saved)
            .arg("localhost/one:1"));
        let image = format!("{format}:{}", saved.display());
        one(&ocibuild, &["copy", &image, &format!("oci:{format}:1")]);
        ocibuild.check(&tree.join(format), "1");
        assert_eq!(config(&ocibuild, &image), config(&ocibuild, "one.tar"));
    }
    // Several images, whose shared layers stand there once.
    run(podman.command().args(["tag", "localhost/one:1", "localhost/two:2"]));
    let many = tree.join("many.tar");
    let words = ["save", "--quiet", "--multi-image-archive", "--output"];
    run(podman.command().args(words).arg(&many).args(["localhost/one:1", "localhost/two:2"]));
    one(&ocibuild, &["copy", &format!("{}:localhost/two:2", text(&many)), "oci:two:2"]);
    ocibuild.check(&tree.join("two"), "2");
}

/// Has docker load, run and save an image; gives what it saved.
fn through(docker: &Docker, archive: &Path, name: &str, saved: &Path) -> PathBuf {
    assert_eq!(docker.load(archive), name);
    run(docker.command().args(["save", "--output"]).arg(saved).arg(name));
    saved.to_owned()
}

#[test]
fn docker_loads_what_is_saved_and_what_it_saves_is_taken() {
    let docker = require!(docker());
    let (ocibuild, tree, _) = built();
    let name = "copies-through-docker:1";
    one(&ocibuild, &["save", "--platform", "linux/amd64", "app.oci", "one.tar", "-t", name]);
    let saved = through(&docker, &tree.join("one.tar"), name, &tree.join("saved.tar"));
    for image in [text(&saved).to_owned(), format!("docker-archive:{}:{name}", saved.display())] {
        assert_eq!(config(&ocibuild, &image), config(&ocibuild, "one.tar"));
        run(ocibuild.command().args(["validate", &image]));
    }
    // Through a pipe, as it is.
    let mut save = docker.command().args(["save", name]).stdout(Stdio::piped()).spawn().unwrap();
    let mut copy = ocibuild.command();
    copy.args(["copy", "-", "oci:piped:1"]).stdin(save.stdout.take().unwrap());
    assert!(copy.status().unwrap().success());
    assert!(save.wait().unwrap().success());
    ocibuild.check(&tree.join("piped"), "1");
    docker.remove(name);
}

#[test]
fn containerd_imports_what_is_saved() {
    let containerd = require!(Containerd::new());
    let (ocibuild, tree, whole) = built();
    let name = "registry.example.com/copies/app:1";
    assert_eq!(one(&ocibuild, &["save", "app.oci", "whole.tar", "-t", name]), whole);
    assert_eq!(containerd.import(&tree.join("whole.tar")), [name]);
    let listed = run(containerd.command().args(["images", "list"])).text();
    assert!(listed.contains(&whole), "{listed}");
}
