//! An example as its reader has it: a directory of their own, and a cache that grows with each build.

use crate::ocibuild::{Ocibuild, lines, repository, text};
use ocibuild_testkit::{Docker, Missing, Output, TempTree, run, tool};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::SystemTime;

/// What the tools leave in an example where somebody ran them by hand.
const LEFT: [&str; 6] = ["__pycache__", "bin", "build", "dist", "node_modules", "target"];

/// A copy of an example.
#[derive(Debug)]
pub(crate) struct Example {
    tree: TempTree,
    ocibuild: Ocibuild,
    variables: Vec<(&'static str, OsString)>,
}

/// What a run of the program did.
#[derive(Debug)]
pub(crate) struct Built {
    /// What it printed: the image with its digest.
    pub(crate) line: String,
    /// The image's id for docker: the digest of its config, which names what all layers hold.
    pub(crate) id: String,
    /// The steps whose commands were started, in alphabetical order.
    pub(crate) ran: Vec<String>,
    /// The steps whose outputs were brought back from a cache.
    pub(crate) restored: Vec<String>,
}

impl Example {
    /// Copies an example, by the name of its directory.
    #[track_caller]
    pub(crate) fn new(name: &str) -> Self {
        let tree = TempTree::new();
        copy(&repository().join("examples").join(name), tree.path());
        Self { tree, ocibuild: Ocibuild::new(), variables: Vec::new() }
    }

    /// Sets an environment variable of all builds.
    pub(crate) fn with(mut self, name: &'static str, value: OsString) -> Self {
        self.variables.push((name, value));
        self
    }

    /// Goes on with an empty cache, as another machine would.
    pub(crate) fn on_a_fresh_machine(self) -> Self {
        Self { ocibuild: Ocibuild::new(), ..self }
    }

    /// Builds the image into an archive, and demands that nothing is found wrong with it.
    #[track_caller]
    pub(crate) fn build(&self) -> Built {
        let image = format!("oci-archive:{}", text(&self.archive()));
        self.build_to(&image, &["--output", &format!("type=oci-archive,dest={}", text(&self.archive()))])
    }

    /// Builds the image into a registry, with a cache there.
    #[track_caller]
    pub(crate) fn push(&self, image: &str, cache: &[&str]) -> Built {
        self.build_to(image, &[&["--tag", image, "--push"], cache].concat())
    }

    #[track_caller]
    fn build_to(&self, image: &str, words: &[&str]) -> Built {
        let output = self.run(&[&["build", "--platform", "linux/amd64"], words].concat());
        let mut lines = lines(&output);
        assert_eq!(lines.len(), 1, "one image, one line: {output}");
        run(self.ocibuild.command().args(["validate", image]));
        let config = &self.ocibuild.inspect(image)["images"][0]["config_descriptor"];
        Built {
            line: lines.remove(0),
            id: config["digest"].as_str().expect("an image has a config").to_owned(),
            ran: steps(&output, "step-started"),
            restored: steps(&output, "step-restored"),
        }
    }

    /// Runs a step that no image asks for.
    #[track_caller]
    pub(crate) fn run_step(&self, name: &str) -> Vec<String> {
        steps(&self.run(&["run", name]), "step-started")
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Output {
        let mut command = self.ocibuild.command();
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.envs(variables).args(["--progress", "json"]).args(words);
        let output = run(command.arg("--file").arg(self.tree.join("ocibuild.toml")));
        let complaints: Vec<Value> = events(&output)
            .filter(|event| event["event"] == "warning" || event["event"] == "finding")
            .collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        output
    }

    /// Loads the image that was built last.
    #[track_caller]
    pub(crate) fn load(&self, docker: &Docker) -> String {
        docker.load(&self.archive())
    }

    fn archive(&self) -> PathBuf {
        self.tree.join("image.tar")
    }

    /// Replaces a text that a file has to have.
    #[track_caller]
    pub(crate) fn edit(&self, path: &str, old: &str, new: &str) {
        let path = self.tree.join(path);
        let before = fs::read_to_string(&path).expect("an example's file is text");
        let after = before.replacen(old, new, 1);
        assert_ne!(before, after, "`{old}` isn't in {}", path.display());
        fs::write(path, after).unwrap();
    }

    /// Gives all files another time.
    #[track_caller]
    pub(crate) fn touch(&self) {
        for path in ocibuild_testkit::entries(self.tree.path()).into_keys() {
            let path = self.tree.join(path);
            if path.is_file() {
                File::options().append(true).open(path).unwrap().set_modified(SystemTime::now()).unwrap();
            }
        }
    }
}

/// Copies a tree without what the tools leave in it.
#[track_caller]
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the example is there") {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if !from.is_dir() {
            fs::copy(from, to).unwrap();
        } else if !LEFT.iter().any(|name| entry.file_name() == *name) {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        }
    }
}

/// Reads the events of a run.
fn events(output: &Output) -> impl Iterator<Item = Value> {
    let lines = output.errors();
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("each line is an event")).collect();
    events.into_iter()
}

/// Lists the steps that something happened to: as it happened, not as a build sums it up.
fn steps(output: &Output, what: &str) -> Vec<String> {
    let events = events(output).filter(|event| event["event"] == what);
    let mut steps: Vec<String> = events.map(|event| event["step"].as_str().unwrap().to_owned()).collect();
    steps.sort();
    steps
}

/// Finds the archive that the Node and Python of the examples come from, and brings its list up to date:
/// an old one names packages that are gone.
pub(crate) fn debian() -> Result<(), Missing> {
    static UPDATED: Once = Once::new();
    tool("dpkg-deb")?;
    let apt = tool("apt-get")?;
    UPDATED.call_once(|| {
        // Without the right to, or without a network, the list may do as it is.
        let _ = Command::new(apt).args(["-qq", "update"]).output();
    });
    let shown =
        Command::new(tool("apt-cache")?).args(["show", "libnode108", "libpython3.11-stdlib"]).output();
    match shown {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Missing::new("the packages of Debian 12")),
    }
}
