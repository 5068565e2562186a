//! What a well-behaved registry doesn't show.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ocibuild_core::blob::{BlobError, BytesContent, PlaceFault, Sink, Source, Target, read_whole};
use ocibuild_core::digest::Digest;
use ocibuild_core::event::{Cancel, Transfer};
use ocibuild_core::oci::{Descriptor, MediaType};
use ocibuild_core::registry::{Registry, RegistryError, RegistryOptions, RemoteRepository};

use crate::recorder::{Asked, Recorder, Reply};
use crate::{layer, login, noise, options, repository};

const UPLOAD: &str = "POST /v2/team/app/blobs/uploads/";

fn connect(recorder: &Recorder, options: RegistryOptions) -> RemoteRepository {
    Registry::new(options).repository(&repository(&recorder.host, "team/app"))
}

/// A registry that has nothing and takes everything.
fn takes(asked: &Asked) -> Reply {
    match asked.method.as_str() {
        "HEAD" | "GET" => Reply::new(404),
        "POST" => Reply::new(202).header("Location", "/upload/1?state=x%3D"),
        _ => Reply::new(201),
    }
}

fn authorized(asked: &Asked, value: &str) -> bool {
    asked.header("authorization") == Some(value)
}

fn fault(error: BlobError) -> (PlaceFault, RegistryError) {
    match error {
        BlobError::Place { fault, source, .. } => (fault, *source.downcast().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_blob_is_asked_for_then_sent_in_one_piece() {
    let recorder = Recorder::start(|asked, _| takes(asked));
    let bytes = noise(700_000);
    let (descriptor, content) = layer(&bytes);
    assert_eq!(connect(&recorder, options()).push(&descriptor, &content).unwrap(), Transfer::Sent);
    let digest = descriptor.digest.to_string();
    let put = format!("PUT /upload/1?state=x%3D&digest={}", digest.replace(':', "%3A"));
    assert_eq!(recorder.lines(), [format!("HEAD /v2/team/app/blobs/{digest}"), UPLOAD.to_owned(), put]);
    let asked = recorder.asked();
    assert_eq!(asked[2].body, bytes);
    assert_eq!(asked[1].header("content-length"), Some("0"));
    assert!(asked[0].header("user-agent").unwrap().starts_with("ocibuild/"));
}

#[test]
fn an_empty_blob_is_sent() {
    let recorder = Recorder::start(|asked, _| takes(asked));
    let (descriptor, content) = layer(b"");
    assert_eq!(connect(&recorder, options()).push(&descriptor, &content).unwrap(), Transfer::Sent);
    assert_eq!(recorder.asked()[2].header("content-length"), Some("0"));
}

#[test]
fn wrong_bytes_are_never_whole_at_the_registry() {
    for (right, wrong) in [(noise(300_000), noise(299_999)), (noise(10), b"0123456789".to_vec())] {
        let recorder = Recorder::start(|asked, _| takes(asked));
        let (descriptor, _) = layer(&right);
        let error = connect(&recorder, options()).push(&descriptor, &BytesContent::new(wrong)).unwrap_err();
        assert!(matches!(error, BlobError::Corrupt { .. }), "{error:?}");
        assert!(recorder.asked().iter().all(|asked| asked.body.len() < right.len()));
    }
}

#[test]
fn a_manifest_goes_by_digest_and_its_tag_gets_the_same_bytes() {
    let recorder = Recorder::start(|asked, _| takes(asked));
    let repository = connect(&recorder, options());
    let bytes = b"{ \"odd\" :  \"spacing\x7f\" }".to_vec();
    let descriptor = Descriptor::of(MediaType::MANIFEST, &bytes);
    repository.push(&descriptor, &BytesContent::new(bytes.clone())).unwrap();
    repository.tag(&descriptor, "v1").unwrap();
    let path = format!("/v2/team/app/manifests/{}", descriptor.digest);
    let lines = [format!("HEAD {path}"), format!("PUT {path}"), "PUT /v2/team/app/manifests/v1".to_owned()];
    assert_eq!(recorder.lines(), lines);
    for put in &recorder.asked()[1..] {
        assert_eq!(put.body, bytes);
        assert_eq!(put.header("content-type"), Some(MediaType::MANIFEST.as_str()));
    }
    for name in ["", "../x", ".x", "a b", "sha256:12"] {
        assert!(matches!(
            fault(repository.tag(&descriptor, name).unwrap_err()).1,
            RegistryError::Name { .. }
        ));
    }
}

#[test]
fn a_manifest_over_the_limit_is_refused() {
    let recorder = Recorder::start(|asked, _| takes(asked));
    let repository = connect(&recorder, options());
    let descriptor = Descriptor::new(MediaType::MANIFEST, Digest::of(b""), (4 << 20) + 1);
    let errors = [
        repository.push(&descriptor, &BytesContent::new(*b"")).unwrap_err(),
        repository.fetch(&descriptor).err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(fault(error), (PlaceFault::Refused, RegistryError::TooLarge { .. })));
    }
    assert!(recorder.asked().is_empty());
}

#[test]
fn a_tag_is_resolved_by_what_the_registry_tells_or_gives() {
    let bytes = b"{}";
    let digest = Digest::of(bytes);
    let recorder = Recorder::start(move |asked, _| {
        let known = Reply::new(200).header("Content-Type", format!("{}; charset=utf-8", MediaType::INDEX));
        match asked.path.rsplit('/').next().unwrap() {
            "told" => known.header("Docker-Content-Digest", digest).header("Content-Length", 2),
            "given" => known.body(bytes),
            "large" => known.body(vec![b' '; (4 << 20) + 1]),
            _ => Reply::new(404),
        }
    });
    let repository = connect(&recorder, options());
    let expected = Descriptor::of(MediaType::INDEX, bytes);
    assert_eq!(repository.resolve("told").unwrap(), expected);
    assert_eq!(repository.resolve("given").unwrap(), expected);
    assert!(matches!(repository.resolve("none"), Err(BlobError::UnknownName { .. })));
    let error = fault(repository.resolve("large").unwrap_err()).1;
    assert!(error.to_string().contains("more than 4194304 bytes"), "{error}");
}

fn bearer(asked: &Asked, host: &str, realm: &str, token: &str) -> Reply {
    if asked.path.starts_with("/token?") {
        return Reply::new(200).body(format!("{{\"token\": \"{token}\"}}"));
    }
    if !authorized(asked, &format!("Bearer {token}")) {
        let scope = "repository:team/app:pull";
        let challenge = format!("Bearer realm=\"{realm}/token?a=b\",service=\"{host}\",scope=\"{scope}\"");
        return Reply::new(401).header("WWW-Authenticate", challenge);
    }
    takes(asked)
}

#[test]
fn a_token_is_fetched_once_for_what_the_work_needs() {
    let recorder = Recorder::start(|asked, _| {
        let host = asked.header("host").unwrap();
        bearer(asked, host, &format!("http://{host}"), "t0k")
    });
    let repository = connect(&recorder, login("me", "hidden"));
    let (one, content) = layer(b"one");
    repository.push(&one, &content).unwrap();
    repository.missing(&[one.clone(), layer(b"two").0]).unwrap();
    let asked = recorder.asked();
    let tokens: Vec<&Asked> = asked.iter().filter(|asked| asked.path.starts_with("/token")).collect();
    let [token] = tokens[..] else { panic!("{tokens:?}") };
    let service = recorder.host.replace(':', "%3A");
    let expected = format!("/token?a=b&service={service}&scope=repository%3Ateam%2Fapp%3Apull%2Cpush");
    assert_eq!(token.path, expected);
    assert!(authorized(token, "Basic bWU6aGlkZGVu"));
    assert_eq!(asked.iter().filter(|asked| !authorized(asked, "Bearer t0k")).count(), 2);
}

#[test]
fn a_refused_login_names_the_credentials_and_the_answer() {
    let recorder = Recorder::start(|asked, _| match asked.path.starts_with("/token") {
        true => Reply::new(401).body(r#"{"details":"incorrect username or password"}"#),
        false => bearer(asked, "s", &format!("http://{}", asked.header("host").unwrap()), "t0k"),
    });
    let (one, _) = layer(b"one");
    let (kind, error) = fault(connect(&recorder, login("me", "hidden")).exists(&one).unwrap_err());
    assert_eq!(kind, PlaceFault::Unauthorized);
    let expected = format!(
        "GET `http://{}/token` was refused with the credentials of the test: 401: incorrect username or password",
        recorder.host
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.remedy().is_some());
    assert!(!format!("{error:?}").contains("hidden"));
}

#[test]
fn a_token_that_is_not_enough_is_an_error_after_a_fresh_one() {
    let recorder = Recorder::start(|asked, _| match asked.path.starts_with("/token") {
        true => Reply::new(200).body(r#"{"access_token": "weak"}"#),
        false => bearer(asked, "s", &format!("http://{}", asked.header("host").unwrap()), "strong"),
    });
    let (one, _) = layer(b"one");
    let (kind, error) = fault(connect(&recorder, options()).exists(&one).unwrap_err());
    assert_eq!(kind, PlaceFault::Unauthorized);
    assert!(error.to_string().contains("was refused without credentials: 401"), "{error}");
    // The fourth is for what the registry says to that.
    assert_eq!(recorder.asked().len(), 4);
}

#[test]
fn a_token_revoked_in_mid_run_is_renewed_and_the_body_sent_again() {
    let recorder = Recorder::start(|asked, before| {
        let tokens = before.iter().filter(|asked| asked.path.starts_with("/token")).count();
        let puts = before.iter().filter(|asked| asked.method == "PUT").count();
        let valid = if puts == 0 && asked.method != "PUT" { 1 } else { 2 };
        let number = if asked.path.starts_with("/token") { tokens + 1 } else { valid };
        bearer(asked, "s", &format!("http://{}", asked.header("host").unwrap()), &format!("t{number}"))
    });
    let bytes = noise(500_000);
    let (descriptor, content) = layer(&bytes);
    connect(&recorder, options()).push(&descriptor, &content).unwrap();
    let puts: Vec<_> = recorder.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(puts.iter().map(|put| put.body == bytes).collect::<Vec<_>>(), [true, true]);
}

#[test]
fn basic_credentials_are_sent_when_asked_for() {
    let recorder = Recorder::start(|asked, _| match authorized(asked, "Basic bWU6aGlkZGVu") {
        true => takes(asked),
        false => Reply::new(401)
            .header("WWW-Authenticate", "Basic realm=\"r\"")
            .body(r#"{"errors":[{"code":"UNAUTHORIZED","message":"log in"}]}"#),
    });
    let (descriptor, content) = layer(b"one");
    connect(&recorder, login("me", "hidden")).push(&descriptor, &content).unwrap();
    assert_eq!(recorder.asked().len(), 4);
    let (kind, error) =
        fault(connect(&recorder, login("me", "wrong")).push(&descriptor, &content).unwrap_err());
    assert_eq!(kind, PlaceFault::Unauthorized);
    assert!(error.to_string().contains("with the credentials of the test"), "{error}");
    let get = Descriptor::of(MediaType::MANIFEST, b"x");
    let error = fault(connect(&recorder, options()).fetch(&get).err().unwrap()).1;
    assert!(
        error.to_string().ends_with("was refused without credentials: 401 UNAUTHORIZED: log in"),
        "{error}"
    );
}

/// A registry with a password, whose every second step leads to another host.
fn elsewhere(other: &str) -> Recorder {
    let other = other.to_owned();
    Recorder::start(move |asked, _| {
        if !authorized(asked, "Basic bWU6aGlkZGVu") {
            return Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\"");
        }
        match asked.method.as_str() {
            "HEAD" if asked.path.contains("/manifests/") => {
                Reply::new(307).header("Location", format!("http://{other}/m"))
            }
            "HEAD" => Reply::new(404),
            "POST" => Reply::new(202).header("Location", format!("http://{other}/upload")),
            _ => Reply::new(307).header("Location", format!("http://{other}/stored")),
        }
    })
}

#[test]
fn credentials_do_not_go_to_another_token_server() {
    let tokens = Recorder::start(|_, _| Reply::new(401));
    let realm = format!("http://{}", tokens.host);
    let registry = Recorder::start(move |asked, _| bearer(asked, "s", &realm, "t0k"));
    let (one, _) = layer(b"one");
    let error = fault(connect(&registry, login("me", "hidden")).exists(&one).unwrap_err()).1;
    assert!(error.to_string().contains("those of the test are not sent to `127.0.0.1`"), "{error}");
    assert_eq!(tokens.asked().len(), 1);
    assert!(tokens.asked()[0].header("authorization").is_none());
}

#[test]
fn a_location_that_makes_no_sense_is_an_error() {
    for location in ["", "ftp://127.0.0.1/x", "http://me@127.0.0.1/x", "http://", "/a b"] {
        let recorder = Recorder::start(move |asked, _| match asked.method.as_str() {
            "POST" => Reply::new(202).header("Location", location),
            _ => takes(asked),
        });
        let (descriptor, content) = layer(b"one");
        let (kind, error) = fault(connect(&recorder, options()).push(&descriptor, &content).unwrap_err());
        assert_eq!(kind, PlaceFault::Refused);
        assert!(error.to_string().contains("`Location`"), "{location}: {error}");
    }
    let recorder = Recorder::start(|asked, _| match asked.method.as_str() {
        "HEAD" => Reply::new(302).header("Location", &asked.path),
        _ => takes(asked),
    });
    let error = fault(connect(&recorder, options()).exists(&layer(b"one").0).unwrap_err()).1;
    assert!(error.to_string().contains("more than 5 redirects"), "{error}");
}

#[test]
fn the_registrys_own_words_are_told() {
    let recorder = Recorder::start(|asked, _| match asked.method.as_str() {
        "POST" => Reply::new(404)
            .body(r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no \u001b[31mrepository"}]}"#),
        "PUT" => Reply::new(403).body(r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#),
        _ => takes(asked),
    });
    let repository = connect(&recorder, options());
    let (descriptor, content) = layer(b"one");
    let (kind, error) = fault(repository.push(&descriptor, &content).unwrap_err());
    assert_eq!(kind, PlaceFault::Refused);
    let url = format!("http://{}/v2/team/app/blobs/uploads/", recorder.host);
    assert_eq!(error.to_string(), format!("POST `{url}` was answered 404 NAME_UNKNOWN: no  [31mrepository"));
    assert!(error.remedy().unwrap().contains("create the repository"));
    let manifest = Descriptor::of(MediaType::MANIFEST, b"{}");
    let (kind, error) = fault(repository.push(&manifest, &BytesContent::new(*b"{}")).unwrap_err());
    assert_eq!(kind, PlaceFault::Unauthorized);
    assert!(error.to_string().contains("403 DENIED: read only"), "{error}");
}

/// Fails the first request of each kind.
fn at_first(asked: &Asked, before: &[Asked], reply: Reply) -> Reply {
    match before.iter().any(|other| other.method == asked.method) {
        true => takes(asked),
        false => reply,
    }
}

#[test]
fn what_fails_once_is_tried_again() {
    for reply in
        [Reply::new(500), Reply::new(503), Reply::new(429).header("Retry-After", 0), Reply::default()]
    {
        let recorder = Recorder::start(move |asked, before| at_first(asked, before, reply.clone()));
        let bytes = noise(300_000);
        let (descriptor, content) = layer(&bytes);
        let repository = connect(&recorder, options());
        assert_eq!(repository.push(&descriptor, &content).unwrap(), Transfer::Sent);
        let asked = recorder.asked();
        assert_eq!(asked.iter().filter(|asked| asked.method == "PUT").count(), 2);
        assert_eq!(asked.last().unwrap().body, bytes);
    }
}

#[test]
fn a_lost_answer_is_not_a_second_upload() {
    let recorder = Recorder::start(|asked, before| {
        let sent = before.iter().any(|other| other.method == "PUT");
        match asked.method.as_str() {
            "HEAD" if sent => Reply::new(200),
            "PUT" => Reply::default(),
            _ => takes(asked),
        }
    });
    let (descriptor, content) = layer(b"one");
    assert_eq!(connect(&recorder, options()).push(&descriptor, &content).unwrap(), Transfer::Sent);
    assert_eq!(recorder.asked().iter().filter(|asked| asked.method == "PUT").count(), 1);
}

#[test]
fn a_registry_out_of_order_is_given_up_on() {
    let recorder = Recorder::start(|_, _| Reply::new(502).body("<html>\nBad Gateway\n"));
    let mut few = options();
    few.attempts = 2;
    let get = Descriptor::of(MediaType::MANIFEST, b"x");
    let (kind, error) = fault(connect(&recorder, few).fetch(&get).err().unwrap());
    assert_eq!(kind, PlaceFault::Unavailable);
    assert!(error.to_string().contains("was answered 502: Bad Gateway, tried 2 times over 0."), "{error}");
    assert_eq!(recorder.asked().len(), 2);
}

#[test]
fn nobody_there_is_told_with_what_to_check() {
    let host = Recorder::start(|_, _| Reply::new(200)).host.replace("127.0.0.1", "127.0.0.2");
    let mut once = options();
    once.attempts = 1;
    let repository = Registry::new(once).repository(&repository(&host, "team/app"));
    let (kind, error) = fault(repository.exists(&layer(b"one").0).unwrap_err());
    assert_eq!(kind, PlaceFault::Unavailable);
    assert!(matches!(error, RegistryError::Connect { .. }), "{error:?}");
    assert!(error.remedy().unwrap().contains("port"));
}

#[test]
fn standing_still_is_not_waited_for_for_ever() {
    let recorder = Recorder::start(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        Reply::new(200)
    });
    let mut hasty = options();
    (hasty.attempts, hasty.idle_timeout) = (1, Duration::from_millis(200));
    let (kind, error) = fault(connect(&recorder, hasty).exists(&layer(b"one").0).unwrap_err());
    assert_eq!(kind, PlaceFault::Unavailable);
    assert!(matches!(error, RegistryError::TimedOut { .. }), "{error:?}");
}

#[test]
fn cancelling_ends_a_request_under_way() {
    let recorder = Recorder::start(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        Reply::new(200)
    });
    let cancel = Cancel::new();
    let mut stoppable = options();
    stoppable.cancel = cancel.clone();
    let repository = connect(&recorder, stoppable);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            cancel.cancel();
        });
        let (descriptor, content) = layer(b"one");
        assert!(matches!(repository.push(&descriptor, &content), Err(BlobError::Cancelled(_))));
    });
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_blob_is_read_from_an_offset_with_or_without_the_registrys_help() {
    let bytes = noise(200_000);
    for helps in [true, false] {
        let served = bytes.clone();
        let recorder = Recorder::start(move |asked, _| match asked.header("range") {
            Some(range) if helps => {
                let start: usize = range["bytes=".len()..].trim_end_matches('-').parse().unwrap();
                let shown = format!("bytes {start}-{}/{}", served.len() - 1, served.len());
                Reply::new(206).header("Content-Range", shown).body(&served[start..])
            }
            _ => Reply::new(200).body(&served),
        });
        let content = connect(&recorder, options()).fetch(&layer(&bytes).0).unwrap();
        for offset in [0, 1, 150_000, bytes.len()] {
            let mut read = Vec::new();
            content.open(offset as u64).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == bytes[offset..], "{helps} {offset}");
        }
    }
}

#[test]
fn what_arrives_is_verified() {
    let bytes = noise(1000);
    let wrong = [bytes[..999].to_vec(), noise(1001), vec![0; 1000]];
    for served in wrong {
        let recorder = Recorder::start(move |_, _| Reply::new(200).body(&served));
        let repository = connect(&recorder, options());
        let error = read_whole(&repository, &layer(&bytes).0, 1 << 20).unwrap_err();
        assert!(matches!(error, BlobError::Corrupt { .. }), "{error:?}");
        let manifest = Descriptor::of(MediaType::MANIFEST, &bytes);
        assert!(matches!(fault(repository.fetch(&manifest).err().unwrap()).1, RegistryError::Answer { .. }));
    }
    let cut = bytes[..500].to_vec();
    let recorder = Recorder::start(move |_, _| Reply::new(200).body(&cut).claim(1000));
    let error = read_whole(&connect(&recorder, options()), &layer(&bytes).0, 1 << 20).unwrap_err();
    assert!(matches!(error, BlobError::Read { .. }), "{error:?}");
}

#[test]
fn the_same_verbs_are_futures_of_any_executor() {
    let recorder = Recorder::start(|asked, _| takes(asked));
    let repository = connect(&recorder, options());
    let bytes = noise(300_000);
    let (descriptor, content) = layer(&bytes);
    let transfer = block_on(any_thread(repository.push_async(&descriptor, Arc::new(content)))).unwrap();
    assert_eq!(transfer, Transfer::Sent);
    assert_eq!(recorder.asked()[2].body, bytes);
    assert!(!block_on(repository.exists_async(&descriptor)).unwrap());
    let missing = block_on(repository.missing_async(&[descriptor.clone(), descriptor.clone()])).unwrap();
    assert_eq!(missing.len(), 2);
    assert!(matches!(block_on(repository.resolve_async("v1")), Err(BlobError::UnknownName { .. })));
    assert!(matches!(block_on(repository.fetch_async(&descriptor)), Err(BlobError::Missing { .. })));
    let manifest = Descriptor::of(MediaType::MANIFEST, b"{}");
    assert!(matches!(block_on(repository.tag_async(&manifest, "v1")), Err(BlobError::Missing { .. })));
}

/// Passes a future on, if it may be polled on any thread.
fn any_thread<F: Future + Send>(future: F) -> F {
    future
}

/// The smallest executor there is.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_dropped_future_stops_its_request() {
    let recorder = Recorder::start(|asked, _| {
        std::thread::sleep(Duration::from_millis(300));
        takes(asked)
    });
    let repository = connect(&recorder, options());
    let (descriptor, content) = layer(b"one");
    let waker = std::task::Waker::noop();
    let mut future = Box::pin(repository.push_async(&descriptor, Arc::new(content)));
    assert!(future.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    std::thread::sleep(Duration::from_millis(100));
    drop(future);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(recorder.asked().len(), 1);
}

#[test]
fn an_upload_refused_elsewhere_says_why_it_went_without_credentials() {
    let storage = Recorder::start(|_, _| Reply::new(401));
    let registry = elsewhere(&storage.host);
    let (descriptor, content) = layer(b"blob");
    let error = fault(connect(&registry, login("me", "hidden")).push(&descriptor, &content).unwrap_err()).1;
    assert!(error.to_string().contains("not the registry's own address"), "{error}");
}
