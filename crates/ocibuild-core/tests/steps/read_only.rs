//! A cache that is only read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ocibuild_core::Observer;
use ocibuild_core::blob::Store;
use ocibuild_core::event::Event;

use crate::project::{Project, SPEC, all, parse};

/// Which steps' bytes were unpacked.
#[derive(Default)]
struct Restored(Mutex<Vec<String>>);

impl Observer for Restored {
    fn event(&self, event: &Event) {
        if let Event::StepRestored { step, .. } = event {
            self.0.lock().unwrap().push(step.clone());
        }
    }
}

/// Everything in a directory, and when it was written to.
fn seen(path: &Path) -> BTreeMap<PathBuf, (i64, i64, u64)> {
    let mut all = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let seen = path.symlink_metadata().unwrap();
        if seen.is_dir() {
            left.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path, (seen.mtime(), seen.mtime_nsec(), seen.size()));
    }
    all
}

/// Builds with the project's cache as it is. Returns what was unpacked.
fn build(project: &Project, scratch: &Path) -> Vec<String> {
    let (before, restored) = (seen(project.cache.path()), Restored::default());
    let store = Store::over(scratch, project.cache.path());
    {
        let builder = project.builder().observer(&restored).cache_read_only(store);
        builder.build_spec(&parse(SPEC)).unwrap_or_else(|error| panic!("{}", all(&error)));
    }
    assert!(seen(project.cache.path()) == before, "nothing is written to it, nor touched");
    restored.0.into_inner().unwrap()
}

#[test]
fn what_steps_made_is_used_where_it_lies_and_what_is_new_lies_elsewhere() {
    let project = Project::new();
    project.build(SPEC);
    project.write("src/index.ts", "let a = 2\n");
    for _ in 0..2 {
        let scratch = tempfile::tempdir().unwrap();
        assert!(build(&project, scratch.path()).is_empty(), "`node_modules` is there already");
        assert_eq!(project.ran(), ["bundle", "compile"]);
        let made = scratch.path().join("outputs/v1").read_dir().unwrap().count();
        assert_eq!(made, 2, "what `compile` and `bundle` made");
    }
}

#[test]
fn what_is_not_right_there_is_unpacked_elsewhere_and_left_as_it_is() {
    let project = Project::new();
    project.build(SPEC);
    project.write("src/index.ts", "let a = 2\n");
    for tree in project.cache.path().join("outputs/v1").read_dir().unwrap() {
        let file = tree.unwrap().path().join("tree/node_modules/all");
        if file.exists() {
            std::fs::write(file, "other").unwrap();
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(build(&project, scratch.path()), ["install"]);
    assert_eq!(project.ran(), ["bundle", "compile"]);
}
