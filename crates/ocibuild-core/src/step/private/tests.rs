use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn open(path: &Path) -> Private {
    Private::open(path, &Cancel::new(), &|| panic!("nobody else has it")).unwrap()
}

#[test]
fn a_directory_is_a_steps_of_a_spec_on_a_platform() {
    let place = |spec, root, step, platform| {
        Private::place(Path::new("/cache"), spec, Path::new(root), step, platform)
    };
    let all = [
        place("s", "/r", "a", None),
        place("t", "/r", "a", None),
        place("s", "/s", "a", None),
        place("s", "/r", "b", None),
        place("s", "/r", "a", Some("linux/amd64")),
        place("s", "/r", "a", Some("")),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(one.starts_with("/cache/steps/v1"));
        assert!(!all[..at].contains(one));
    }
    assert_eq!(all[0], place("s", "/r", "a", None));
}

#[test]
fn one_at_a_time_has_it() {
    let cache = tempfile::tempdir().unwrap();
    let (path, cancel, told) = (cache.path().join("a/b"), Cancel::new(), Cell::new(0));
    let held = open(&path);
    std::thread::scope(|scope| {
        let other = cancel.clone();
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(40));
            other.cancel();
        });
        let refused = Private::open(&path, &cancel, &|| told.set(told.get() + 1));
        assert!(matches!(refused, Err(StepError::Cancelled(_))));
    });
    assert_eq!(told.get(), 1);
    drop(held);
    open(&path);
}

#[test]
fn what_a_command_made_of_the_directories_is_mended() {
    let cache = tempfile::tempdir().unwrap();
    let (path, outside) = (cache.path().join("step"), cache.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "x").unwrap();
    let private = open(&path);
    for directory in [private.work(), private.home(), private.temporary()] {
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    }
    let mut private = private;
    fs::remove_dir(private.work()).unwrap();
    symlink(&outside, private.work()).unwrap();
    fs::set_permissions(private.home(), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(path.join(".tmpleft"), "x").unwrap();
    private.sync(&[], &[], &Cancel::new()).unwrap();
    assert!(private.work().symlink_metadata().unwrap().is_dir() && outside.join("file").exists());
    drop(private);
    let private = open(&path);
    assert_eq!(private.home().metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(!path.join(".tmpleft").exists());
}

#[test]
fn a_home_is_empty_but_for_what_is_shared() {
    let cache = tempfile::tempdir().unwrap();
    let cancel = Cancel::new();
    let mut private = open(&cache.path().join("step"));
    for round in 0..2 {
        fs::create_dir_all(private.home().join(".config/x")).unwrap();
        fs::write(private.temporary().join("left"), "x").unwrap();
        let texts = ["~/go/pkg/mod", "~/go/bin", "~/.npm"];
        let shared = Shared::take(cache.path(), &texts, &cancel, &|_| {}).unwrap();
        private.prepare(&shared, &cancel).unwrap();
        assert_eq!(fs::read_dir(private.temporary()).unwrap().count(), 0);
        let mut names: Vec<_> =
            fs::read_dir(private.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".npm", "go"]);
        let module = private.home().join("go/pkg/mod/module");
        assert_eq!(module.exists(), round == 1, "what is in it stays");
        fs::write(module, "x").unwrap();
    }
    private.prepare(&Shared::default(), &cancel).unwrap();
    assert_eq!(fs::read_dir(private.home()).unwrap().count(), 0);
}
