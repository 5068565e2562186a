//! What an unchanged image costs, and tags that may not be changed.

use std::sync::{Arc, Mutex};

use ocibuild_core::blob::{BlobError, Target};
use ocibuild_core::copy::{CopyOptions, CopyReport};
use ocibuild_core::event::{Event, Observer};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::oci::Platform;
use ocibuild_core::registry::{Registry, RegistryError};
use ocibuild_core::{Builder, Built, ImageSpec, LayerSpec, Reference};
use ocibuild_serve::faults::Answer;
use ocibuild_serve::{Fault, Script, When};

use crate::served::Served;
use crate::whole::Whole;
use crate::{options, real};

fn built(text: &str) -> (Built, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let image = ImageSpec::scratch(Platform::linux_amd64())
        .platform(Platform::linux_arm64())
        .layer(LayerSpec::named("one").content("/one", text))
        .layer(LayerSpec::named("two").content("/two", "the same"));
    let built = Builder::new(directory.path(), directory.path().join("cache")).build(&image).unwrap();
    (built, directory)
}

fn references(host: &str, names: &[&str]) -> Vec<Reference> {
    names.iter().map(|name| format!("{host}/{name}").parse().unwrap()).collect()
}

/// Writes down method and status of what a client asks.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl Observer for Asked {
    fn event(&self, event: &Event) {
        if let Event::Request { method, url, status, .. } = event {
            self.0.lock().unwrap().push(format!("{method} {url} {status:?}"));
        }
    }
}

/// Pushes by a client that knows nothing yet.
fn push(built: &Built, host: &str, names: &[&str]) -> Result<CopyReport, BlobError> {
    let registry = Registry::new(options());
    built.push_image_as(&built.images[0], &registry, &references(host, names), &CopyOptions::new())
}

#[test]
fn who_wants_to_be_left_alone_is_asked_once() {
    let limit = Fault::retry_after(429, 3600);
    let served = Served::failing(Script::new().on(When::any().times(9), limit));
    let (image, _directory) = built("x");
    let error = push(&image, &served.host, &["app:1"]).unwrap_err();
    assert!(matches!(error, BlobError::Place { .. }), "{error}");
    assert_eq!(served.lines(), ["HEAD /v2/app/manifests/1"]);
}

#[test]
fn an_unchanged_image_costs_a_request_a_tag() {
    let served = Served::start();
    let (image, _directory) = built("x");
    let names = ["app:1", "app:1.2", "app:latest"];
    push(&image, &served.host, &names).unwrap();
    served.recorder.clear();
    let report = push(&image, &served.host, &names).unwrap();
    assert_eq!((report.sent.blobs, report.present.blobs), (0, 1));
    assert_eq!(served.lines(), names.map(|name| format!("HEAD /v2/{}", name.replace(':', "/manifests/"))));
    // New tags for what is there.
    served.recorder.clear();
    push(&image, &served.host, &["app:2", "app:latest"]).unwrap();
    let root = image.images[0].root.digest;
    assert_eq!(
        served.lines(),
        [
            "HEAD /v2/app/manifests/2".to_owned(),
            format!("HEAD /v2/app/manifests/{root}"),
            "PUT /v2/app/manifests/2".to_owned(),
            "PUT /v2/app/manifests/latest".to_owned(),
        ]
    );
}

#[test]
fn several_repositories_are_sent_each_blob_once_and_all_tags_come_last() {
    let served = Served::start();
    let (image, _directory) = built("x");
    let report = push(&image, &served.host, &["a:1", "b:1", "b:2", "c/d:1"]).unwrap();
    let (layout, lines) = (served.layout(), served.lines());
    for name in ["a:1", "b:1", "b:2", "c/d:1"] {
        let root =
            served.repository(name.split(':').next().unwrap()).resolve(name.split(':').nth(1).unwrap());
        assert_eq!(root.unwrap(), image.images[0].root, "{name}");
    }
    assert_eq!(validate(&layout, &image.images[0].root, &ValidateOptions::default()).unwrap(), []);
    let blobs = report.mounted.blobs / 2;
    assert_eq!(report.mounted.blobs % 2, 0);
    // Manifests can't be mounted.
    assert_eq!(report.sent.blobs, blobs + 3 * 3, "{report:?}");
    assert_eq!(served.received(), report.mounted.bytes / 2);
    let tagged = |line: &&String| line.starts_with("PUT") && !line.contains("sha256");
    assert_eq!(lines.iter().rev().take_while(tagged).count(), 4, "{lines:#?}");
    assert_eq!(lines.iter().filter(tagged).count(), 4);
}

#[test]
fn another_repository_mounts_what_an_unchanged_one_has() {
    let served = Served::start();
    let (image, _directory) = built("x");
    push(&image, &served.host, &["a:1"]).unwrap();
    let before = served.received();
    let report = push(&image, &served.host, &["a:1", "b:1"]).unwrap();
    assert_eq!(served.received(), before);
    assert!(report.mounted.blobs > 0);
    // What is taken for granted and isn't so is sent.
    let served = Served::failing(Script::new().on(When::asked("HEAD", "/v2/a/manifests/"), {
        let answer = Answer::new(200).header("Docker-Content-Digest", image.images[0].root.digest);
        Fault::Answer(answer)
    }));
    let report = push(&image, &served.host, &["a:1", "b:1"]).unwrap();
    assert_eq!(report.mounted.blobs, 0);
    assert_eq!(served.repository("b").resolve("1").unwrap(), image.images[0].root);
}

#[test]
fn what_was_known_to_be_there_and_was_deleted_is_sent_again() {
    // It takes any manifest, whether it has what is below or not.
    let whole = Whole::start(201);
    let (image, _directory) = built("x");
    let registry = Registry::new(options());
    let push = || {
        let references = references(&whole.recorder.host, &["app:1"]);
        image.push_image_as(&image.images[0], &registry, &references, &CopyOptions::new()).unwrap()
    };
    let sent = push().sent;
    assert_eq!(push().sent.blobs, 0);
    whole.remove("");
    assert_eq!(push().sent, sent);
}

#[test]
fn a_registry_that_only_says_it_has_the_image_is_sent_it() {
    // Asked for the index it says yes, and it has no more than its manifests.
    let served = Served::failing(Script::new().on(When::asked("HEAD", "/manifests/sha256"), Fault::Lie));
    let (image, _directory) = built("x");
    let report = push(&image, &served.host, &["app:1"]).unwrap();
    assert!(report.sent.blobs > 4, "{report:?}");
    assert_eq!(served.repository("app").resolve("1").unwrap(), image.images[0].root);
    assert_eq!(validate(&served.layout(), &image.images[0].root, &ValidateOptions::default()).unwrap(), []);
}

#[test]
fn what_is_below_a_manifest_and_missing_is_no_tag_that_may_not_be_changed() {
    // Several registries say so by a 400, which may mean anything.
    let unknown = Answer::new(400).body(r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}"#);
    let ((one, _one), (other, _other)) = (built("x"), built("y"));
    let lie = When::asked("HEAD", &other.images[0].root.digest.to_string());
    let refused = When::asked("PUT", "/manifests/1").skip(1).times(1);
    let served = Served::failing(Script::new().on(lie, Fault::Lie).on(refused, Fault::Answer(unknown)));
    for image in [&one, &other] {
        push(image, &served.host, &["app:1"]).unwrap();
        assert_eq!(served.repository("app").resolve("1").unwrap(), image.images[0].root);
        assert_eq!(
            validate(&served.layout(), &image.images[0].root, &ValidateOptions::default()).unwrap(),
            []
        );
    }
}

/// What registries say of a tag that may not be changed.
fn refusals() -> Vec<Answer> {
    let error = |status: u16, code: &str, message: &str| {
        let body = format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}");
        Answer::new(status).header("Content-Type", "application/json").body(body)
    };
    vec![
        Answer::new(409),
        Answer::new(405),
        error(400, "TAG_INVALID", "The image tag '1' already exists and cannot be overwritten"),
        error(400, "ImageTagAlreadyExistsException", "no"),
        error(412, "PRECONDITION", "tag is immutable"),
        error(403, "DENIED", "tag 1 is immutable"),
        error(403, "DENIED", "no"),
    ]
}

#[test]
fn the_same_image_on_an_immutable_tag_is_success_and_another_is_told() {
    for refusal in refusals() {
        // The first time, it is given and the answer is lost.
        let first = When::asked("PUT", "/manifests/1").times(1);
        let again = When::asked("PUT", "/manifests/1").skip(1);
        let faults = Script::new().on(first, Fault::LoseReply).on(again, Fault::Answer(refusal.clone()));
        let served = Served::failing(faults);
        let (one, _one) = built("x");
        let (other, _other) = built("y");
        push(&one, &served.host, &["app:1"]).unwrap();
        let registry = Registry::new(options());
        // Whoever doesn't ask first.
        registry.repository(&served.name("app")).tag(&one.images[0].root, "1").unwrap();
        let error = push(&other, &served.host, &["app:1"]).unwrap_err();
        let BlobError::Place { source, .. } = error else { panic!("{refusal:?}") };
        let source = source.downcast::<RegistryError>().unwrap();
        let now = one.images[0].root.digest;
        assert!(
            matches!(&*source, RegistryError::Immutable { tag, now: told, .. } if tag == "1" && *told == now)
        );
        assert!(source.remedy().is_some() && source.to_string().contains(&now.to_string()), "{source}");
    }
}

#[test]
fn a_tag_that_is_refused_for_another_reason_is_not_called_immutable() {
    let served = Served::failing(Script::new().on(When::asked("PUT", "/manifests/2"), Fault::status(403)));
    let (image, _directory) = built("x");
    push(&image, &served.host, &["app:1"]).unwrap();
    let error = push(&image, &served.host, &["app:2"]).unwrap_err();
    let BlobError::Place { source, .. } = error else { panic!() };
    assert!(matches!(*source.downcast::<RegistryError>().unwrap(), RegistryError::Unauthorized(_)));
}

#[test]
fn a_manifest_goes_through_bad_days_and_lost_replies() {
    for fault in [Fault::status(500), Fault::LoseReply] {
        let served =
            Served::failing(Script::new().on(When::asked("PUT", "/manifests/").each().times(2), fault));
        let (image, _directory) = built("x");
        push(&image, &served.host, &["app:1"]).unwrap();
        assert_eq!(served.repository("app").resolve("1").unwrap(), image.images[0].root);
        assert_eq!(
            validate(&served.layout(), &image.images[0].root, &ValidateOptions::default()).unwrap(),
            []
        );
    }
}

#[test]
fn a_real_registry_is_asked_once_a_tag_for_what_it_has() {
    let Some(debian) = real::open() else { return };
    let (image, _directory) = built("x");
    let name = format!("tags{}/app", std::process::id());
    let names = [format!("{name}:1"), format!("{name}:2")];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    push(&image, &debian.host, &names).unwrap();
    let asked = Arc::new(Asked::default());
    let mut options = options();
    options.observer = Arc::clone(&asked) as Arc<dyn Observer>;
    let (registry, references) = (Registry::new(options), references(&debian.host, &names));
    let report = image.push_image_as(&image.images[0], &registry, &references, &CopyOptions::new()).unwrap();
    assert_eq!((report.sent.blobs, report.mounted.blobs, report.present.blobs), (0, 0, 1));
    let asked = asked.0.lock().unwrap();
    assert_eq!(asked.len(), 2, "{asked:#?}");
}
