//! What refers to what, as registries tell it and as they don't.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ocibuild_core::blob::{BlobError, BytesContent, Sink};
use ocibuild_core::copy::{Listing, Referrers};
use ocibuild_core::digest::Digest;
use ocibuild_core::oci::{Descriptor, Index, Manifest, MediaType, from_json, to_json};
use ocibuild_core::registry::{Memory, Registry, RegistryError, RemoteRepository};

use crate::recorder::{Asked, Recorder, Reply};
use crate::{options, repository};

fn connect(recorder: &Recorder) -> RemoteRepository {
    Registry::new(options()).repository(&repository(&recorder.host, "team/app"))
}

fn entry(number: u8) -> Descriptor {
    Descriptor::of(MediaType::MANIFEST, &[number])
}

fn index(entries: Vec<Descriptor>) -> Reply {
    Reply::new(200).header("Content-Type", MediaType::INDEX).body(to_json(&Index::new(entries)))
}

fn subject() -> Descriptor {
    Descriptor::of(MediaType::MANIFEST, b"the subject")
}

fn artifact(text: &str) -> (Descriptor, BytesContent) {
    let config = Descriptor::of(MediaType::new("application/vnd.example"), b"{}");
    let mut manifest = Manifest::new(config, Vec::new());
    manifest.subject = Some(subject());
    manifest.annotations.insert("text".to_owned(), text.to_owned());
    let bytes = to_json(&manifest);
    (Descriptor::of(MediaType::MANIFEST, &bytes), BytesContent::new(bytes))
}

fn fallback() -> String {
    format!("/v2/team/app/manifests/{}", subject().digest.to_string().replace(':', "-"))
}

#[test]
fn a_list_goes_on_over_pages() {
    let recorder = Recorder::start(|asked, _| {
        let page = asked.path.split_once("page=").map_or("1", |(_, page)| page);
        let reply = index(vec![entry(page.as_bytes()[0])]).header("OCI-Filters-Applied", "artifactType");
        match page {
            "1" => reply.header("Link", "</other>; rel=\"prev\", <?page=2>; rel=\"next\""),
            "2" => {
                reply.header("Link", format!("<{}?page=3>; rel=next", asked.path.split('?').next().unwrap()))
            }
            _ => reply,
        }
    });
    let found = connect(&recorder).referrers(&subject()).unwrap();
    assert_eq!(found, [entry(b'1'), entry(b'2'), entry(b'3')]);
    let path = format!("GET /v2/team/app/referrers/{}", subject().digest);
    assert_eq!(recorder.lines(), [path.clone(), format!("{path}?page=2"), format!("{path}?page=3")]);
}

#[test]
fn a_page_that_breaks_off_is_asked_for_again() {
    let recorder = Recorder::start(move |_, before| match before.len() {
        0 | 1 => index(vec![entry(1)]).claim(100_000),
        _ => index(vec![entry(1)]),
    });
    assert_eq!(connect(&recorder).referrers(&subject()).unwrap(), [entry(1)]);
    assert_eq!(recorder.lines().len(), 3);
}

#[test]
fn a_list_does_not_go_on_elsewhere_or_for_ever() {
    for next in ["http://127.0.0.2:1/v2/x", "//127.0.0.2:1/x"] {
        let recorder =
            Recorder::start(move |_, _| index(Vec::new()).header("Link", format!("<{next}>; rel=\"next\"")));
        let error = connect(&recorder).referrers(&subject()).unwrap_err();
        let BlobError::Place { source, .. } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains("elsewhere"), "{source}");
    }
    let many: Vec<Descriptor> = (0..200).map(entry).collect();
    let recorder = Recorder::start(move |_, _| index(many.clone()).header("Link", "<?again>; rel=\"next\""));
    let error = connect(&recorder).referrers(&subject()).unwrap_err();
    let BlobError::Place { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("more than 10000 referrers"), "{source}");
}

#[test]
fn a_registry_that_does_not_know_the_question_is_asked_for_the_tag() {
    for status in [404, 400, 405, 200] {
        let recorder = Recorder::start(move |asked, _| match asked.path.contains("/referrers/") {
            // A page for people, by one that answers everything.
            true if status == 200 => Reply::new(200).header("Content-Type", "text/html").body("<html>"),
            true => Reply::new(status),
            false => index(vec![entry(1)]),
        });
        assert_eq!(connect(&recorder).referrers(&subject()).unwrap(), [entry(1)]);
        assert_eq!(recorder.lines()[1], format!("GET {}", fallback()));
    }
    let recorder = Recorder::start(|_, _| Reply::new(404));
    assert!(connect(&recorder).referrers(&subject()).unwrap().is_empty());
    let recorder = Recorder::start(|_, _| Reply::new(403));
    assert!(connect(&recorder).referrers(&subject()).is_err());
}

/// Manifests by their paths, and nothing of referrers.
type Kept = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

fn keeps(kept: &Kept, asked: &Asked) -> Reply {
    let mut kept = kept.lock().unwrap();
    match asked.method.as_str() {
        "PUT" => {
            kept.insert(asked.path.clone(), asked.body.clone());
            Reply::new(201)
        }
        "HEAD" => Reply::new(if kept.contains_key(&asked.path) { 200 } else { 404 }),
        _ => match kept.get(&asked.path) {
            Some(bytes) => Reply::new(200).header("Content-Type", MediaType::INDEX).body(bytes),
            None => Reply::new(404),
        },
    }
}

fn listed(kept: &Kept) -> Vec<Digest> {
    let bytes = kept.lock().unwrap().get(&fallback()).cloned().unwrap();
    let index: Index = from_json(&bytes).unwrap();
    index.manifests.iter().map(|one| one.digest).collect()
}

#[test]
fn what_refers_to_something_is_listed_where_the_registry_does_not() {
    let kept = Kept::default();
    let for_recorder = Arc::clone(&kept);
    let recorder = Recorder::start(move |asked, _| keeps(&for_recorder, asked));
    let repository = connect(&recorder);
    let ((one, one_bytes), (two, two_bytes)) = (artifact("one"), artifact("two"));
    repository.push(&one, &one_bytes).unwrap();
    repository.push(&two, &two_bytes).unwrap();
    assert_eq!(listed(&kept), [one.digest, two.digest]);
    let found = repository.referrers(&subject()).unwrap();
    assert_eq!(found[0].artifact_type, Some(MediaType::new("application/vnd.example")));
    assert_eq!(found[1].annotations["text"], "two");
    // Again, nothing is written.
    let before = recorder.lines().len();
    repository.list(&one).unwrap();
    assert!(recorder.lines()[before..].iter().all(|line| line.starts_with("GET ")));
    // A list that lost it has it again.
    kept.lock().unwrap().remove(&fallback());
    repository.list(&one).unwrap();
    assert_eq!(listed(&kept), [one.digest]);
}

#[test]
fn a_registry_that_keeps_the_list_is_left_to_it() {
    let recorder = Recorder::start(|asked, _| match asked.method.as_str() {
        "PUT" => Reply::new(201).header("OCI-Subject", subject().digest),
        "GET" if asked.path.contains("/referrers/") => index(Vec::new()),
        _ => Reply::new(404),
    });
    let (one, bytes) = artifact("one");
    connect(&recorder).push(&one, &bytes).unwrap();
    assert_eq!(recorder.lines().len(), 2, "{:?}", recorder.lines());
}

#[test]
fn a_list_that_another_writes_at_once_is_written_again() {
    let kept = Kept::default();
    let (for_recorder, losses) = (Arc::clone(&kept), Arc::new(Mutex::new(2)));
    let recorder = Recorder::start(move |asked, _| {
        let reply = keeps(&for_recorder, asked);
        let mut losses = losses.lock().unwrap();
        if asked.method == "PUT" && asked.path == fallback() && *losses > 0 {
            *losses -= 1;
            // Another's list, which doesn't have ours, comes right behind.
            let other = to_json(&Index::new(vec![entry(9)]));
            for_recorder.lock().unwrap().insert(fallback(), other);
        }
        reply
    });
    let (one, bytes) = artifact("one");
    connect(&recorder).push(&one, &bytes).unwrap();
    assert_eq!(listed(&kept), [entry(9).digest, one.digest]);
}

#[test]
fn a_list_that_never_keeps_anything_is_an_error() {
    let recorder = Recorder::start(|asked, _| match asked.method.as_str() {
        "PUT" => Reply::new(201),
        _ => Reply::new(404),
    });
    let (one, bytes) = artifact("one");
    let error = connect(&recorder).push(&one, &bytes).unwrap_err();
    let BlobError::Place { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source.downcast().unwrap(), RegistryError::Contended { .. }));
}

/// What is known of every registry, and what became of it.
#[derive(Default)]
struct Noted(Mutex<Option<Vec<u8>>>);

impl Memory for Noted {
    fn load(&self, _: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().clone()
    }

    fn save(&self, _: &str, bytes: &[u8]) {
        *self.0.lock().unwrap() = Some(bytes.to_vec());
    }
}

#[test]
fn that_a_registry_keeps_no_lists_is_found_out_once() {
    let (kept, noted) = (Kept::default(), Arc::new(Noted::default()));
    let shared = Arc::clone(&kept);
    let recorder = Recorder::start(move |asked, _| keeps(&shared, asked));
    let connect = || {
        let mut options = options();
        options.memory = Arc::clone(&noted) as Arc<dyn Memory>;
        Registry::new(options).repository(&repository(&recorder.host, "team/app"))
    };
    let questions = || recorder.lines().iter().filter(|line| line.contains("/referrers/")).count();
    let all = ["one", "two", "three"].map(artifact);
    let first = connect();
    for (descriptor, content) in &all {
        first.push(descriptor, content).unwrap();
    }
    assert_eq!(questions(), 0, "pushing tells");
    for (descriptor, _) in &all {
        first.list(descriptor).unwrap();
    }
    assert_eq!(questions(), 1);
    // A list is written without asking, but looked for anew.
    kept.lock().unwrap().remove(&fallback());
    let next = connect();
    next.list(&all[0].0).unwrap();
    assert_eq!((questions(), listed(&kept)), (1, vec![all[0].0.digest]));
    assert_eq!(next.referrers(&subject()).unwrap().len(), 1);
    assert_eq!(questions(), 2);
}
