//! A directory to work in, a cache beside it, and the program, run there without anything of the
//! surrounding environment that it would heed.

use std::path::PathBuf;
use std::process::Command;

use ocibuild_testkit::{Output, TempTree, hello_program, run_any};

/// A spec with one image of one file.
pub(crate) const SPEC: &str = r#"version = 1

[layers.app]
copy = [{ from = "hello", to = "/app/hello" }]

[images.app]
layers = ["app"]
entrypoint = ["/app/hello"]
"#;

/// The variables that change what the program does, beside those of its own.
const HEEDED: [&str; 23] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "ALL_PROXY",
    "COLUMNS",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "GITHUB_ACTIONS",
    "GITHUB_OUTPUT",
    "GITLAB_CI",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_COLOR",
    "NO_PROXY",
    "REGISTRY_AUTH_FILE",
    "SOURCE_DATE_EPOCH",
    "TERM",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What the names of its own variables begin with.
const OWN: &str = "OCIBUILD_";

/// A working directory with a program to put into images, and a cache.
pub(crate) struct Bench {
    pub(crate) tree: TempTree,
}

impl Bench {
    /// Makes one without a spec.
    pub(crate) fn new() -> Self {
        Self::at(TempTree::new())
    }

    /// Makes one without a spec in an empty tree.
    pub(crate) fn at(tree: TempTree) -> Self {
        let tree = tree.directory("cache").file_with_mode("work/hello", hello_program("hello\n"), 0o755);
        Self { tree }
    }

    /// Makes one with a spec file.
    pub(crate) fn with_spec(spec: &str) -> Self {
        let bench = Self::new();
        bench.write("ocibuild.toml", spec);
        bench
    }

    /// Writes a file below the working directory.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.tree.write(format!("work/{path}"), content);
    }

    /// The path of something in the working directory.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.tree.join("work").join(path)
    }

    /// The names of what is in the working directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = self.path("").read_dir().unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The program, to be run in the working directory.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocibuild"));
        let own = std::env::vars_os().map(|(name, _)| name);
        let own = own.filter(|name| name.to_str().is_some_and(|name| name.starts_with(OWN)));
        for name in own.chain(HEEDED.map(Into::into)) {
            command.env_remove(name);
        }
        command.env("OCIBUILD_CACHE_DIR", self.tree.join("cache")).env("HOME", self.tree.join("home"));
        command.current_dir(self.path("")).args(arguments);
        command
    }

    /// Runs the program, however it ends.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        run_any(&mut self.command(arguments))
    }

    /// Runs the program, which has to succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Output {
        self.run(arguments).expect_code(0)
    }

    /// Builds, and returns the one line of standard output.
    #[track_caller]
    pub(crate) fn digest(&self, arguments: &[&str]) -> String {
        let output = self.ok(&[&["build"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.strip_suffix('\n').expect("the output ends with a newline");
        assert!(line.contains("sha256:") && !line.contains('\n'), "{text:?}");
        line.to_owned()
    }

    /// Demands that an image follows the specification.
    #[track_caller]
    pub(crate) fn valid(&self, image: &str) {
        self.ok(&["validate", image]);
    }

    /// What the program said on standard error, without what differs between runs.
    pub(crate) fn said(&self, output: &Output) -> String {
        let home = self.tree.path().display().to_string();
        format!("{}\n", without_digests(&without_times(&output.errors().replace(&home, "BENCH"))))
    }
}

/// Writes `TIME` for how long something was tried.
fn without_times(text: &str) -> String {
    let mut parts = text.split(" times over ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        format!("{text} times over TIME{rest}")
    })
}

/// Writes `sha256:HEX` for each digest: bytes are other tests' matter.
pub(crate) fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit());
        format!("{text}sha256:HEX{rest}")
    })
}
