use std::collections::BTreeMap;
use std::thread;

use super::*;
use crate::blob::fixture::{Mishap, Mishaps, image, index, layer};
use crate::blob::{Memory, read_whole};
use crate::copy::{CopyOptions, copy};
use crate::event::Cancel;
use crate::oci::MediaType;

/// A directory's files by path, with their contents; directories have none.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn put(layout: &Layout, memory: &Memory, root: &Descriptor, name: &str) {
    copy(std::slice::from_ref(root), memory, layout, &CopyOptions::new()).unwrap();
    layout.tag(root, name).unwrap();
}

fn layout_error(error: &BlobError) -> &LayoutError {
    let BlobError::Place { source, fault: PlaceFault::Unsuitable, .. } = error else { panic!("{error}") };
    source.downcast_ref().unwrap()
}

#[test]
fn what_is_named_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/when/needed");
    let memory = Memory::new();
    let (one, two) = (image(&memory, "one"), index(&memory));
    let layout = Layout::open_or_create(&path).unwrap();
    assert!(!path.exists(), "nothing is made before it is needed");
    put(&layout, &memory, &one, "one");
    put(&layout, &memory, &two, "two");
    drop(layout);

    let layout = Layout::open(&path).unwrap();
    assert_eq!(layout.names().unwrap(), ["one", "two"]);
    assert_eq!(layout.resolve("one").unwrap(), one);
    assert_eq!(layout.resolve("two").unwrap(), two);
    assert!(matches!(layout.resolve("three"), Err(BlobError::UnknownName { .. })));
    let other = Memory::new();
    let report = copy(&[one.clone(), two], &layout, &other, &CopyOptions::new()).unwrap();
    assert_eq!(report.sent.blobs, 3 + 1 + 2 * 2 + 3);
    assert_eq!(read_whole(&other, &one, 9999).unwrap(), read_whole(&memory, &one, 9999).unwrap());
    assert!(tree(&path).keys().all(|file| !file.to_string_lossy().contains(".ocibuild-")));
}

#[test]
fn the_same_again_changes_and_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let root = image(&memory, "one");
    put(&Layout::open_or_create(directory.path()).unwrap(), &memory, &root, "one");
    let index = directory.path().join("index.json");
    let before = fs::metadata(&index).unwrap().modified().unwrap();
    let layout = Layout::open_or_create(directory.path()).unwrap();
    put(&layout, &Memory::new(), &root, "one");
    assert_eq!(fs::metadata(&index).unwrap().modified().unwrap(), before);
}

#[test]
fn a_name_is_replaced_and_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let (one, two) = (image(&memory, "one"), image(&memory, "two"));
    let layout = Layout::open_or_create(directory.path()).unwrap();
    assert_eq!(layout.names().unwrap(), [""; 0]);
    for name in ["a", "b", "c"] {
        put(&layout, &memory, &one, name);
    }
    assert_eq!(layout.sole().unwrap(), one);
    put(&layout, &memory, &two, "b");
    assert_eq!(layout.names().unwrap(), ["a", "b", "c"]);
    assert_eq!(layout.resolve("b").unwrap(), two);
    let error = layout.sole().unwrap_err();
    assert_eq!(
        layout_error(&error).to_string(),
        "it doesn't hold just one image: choose one by its name (`a`, `b`, `c`)"
    );
}

#[test]
fn another_directory_is_left_alone() {
    let refused = |files: &[(&str, &str)], part: &str| {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let before = tree(directory.path());
        for open in [Layout::open(directory.path()), Layout::open_or_create(directory.path())] {
            let error = open.unwrap_err();
            assert!(layout_error(&error).to_string().contains(part), "{}", layout_error(&error));
        }
        assert_eq!(tree(directory.path()), before);
    };
    refused(&[("README", ""), ("src", "")], "holds `README`, `src` and no");
    refused(&[("a", ""), ("b", ""), ("c", ""), ("d", "")], "`a`, `b`, `c` and 1 more and no");
    refused(&[("oci-layout", "{}")], "`oci-layout` is damaged");
    refused(&[("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#)], "version `2.0.0`");
    let marker = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    refused(&[marker, ("index.json", "{")], "`index.json` is damaged");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Layout::open_or_create(file.path()).unwrap_err();
    assert!(layout_error(&error).to_string().contains("not a directory"));
    let error = Layout::open(file.path().with_extension("absent")).unwrap_err();
    assert!(matches!(layout_error(&error), LayoutError::Absent));
}

#[test]
fn a_name_needs_a_blob_and_letters() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let layout = Layout::open_or_create(directory.path()).unwrap();
    put(&layout, &memory, &image(&memory, "one"), "one");
    let before = tree(directory.path());
    let absent = Descriptor::of(MediaType::MANIFEST, b"absent");
    assert!(matches!(layout.tag(&absent, "two"), Err(BlobError::Missing { .. })));
    for name in ["", "a b", "a\n"] {
        assert!(layout.tag(&layout.resolve("one").unwrap(), name).is_err());
    }
    assert_eq!(tree(directory.path()), before);
}

/// Does a copy that breaks off, in each of the ways it may, after which the directory is as before.
fn break_off(directory: &Path) {
    let memory = Memory::new();
    let root = index(&memory);
    let (last, _) = layer(&memory, "hello", b"amd64");
    let cancel = Cancel::new();
    for mishap in [Mishap::Breaks, Mishap::Cancelled(cancel.clone())] {
        let before = tree(directory);
        let source = Mishaps { inner: &memory, digest: last.digest, mishap };
        let layout = Layout::open_or_create(directory).unwrap();
        let options = CopyOptions::new().threads(2).cancel(cancel.clone());
        copy(std::slice::from_ref(&root), &source, &layout, &options).unwrap_err();
        assert!(!layout.exists(&root).unwrap());
        drop(layout);
        assert_eq!(tree(directory), before);
    }
}

#[test]
fn an_interrupted_copy_leaves_the_layout_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let one = image(&memory, "one");
    put(&Layout::open_or_create(directory.path()).unwrap(), &memory, &one, "one");
    break_off(directory.path());
    let layout = Layout::open(directory.path()).unwrap();
    copy(&[layout.resolve("one").unwrap()], &layout, &Memory::new(), &CopyOptions::new()).unwrap();
}

#[test]
fn an_interrupted_copy_leaves_no_layout_where_none_was() {
    let directory = tempfile::tempdir().unwrap();
    break_off(&directory.path().join("new"));
    assert!(!directory.path().join("new").exists());
    break_off(directory.path());
    assert!(directory.path().exists());
}

#[test]
fn who_gives_up_takes_nothing_from_those_that_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let memory = Memory::new();
    let one = image(&memory, "one");
    let (first, second) = (
        Layout::open_or_create(directory.path()).unwrap(),
        Layout::open_or_create(directory.path()).unwrap(),
    );
    copy(std::slice::from_ref(&one), &memory, &first, &CopyOptions::new()).unwrap();
    second.push(&Descriptor::of(MediaType::LAYER, b"x"), &crate::blob::BytesContent::new(*b"x")).unwrap();
    drop(first);
    copy(std::slice::from_ref(&one), &Memory::new(), &second, &CopyOptions::new()).unwrap();
    second.tag(&one, "one").unwrap();
    drop(second);

    let third = Layout::open_or_create(directory.path()).unwrap();
    let two = image(&memory, "two");
    copy(std::slice::from_ref(&two), &memory, &third, &CopyOptions::new()).unwrap();
    Layout::open(directory.path()).unwrap().tag(&two, "two").unwrap();
    drop(third);
    let layout = Layout::open(directory.path()).unwrap();
    for name in ["one", "two"] {
        copy(&[layout.resolve(name).unwrap()], &layout, &Memory::new(), &CopyOptions::new()).unwrap();
    }
}

#[test]
fn the_remains_of_a_killed_writer_are_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    let remains = directory.path().join(".ocibuild-part-killed");
    fs::write(&remains, "half a blob").unwrap();
    let memory = Memory::new();
    let layout = Layout::open_or_create(directory.path()).unwrap();
    put(&layout, &memory, &image(&memory, "one"), "one");
    assert!(!remains.exists());
    fs::write(&remains, "a blob of one that is still writing").unwrap();
    put(&Layout::open_or_create(directory.path()).unwrap(), &memory, &image(&memory, "two"), "two");
    assert!(remains.exists());
}

#[test]
fn all_names_of_many_writers_survive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let names: Vec<String> = (0..16).map(|number| format!("image-{number}")).collect();
    thread::scope(|scope| {
        for name in &names {
            let path = &path;
            scope.spawn(move || {
                let memory = Memory::new();
                let root = image(&memory, name);
                put(&Layout::open_or_create(path).unwrap(), &memory, &root, name);
                // Another one gives up, again and again, while others make and use the layout.
                let layout = Layout::open_or_create(path).unwrap();
                let left = image(&memory, "left");
                copy(&[left], &memory, &layout, &CopyOptions::new()).unwrap();
            });
        }
    });
    let layout = Layout::open(&path).unwrap();
    let mut found = layout.names().unwrap();
    found.sort_by_key(|name| name[6..].parse::<u32>().unwrap());
    assert_eq!(found, names);
    for name in names {
        copy(&[layout.resolve(&name).unwrap()], &layout, &Memory::new(), &CopyOptions::new()).unwrap();
    }
}

#[test]
fn wrong_bytes_do_not_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let layout = Layout::open_or_create(&path).unwrap();
    let descriptor = Descriptor::of(MediaType::LAYER, b"hello");
    let wrong = crate::blob::BytesContent::new(*b"hullo");
    assert!(matches!(layout.push(&descriptor, &wrong), Err(BlobError::Corrupt { .. })));
    assert!(!layout.exists(&descriptor).unwrap());
    drop(layout);
    assert!(!path.exists());
}
