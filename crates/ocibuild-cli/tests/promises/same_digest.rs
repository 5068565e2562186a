//! The same inputs give the same digests: whoever builds, where, when, how often, in what order
//! the file system lists them, and with how many threads.
//!
//! Every test compares with one plain build, and that one with golden digests.

use crate::ocibuild::{Ocibuild, lines, text};
use ocibuild_testkit::skip::root;
use ocibuild_testkit::{Disorderfs, Missing, TempTree, require, run, tool};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The digests of the image `plain` of [`SPEC`] over the tree of [`source`].
///
/// They change with the rules that files become layers by, or with the encoder, and then the
/// change log says so.
const GOLDEN: [(Layers, &str); 3] = [
    (Layers::Gzip, "sha256:9c876d77cdb143c6b1172e803310259a6a089e62cb07f42b1cb283c2336358aa"),
    (Layers::Plain, "sha256:2fd4e9f081db24c5dd725e3ee6d24d77bcd3048a9d3ecb3b10d62a741073f2a5"),
    (Layers::Zstd, "sha256:ac6b41379b382e2904969a0d110ccd590e5c7d9d98a6bd6843f3829885760810"),
];

const SPEC: &str = r#"
version = 1

[layers.app]
copy = [
  { from = "tree", to = "/app", exclude = ["**/*.map"] },
  { from = "tree/bin/run", to = "/usr/bin/", mode = "0700", owner = "1000:2000" },
  { content = "listen = 80\n", to = "/etc/app.conf" },
  { symlink = "/app/bin/run", to = "/usr/bin/again" },
]

[layers.assets]
copy = [{ from = "assets", to = "/srv/assets", owner = "65532:65532" }]

[images.plain]
base = "scratch"
layers = ["app", "assets"]
entrypoint = ["/app/bin/run"]

[images.based]
base = { builtin = "static@1" }
layers = ["assets", "app"]
env = { B = "2", A = "1" }
user = "65532"
"#;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layers {
    Gzip,
    Plain,
    Zstd,
}

impl Layers {
    const ALL: [Self; 3] = [Self::Gzip, Self::Plain, Self::Zstd];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Gzip => &[],
            Self::Plain => &["--compression", "none"],
            Self::Zstd => &["--compression", "zstd:3"],
        }
    }
}

/// Text that compresses about as program code does, and always the same.
fn prose(mut seed: u64, length: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = ["return", " ", "layer", "();\n", "if ", "digest", "{}", "==="];
    let mut text = Vec::with_capacity(length + 24);
    while text.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend(WORDS[(seed >> 61) as usize].bytes());
        if (seed >> 58) & 3 == 0 {
            text.extend(format!("{:x}", seed >> 40).bytes());
        }
    }
    text.truncate(length);
    text
}

/// Makes the spec and its files: more than a block can hold, and all that names and modes can be.
pub(crate) fn source(backwards: bool) -> TempTree {
    let mut files: Vec<(PathBuf, Vec<u8>, u32)> = Vec::new();
    for number in 0..300u64 {
        let path = format!("tree/modules/m{}/lib/file-{number}.js", number % 17);
        files.push((path.into(), prose(number, 200 + 9 * number as usize), 0o644));
    }
    let long = format!("tree/{}/{}", "long-name/".repeat(14), "x".repeat(120));
    let sizes = [("assets/large.bin", 5_500_000), ("assets/small.bin", 700_001), ("tree/bin/run", 300_001)];
    for (path, size) in sizes {
        files.push((path.into(), prose(size as u64, size), 0o755));
    }
    files.push((long.into(), b"long".to_vec(), 0o600));
    files.push((OsStr::from_bytes(b"tree/not-utf-8-\xff\xfe").into(), b"bytes".to_vec(), 0o444));
    files.push(("tree/debug.map".into(), b"left out".to_vec(), 0o644));
    files.push(("tree/empty".into(), Vec::new(), 0o664));
    files.push(("ocibuild.toml".into(), SPEC.into(), 0o644));
    if backwards {
        files.reverse();
    }
    let tree = files
        .into_iter()
        .fold(TempTree::new(), |tree, (path, content, mode)| tree.file_with_mode(path, content, mode));
    tree.directory("tree/nothing-in-it")
        .symlink("tree/current", "modules/m3")
        .symlink("tree/dangling", "../no/such/file")
        .symlink("tree/absolute", "/usr/bin/run")
}

/// Builds the spec in `directory` with a fresh cache, through `words`, and gives the digests.
#[track_caller]
fn build_through(
    words: &[&str],
    directory: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Vec<String> {
    let ocibuild = Ocibuild::new();
    let command = if words.is_empty() { ocibuild.command() } else { ocibuild.through(words) };
    build_with(command, directory, arguments, variables)
}

#[track_caller]
fn build_with(
    mut command: Command,
    directory: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Vec<String> {
    command.arg("build").arg("-f").arg(directory.join("ocibuild.toml"));
    command.args(["--output", "type=oci,dest=layout"]).args(arguments);
    command.envs(variables.iter().copied());
    lines(&run(&mut command))
}

/// What the plain build gives; made once.
fn expected(layers: Layers) -> &'static [String] {
    static GZIP: OnceLock<Vec<String>> = OnceLock::new();
    static PLAIN: OnceLock<Vec<String>> = OnceLock::new();
    static ZSTD: OnceLock<Vec<String>> = OnceLock::new();
    let cell = match layers {
        Layers::Gzip => &GZIP,
        Layers::Plain => &PLAIN,
        Layers::Zstd => &ZSTD,
    };
    cell.get_or_init(|| build_through(&[], source(false).path(), layers.arguments(), &[]))
}

/// Demands the same digests, in each compression, of the files in `directory`.
#[track_caller]
pub(crate) fn same(
    what: &str,
    words: &[&str],
    directory: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) {
    for layers in Layers::ALL {
        let arguments = [layers.arguments(), arguments].concat();
        let digests = build_through(words, directory, &arguments, variables);
        assert_eq!(digests, expected(layers), "{what}, {layers:?}");
    }
}

/// Copies a tree to `to` by `cp` with its options, and gives the copy.
#[track_caller]
pub(crate) fn copied(options: &[&str], from: &TempTree, to: &Path) -> PathBuf {
    run(Command::new("cp").args(options).arg(from.path()).arg(to));
    to.to_owned()
}

#[test]
fn golden_digests_are_met() {
    let found = GOLDEN.map(|(layers, _)| format!("{layers:?} {}", expected(layers)[0]));
    assert_eq!(found, GOLDEN.map(|(layers, golden)| format!("{layers:?} {golden}")));
}

#[test]
fn image_of_these_tests_is_valid() {
    let ocibuild = Ocibuild::new();
    let tree = source(false);
    let layout = tree.join("layout");
    for layers in Layers::ALL {
        let file = tree.join("ocibuild.toml");
        let output = format!("type=oci,dest={}", layout.display());
        let arguments = ["-f", text(&file), "--output", &output];
        let digests = ocibuild.build(&[&arguments, layers.arguments()].concat());
        for (name, digest) in ["plain", "based"].into_iter().zip(&digests) {
            ocibuild.check(&layout, name);
            assert_eq!(
                ocibuild.inspect(&format!("{}:{name}", layout.display()))["descriptor"]["digest"],
                **digest
            );
        }
    }
}

#[test]
fn same_with_any_number_of_threads() {
    let tree = source(false);
    for threads in ["1", "2", "4", "16"] {
        same(threads, &[], tree.path(), &["--threads", threads], &[]);
    }
    same("by the environment", &[], tree.path(), &[], &[("OCIBUILD_THREADS", "3")]);
}

#[test]
fn same_with_any_umask() {
    let tree = source(false);
    for umask in ["000", "077"] {
        let script = format!("umask {umask} && exec \"$@\"");
        same(umask, &["sh", "-c", &script, "sh"], tree.path(), &[], &[]);
    }
}

#[test]
fn same_from_a_checkout_under_any_umask() {
    let tree = source(false);
    for umask in ["000", "077"] {
        let home = TempTree::new();
        let script = format!("umask {umask} && cp -R \"$0\" \"$1\"");
        let copy = home.join("copy");
        run(Command::new("sh").args(["-c", &script]).arg(tree.path()).arg(&copy));
        same(umask, &[], &copy, &[], &[]);
    }
}

#[test]
fn same_for_another_user() {
    require!(root());
    let setpriv = require!(tool("setpriv"));
    let home = TempTree::new();
    copied(&["--archive"], &source(false), &home.join("source"));
    // The program may lie where only root can look.
    run(Command::new("cp").arg(Ocibuild::new().program()).arg(home.join("ocibuild")));
    run(Command::new("chown").args(["--recursive", "65534:65534"]).arg(home.path()));
    for layers in Layers::ALL {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(home.join("ocibuild"));
        command.env_clear().env("HOME", home.path()).current_dir(home.path());
        let digests = build_with(command, &home.join("source"), layers.arguments(), &[]);
        assert_eq!(digests, expected(layers), "{layers:?}");
    }
}

#[test]
fn same_at_any_time() {
    let faketime = require!(tool("faketime"));
    let tree = source(false);
    for time in ["-5y", "+10y"] {
        same(time, &[text(&faketime), "-f", time], tree.path(), &[], &[]);
    }
}

#[test]
fn same_in_any_zone_and_language() {
    let tree = source(false);
    let variables = [("TZ", "Asia/Tokyo"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "ja_JP.UTF-8")];
    same("Tokyo", &[], tree.path(), &[], &variables);
}

#[test]
fn same_however_directories_are_listed() {
    let tree = source(false);
    let view = require!(Disorderfs::mount(tree.path()));
    same("shuffled", &[], view.path(), &[], &[]);
}

#[test]
fn same_in_any_place() {
    let tree = source(false);
    let home = TempTree::new();
    let place = home.join("another place/ünder {braces}");
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    same("another checkout", &[], &copied(&["--archive"], &tree, &place), &[], &[]);
    let linked = home.join("linked");
    same("hard links", &[], &copied(&["--archive", "--link"], &tree, &linked), &[], &[]);
}

/// The kind of the file system that a directory lies on.
#[track_caller]
fn file_system(directory: &Path) -> String {
    run(Command::new("stat").args(["--file-system", "--format=%T"]).arg(directory)).text()
}

/// A directory of the machine's own tmpfs.
fn tmpfs() -> Result<TempDir, Missing> {
    let missing = || Missing::new("a tmpfs at `/dev/shm`");
    let directory = TempDir::with_prefix_in("ocibuild-", "/dev/shm").map_err(|_| missing())?;
    if file_system(directory.path()) == "tmpfs" { Ok(directory) } else { Err(missing()) }
}

#[test]
fn same_in_memory_and_on_disk() {
    let tmpfs = require!(tmpfs());
    let disk = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    assert_ne!(file_system(disk.path()), "tmpfs", "the build directory lies on a disk");
    let tree = source(false);
    for directory in [tmpfs.path(), disk.path()] {
        let copy = copied(&["--archive"], &tree, &directory.join("copy"));
        same(&file_system(directory), &[], &copy, &[], &[]);
    }
}

#[test]
fn same_with_new_times_and_another_order_of_creation() {
    let tree = source(true);
    run(Command::new("find").arg(tree.path()).args(["-exec", "touch", "--no-dereference"]).args([
        "--date=2031-03-04T05:06:07",
        "{}",
        "+",
    ]));
    same("backwards", &[], tree.path(), &[], &[]);
}

#[test]
fn same_with_any_cache() {
    let tree = source(false);
    same("no cache", &[], tree.path(), &["--no-cache"], &[]);
    let ocibuild = Ocibuild::new();
    for layers in Layers::ALL {
        for round in ["cold", "warm", "warmer"] {
            let digests = build_with(ocibuild.command(), tree.path(), layers.arguments(), &[]);
            assert_eq!(digests, expected(layers), "{round}, {layers:?}");
        }
    }
}

/// The digests of an image's layers, of its config and its manifest.
#[track_caller]
fn parts(ocibuild: &Ocibuild, layout: &Path, name: &str) -> (Vec<Value>, Value, Value) {
    let mut inspection = ocibuild.inspect(&format!("{}:{name}", layout.display()));
    let mut image = inspection["images"][0].take();
    let layers = image["layers"].as_array().unwrap();
    let layers =
        layers.iter().flat_map(|layer| [layer["digest"].clone(), layer["diff_id"].clone()]).collect();
    (layers, image["config_descriptor"]["digest"].take(), image["descriptor"]["digest"].take())
}

#[test]
fn another_date_reaches_configs_and_manifests_only() {
    let tree = source(false);
    for layers in Layers::ALL {
        // Caches of their own, so that no layer is merely answered for.
        let [early, late] = ["1", "1700000000"].map(|seconds| {
            let ocibuild = Ocibuild::new();
            let layout = TempTree::new();
            let output = format!("type=oci,dest={}", layout.join("layout").display());
            let mut command = ocibuild.command();
            command.args(["build", "-f", text(&tree.join("ocibuild.toml")), "--output", &output]);
            run(command.args(layers.arguments()).env("SOURCE_DATE_EPOCH", seconds));
            ["plain", "based"].map(|name| {
                ocibuild.check(&layout.join("layout"), name);
                parts(&ocibuild, &layout.join("layout"), name)
            })
        });
        for (early, late) in early.iter().zip(&late) {
            assert!(early.0.len() >= 4);
            assert_eq!(early.0, late.0, "layers, {layers:?}");
            assert_ne!(early.1, late.1, "config, {layers:?}");
            assert_ne!(early.2, late.2, "manifest, {layers:?}");
        }
    }
}
