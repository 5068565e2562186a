//! Steps: what runs again after which change, what is reused from where, and what becomes of failures.
//!
//! Runs are counted by what commands leave outside of everything, not by what the engine says of them.
#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::{Builder, Built, Error, Spec};

/// A project with the shape of a Node service: install, production and compile.
struct Project {
    root: tempfile::TempDir,
    cache: tempfile::TempDir,
    ran: tempfile::TempDir,
}

const SPEC: &str = r#"
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
    fn new() -> Self {
        let temporary = || tempfile::tempdir().unwrap();
        let project = Self { root: temporary(), cache: temporary(), ran: temporary() };
        project.write("package.json", "{}");
        project.write("package-lock.json", "one\ntwo\n");
        project.write("tsconfig.json", "{}");
        project.write("src/index.ts", "let a = 1\n");
        project.write("config/production.yaml", "port: 80\n");
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.ran.path().join("log")
    }

    fn builder(&self) -> Builder<'_> {
        self.builder_with(self.cache.path())
    }

    fn builder_with(&self, cache: &Path) -> Builder<'_> {
        let ran = OsString::from(self.log());
        let variable = move |name: &str| match name {
            "RAN" => Some(ran.clone()),
            "PATH" => std::env::var_os("PATH"),
            _ => None,
        };
        Builder::new(self.root.path(), cache).environment(variable).jobs(2)
    }

    /// Which steps ran since this was asked last, in order of their names.
    fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let _ = fs::remove_file(self.log());
        let mut ran: Vec<String> = text.lines().map(str::to_owned).collect();
        ran.sort();
        ran
    }

    fn build(&self, spec: &str) -> (Built, Vec<String>) {
        let built = self.builder().build_spec(&parse(spec)).unwrap_or_else(|error| panic!("{}", all(&error)));
        for image in &built.images {
            let source = built.source();
            let faults = validate(&source, &image.root, &ValidateOptions::default());
            assert!(faults.is_ok(), "{faults:?}");
        }
        (built, self.ran())
    }
}

fn parse(spec: &str) -> Spec {
    Spec::parse(spec, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn all(error: &Error) -> String {
    let all = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn each_change_runs_what_depends_on_it_and_nothing_else() {
    let project = Project::new();
    let everything = ["bundle", "compile", "install", "production"];
    let (first, ran) = project.build(SPEC);
    assert_eq!(ran, everything);
    let (again, ran) = project.build(SPEC);
    assert!(ran.is_empty(), "{ran:?}");
    assert_eq!(again.images[0].root, first.images[0].root);

    project.write("src/index.ts", "let a = 2\n");
    let (edited, ran) = project.build(SPEC);
    assert_eq!(ran, ["bundle", "compile"], "a source runs what is compiled of it");
    assert_ne!(edited.images[0].root, first.images[0].root);
    assert_eq!(edited.layers[0].record.layers, first.layers[0].record.layers);

    project.write("config/production.yaml", "port: 81\n");
    let (_, ran) = project.build(SPEC);
    assert!(ran.is_empty(), "a file that only layers take runs nothing: {ran:?}");

    for path in ["src/index.ts", "package-lock.json", "tsconfig.json", "config/production.yaml"] {
        let file = fs::File::options().write(true).open(project.root.path().join(path)).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(60)).unwrap();
    }
    let (_, ran) = project.build(SPEC);
    assert!(ran.is_empty(), "times are no input: {ran:?}");

    project.write("src/index.ts", "let a   =   2\n");
    let (reformatted, ran) = project.build(SPEC);
    assert_eq!(ran, ["compile"], "what comes out the same stops there");
    let layers =
        |built: &Built| -> Vec<_> { built.layers.iter().map(|layer| layer.record.layers.clone()).collect() };
    let (now, _) = project.build(SPEC);
    assert_eq!(layers(&reformatted), layers(&now));

    project.write("package-lock.json", "one\nthree\n");
    let (_, ran) = project.build(SPEC);
    assert_eq!(ran, ["compile", "install", "production"], "a lockfile runs what is installed by it");
}

#[test]
fn outputs_of_the_same_name_are_told_apart_and_nothing_of_the_checkout_is_touched() {
    let project = Project::new();
    let before = listed(project.root.path());
    let (built, _) = project.build(SPEC);
    assert_eq!(listed(project.root.path()), before);
    let held = |index: usize| {
        let record = &built.layers[index].record;
        let outline = ocibuild_core::layer::outline(record, built.store(), &ocibuild_core::Cancel::new());
        let directories = outline.unwrap().directories;
        directories.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(held(0), ["app", "app/node_modules"]);
}

fn listed(root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// A spec of so many steps that need each other in a row, and as many that all need the first.
fn wide_and_deep(count: usize) -> String {
    let mut spec = String::from("version = 1\n");
    let mut copies = Vec::new();
    for index in 0..count {
        let needs = if index == 0 { String::new() } else { format!("needs = [\"chain-{}\"]\n", index - 1) };
        let input = format!("inputs = [\"packages/{index}/*.txt\"]\n");
        spec.push_str(&format!(
            "[steps.chain-{index}]\nrun = \"echo {index} > chain-{index}\"\noutputs = [\"chain-{index}\"]\n{input}{needs}"
        ));
        spec.push_str(&format!(
            "[steps.fan-{index}]\nrun = \"echo {index} > fan-{index}\"\noutputs = [\"fan-{index}\"]\n{input}needs = [\"chain-0\"]\n"
        ));
        copies.push(format!("{{ step = \"fan-{index}\", from = \"fan-{index}\", to = \"/fan/\" }}"));
    }
    copies.push(format!("{{ step = \"chain-{0}\", from = \"chain-{0}\", to = \"/chain/\" }}", count - 1));
    spec.push_str(&format!("[layers.all]\ncopy = [{}]\n", copies.join(",\n")));
    spec.push_str("[images.app]\nbase = \"scratch\"\nlayers = [\"all\"]\n");
    spec
}

#[test]
fn a_chain_and_a_fan_are_quickly_known_to_be_done() {
    let project = Project::new();
    let count = 200;
    (0..count).for_each(|index| project.write(&format!("packages/{index}/in.txt"), &index.to_string()));
    let spec = parse(&wide_and_deep(count));
    let build = || project.builder().build_spec(&spec).unwrap();
    let start = std::time::Instant::now();
    build();
    println!("cold {:?}", start.elapsed());
    std::thread::sleep(std::time::Duration::from_millis(300));
    build();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        build();
        println!("warm {:?}", start.elapsed());
    }
    let wanted: Vec<usize> = (0..2 * count).collect();
    let plan = project.builder().plan(&spec).unwrap();
    for _ in 0..3 {
        let start = std::time::Instant::now();
        let steps = project.builder().run_steps(&plan, &wanted).unwrap();
        println!("hits of all {} {:?}", steps.len(), start.elapsed());
    }
}
