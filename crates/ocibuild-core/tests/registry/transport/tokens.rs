//! Tokens that end, are used up or taken back while they are in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ocibuild_core::blob::Sink;
use ocibuild_core::registry::{Registry, RemoteRepository};
use ocibuild_serve::faults::Asked;
use ocibuild_serve::{Access, Fault, Faults, Script, ServeOptions, Tokens, When};

use super::{Bench, Told};
use crate::recorder::{Recorder, Reply};
use crate::{layer, login, noise, repository};

fn guarded(uses: Option<u32>, faults: impl Faults + 'static) -> Bench {
    let mut tokens = Tokens::default();
    tokens.credentials = Some(("me".to_owned(), "hidden".to_owned()));
    tokens.uses = uses;
    let mut options = ServeOptions::default();
    options.access = Some(Access::Tokens(tokens));
    options.faults = Some(Arc::new(faults));
    Bench::with(options)
}

/// Pushes as many blobs at once.
fn push(repository: &RemoteRepository, pushers: u8, size: usize) {
    thread::scope(|scope| {
        for number in 0..pushers {
            scope.spawn(move || {
                let mut bytes = noise(size);
                bytes[0] = number;
                let (descriptor, content) = layer(&bytes);
                repository.push(&descriptor, &content).unwrap();
            });
        }
    });
}

#[test]
fn tokens_for_four_requests_are_enough_for_any_number() {
    for pushers in [1, 4, 8, 16] {
        let bench = guarded(Some(4), Script::new());
        let registry = Registry::new(login("me", "hidden"));
        push(&bench.connect(&registry), pushers, 300_000);
        let tokens = bench.recorder.count(|exchange| exchange.path.starts_with("/token"));
        assert!(tokens >= usize::from(pushers) * 3 / 4, "{tokens}");
    }
}

#[test]
fn tokens_for_one_request_are_enough_for_one_at_a_time() {
    let bench = guarded(Some(1), Script::new());
    push(&bench.connect(&Registry::new(login("me", "hidden"))), 1, 300_000);
}

#[test]
fn tokens_taken_back_now_and_then_are_replaced() {
    // Each second request to uploads takes all tokens back, its own first.
    let count = AtomicUsize::new(0);
    let bench = guarded(None, move |asked: &Asked| {
        let turn = count.fetch_add(usize::from(asked.path().contains("/uploads/")), Ordering::SeqCst);
        if asked.path().contains("/uploads/") && turn % 2 == 1 { vec![Fault::RevokeTokens] } else { vec![] }
    });
    let told = Told::default();
    let mut options = told.options();
    options.credentials = login("me", "hidden").credentials;
    push(&bench.connect(&Registry::new(options)), 1, 300_000);
    assert_eq!(told.reasons(), ["401 Unauthorized"]);
    assert!(!format!("{:?}", told.events()).contains("hidden"));
}

#[test]
fn a_worthless_token_is_refused_to_all_after_one() {
    let recorder = Recorder::start(|asked, _| match asked.path.starts_with("/token") {
        true => Reply::new(200).body(r#"{"token": "worthless"}"#),
        false => {
            let host = asked.header("host").unwrap();
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
            Reply::new(401).header("WWW-Authenticate", challenge)
        }
    });
    let repository = Registry::new(login("me", "hidden")).repository(&repository(&recorder.host, "team/app"));
    thread::scope(|scope| {
        for number in 0..8 {
            let repository = &repository;
            scope.spawn(move || {
                let (descriptor, content) = layer(&[number]);
                assert!(repository.push(&descriptor, &content).is_err());
            });
        }
    });
    let tokens = recorder.asked().iter().filter(|asked| asked.path.starts_with("/token")).count();
    // Who comes when the others were refused asks again.
    assert!(tokens <= 8, "{tokens}");
    assert!(recorder.asked().iter().all(|asked| asked.method != "POST"));
}

#[test]
fn a_token_taken_back_without_a_word_is_asked_for_where_it_was() {
    let recorder = Recorder::start(|asked, before| {
        if asked.path.starts_with("/token") {
            let tokens = before.iter().filter(|asked| asked.path.starts_with("/token")).count();
            return Reply::new(200).body(format!(r#"{{"token": "t{tokens}"}}"#));
        }
        let host = asked.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
        match (asked.header("authorization"), asked.method.as_str()) {
            (None, _) => Reply::new(401).header("WWW-Authenticate", challenge),
            (Some("Bearer t0"), "HEAD") => Reply::new(404),
            (Some("Bearer t1"), "POST") => Reply::new(202).header("Location", "/upload"),
            (Some("Bearer t1"), _) => Reply::new(201),
            _ => Reply::new(401),
        }
    });
    let repository = Registry::new(login("me", "hidden")).repository(&repository(&recorder.host, "team/app"));
    let (descriptor, content) = layer(b"one");
    repository.push(&descriptor, &content).unwrap();
}

#[test]
fn a_token_server_out_of_order_is_tried_again() {
    let script = Script::new().on(When::asked("GET", "/token").times(3), Fault::status(503));
    let bench = guarded(None, script);
    push(&bench.connect(&Registry::new(login("me", "hidden"))), 2, 1000);
}
