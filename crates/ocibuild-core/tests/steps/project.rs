//! A project whose steps count their runs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::{Builder, Built, Error, Spec};

/// A project with the shape of a Node service: install, production and compile.
pub(crate) struct Project {
    pub(crate) root: tempfile::TempDir,
    pub(crate) cache: tempfile::TempDir,
    pub(crate) ran: tempfile::TempDir,
}

/// Its spec.
pub(crate) const SPEC: &str = r#"
version = 1

[steps.install]
run = "echo install >> $RAN; mkdir node_modules; cp package-lock.json node_modules/all"
inputs = ["package.json", "package-lock.json"]
outputs = ["node_modules"]
pass-env = [{ name = "RAN", unkeyed = true }]

[steps.production]
run = "echo production >> $RAN; mkdir node_modules; head -n 1 package-lock.json > node_modules/some"
inputs = ["package.json", "package-lock.json"]
outputs = ["node_modules"]
pass-env = [{ name = "RAN", unkeyed = true }]

[steps.compile]
needs = ["install"]
run = "echo compile >> $RAN; mkdir dist; test -e node_modules/all; tr -d ' ' < src/index.ts > dist/index.js"
inputs = ["tsconfig.json", "src/**"]
outputs = ["dist"]
pass-env = [{ name = "RAN", unkeyed = true }]

[steps.bundle]
needs = ["compile"]
run = "echo bundle >> $RAN; cat dist/* > bundle.js"
outputs = ["bundle.js"]
pass-env = [{ name = "RAN", unkeyed = true }]

[layers.dependencies]
manifests = ["package-lock.json"]
copy = [{ step = "production", from = "node_modules", to = "/app/node_modules" }]

[layers.app]
copy = [
  { step = "compile", from = "dist", to = "/app/dist" },
  { from = "config/production.yaml", to = "/app/config.yaml" },
  { content = "api 1\n", to = "/app/VERSION" },
]

[layers.bundle]
copy = [{ step = "bundle", from = "bundle.js", to = "/app/" }]

[images.runtime]
base = "scratch"
layers = ["dependencies", "app", "bundle"]
"#;

impl Project {
    pub(crate) fn new() -> Self {
        let temporary = || tempfile::tempdir().unwrap();
        let project = Self { root: temporary(), cache: temporary(), ran: temporary() };
        project.write("package.json", "{}");
        project.write("package-lock.json", "one\ntwo\n");
        project.write("tsconfig.json", "{}");
        project.write("src/index.ts", "let a = 1\n");
        project.write("config/production.yaml", "port: 80\n");
        project
    }

    /// An empty project.
    pub(crate) fn empty() -> Self {
        let temporary = || tempfile::tempdir().unwrap();
        Self { root: temporary(), cache: temporary(), ran: temporary() }
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.ran.path().join("log")
    }

    pub(crate) fn builder(&self) -> Builder<'_> {
        self.builder_with(self.cache.path())
    }

    pub(crate) fn builder_with(&self, cache: &Path) -> Builder<'_> {
        let ran = OsString::from(self.log());
        let variable = move |name: &str| match name {
            "RAN" => Some(ran.clone()),
            "PATH" => path(),
            _ => None,
        };
        Builder::new(self.root.path(), cache).environment(variable).jobs(2)
    }

    /// Which steps ran since this was asked last, in order of their names.
    pub(crate) fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let _ = fs::remove_file(self.log());
        let mut ran: Vec<String> = text.lines().map(str::to_owned).collect();
        ran.sort();
        ran
    }

    /// Builds, and says why not.
    pub(crate) fn fails(&self, spec: &str) -> Error {
        self.builder().build_spec(&parse(spec)).map(drop).unwrap_err()
    }

    pub(crate) fn build(&self, spec: &str) -> (Built, Vec<String>) {
        let built = self.builder().build_spec(&parse(spec)).unwrap_or_else(|error| panic!("{}", all(&error)));
        for image in &built.images {
            let source = built.source();
            let faults = validate(&source, &image.root, &ValidateOptions::default());
            assert!(faults.is_ok(), "{faults:?}");
        }
        (built, self.ran())
    }
}

/// A step that counts its runs, and an image of what it makes.
pub(crate) fn one(project: &Project, run: &str, more: &str) -> String {
    let ran = project.log().display().to_string();
    format!(
        "version = 1\n[steps.one]\nrun = '''echo one >> {ran}; {run}'''\noutputs = [\"out\"]\n{more}\n\
         [layers.all]\ncopy = [{{ step = \"one\", from = \"out\", to = \"/out\" }}]\n\
         [images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n"
    )
}

pub(crate) fn parse(spec: &str) -> Spec {
    Spec::parse(spec, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn all(error: &Error) -> String {
    let all = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Where this machine has its programs.
#[expect(clippy::disallowed_methods, reason = "commands of tests run where tests do")]
pub(crate) fn path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// How many records, blobs and trees of outputs a cache has.
pub(crate) fn kept(cache: &Path) -> [usize; 3] {
    ["records", "blobs", "outputs"].map(|name| files(&cache.join(name), name == "outputs"))
}

fn files(directory: &Path, is_tree: bool) -> usize {
    let Ok(listed) = fs::read_dir(directory) else { return 0 };
    listed
        .map(|entry| {
            let path = entry.unwrap().path();
            match path.is_dir() && !(is_tree && path.join("list").exists()) {
                true => files(&path, is_tree),
                false => 1,
            }
        })
        .sum()
}
