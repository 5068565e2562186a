//! What lies at a destination stays whole: other images in a layout, a directory that is something
//! else, and the old output when a write is cut off.

use crate::ocibuild::{Ocibuild, digest, names, text};
use ocibuild_testkit::{Skopeo, TempTree, Umoci, entries, require, run};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Builds an image of one directory by flags alone.
fn flags<'a>(copy: &'a str, tag: &'a str, output: &'a str) -> [&'a str; 8] {
    ["--copy", copy, "--entrypoint", "/app/a", "-t", tag, "--output", output]
}

#[test]
fn layout_keeps_its_other_images() {
    let tree = TempTree::from_text("one/a = 1\n two/a = 2\n three/a = 3");
    let ocibuild = Ocibuild::new().within(tree.path());
    let layout = tree.join("layout");
    let output = format!("type=oci,dest={}", layout.display());
    let build = |directory: &str, tag: &str| {
        let copy = format!("{directory}:/app");
        digest(&ocibuild.build_one(&flags(&copy, tag, &output))).to_owned()
    };
    let one = build("one", "localhost/app:1");
    let two = build("two", "localhost/app:2");
    let named = |name: &str, digest: &str| (name.to_owned(), digest.to_owned());
    assert_eq!(names(&layout), [named("1", &one), named("2", &two)]);

    let three = build("three", "localhost/app:1");
    let mut all = names(&layout);
    all.sort();
    assert_eq!(all, [named("1", &three), named("2", &two)]);
    for name in ["1", "2"] {
        ocibuild.check(&layout, name);
    }
    let umoci = require!(Umoci::new());
    assert_eq!(umoci.unpack(&layout, "1").rootfs().join("app/a").metadata().unwrap().len(), 1);
    assert_eq!(fs::read(umoci.unpack(&layout, "1").rootfs().join("app/a")).unwrap(), b"3");
    assert_eq!(fs::read(umoci.unpack(&layout, "2").rootfs().join("app/a")).unwrap(), b"2");
}

#[test]
fn layout_of_another_tool_is_added_to() {
    let umoci = require!(Umoci::new());
    let tree = TempTree::from_text("app/a = 1");
    let ocibuild = Ocibuild::new().within(tree.path());
    let layout = tree.join("layout");
    let image = format!("{}:theirs", layout.display());
    run(umoci.command().args(["init", "--layout"]).arg(&layout));
    run(umoci.command().args(["new", "--image", &image]));
    run(umoci.command().args(["insert", "--image", &image]).arg(tree.join("app")).arg("/app"));
    let theirs = names(&layout);
    let output = format!("type=oci,dest={}", layout.display());
    ocibuild.build_one(&flags("app:/app", "localhost/app:ours", &output));
    assert_eq!(names(&layout)[..1], theirs);
    for name in ["theirs", "ours"] {
        ocibuild.check(&layout, name);
        assert!(umoci.unpack(&layout, name).rootfs().join("app/a").exists(), "{name}");
    }
}

#[test]
fn directory_that_is_something_else_is_refused() {
    let tree = TempTree::from_text("app/a = 1\n home/letter = dear\n file = not a directory");
    let ocibuild = Ocibuild::new().within(tree.path());
    for name in ["home", "file"] {
        let before = entries(tree.path());
        let output = format!("type=oci,dest={}", tree.join(name).display());
        let refusal = ocibuild.build_any(&flags("app:/app", "localhost/app:1", &output)).expect_code(3);
        assert!(refusal.stdout.is_empty(), "{refusal}");
        assert!(refusal.errors().contains(text(&tree.join(name))), "{refusal}");
        assert_eq!(entries(tree.path()), before, "nothing was touched");
    }
}

#[test]
fn failed_build_leaves_nothing() {
    let tree = TempTree::from_text("app/a = 1");
    let ocibuild = Ocibuild::new().within(tree.path());
    let before = entries(tree.path());
    for output in ["type=oci,dest=layout", "type=oci-archive,dest=image.tar"] {
        ocibuild.build_any(&flags("missing:/app", "localhost/app:1", output)).expect_code(3);
        assert_eq!(entries(tree.path()), before, "{output}");
    }
}

/// Bytes that don't compress: writing them takes its time.
fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend(seed.to_le_bytes());
    }
    bytes
}

/// How a build is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Kill,
    Interrupt,
}

impl Signal {
    fn send(self, child: &Child) {
        let name = if self == Self::Kill { "KILL" } else { "INT" };
        let script = format!("kill -s {name} {}", child.id());
        run(Command::new("sh").args(["-c", &script]));
    }
}

/// Starts a build, cuts it off after a while, and gives its exit code and what it said.
#[track_caller]
fn cut_off(mut command: Command, signal: Signal, after: Duration) -> (Option<i32>, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(after);
    let sent = Instant::now();
    if child.try_wait().unwrap().is_none() {
        signal.send(&child);
    }
    let output = child.wait_with_output().unwrap();
    assert!(sent.elapsed() < Duration::from_secs(2), "ended {:?} after the signal", sent.elapsed());
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// An output that a new image is written over, again and again.
struct Overwritten {
    ocibuild: Ocibuild,
    tree: TempTree,
    output: String,
}

const TAG: &str = "localhost/app:1";
const SIZE: usize = 64 << 20;

impl Overwritten {
    /// Writes the old image to `place`, which is `layout` or `archive`.
    fn new(place: &str, kind: &str) -> Self {
        let tree = TempTree::from_text("old/a = old").file("new/a", noise(1, SIZE)).directory("out");
        let output = format!("type={kind},dest={}", tree.join("out").join(place).display());
        let ocibuild = Ocibuild::new().within(tree.path());
        let this = Self { ocibuild, tree, output };
        run(&mut this.command("old"));
        this
    }

    /// Prepares a build over the output, with an empty cache.
    fn command(&self, directory: &str) -> Command {
        let copy = format!("{directory}:/app");
        let cache = self.tree.join("cache");
        if cache.exists() {
            self.tree.remove("cache");
        }
        let mut command = self.ocibuild.command();
        command.arg("build").args(flags(&copy, TAG, &self.output));
        command.args(["--compression", "none", "--cache-dir"]).arg(cache);
        command
    }

    /// Cuts builds off at every tenth of the time that the quickest whole one took; what was there has
    /// to be whole each time, as `check` sees it. A build that won the race is undone.
    fn sweep(&self, check: impl Fn(&Ocibuild, &Path)) {
        let started = Instant::now();
        run(&mut self.command("new"));
        let mut whole = started.elapsed();
        // A killed build can't clear up, so its remains are counted only after the interrupts.
        for signal in [Signal::Interrupt, Signal::Kill] {
            let mut cuts = 0;
            for tenth in 1..10u32 {
                run(&mut self.command("old"));
                let started = Instant::now();
                let (code, errors) = cut_off(self.command("new"), signal, whole * tenth / 10);
                if code == Some(0) {
                    whole = whole.min(started.elapsed());
                }
                check(&self.ocibuild, &self.tree.join("out"));
                cuts += u32::from(code != Some(0));
                if signal == Signal::Interrupt && code != Some(0) {
                    assert_eq!(code, Some(130), "interrupted at {tenth}/10: {errors}");
                    let left: Vec<_> = fs::read_dir(self.tree.join("out")).unwrap().collect();
                    assert_eq!(left.len(), 1, "nothing partial is left: {left:?}");
                }
            }
            assert!(cuts >= 3, "{signal:?}: only {cuts} builds were cut off");
        }
        run(&mut self.command("new"));
    }
}

#[test]
fn layout_survives_a_build_cut_off() {
    let overwritten = Overwritten::new("layout", "oci");
    overwritten.sweep(|ocibuild, out| {
        let layout = out.join("layout");
        assert_eq!(names(&layout).len(), 1);
        ocibuild.check(&layout, "1");
    });
}

#[test]
fn archive_survives_a_build_cut_off() {
    let overwritten = Overwritten::new("image.tar", "oci-archive");
    overwritten.sweep(|ocibuild, out| ocibuild.check_archive(&out.join("image.tar"), "1"));
    let skopeo = require!(Skopeo::new());
    let archive = overwritten.tree.join("out/image.tar");
    for transport in ["oci-archive", "docker-archive"] {
        run(skopeo.command().args(["inspect", &format!("{transport}:{}", archive.display())]));
    }
}
