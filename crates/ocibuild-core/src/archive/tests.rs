use std::fs;
use std::path::Path;

use super::*;
use crate::blob::Memory;
use crate::blob::fixture::{Mishap, Mishaps, image, index, layer};
use crate::copy::{CopyOptions, copy};
use crate::event::Cancel;
use crate::oci::{Index, annotation, from_json};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn write(writer: ArchiveWriter<'_>, memory: &Memory, images: &[ArchiveImage]) -> Result<(), BlobError> {
    let roots: Vec<Descriptor> = images.iter().map(|image| image.descriptor.clone()).collect();
    copy(&roots, memory, &writer, &CopyOptions::new().threads(4))?;
    writer.finish(images)
}

fn archive(memory: &Memory, images: &[ArchiveImage]) -> Result<Vec<u8>, BlobError> {
    let mut bytes = Vec::new();
    write(ArchiveWriter::to_stream("standard output", &mut bytes), memory, images)?;
    Ok(bytes)
}

/// The entries of an archive: path and content.
fn entries(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in ::tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        assert!(found.insert(path, content).is_none(), "no path twice");
    }
    found
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn the_archive_holds_a_layout_and_dockers_manifest() {
    let memory = Memory::new();
    let (one, two) = (image(&memory, "one"), index(&memory));
    let images = [
        ArchiveImage::new(one.clone(), "one"),
        ArchiveImage::new(two.clone(), "two").reference(reference("r.io/two:1")).reference(reference("app")),
    ];
    let found = entries(&archive(&memory, &images).unwrap());
    assert_eq!(found["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let listed: Index = from_json(&found["index.json"]).unwrap();
    let named =
        |descriptor: &Descriptor, name: &str| descriptor.clone().with_annotation(annotation::REF_NAME, name);
    let full = annotation::CONTAINERD_NAME;
    let expected = [
        named(&one, "one"),
        named(&two, "1").with_annotation(full, "r.io/two:1"),
        named(&two, "latest").with_annotation(full, "docker.io/library/app:latest"),
    ];
    assert_eq!(listed.manifests, expected);
    let docker = json(&found["manifest.json"]);
    assert_eq!(docker.as_array().unwrap().len(), 2);
    assert_eq!(docker[0]["RepoTags"], serde_json::json!([]));
    assert_eq!(docker[1]["RepoTags"], serde_json::json!(["r.io/two:1", "docker.io/library/app:latest"]));
    let layers = docker[1]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for path in layers.iter().chain([&docker[1]["Config"]]) {
        assert!(found.contains_key(path.as_str().unwrap()));
    }
    let config = json(&found[docker[1]["Config"].as_str().unwrap()]);
    assert_eq!(config["architecture"], "arm64", "the first of the index");
    for (path, content) in &found {
        if let Some(hex) = path.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            assert_eq!(Digest::of(content).hex(), hex);
        }
    }
}

#[test]
fn the_same_images_give_the_same_bytes() {
    let bytes = || {
        let memory = Memory::new();
        let image = ArchiveImage::new(index(&memory), "two").reference(reference("r.io/two:1"));
        archive(&memory, &[image]).unwrap()
    };
    let first = bytes();
    assert_eq!(first.len() % 512, 0);
    assert!((0..8).all(|_| bytes() == first));
}

#[test]
fn two_images_do_not_share_a_name() {
    let memory = Memory::new();
    let (one, two) = (image(&memory, "one"), image(&memory, "two"));
    let tagged =
        |one: &Descriptor, name: &str, tag| ArchiveImage::new(one.clone(), name).reference(reference(tag));
    let error = archive(&memory, &[tagged(&one, "one", "r.io/one:1"), tagged(&two, "two", "r.io/two:1")])
        .unwrap_err();
    let BlobError::Place { source, .. } = error else { panic!("{error}") };
    assert_eq!(source.to_string(), "`1` would stand for two images in it, `one` and `two`");
    let same = [tagged(&one, "one", "r.io/one:1"), tagged(&one, "one", "r.io/other:1")];
    let found = entries(&archive(&memory, &same).unwrap());
    let listed: Index = from_json(&found["index.json"]).unwrap();
    assert_eq!(listed.manifests[1].annotations.get(annotation::REF_NAME), None);
    assert_eq!(json(&found["manifest.json"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_archive_is_finished_only_with_all_its_parts() {
    let memory = Memory::new();
    let root = image(&memory, "one");
    let writer = ArchiveWriter::to_stream("it", Vec::new());
    let manifest = memory_content(&memory, &root);
    writer.push(&root, &*manifest).unwrap();
    let error = writer.finish(&[ArchiveImage::new(root, "one")]).unwrap_err();
    let BlobError::Place { source, fault: PlaceFault::Refused, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("which `one` needs"), "{source}");
}

fn memory_content(memory: &Memory, descriptor: &Descriptor) -> Box<dyn Content> {
    crate::blob::Source::fetch(memory, descriptor).unwrap()
}

#[test]
fn a_broken_archive_stays_broken() {
    let memory = Memory::new();
    let writer = ArchiveWriter::to_stream("it", Vec::new());
    let descriptor = Descriptor::of(MediaType::LAYER, b"hello");
    assert!(matches!(
        writer.push(&descriptor, &BytesContent::new(*b"hullo")),
        Err(BlobError::Corrupt { .. })
    ));
    let error = writer.push(&descriptor, &BytesContent::new(*b"hello")).unwrap_err();
    assert!(matches!(error, BlobError::Place { .. }));
    let root = image(&memory, "one");
    assert!(writer.finish(&[ArchiveImage::new(root, "one")]).is_err());
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_interrupted_archive_leaves_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/app.tar");
    let memory = Memory::new();
    let one = ArchiveImage::new(image(&memory, "one"), "one");
    write(ArchiveWriter::to_file(&path).unwrap(), &memory, std::slice::from_ref(&one)).unwrap();
    let old = fs::read(&path).unwrap();
    assert_eq!(old, archive(&memory, &[one]).unwrap());

    let root = index(&memory);
    let (last, _) = layer(&memory, "hello", b"amd64");
    let cancel = Cancel::new();
    for mishap in [Mishap::Breaks, Mishap::Cancelled(cancel.clone())] {
        let source = Mishaps { inner: &memory, digest: last.digest, mishap };
        let writer = ArchiveWriter::to_file(&path).unwrap();
        let options = CopyOptions::new().cancel(cancel.clone());
        copy(std::slice::from_ref(&root), &source, &writer, &options).unwrap_err();
        assert!(writer.finish(&[ArchiveImage::new(root.clone(), "two")]).is_err());
        assert_eq!(names(path.parent().unwrap()), ["app.tar"]);
        assert_eq!(fs::read(&path).unwrap(), old);
    }
    let two = ArchiveImage::new(root, "two");
    write(ArchiveWriter::to_file(&path).unwrap(), &memory, &[two]).unwrap();
    assert_ne!(fs::read(&path).unwrap(), old);
    assert_eq!(names(path.parent().unwrap()), ["app.tar"]);
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.0);
        self.0 -= count;
        if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_that_fails_fails_the_archive() {
    let memory = Memory::new();
    let images = [ArchiveImage::new(image(&memory, "one"), "one")];
    let length = archive(&memory, &images).unwrap().len();
    for room in (0..length).step_by(512) {
        let error = write(ArchiveWriter::to_stream("it", Full(room)), &memory, &images).unwrap_err();
        assert!(matches!(error, BlobError::Place { fault: PlaceFault::Unavailable, .. }), "{error}");
    }
    write(ArchiveWriter::to_stream("it", Full(length)), &memory, &images).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_written_to_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let memory = Memory::new();
    let images = [ArchiveImage::new(image(&memory, "one"), "one")];
    assert!(write(ArchiveWriter::to_file("/dev/full").unwrap(), &memory, &images).is_err());
    write(ArchiveWriter::to_file("/dev/null").unwrap(), &memory, &images).unwrap();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert!(matches!(ArchiveWriter::to_file("/dev"), Err(BlobError::File { .. })));
}
