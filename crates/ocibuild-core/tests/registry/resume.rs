//! Downloads that break off go on from where they are.

use std::io::Read as _;

use ocibuild_core::blob::{Memory, Sink, Source, read_whole};
use ocibuild_core::copy::{self, CopyOptions};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::oci::{Descriptor, Manifest, MediaType, to_json};
use ocibuild_core::registry::{Mirror, Registry};
use ocibuild_serve::{Fault, Script, When};

use crate::recorder::{Recorder, Reply};
use crate::served::Served;
use crate::{layer, noise, options, repository};

const SIZE: usize = 1_000_000;

/// Puts an image of some layers into a repository.
fn fill(served: &Served, path: &str, layers: u8) -> Descriptor {
    let to = served.repository(path);
    let memory = Memory::new();
    let layers =
        (0..layers).map(|number| memory.insert(MediaType::LAYER, [&[number], &noise(SIZE)[..]].concat()));
    let layers: Vec<Descriptor> = layers.collect();
    let config = memory.insert(MediaType::CONFIG, b"{}".to_vec());
    let bytes = to_json(&Manifest::new(config, layers));
    let root = memory.insert(MediaType::MANIFEST, bytes);
    copy::copy(std::slice::from_ref(&root), &memory, &to, &CopyOptions::new()).unwrap();
    served.recorder.clear();
    root
}

#[test]
fn a_pull_that_breaks_halfway_in_each_blob_resumes() {
    let faults = Script::new()
        .on(When::asked("GET", "/blobs/").each().times(1), Fault::ResetResponse(SIZE as u64 / 2))
        .on(When::asked("GET", "/manifests/").each().times(1), Fault::ResetResponse(100));
    let served = Served::failing(faults);
    let root = fill(&served, "app", 3);
    let memory = Memory::new();
    let from = served.repository("app");
    copy::copy(std::slice::from_ref(&root), &from, &memory, &CopyOptions::new()).unwrap();
    assert!(memory.exists(&root).unwrap());
    let _ = validate(&memory, &root, &ValidateOptions::default()).unwrap();
    let exchanges = served.recorder.exchanges();
    let ranges = exchanges.iter().filter_map(|one| one.range.clone()).collect::<Vec<_>>();
    assert_eq!(ranges.len(), 3, "{exchanges:#?}");
    // What came before the break isn't asked for again.
    assert!(ranges.iter().all(|range| range != "bytes=0-"), "{ranges:?}");
    let sent: u64 = exchanges.iter().filter(|one| one.path.contains("/blobs/")).map(|one| one.sent).sum();
    assert!(sent < 3 * SIZE as u64 * 11 / 10, "{sent}");
}

#[test]
fn as_long_as_something_comes_there_is_no_end_to_patience() {
    let served =
        Served::failing(Script::new().on(When::asked("GET", "/blobs/"), Fault::ResetResponse(90_000)));
    let (descriptor, content) = layer(&noise(SIZE));
    let repository = served.repository("app");
    repository.push(&descriptor, &content).unwrap();
    assert_eq!(read_whole(&repository, &descriptor, SIZE as u64).unwrap(), noise(SIZE));
    // From an offset on, too.
    let mut rest = Vec::new();
    repository.content(&descriptor).open(500_000).unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, noise(SIZE)[500_000..]);
}

#[test]
fn where_nothing_comes_it_ends() {
    let served = Served::failing(
        Script::new()
            .on(When::asked("GET", "/blobs/").skip(1), Fault::ResetResponse(0))
            .on(When::asked("GET", "/blobs/").times(1), Fault::ResetResponse(1000)),
    );
    let (descriptor, content) = layer(&noise(SIZE));
    let mut few = options();
    few.attempts = 3;
    let repository = served.repository_with("app", few);
    repository.push(&descriptor, &content).unwrap();
    assert!(read_whole(&repository, &descriptor, SIZE as u64).is_err());
}

#[test]
fn a_registry_without_ranges_sends_it_again_and_what_was_had_is_passed_over() {
    let bytes = noise(SIZE);
    let (descriptor, _) = layer(&bytes);
    let recorder = Recorder::start(move |_, before| match before.len() {
        0 => Reply::new(200),
        1 => Reply::new(200).body(&bytes[..SIZE / 3]).claim(SIZE),
        2 => Reply::new(200).body(&bytes[..SIZE / 2]).claim(SIZE),
        _ => Reply::new(200).body(&bytes),
    });
    let from = Registry::new(options()).repository(&repository(&recorder.host, "app"));
    assert_eq!(read_whole(&from, &descriptor, SIZE as u64).unwrap(), noise(SIZE));
    let ranges: Vec<_> = recorder.asked().iter().map(|one| one.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 4);
    assert_eq!(ranges[2], Some(format!("bytes={}-", SIZE / 3)));
    assert_eq!(ranges[3], Some(format!("bytes={}-", SIZE / 2)));
}

#[test]
fn a_server_may_give_less_than_the_rest() {
    let bytes = noise(SIZE);
    let (descriptor, _) = layer(&bytes);
    let recorder = Recorder::start(move |asked, before| match (before.len(), asked.header("range")) {
        (0, _) => Reply::new(200),
        (_, None) => Reply::new(200).body(&bytes[..10]).claim(SIZE),
        (_, Some(range)) => {
            let start: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
            let end = (start + SIZE / 4).min(SIZE);
            let told = format!("bytes {start}-{}/{SIZE}", end - 1);
            Reply::new(206).header("Content-Range", told).body(&bytes[start..end])
        }
    });
    let from = Registry::new(options()).repository(&repository(&recorder.host, "app"));
    assert_eq!(read_whole(&from, &descriptor, SIZE as u64).unwrap(), noise(SIZE));
    assert_eq!(recorder.asked().len(), 2 + 4);
}

#[test]
fn how_a_connection_ends_does_not_matter_once_all_has_come() {
    let bytes = noise(SIZE);
    let (descriptor, _) = layer(&bytes);
    let recorder = Recorder::start(move |asked, before| match (before.len(), asked.header("range")) {
        (0, _) => Reply::new(200),
        (_, None) => Reply::new(200).body(&bytes).claim(SIZE + 1),
        (_, Some(_)) => Reply::new(416),
    });
    let from = Registry::new(options()).repository(&repository(&recorder.host, "app"));
    assert_eq!(read_whole(&from, &descriptor, SIZE as u64).unwrap(), noise(SIZE));
}

#[test]
fn it_resumes_over_a_redirect() {
    let storage = Served::failing(
        Script::new().on(When::asked("GET", "/blobs/").times(2), Fault::ResetResponse(300_000)),
    );
    let (descriptor, content) = layer(&noise(SIZE));
    storage.repository("app").push(&descriptor, &content).unwrap();
    let origin = format!("http://{}", storage.host);
    let front = Served::failing(Script::new().on(When::asked("GET", "/blobs/"), Fault::Redirect(origin)));
    front.repository("app").push(&descriptor, &content).unwrap();
    assert_eq!(read_whole(&front.repository("app"), &descriptor, SIZE as u64).unwrap(), noise(SIZE));
    assert_eq!(storage.recorder.count(|one| one.range.is_some()), 2);
}

#[test]
fn a_mirror_that_keeps_breaking_is_left_for_the_registry() {
    let mirror = Served::failing(
        Script::new()
            .on(When::asked("GET", "/blobs/").times(1), Fault::ResetResponse(300_000))
            .on(When::asked("GET", "/blobs/").skip(1), Fault::ResetResponse(0)),
    );
    let own = Served::start();
    let (descriptor, content) = layer(&noise(SIZE));
    for served in [&mirror, &own] {
        served.repository("app").push(&descriptor, &content).unwrap();
        served.recorder.clear();
    }
    let mut mirrored = options();
    mirrored.mirrors = vec![Mirror::new(&own.host, &mirror.host).unwrap()];
    let repository = own.repository_with("app", mirrored);
    assert_eq!(read_whole(&repository, &descriptor, SIZE as u64).unwrap(), noise(SIZE));
    assert_eq!(own.recorder.count(|one| one.method == "GET"), 1);
}
