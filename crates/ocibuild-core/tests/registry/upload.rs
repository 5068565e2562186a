//! Uploads go on, whatever breaks.

use std::future::Future as _;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_core::blob::{BlobError, BytesContent, Sink};
use ocibuild_core::event::{Cancel, Transfer};
use ocibuild_core::registry::{Registry, RegistryError, RegistryOptions, RemoteRepository};
use ocibuild_serve::faults::{Answer, Asked};
use ocibuild_serve::{Exchange, Fault, Faults, Recorder, Running, Script, ServeOptions, Server, When};

use crate::{layer, noise, options, real, repository};

/// The size of a chunk where the registry says nothing of it.
const CHUNK: u64 = 4 << 20;
const MIB: u64 = 1 << 20;

/// A registry that misbehaves.
pub(crate) struct Faulty {
    server: Running,
    pub(crate) recorder: Recorder,
    _directory: tempfile::TempDir,
}

impl Faulty {
    pub(crate) fn start(faults: impl Faults + 'static) -> Self {
        Self::with(faults, ServeOptions::default())
    }

    fn with(faults: impl Faults + 'static, mut options: ServeOptions) -> Self {
        let (recorder, directory) = (Recorder::new(), tempfile::tempdir().unwrap());
        options.faults = Some(Arc::new(faults));
        options.recorder = Some(recorder.clone());
        let server = Server::start(directory.path().join("faulty.oci"), options).unwrap();
        Self { server, recorder, _directory: directory }
    }

    pub(crate) fn on(when: When, fault: Fault) -> Self {
        Self::start(Script::new().on(when, fault))
    }

    pub(crate) fn repository(&self) -> RemoteRepository {
        self.by(options())
    }

    fn by(&self, options: RegistryOptions) -> RemoteRepository {
        let host = self.server.address().to_string();
        Registry::new(options).repository(&repository(&host, "team/app"))
    }

    /// The bytes that came for uploads.
    fn received(&self) -> u64 {
        self.recorder.exchanges().iter().map(|exchange| exchange.received).sum()
    }

    /// Methods, with where chunks are from, and without HEAD.
    fn steps(&self) -> Vec<String> {
        let step = |exchange: &Exchange| match &exchange.range {
            Some(range) => format!("{} {range}", exchange.method),
            None => exchange.method.clone(),
        };
        self.recorder.exchanges().iter().filter(|exchange| exchange.method != "HEAD").map(step).collect()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.recorder.count(|exchange| exchange.method == method)
    }
}

/// Pushes so many bytes, and makes sure that they are there.
#[track_caller]
fn push(repository: &RemoteRepository, size: u64) {
    let bytes = noise(usize::try_from(size).unwrap());
    let (descriptor, content) = layer(&bytes);
    assert_eq!(repository.push(&descriptor, &content).unwrap(), Transfer::Sent);
    let mut there = Vec::new();
    repository.content(&descriptor).open(0).unwrap().read_to_end(&mut there).unwrap();
    assert!(there == bytes);
}

fn error(error: BlobError) -> RegistryError {
    match error {
        BlobError::Place { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_came_before_a_break_is_not_sent_again() {
    let size = 9 * MIB;
    for reset in [0, 1, 2, 70_000, CHUNK, 5 * MIB + 1, size - 1] {
        let faulty = Faulty::on(When::asked("PUT", "").times(1), Fault::ResetRequest(reset));
        push(&faulty.repository(), size);
        let received = faulty.received();
        // Of one byte registries say what they say of none, which costs the first chunk.
        let most = if reset == 1 { size + CHUNK + 1 } else { size };
        assert!(received <= most, "{reset}: {received}, {:?}", faulty.steps());
    }
    let faulty = Faulty::on(When::asked("PUT", "").times(1), Fault::ResetRequest(5 * MIB));
    push(&faulty.repository(), size);
    let steps = ["POST", "PUT", "GET", "PATCH 5242880-9437183", "PUT", "GET"];
    assert_eq!(faulty.steps(), steps);
}

#[test]
fn breaks_that_leave_progress_between_them_may_be_many() {
    let resets = |asked: &Asked| match asked.method() {
        "PUT" | "PATCH" if !asked.path().contains("manifests") => vec![Fault::ResetRequest(300_000)],
        _ => Vec::new(),
    };
    let faulty = Faulty::start(resets);
    push(&faulty.repository(), 20 * 300_000);
    assert_eq!(faulty.received(), 20 * 300_000);
}

#[test]
fn a_registry_that_keeps_nothing_of_a_break_gets_chunks() {
    let script = Script::new()
        .on(When::asked("PUT", "").times(1), Fault::ResetRequest(5 * MIB))
        .on(When::asked("GET", "/uploads/").times(1), Fault::ForgetUploads);
    let faulty = Faulty::start(script);
    push(&faulty.repository(), 9 * MIB);
    let chunks = ["PATCH 0-4194303", "PATCH 4194304-8388607", "PATCH 8388608-9437183", "PUT", "GET"];
    assert_eq!(faulty.steps(), [&["POST", "PUT", "GET", "POST"][..], &chunks].concat());

    let mut options = ServeOptions::default();
    options.chunk_min_length = Some(6 * MIB);
    let script = Script::new()
        .on(When::asked("PUT", "").times(1), Fault::ResetRequest(5 * MIB))
        .on(When::asked("GET", "/uploads/").times(1), Fault::ForgetUploads);
    let faulty = Faulty::with(script, options);
    push(&faulty.repository(), 9 * MIB);
    assert_eq!(faulty.steps()[4..], ["PATCH 0-6291455", "PATCH 6291456-9437183", "PUT", "GET"]);
}

#[test]
fn a_bound_on_bodies_is_found_out_once() {
    let faulty = Faulty::on(When::any(), Fault::BodyLimit(CHUNK));
    let repository = faulty.repository();
    push(&repository, 8 * MIB);
    let steps = ["POST", "PUT", "PATCH 0-4194303", "PATCH 4194304-8388607", "PUT", "GET"];
    assert_eq!(faulty.steps(), steps);
    faulty.recorder.clear();
    push(&repository, 8 * MIB - 1);
    let steps = ["POST", "PATCH 0-4194303", "PATCH 4194304-8388606", "PUT", "GET"];
    assert_eq!(faulty.steps(), steps);
    assert_eq!(faulty.recorder.count(|exchange| exchange.status == Some(413)), 0);

    let faulty = Faulty::on(When::any(), Fault::BodyLimit(1_000_000));
    push(&faulty.repository(), 8 * MIB);
    assert_eq!(faulty.recorder.count(|exchange| exchange.status == Some(413)), 4);
}

#[test]
fn a_registry_that_takes_nothing_is_told_of_with_the_size() {
    let faulty = Faulty::on(When::asked("PUT", ""), Fault::BodyLimit(10_000));
    let (descriptor, content) = layer(&noise(20_000));
    let text = error(faulty.repository().push(&descriptor, &content).unwrap_err()).to_string();
    assert!(text.contains(" with 20000 bytes was answered 413 SIZE_INVALID: "), "{text}");

    let faulty = Faulty::on(When::any(), Fault::BodyLimit(10_000));
    let (descriptor, content) = layer(&noise(300_000));
    let fault = error(faulty.repository().push(&descriptor, &content).unwrap_err());
    let RegistryError::BodyLimit { method, size, .. } = &fault else { panic!("{fault:?}") };
    assert_eq!((&**method, *size), ("PATCH", 37_500));
    assert!(fault.remedy().unwrap().contains("bound"));
    assert_eq!(faulty.count("DELETE"), 1);
}

#[test]
fn what_is_said_of_an_empty_body_is_not_taken_for_a_bound() {
    let faulty = Faulty::on(When::asked("PUT", "").times(1), Fault::status(413));
    let repository = faulty.repository();
    let (descriptor, content) = layer(b"");
    assert!(repository.push(&descriptor, &content).is_err());
    faulty.recorder.clear();
    push(&repository, 100_000);
    assert_eq!(faulty.steps(), ["POST", "PUT", "GET"]);
}

#[test]
fn a_limit_that_holds_for_the_bytes_alone_is_not_waited_for_for_ever() {
    let faulty = Faulty::on(When::asked("PUT", ""), Fault::status(429));
    let mut few = options();
    few.attempts = 3;
    let (descriptor, content) = layer(b"x");
    let fault = error(faulty.by(few).push(&descriptor, &content).unwrap_err());
    assert!(matches!(fault.last_try(), RegistryError::Status { status: 429, .. }), "{fault:?}");
    // Each time the registry did say how much it has.
    assert!(faulty.count("GET") > 2 && faulty.count("PUT") < 80, "{}", faulty.count("PUT"));
}

#[test]
fn an_answer_that_is_lost_is_not_missed() {
    let faulty = Faulty::on(When::asked("PUT", ""), Fault::LoseReply);
    push(&faulty.repository(), MIB);
    assert_eq!(
        (faulty.steps(), faulty.count("HEAD")),
        (["POST", "PUT", "GET"].map(String::from).to_vec(), 2)
    );

    let script = Script::new()
        .on(When::any(), Fault::BodyLimit(CHUNK))
        .on(When::asked("PATCH", "").times(2), Fault::LoseReply);
    let faulty = Faulty::start(script);
    push(&faulty.repository(), 8 * MIB);
    let chunks = ["PATCH 0-4194303", "GET", "PATCH 4194304-8388607", "GET", "PUT", "GET"];
    assert_eq!(faulty.steps()[2..], chunks);
}

#[test]
fn passing_faults_cost_no_bytes_but_their_own() {
    for (method, times) in [("POST", 3), ("PUT", 2), ("PATCH", 3), ("GET", 1)] {
        let script = Script::new().on(When::asked("PUT", "").times(1), Fault::ResetRequest(5 * MIB)).on(
            When::asked(method, "/uploads/").skip(usize::from(method == "PUT")).times(times),
            Fault::status(503),
        );
        let faulty = Faulty::start(script);
        push(&faulty.repository(), 6 * MIB);
        let refused = |exchange: &Exchange| if exchange.status == Some(503) { exchange.received } else { 0 };
        let wasted: u64 = faulty.recorder.exchanges().iter().map(refused).sum();
        assert_eq!(faulty.received() - wasted, 6 * MIB, "{method}: {:?}", faulty.steps());
        assert_eq!(faulty.recorder.count(|exchange| exchange.status == Some(503)), times);
    }
    let faulty = Faulty::on(When::asked("PUT", "").times(3), Fault::status(503));
    push(&faulty.repository(), 100_000);
    let again = ["PUT", "GET"];
    assert_eq!(faulty.steps(), [&["POST"][..], &again, &again, &again, &["PUT", "GET"]].concat());
}

#[test]
fn a_forgotten_session_is_begun_anew() {
    let faulty = Faulty::on(When::asked("PUT", "").times(2), Fault::ForgetUploads);
    push(&faulty.repository(), MIB);
    assert_eq!(faulty.steps(), ["POST", "PUT", "POST", "PUT", "POST", "PUT", "GET"]);

    let script = Script::new()
        .on(When::any(), Fault::BodyLimit(MIB))
        .on(When::asked("PATCH", "").skip(3).times(1), Fault::ForgetUploads);
    let faulty = Faulty::start(script);
    push(&faulty.repository(), 3 * MIB);
    assert_eq!(faulty.count("POST"), 2);
}

#[test]
fn where_to_go_on_may_be_missing_or_elsewhere() {
    let script = Script::new()
        .on(When::any(), Fault::BodyLimit(MIB))
        .on(When::asked("PATCH", ""), Fault::NoLocation)
        .on(When::asked("GET", "/uploads/"), Fault::NoLocation)
        .on(When::asked("PATCH", "").skip(2).times(1), Fault::ResetRequest(1000));
    push(&Faulty::start(script).repository(), 4 * MIB);

    let elsewhere: Arc<OnceLock<String>> = Arc::default();
    let origin = Arc::clone(&elsewhere);
    let faulty = Faulty::start(move |asked: &Asked| match asked.method() {
        "POST" | "PATCH" => {
            vec![Fault::BodyLimit(MIB), Fault::LocationAt(origin.get().unwrap().clone())]
        }
        "PUT" => vec![Fault::BodyLimit(MIB)],
        _ => Vec::new(),
    });
    elsewhere.set(format!("http://localhost:{}", faulty.server.address().port())).unwrap();
    push(&faulty.repository(), 3 * MIB);
    assert_eq!(faulty.count("PATCH"), 5);
}

#[test]
fn chunks_that_are_not_understood_are_sent_no_more() {
    for answer in [405, 400, 501] {
        let script = Script::new()
            .on(When::asked("PUT", "").times(1), Fault::ResetRequest(5 * MIB))
            .on(When::asked("PATCH", ""), Fault::status(answer));
        let faulty = Faulty::start(script);
        let repository = faulty.repository();
        push(&repository, 6 * MIB);
        let steps = ["POST", "PUT", "GET", "PATCH 5242880-6291455", "DELETE", "POST", "PUT", "GET"];
        assert_eq!(faulty.steps(), steps);
    }
    // What was put together of chunks isn't what was sent.
    let invalid = Answer::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID","message":"other bytes"}]}"#);
    let script = Script::new()
        .on(When::asked("PUT", "").times(1), Fault::ResetRequest(100_000))
        .on(When::asked("PUT", "").skip(1).times(1), Fault::Answer(invalid));
    let faulty = Faulty::start(script);
    push(&faulty.repository(), 150_000);
    assert_eq!(faulty.count("PUT"), 3);
}

#[test]
fn a_session_that_is_given_up_is_ended() {
    let faulty = Faulty::on(When::asked("PUT", ""), Fault::status(400));
    let (descriptor, content) = layer(&noise(1000));
    let fault = error(faulty.repository().push(&descriptor, &content).unwrap_err());
    assert!(matches!(fault, RegistryError::Status { status: 400, .. }), "{fault:?}");
    assert_eq!(faulty.steps(), ["POST", "PUT", "DELETE"]);
    let ended = |exchange: &Exchange| exchange.method == "DELETE" && exchange.status == Some(204);
    assert_eq!(faulty.recorder.count(ended), 1);
    // The first error counts, whatever comes of that.
    let script = Script::new()
        .on(When::asked("PUT", ""), Fault::status(400))
        .on(When::asked("DELETE", ""), Fault::Delay(Duration::from_secs(60)));
    let faulty = Faulty::start(script);
    let began = Instant::now();
    let fault = error(faulty.repository().push(&descriptor, &content).unwrap_err());
    assert!(matches!(fault, RegistryError::Status { status: 400, .. }), "{fault:?}");
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_session_is_ended_when_the_run_is_cancelled() {
    let faulty = Faulty::on(When::asked("PUT", ""), Fault::Slow(100_000));
    let cancel = Cancel::new();
    let mut stoppable = options();
    stoppable.cancel = cancel.clone();
    let repository = faulty.by(stoppable);
    thread::scope(|scope| {
        scope.spawn(|| {
            while faulty.received() == 0 {
                thread::sleep(Duration::from_millis(10));
            }
            cancel.cancel();
        });
        let (descriptor, content) = layer(&noise(3_000_000));
        assert!(matches!(repository.push(&descriptor, &content), Err(BlobError::Cancelled(_))));
    });
    assert_eq!(faulty.steps(), ["POST", "PUT", "DELETE"]);
}

#[test]
fn a_session_is_ended_when_the_future_is_dropped() {
    let faulty = Faulty::on(When::asked("PUT", ""), Fault::Slow(100_000));
    let repository = faulty.repository();
    let (descriptor, content) = layer(&noise(3_000_000));
    let mut push = std::pin::pin!(repository.push_async(&descriptor, Arc::new(content)));
    let mut context = Context::from_waker(Waker::noop());
    let waits = |mut done: Box<dyn FnMut() -> bool + '_>| {
        let until = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < until, "{:?}", faulty.steps());
            thread::sleep(Duration::from_millis(10));
        }
    };
    waits(Box::new(|| {
        assert!(push.as_mut().poll(&mut context).is_pending());
        faulty.received() > 0
    }));
    push.set(repository.push_async(&descriptor, Arc::new(BytesContent::new(*b""))));
    waits(Box::new(|| faulty.count("DELETE") == 1));
}

/// A way to a host that breaks once, after so many bytes that went there.
fn breaking(host: &str, after: u64) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (host, passed, broke) =
        (host.to_owned(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let counted = Arc::clone(&passed);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&host).unwrap());
            let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                // A connection that ends is the test's intention.
                let _ = std::io::copy(&mut answers, &mut back);
                let _ = back.shutdown(Shutdown::Both);
            });
            let (passed, broke) = (Arc::clone(&passed), Arc::clone(&broke));
            thread::spawn(move || forward(client, server, after, &passed, &broke));
        }
    });
    (address, counted)
}

fn forward(mut client: TcpStream, mut server: TcpStream, after: u64, passed: &AtomicU64, broke: &AtomicBool) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = client.read(&mut buffer)
        && count > 0
        && server.write_all(&buffer[..count]).is_ok()
    {
        let passed = passed.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if passed >= after && !broke.swap(true, Ordering::Relaxed) {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

#[test]
fn a_real_registry_is_gone_on_with_after_a_break() {
    let Some(debian) = real::open() else { return };
    let size = 9 * MIB;
    let (host, passed) = breaking(&debian.host, 5 * MIB);
    let name = format!("run{}/breaks", std::process::id());
    push(&Registry::new(options()).repository(&repository(&host, &name)), size);
    let passed = passed.load(Ordering::Relaxed);
    eprintln!("{size} bytes took {passed} over a way that broke after {}", 5 * MIB);
    assert!(passed < 2 * size);
}
