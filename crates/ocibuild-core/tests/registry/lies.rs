//! Registries that say they have what they haven't: that shows when the manifest isn't taken.

use std::sync::Mutex;

use ocibuild_core::blob::{BlobError, BytesContent, Memory, PlaceFault, Sink, read_whole};
use ocibuild_core::copy::{CopyOptions, CopyReport, children, copy};
use ocibuild_core::event::{Event, Transfer};
use ocibuild_core::oci::{Descriptor, Index, Manifest, MediaType, to_json};
use ocibuild_core::registry::RemoteRepository;
use ocibuild_serve::faults::{Answer, Asked};
use ocibuild_serve::{Fault, Faults, Script, When};

use crate::upload::Faulty;

fn keep(store: &Memory, media_type: MediaType, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    store.push(&descriptor, &BytesContent::new(bytes.to_vec())).unwrap();
    descriptor
}

/// An image of these layers.
fn image(store: &Memory, layers: &[&[u8]]) -> Descriptor {
    let layers = layers.iter().map(|bytes| keep(store, MediaType::LAYER, bytes)).collect();
    keep(store, MediaType::MANIFEST, &to_json(&Manifest::new(keep(store, MediaType::CONFIG, b"{}"), layers)))
}

fn index(store: &Memory, images: Vec<Descriptor>) -> Descriptor {
    keep(store, MediaType::INDEX, &to_json(&Index::new(images)))
}

/// Makes sure that all is there, whatever HEAD says.
fn check(repository: &RemoteRepository, descriptor: &Descriptor) {
    let bytes = read_whole(repository, descriptor, 1 << 20).unwrap();
    for child in children(&descriptor.media_type, &bytes).unwrap() {
        check(repository, &child);
    }
}

fn copied(store: &Memory, root: &Descriptor, faulty: &Faulty) -> CopyReport {
    let repository = faulty.repository();
    let finished = Mutex::new(Vec::new());
    let observer = |event: &Event| {
        if let Event::PushFinished { digest, transfer: Transfer::Sent, .. } = event {
            finished.lock().unwrap().push(*digest);
        }
    };
    let options = CopyOptions::new().observer(&observer);
    let report = copy(std::slice::from_ref(root), store, &repository, &options).unwrap();
    check(&repository, root);
    assert_eq!(finished.lock().unwrap().len() as u64, report.sent.blobs);
    report
}

fn lies(part: &str) -> impl Faults + 'static {
    Script::new().on(When::asked("HEAD", part), Fault::Lie)
}

#[test]
fn a_blob_that_only_head_knows_is_sent() {
    let store = Memory::new();
    let root = image(&store, &[b"one", b"two"]);
    let faulty = Faulty::start(lies(&Descriptor::of(MediaType::LAYER, b"two").digest.to_string()));
    let report = copied(&store, &root, &faulty);
    assert_eq!((report.sent.blobs, report.present.blobs, report.present.bytes), (4, 0, 0));
    // Of the other blobs nothing was said that is wrong.
    let uploads = faulty.recorder.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(uploads, 3);
    // All of them are a lie.
    let faulty = Faulty::start(lies("/blobs/"));
    let report = copied(&store, &root, &faulty);
    assert_eq!((report.sent.blobs, report.present.blobs), (4, 0));
    assert_eq!(faulty.count("POST"), 3);
    assert_eq!(faulty.count("PUT"), 3 + 2);
}

#[test]
fn an_image_of_an_index_that_only_head_knows_is_sent() {
    let store = Memory::new();
    let (one, two) = (image(&store, &[b"one", b"shared"]), image(&store, &[b"two", b"shared"]));
    let root = index(&store, vec![one.clone(), two.clone()]);
    let faulty = Faulty::start(lies(&two.digest.to_string()));
    let report = copied(&store, &root, &faulty);
    assert_eq!((report.sent.blobs, report.present.blobs), (7, 0));
    // Everything but the index is a lie.
    let index = root.digest.to_string();
    let faulty = Faulty::start(move |asked: &Asked| match asked.method() {
        "HEAD" if !asked.path().contains(&index) => vec![Fault::Lie],
        _ => Vec::new(),
    });
    let report = copied(&store, &root, &faulty);
    assert_eq!((report.sent.blobs, report.present.blobs), (7, 0));
}

#[test]
fn a_registry_that_names_nothing_is_sent_all() {
    let store = Memory::new();
    let root = image(&store, &[b"one", b"two"]);
    let unknown = Answer::new(400).body(r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#);
    let script = Script::new()
        .on(When::asked("HEAD", "/blobs/"), Fault::Lie)
        .on(When::asked("PUT", "/manifests/").times(1), Fault::Answer(unknown));
    assert_eq!(copied(&store, &root, &Faulty::start(script)).sent.blobs, 4);
}

#[test]
fn a_registry_that_never_has_what_it_was_sent_is_given_up_on() {
    let store = Memory::new();
    let root = image(&store, &[b"one", b"two"]);
    let unknown = Answer::new(404).body(r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"no"}]}"#);
    let faulty = Faulty::on(When::asked("PUT", "/manifests/"), Fault::Answer(unknown));
    let error = copy(&[root], &store, &faulty.repository(), &CopyOptions::new()).unwrap_err();
    let BlobError::Place { fault, source, .. } = error else { panic!("{error}") };
    assert_eq!(fault, PlaceFault::Lacking);
    assert!(source.to_string().ends_with("was answered 404 MANIFEST_BLOB_UNKNOWN: no"), "{source}");
    assert_eq!(
        faulty.recorder.count(|exchange| exchange.path.contains("manifests") && exchange.method == "PUT"),
        2
    );
}
