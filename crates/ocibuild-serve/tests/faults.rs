//! Each fault does what it says, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ocibuild_core::oci::to_json;
use ocibuild_serve::faults::{Answer, Asked};
use ocibuild_serve::{Access, Exchange, Fault, Faults, Recorder, Script, ServeOptions, Tokens, When};
use support::{Bench, digest, noise};

const NAME: &str = "team/api";
const UPLOADS: &str = "/v2/team/api/blobs/uploads/";

fn faulty(faults: impl Faults + 'static) -> (Bench, Recorder) {
    let recorder = Recorder::new();
    let mut options = ServeOptions::default();
    options.faults = Some(Arc::new(faults));
    options.recorder = Some(recorder.clone());
    (Bench::with(options), recorder)
}

fn on(when: When, fault: Fault) -> (Bench, Recorder) {
    faulty(Script::new().on(when, fault))
}

/// Expects the connection to be reset, not merely closed.
#[track_caller]
fn is_reset(result: std::io::Result<support::Reply>) {
    let error = result.map(|reply| reply.status).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

fn blob(bytes: &[u8]) -> String {
    format!("/v2/{NAME}/blobs/{}", digest(bytes))
}

#[test]
fn answers_are_made_up_as_often_as_wanted() {
    let answer = Fault::Answer(Answer::new(503).header("X-Own", "x").body("busy"));
    let (bench, recorder) = on(When::asked("POST", "uploads").skip(1).times(2), answer);
    let statuses: Vec<u16> = (0..4).map(|_| bench.ask("POST", UPLOADS).status).collect();
    assert_eq!(statuses, [202, 503, 503, 202]);
    assert_eq!(bench.ask("GET", "/v2/").status, 200);
    assert_eq!(recorder.count(|exchange| exchange.status == Some(503)), 2);

    let (bench, _) = on(When::any().times(1), Fault::retry_after(429, 5));
    let reply = bench.ask("GET", "/v2/");
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("5")));
}

#[test]
fn a_request_is_reset_after_so_many_bytes_and_what_came_stays() {
    let (bench, recorder) = on(When::asked("PATCH", "").times(1), Fault::ResetRequest(100_000));
    let bytes = noise(300_000, 1);
    let upload = bench.begin(NAME);
    is_reset(bench.try_send("PATCH", &upload, &[], &bytes));
    let status = bench.ask("GET", &upload);
    assert_eq!(status.header("range"), Some("0-99999"));
    let broken = &recorder.exchanges()[1];
    assert_eq!((broken.status, broken.received), (None, 100_000));
    let rest = [("Content-Range", "100000-299999")];
    let path = format!("{upload}?digest={}", digest(&bytes));
    assert_eq!(bench.send("PUT", &path, &rest, &bytes[100_000..]).status, 201);
}

#[test]
fn a_request_is_reset_before_anything_is_done() {
    let (bench, _) = on(When::asked("PUT", "manifests").times(1), Fault::ResetRequest(0));
    let bytes = to_json(&bench.image(NAME, "layer"));
    let path = format!("/v2/{NAME}/manifests/1");
    is_reset(bench.try_send("PUT", &path, &[], &bytes));
    assert_eq!(bench.ask("HEAD", &path).status, 404);
    assert_eq!(bench.send("PUT", &path, &[], &bytes).status, 201);
}

#[test]
fn an_answer_is_reset_after_so_many_bytes_once_in_each_blob() {
    let (bench, recorder) = on(When::asked("GET", "/blobs/").times(1).each(), Fault::ResetResponse(70_000));
    for seed in [1, 2] {
        let bytes = noise(300_000, seed);
        bench.push_blob(NAME, &bytes);
        is_reset(bench.try_send("GET", &blob(&bytes), &[], b""));
        let rest = bench.send("GET", &blob(&bytes), &[("Range", "bytes=70000-")], b"");
        assert!(rest.status == 206 && rest.body == bytes[70_000..]);
    }
    assert_eq!(recorder.count(|exchange| exchange.sent == 70_000 && exchange.range.is_none()), 2);
}

#[test]
fn what_was_done_is_there_though_the_reply_is_lost() {
    let script = Script::new()
        .on(When::asked("PUT", "/uploads/").times(1), Fault::LoseReply)
        .on(When::asked("PUT", "/manifests/").times(1), Fault::LoseReply);
    let (bench, _) = faulty(script);
    let upload = bench.begin(NAME);
    let path = format!("{upload}?digest={}", digest(b"hello"));
    is_reset(bench.try_send("PUT", &path, &[], b"hello"));
    assert_eq!(bench.ask("HEAD", &blob(b"hello")).status, 200);
    let bytes = to_json(&bench.image(NAME, "layer"));
    let path = format!("/v2/{NAME}/manifests/1");
    is_reset(bench.try_send("PUT", &path, &[], &bytes));
    assert_eq!(bench.ask("GET", &path).body, bytes);
}

#[test]
fn heads_lie() {
    let (bench, _) = on(When::asked("HEAD", "/blobs/").times(1), Fault::Lie);
    let reply = bench.ask("HEAD", &blob(b"hello"));
    let own = digest(b"hello").to_string();
    assert_eq!((reply.status, reply.header("docker-content-digest")), (200, Some(&*own)));
    assert_eq!(bench.ask("HEAD", &blob(b"hello")).status, 404);
}

#[test]
fn locations_are_missing_or_elsewhere() {
    let script = Script::new()
        .on(When::asked("POST", "").times(1), Fault::NoLocation)
        .on(When::asked("POST", "").skip(1).times(1), Fault::LocationAt("http://127.0.0.2:9".to_owned()));
    let (bench, _) = faulty(script);
    assert_eq!(bench.ask("POST", UPLOADS).header("location"), None);
    let reply = bench.ask("POST", UPLOADS);
    assert!(reply.header("location").unwrap().starts_with("http://127.0.0.2:9/v2/team/api/blobs/uploads/"));
}

#[test]
fn blobs_and_manifests_are_redirected() {
    let storage = Bench::new();
    storage.push_blob(NAME, b"hello");
    let origin = format!("http://{}", storage.address());
    let (bench, _) = on(When::asked("GET", ""), Fault::Redirect(origin.clone()));
    for path in [blob(b"hello"), format!("/v2/{NAME}/manifests/1?a=b")] {
        let reply = bench.ask("GET", &path);
        assert_eq!((reply.status, reply.header("location")), (307, Some(&*format!("{origin}{path}"))));
    }
    assert_eq!(storage.ask("GET", &blob(b"hello")).body, b"hello");
}

#[test]
fn bodies_are_slow_both_ways() {
    let (bench, _) = on(When::any(), Fault::Slow(100_000));
    let bytes = noise(20_000, 1);
    for step in 0..2 {
        let begun = Instant::now();
        match step {
            0 => drop(bench.push_blob(NAME, &bytes)),
            _ => assert_eq!(bench.ask("GET", &blob(&bytes)).body, bytes),
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn replies_are_late() {
    let (bench, _) = on(When::any(), Fault::Delay(Duration::from_millis(120)));
    let begun = Instant::now();
    assert_eq!(bench.ask("GET", "/v2/").status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(120));
}

#[test]
fn uploads_are_forgotten() {
    let (bench, _) = on(When::asked("PATCH", "").times(1), Fault::ForgetUploads);
    let upload = bench.begin(NAME);
    assert_eq!(bench.send("PATCH", &upload, &[], b"x").status, 404);
    let upload = bench.begin(NAME);
    assert_eq!(bench.send("PATCH", &upload, &[], b"x").status, 202);
    bench.server.as_ref().unwrap().forget_uploads();
    assert_eq!(bench.send("PATCH", &upload, &[], b"x").status, 404);
}

#[test]
fn bodies_are_limited_and_chunks_are_not() {
    let (bench, _) = on(When::any(), Fault::BodyLimit(100_000));
    let bytes = noise(250_000, 1);
    let upload = bench.begin(NAME);
    assert_eq!(bench.send("PATCH", &upload, &[], &bytes).status, 413);
    let chunked = [("Transfer-Encoding", "chunked")];
    let body = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(bench.send("PATCH", &bench.begin(NAME), &chunked, &body).status, 413);
    for chunk in bytes.chunks(100_000) {
        assert_eq!(bench.send("PATCH", &upload, &[], chunk).status, 202);
    }
    let path = format!("{upload}?digest={}", digest(&bytes));
    assert_eq!(bench.ask("PUT", &path).status, 201);
    assert_eq!(bench.put_manifest(NAME, "1", &vec![b' '; 100_001]).status, 413);
}

#[test]
fn what_was_made_shows_late() {
    let (bench, _) = on(When::asked("PUT", ""), Fault::Hide(Duration::from_millis(300)));
    let (_, manifest) = bench.push_image(NAME, "1");
    let paths =
        ["1".to_owned(), manifest.digest.to_string()].map(|name| format!("/v2/{NAME}/manifests/{name}"));
    for path in &paths {
        assert_eq!(bench.ask("GET", path).codes(), ["MANIFEST_UNKNOWN"]);
    }
    std::thread::sleep(Duration::from_millis(320));
    for path in &paths {
        assert_eq!(bench.ask("GET", path).status, 200);
    }
}

#[test]
fn rates_are_limited() {
    let within = Duration::from_millis(400);
    let (bench, _) = on(When::any().beyond(2, within), Fault::status(429));
    let statuses: Vec<u16> = (0..4).map(|_| bench.ask("GET", "/v2/").status).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
    std::thread::sleep(within);
    assert_eq!(bench.ask("GET", "/v2/").status, 200);
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    let mut options = ServeOptions::default();
    options.idle_timeout = Duration::from_millis(50);
    let slow = |asked: &Asked| match asked.path() {
        "/v2/_catalog" => vec![Fault::Delay(Duration::from_millis(200))],
        _ => Vec::new(),
    };
    options.faults = Some(Arc::new(slow));
    let bench = Bench::with(options);
    let mut connection = bench.connect();
    for _ in 0..2 {
        connection.send("GET", "/v2/_catalog", &[], b"").unwrap();
        assert_eq!(connection.reply("GET").unwrap().status, 200);
    }
    assert!(connection.is_closed());
}

#[test]
fn a_password_is_demanded() {
    let mut options = ServeOptions::default();
    options.access = Some(Access::Basic { username: "me".to_owned(), password: "hidden".to_owned() });
    let bench = Bench::with(options);
    let refused = bench.ask("GET", "/v2/");
    assert_eq!((refused.status, refused.codes()), (401, vec!["UNAUTHORIZED".to_owned()]));
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    let login = [("Authorization", "Basic bWU6aGlkZGVu")];
    assert_eq!(bench.send("GET", "/v2/", &login, b"").status, 200);
    let wrong = [("Authorization", "Basic bWU6d3Jvbmc=")];
    assert_eq!(bench.send("GET", "/v2/", &wrong, b"").status, 401);
}

fn with_tokens(tokens: Tokens) -> (Bench, Recorder) {
    let recorder = Recorder::new();
    let mut options = ServeOptions::default();
    options.access = Some(Access::Tokens(tokens));
    options.recorder = Some(recorder.clone());
    (Bench::with(options), recorder)
}

fn token(bench: &Bench, actions: &str) -> String {
    let reply = bench.ask("GET", &format!("/token?service=x&scope=repository:{NAME}:{actions}"));
    assert_eq!(reply.status, 200, "{reply:?}");
    format!("Bearer {}", reply.json()["token"].as_str().unwrap())
}

#[test]
fn tokens_are_for_what_they_were_asked_for() {
    let (bench, recorder) = with_tokens(Tokens::default());
    let refused = bench.ask("POST", UPLOADS);
    let challenge = refused.header("www-authenticate").unwrap();
    let realm = format!("Bearer realm=\"http://{}/token\"", bench.address());
    assert!(challenge.starts_with(&realm), "{challenge}");
    assert!(challenge.ends_with(&format!("scope=\"repository:{NAME}:pull,push\"")), "{challenge}");
    let (pull, push) = (token(&bench, "pull"), token(&bench, "push,pull"));
    let post = |token: &str| bench.send("POST", UPLOADS, &[("Authorization", token)], b"").status;
    assert_eq!((post(&pull), post(&push), post("Bearer x")), (401, 202, 401));
    let list = |name: &str| {
        bench.send("GET", &format!("/v2/{name}/tags/list"), &[("Authorization", &pull)], b"").status
    };
    assert_eq!((list(NAME), list("other")), (404, 401));
    assert_eq!(recorder.count(|exchange: &Exchange| exchange.authorized), 5);
}

#[test]
fn tokens_end() {
    let mut tokens = Tokens::default();
    tokens.uses = Some(2);
    tokens.lifetime = Some(Duration::from_millis(250));
    let (bench, _) = with_tokens(tokens);
    let post = |token: &str| bench.send("POST", UPLOADS, &[("Authorization", token)], b"").status;
    let used = token(&bench, "pull,push");
    assert_eq!([post(&used), post(&used), post(&used)], [202, 202, 401]);
    let old = token(&bench, "pull,push");
    assert_eq!(post(&old), 202);
    std::thread::sleep(Duration::from_millis(260));
    assert_eq!(post(&old), 401);
    let revoked = token(&bench, "pull,push");
    bench.server.as_ref().unwrap().revoke_tokens();
    assert_eq!(post(&revoked), 401);
}

#[test]
fn tokens_cost_a_password_and_may_come_from_elsewhere() {
    let mut tokens = Tokens::default();
    tokens.credentials = Some(("me".to_owned(), "hidden".to_owned()));
    tokens.realm = Some("http://127.0.0.2:9/t".to_owned());
    let (bench, _) = with_tokens(tokens);
    assert_eq!(bench.ask("GET", "/token?scope=x").status, 401);
    let login = [("Authorization", "Basic bWU6aGlkZGVu")];
    assert_eq!(bench.send("GET", "/token?scope=x", &login, b"").status, 200);
    let challenge = bench.ask("GET", "/v2/").header("www-authenticate").unwrap().to_owned();
    assert!(challenge.starts_with("Bearer realm=\"http://127.0.0.2:9/t\""), "{challenge}");
}

#[test]
fn exchanges_are_told_when_they_are_over() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut options = ServeOptions::default();
    options.listener = Some(Arc::new(move |exchange: &Exchange| drop(sender.send(exchange.clone()))));
    let bench = Bench::with(options);
    bench.push_blob(NAME, &noise(200_000, 1));
    bench.ask("GET", &blob(&noise(200_000, 1)));
    let told: Vec<Exchange> =
        (0..2).map(|_| receiver.recv_timeout(Duration::from_secs(5)).unwrap()).collect();
    assert_eq!((told[0].status, told[0].received, told[0].sent), (Some(201), 200_000, 0));
    assert_eq!((told[1].status, told[1].received, told[1].sent), (Some(200), 0, 200_000));
}

#[test]
fn requests_under_way_end_and_others_do_not_begin() {
    let (mut bench, _) = on(When::asked("GET", "/v2/_catalog"), Fault::Delay(Duration::from_millis(300)));
    let (mut busy, mut idle) = (bench.connect(), bench.connect());
    let address = bench.address();
    busy.send("GET", "/v2/_catalog", &[], b"").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    bench.server.take().unwrap().stop();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(busy.reply("GET").unwrap().status, 200);
    assert!(idle.is_closed());
    assert!(std::net::TcpStream::connect(address).is_err());
}
