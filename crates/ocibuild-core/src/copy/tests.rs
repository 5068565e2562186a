use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::blob::fixture::{Mishap, Mishaps, Recorder, image, image_of, index, layer};
use crate::blob::{BytesContent, Memory, read_whole};
use crate::digest::Digest;
use crate::oci::{Index, Manifest, MediaType, Platform, from_json, to_json};

fn copy_to(recorder: &Recorder, roots: &[Descriptor], source: &Memory, threads: usize) -> CopyReport {
    copy(roots, source, recorder, &CopyOptions::new().threads(threads)).unwrap()
}

fn read(memory: &Memory, descriptor: &Descriptor) -> Vec<u8> {
    read_whole(memory, descriptor, u64::MAX).unwrap()
}

/// Everything at and below a descriptor, children first.
fn below(memory: &Memory, root: &Descriptor) -> Vec<Descriptor> {
    let children = children(&root.media_type, &read(memory, root)).unwrap();
    let mut all: Vec<Descriptor> = children.iter().flat_map(|child| below(memory, child)).collect();
    all.push(root.clone());
    all
}

#[test]
fn children_go_before_parents_and_each_blob_once() {
    let memory = Memory::new();
    let roots = [index(&memory), image(&memory, "one"), image(&memory, "two"), image(&memory, "one")];
    for threads in [1, 2, 16] {
        let recorder = Recorder::default();
        let report = copy_to(&recorder, &roots, &memory, threads);
        let pushed = recorder.pushed();
        let all: BTreeSet<Digest> =
            roots.iter().flat_map(|root| below(&memory, root)).map(|one| one.digest).collect();
        assert_eq!(pushed.len(), all.len());
        assert_eq!(report.sent.blobs, all.len() as u64);
        assert_eq!(pushed.iter().copied().collect::<BTreeSet<_>>(), all);
        let at = |digest: Digest| pushed.iter().position(|one| *one == digest).unwrap();
        for root in roots.iter().flat_map(|root| below(&memory, root)) {
            for child in children(&root.media_type, &read(&memory, &root)).unwrap() {
                assert!(at(child.digest) < at(root.digest));
            }
        }
    }
}

#[test]
fn one_thread_pushes_in_the_order_of_the_graph() {
    let memory = Memory::new();
    let root = index(&memory);
    let (first, second) = (Recorder::default(), Recorder::default());
    copy_to(&first, std::slice::from_ref(&root), &memory, 1);
    copy_to(&second, &[root], &memory, 1);
    assert_eq!(first.pushed(), second.pushed());
}

#[test]
fn a_root_may_be_below_another_root() {
    let memory = Memory::new();
    let root = index(&memory);
    let inner: Index = from_json(&read(&memory, &root)).unwrap();
    let outer = memory.insert(MediaType::INDEX, to_json(&Index::new(vec![root.clone()])));
    let manifest = inner.manifests[0].clone();
    for roots in [[&outer, &root, &manifest], [&manifest, &root, &outer], [&root, &outer, &root]] {
        let recorder = Recorder::default();
        copy_to(&recorder, &roots.map(Clone::clone), &memory, 4);
        let pushed = recorder.pushed();
        assert_eq!(pushed[pushed.len() - 2..], [root.digest, outer.digest]);
        assert_eq!(pushed.len(), pushed.iter().collect::<BTreeSet<_>>().len());
    }
}

#[test]
fn what_is_there_costs_one_question_a_root() {
    let memory = Memory::new();
    let (one, two) = (image(&memory, "one"), index(&memory));
    let recorder = Recorder::default();
    copy_to(&recorder, &[one.clone(), two.clone()], &memory, 2);
    let before = recorder.pushed().len();
    recorder.asked.lock().unwrap().clear();
    let report = copy_to(&recorder, &[one.clone(), two.clone()], &Memory::new(), 2);
    assert_eq!(*recorder.asked.lock().unwrap(), [2]);
    assert_eq!(recorder.pushed().len(), before);
    assert_eq!(report.present, Tally { blobs: 2, bytes: one.size + two.size });
    assert_eq!(report.sent, Tally::default());
}

#[test]
fn only_what_is_missing_is_sent() {
    let memory = Memory::new();
    let shared = layer(&memory, "shared", b"shared");
    let own = layer(&memory, "own", b"own");
    let amd64 = Platform::linux_amd64();
    let first = image_of(&memory, &amd64, std::slice::from_ref(&shared));
    let second = image_of(&memory, &amd64, &[shared.clone(), own.clone()]);
    let recorder = Recorder::default();
    copy_to(&recorder, &[first], &memory, 2);
    let report = copy_to(&recorder, &[second], &memory, 2);
    assert_eq!(report.present, Tally { blobs: 1, bytes: shared.0.size });
    assert_eq!(report.sent.blobs, 3);
}

#[test]
fn events_of_a_blob_come_in_order_and_add_up() {
    let memory = Memory::new();
    let big: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|n| Digest::of(&n.to_le_bytes()).hex().into_bytes())
        .take(2 << 20)
        .collect();
    let (layer, diff_id) = layer(&memory, "big", &big);
    let root = image_of(&memory, &Platform::linux_amd64(), &[(layer.clone(), diff_id)]);
    let seen = Mutex::new(Vec::new());
    let observer = |event: &Event| seen.lock().unwrap().push(event.clone());
    copy(&[root], &memory, &Recorder::default(), &CopyOptions::new().observer(&observer)).unwrap();
    let of_layer: Vec<Event> = seen
        .into_inner()
        .unwrap()
        .into_iter()
        .filter(|event| match event {
            Event::PushStarted { digest, .. }
            | Event::PushProgress { digest, .. }
            | Event::PushFinished { digest, .. } => *digest == layer.digest,
            _ => false,
        })
        .collect();
    let (first, last) = (of_layer.first().unwrap(), of_layer.last().unwrap());
    assert!(matches!(first, Event::PushStarted { size, .. } if *size == layer.size));
    assert!(matches!(last, Event::PushFinished { transfer: Transfer::Sent, .. }));
    let bytes = |event: &Event| if let Event::PushProgress { bytes, .. } = event { *bytes } else { 0 };
    assert_eq!(of_layer.iter().map(bytes).sum::<u64>(), layer.size);
    assert!(of_layer.len() > 4);
}

#[test]
fn a_fault_stops_the_copy_before_any_manifest() {
    let memory = Memory::new();
    let root = index(&memory);
    let digest = below(&memory, &root).iter().find(|one| one.media_type.is_layer()).unwrap().digest;
    let source = Mishaps { inner: &memory, digest, mishap: Mishap::Breaks };
    let recorder = Recorder::default();
    let error = copy(&[root], &source, &recorder, &CopyOptions::new()).unwrap_err();
    assert!(matches!(error, BlobError::Read { digest: at, .. } if at == digest), "{error}");
    let has_manifest = |one: &Digest| below_is_manifest(&memory, one);
    assert!(!recorder.pushed().iter().any(has_manifest));
}

fn below_is_manifest(memory: &Memory, digest: &Digest) -> bool {
    let manifest = Descriptor::new(MediaType::MANIFEST, *digest, 0);
    from_json::<Manifest>(&read_unchecked(memory, &manifest)).is_ok()
}

fn read_unchecked(memory: &Memory, descriptor: &Descriptor) -> Vec<u8> {
    let mut bytes = Vec::new();
    let content = memory.fetch(descriptor).unwrap();
    std::io::Read::read_to_end(&mut content.open(0).unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn a_cancelled_copy_says_so() {
    let memory = Memory::new();
    let root = index(&memory);
    for threads in [1, 4] {
        let cancel = Cancel::new();
        let digest = below(&memory, &root)[2].digest;
        let mishap = Mishap::Cancelled(cancel.clone());
        let source = Mishaps { inner: &memory, digest, mishap };
        let recorder = Recorder::default();
        let options = CopyOptions::new().threads(threads).cancel(cancel);
        let error = copy(std::slice::from_ref(&root), &source, &recorder, &options).unwrap_err();
        assert!(matches!(error, BlobError::Cancelled(_)), "{error}");
        assert!(!recorder.pushed().contains(&digest));
        assert!(!recorder.pushed().contains(&root.digest));
    }
}

#[test]
fn foreign_layers_stay_where_they_are() {
    let memory = Memory::new();
    let bytes = b"licensed";
    let kinds = [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ];
    for kind in kinds {
        let mut foreign = memory.insert(MediaType::new(kind), bytes.to_vec());
        foreign.urls = vec!["https://example.com/layer".to_owned()];
        let config = memory.insert(MediaType::CONFIG, b"{}".to_vec());
        let mut elsewhere = Descriptor::of(MediaType::LAYER_GZIP, b"elsewhere");
        elsewhere.urls = foreign.urls.clone();
        let mut here = memory.insert(MediaType::LAYER_GZIP, b"here".to_vec());
        here.urls = foreign.urls.clone();
        let manifest = Manifest::new(config, vec![foreign.clone(), elsewhere.clone(), here.clone()]);
        let root = memory.insert(MediaType::MANIFEST, to_json(&manifest));
        let recorder = Recorder::default();
        let report = copy_to(&recorder, &[root], &memory, 2);
        assert_eq!(report.foreign, Tally { blobs: 2, bytes: foreign.size + elsewhere.size });
        assert!(recorder.pushed().contains(&here.digest));
        assert_eq!(recorder.pushed().len(), 3);
    }
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let memory = Memory::new();
    let config = memory.insert(MediaType::CONFIG, b"{}".to_vec());
    let layer = memory.insert(MediaType::LAYER, b"layer".to_vec());
    let manifest = |layers| to_json(&Manifest::new(config.clone(), layers));
    let mut other_size = layer.clone();
    other_size.size += 1;
    let mut nested = image(&memory, "nested");
    for _ in 0..9 {
        nested = memory.insert(MediaType::INDEX, to_json(&Index::new(vec![nested])));
    }
    let both = br#"{"schemaVersion":2,"manifests":[],"layers":[],"config":null}"#.to_vec();
    let cases = [
        (memory.insert(MediaType::MANIFEST, manifest(vec![layer.clone(), other_size])), "bytes and"),
        (memory.insert(MediaType::MANIFEST, b"{}".to_vec()), "no `config`"),
        (memory.insert(MediaType::MANIFEST, b"no json".to_vec()), "no manifest"),
        (memory.insert(MediaType::MANIFEST, both.clone()), "both"),
        (memory.insert(MediaType::INDEX, both), "both"),
        (memory.insert(MediaType::INDEX, manifest(vec![])), "both"),
        (
            memory.insert(
                MediaType::MANIFEST,
                br#"{"config":{"mediaType":"x","size":1,"digest":"sha256:../../x"}}"#.to_vec(),
            ),
            "no manifest",
        ),
        (memory.insert(MediaType::MANIFEST, vec![b' '; (4 << 20) + 1]), "limit"),
        (nested, "deep"),
        (layer.clone(), "neither"),
    ];
    for (root, part) in cases {
        let recorder = Recorder::default();
        let error = copy(&[root], &memory, &recorder, &CopyOptions::new()).unwrap_err();
        let BlobError::Corrupt { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().contains(part), "{source}");
        assert!(recorder.pushed().is_empty());
    }
}

#[test]
fn a_copy_between_places_re_encodes_nothing() {
    let memory = Memory::new();
    let config = memory.insert(MediaType::DOCKER_CONFIG, b"{ \"spaces\" : true }".to_vec());
    let text =
        format!("{{\n \"config\": {}, \"unknown\": 1.0 }}", String::from_utf8(to_json(&config)).unwrap());
    let root = memory.insert(MediaType::DOCKER_MANIFEST, text.clone().into_bytes());
    let recorder = Recorder::default();
    copy_to(&recorder, std::slice::from_ref(&root), &memory, 1);
    assert_eq!(read(&recorder.memory, &root), text.as_bytes());
}

#[test]
fn one_blob_is_pushed_by_itself() {
    let recorder = Recorder::default();
    let descriptor = Descriptor::of(MediaType::LAYER, b"hello");
    let content = BytesContent::new(*b"hello");
    let options = CopyOptions::new();
    assert_eq!(push(&descriptor, &content, &recorder, &options).unwrap(), Transfer::Sent);
    assert_eq!(push(&descriptor, &content, &recorder, &options).unwrap(), Transfer::Present);
    let wrong = Descriptor::of(MediaType::LAYER, b"hullo");
    assert!(matches!(push(&wrong, &content, &recorder, &options), Err(BlobError::Corrupt { .. })));
}
