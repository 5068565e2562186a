//! The program under test, with a cache of its own and nothing of the user's.

use ocibuild_testkit::{Missing, Output, Skopeo, run, run_any};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The program, with a cache that goes with this value.
#[derive(Debug)]
pub(crate) struct Ocibuild {
    program: PathBuf,
    home: TempDir,
    directory: PathBuf,
}

/// Variables that could change what a build does, or where it finds something.
const VARIABLES: [&str; 6] = [
    "SOURCE_DATE_EPOCH",
    "OCIBUILD_THREADS",
    "OCIBUILD_CACHE_DIR",
    "XDG_CACHE_HOME",
    "DOCKER_CONFIG",
    "GITHUB_OUTPUT",
];

impl Ocibuild {
    /// Gives the program, with an empty cache.
    #[track_caller]
    pub(crate) fn new() -> Self {
        let home = TempDir::with_prefix("ocibuild-").expect("a temporary directory can be made");
        let directory = home.path().to_owned();
        Self { program: PathBuf::from(env!("CARGO_BIN_EXE_ocibuild")), home, directory }
    }

    /// The home of who calls it.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The directory that the cache is in.
    pub(crate) fn cache(&self) -> PathBuf {
        self.home.path().join(".cache/ocibuild")
    }

    /// Works in this directory; otherwise in an empty one of its own.
    pub(crate) fn within(self, directory: &Path) -> Self {
        Self { directory: directory.to_owned(), ..self }
    }

    /// The program's file.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Prepares a call.
    pub(crate) fn command(&self) -> Command {
        self.environment(Command::new(&self.program))
    }

    /// Prepares a call through another program, whose last words are to be ours.
    pub(crate) fn through(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&self.program);
        self.environment(command)
    }

    fn environment(&self, mut command: Command) -> Command {
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).current_dir(&self.directory);
        command
    }

    /// Builds, and gives what it printed: nothing but a line for each image.
    #[track_caller]
    pub(crate) fn build(&self, arguments: &[&str]) -> Vec<String> {
        lines(&run(self.command().arg("build").args(arguments)))
    }

    /// Builds a single image.
    #[track_caller]
    pub(crate) fn build_one(&self, arguments: &[&str]) -> String {
        let lines = self.build(arguments);
        assert_eq!(lines.len(), 1, "one image, one line: {lines:?}");
        lines.into_iter().next().unwrap_or_default()
    }

    /// Builds, or fails.
    #[track_caller]
    pub(crate) fn build_any(&self, arguments: &[&str]) -> Output {
        run_any(self.command().arg("build").args(arguments))
    }

    /// Tells what it knows of an image.
    #[track_caller]
    pub(crate) fn inspect(&self, image: &str) -> Value {
        run(self.command().args(["inspect", "--format", "json", image])).json()
    }

    /// Demands that an image is valid to us, and readable by skopeo where that is there.
    #[track_caller]
    pub(crate) fn check(&self, layout: &Path, name: &str) {
        let image = format!("oci:{}:{name}", layout.display());
        run(self.command().args(["validate", &image]));
        if let Ok(skopeo) = Skopeo::new() {
            run(skopeo.command().args(["inspect", &image]));
        }
    }

    /// Demands the same of the image in an archive: it is a layout in a tar.
    #[track_caller]
    pub(crate) fn check_archive(&self, archive: &Path, name: &str) {
        let layout = TempDir::new().expect("a temporary directory can be made");
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(layout.path()));
        self.check(layout.path(), name);
    }
}

/// What a build printed, where each line has to be a digest, alone or behind a repository.
#[track_caller]
pub(crate) fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).expect("results are text");
    assert!(text.ends_with('\n'), "{output}");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &lines {
        let digest = line.rsplit('@').next().unwrap_or_default();
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{output}");
    }
    lines
}

/// The digest at the end of a result.
pub(crate) fn digest(line: &str) -> &str {
    line.rsplit('@').next().unwrap_or(line)
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("the package lies two directories below the root")
}

/// Answers whether the programs in our images can run on this machine.
pub(crate) fn amd64() -> Result<(), Missing> {
    if cfg!(target_arch = "x86_64") { Ok(()) } else { Err(Missing::new("an x86-64 machine")) }
}

/// Reads a layout's `index.json`: names and digests, in their order.
#[track_caller]
pub(crate) fn names(layout: &Path) -> Vec<(String, String)> {
    let bytes = fs::read(layout.join("index.json")).expect("a layout has an index");
    let index: Value = serde_json::from_slice(&bytes).expect("an index is JSON");
    let entries = index["manifests"].as_array().expect("an index has manifests");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| {
            (text(&entry["annotations"]["org.opencontainers.image.ref.name"]), text(&entry["digest"]))
        })
        .collect()
}

/// A path as the text that flags want.
#[track_caller]
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}
