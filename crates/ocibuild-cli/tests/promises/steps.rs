//! Steps by the command line: secrets are shown nowhere at any verbosity, and an interrupt leaves no process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ocibuild_testkit::{TempTree, run, run_any};

use crate::ocibuild::Ocibuild;

const CANARY: &str = "canary+5f1e9c77/b2";

const LOUD: &str = r#"version = 1

[steps.loud]
run = """
echo "token: $TOKEN"; echo "$TOKEN" >&2; printf %s "$TOKEN" | base64; printf '%s' "$TOKEN" | sed 's/+/%2B/;s,/,%2F,'
set -x; test "$TOKEN" = other || true
echo "$TOKEN" > .npmrc; echo "$TOKEN" > "$HOME/.npmrc"; cat "$FILE"
exit $(cat code)
"""
inputs = ["code"]
outputs = []
secrets = [{ id = "token", env = "TOKEN" }, { id = "file", env = "TOKEN", as = "file", target = "FILE" }]

[steps.made]
needs = ["loud"]
run = "env > made"
outputs = ["made"]

[layers.all]
copy = [{ step = "made", from = "made", to = "/" }]

[images.app]
layers = ["all"]
"#;

fn forms() -> [&'static [u8]; 3] {
    [CANARY.as_bytes(), b"Y2FuYXJ5KzVmMWU5Yzc3L2Iy", b"canary%2B5f1e9c77%2Fb2"]
}

#[track_caller]
fn search(bytes: &[u8], place: &str) {
    for form in forms() {
        let found = bytes.windows(form.len()).any(|window| window == form);
        assert!(!found, "{} in {place}", String::from_utf8_lossy(form));
    }
}

/// Looks through all below a directory, blobs decompressed as well.
fn search_all(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        search(path.as_os_str().as_bytes(), "a name");
        let seen = path.symlink_metadata().unwrap();
        if seen.is_dir() {
            search_all(&path);
        } else if seen.is_file() {
            let place = path.display().to_string();
            search(&fs::read(&path).unwrap(), &place);
            for program in ["zstd", "gzip"] {
                let plain = Command::new(program).args(["-dc", &place]).stderr(Stdio::null()).output();
                search(&plain.map(|plain| plain.stdout).unwrap_or_default(), &place);
            }
        }
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    for code in ["0", "3"] {
        for words in [
            &["--progress", "plain", "-v"][..],
            &["--progress", "plain", "-vv"],
            &["--progress", "json"],
            &["--quiet"],
        ] {
            let tree = TempTree::new().file("ocibuild.toml", LOUD).file("code", code);
            let ocibuild = Ocibuild::new().within(tree.path());
            let mut command = ocibuild.command();
            command.args(["build", "--output", "type=oci,dest=out", "--metadata-file", "metadata.json"]);
            let output = run_any(command.args(words).env("TOKEN", CANARY));
            assert_eq!(output.code == Some(0), code == "0", "{output}");
            let [said, told] = [output.text(), output.errors()];
            search(said.as_bytes(), "standard output");
            search(told.as_bytes(), "standard error");
            if words != ["--quiet"] || code != "0" {
                assert!(told.contains("***"), "it was heard: {told}");
            }
            search_all(&ocibuild.cache());
            search_all(tree.path());
        }
    }
}

/// How many processes have a marker in their environment.
fn marked(marker: &str) -> usize {
    let is_marked = |entry: &fs::DirEntry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(is_marked).count()
}

#[test]
fn an_interrupt_ends_whole_trees_of_processes() {
    const STUBBORN: &str = r#"version = 1

[steps.tree]
run = "trap '' TERM INT HUP; (sleep 71 & sleep 72) & echo up; while :; do sleep 1; done"
env = { MARKER = "NAME" }
outputs = ["made"]

[layers.all]
copy = [{ step = "tree", from = "made", to = "/" }]

[images.app]
layers = ["all"]
"#;
    for signal in ["INT", "TERM"] {
        let name = format!("interrupted-{signal}-{}", std::process::id());
        let tree = TempTree::new().file("ocibuild.toml", STUBBORN.replace("NAME", &name));
        let ocibuild = Ocibuild::new().within(tree.path());
        let mut command = ocibuild.command();
        command.args(["build", "--output", "type=oci,dest=out", "--progress", "json"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut said, mut line) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        while !line.contains("\"up\"") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ends before it is up");
        }
        let marker = format!("MARKER={name}");
        // It says so before those that it starts are there.
        let start = Instant::now();
        while marked(&marker) < 3 {
            assert!(start.elapsed() < Duration::from_secs(10), "{} are there", marked(&marker));
            std::thread::sleep(Duration::from_millis(10));
        }
        let asked = Instant::now();
        run(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        let status = child.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert_eq!((status.code(), marked(&marker)), (Some(130), 0), "after SIG{signal}");
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(!tree.path().join("out").exists());
    }
}
