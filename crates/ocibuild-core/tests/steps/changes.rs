//! What each change runs.

use std::fs;
use std::path::{Path, PathBuf};

use ocibuild_core::Built;

use crate::project::{Project, SPEC};

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
