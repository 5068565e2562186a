//! Secrets stay where they belong, whatever a registry points to.

use ocibuild_core::blob::{Sink, Source};
use ocibuild_core::registry::{Credential, Registry, ScopedCredential};

use super::fault;
use crate::recorder::{Asked, Recorder, Reply};
use crate::{layer, login, options, repository};

const BASIC: Option<&str> = Some("Basic bWU6aGlkZGVu");

/// A registry whose token server is at `path` of its own.
fn guarded(token: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Recorder {
    Recorder::start(move |asked, _| {
        if asked.path.starts_with("/token") {
            return token(asked);
        }
        let host = asked.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
        match asked.header("authorization") {
            Some("Bearer good") => Reply::new(404),
            _ => Reply::new(401).header("WWW-Authenticate", challenge),
        }
    })
}

fn good() -> Reply {
    Reply::new(200).body(r#"{"token": "good"}"#)
}

#[test]
fn a_token_server_may_send_us_on_but_not_with_a_password() {
    let other = Recorder::start(|_, _| good());
    let host = other.host.clone();
    let recorder = guarded(move |_| Reply::new(307).header("Location", format!("http://{host}/token")));
    let registry = Registry::new(login("me", "hidden"));
    assert!(!registry.repository(&repository(&recorder.host, "team/app")).exists(&layer(b"x").0).unwrap());
    let there: Vec<_> = other.asked();
    assert!(there.len() == 1 && there[0].header("authorization").is_none());
    assert_eq!(recorder.asked()[1].header("authorization"), BASIC);
}

#[test]
fn within_a_token_server_a_password_goes_along() {
    let recorder = guarded(|asked| match asked.path.starts_with("/token/new") {
        true => good(),
        false => Reply::new(302).header("Location", "/token/new"),
    });
    let registry = Registry::new(login("me", "hidden"));
    assert!(!registry.repository(&repository(&recorder.host, "team/app")).exists(&layer(b"x").0).unwrap());
    assert_eq!(recorder.asked()[2].header("authorization"), BASIC);
}

#[test]
fn a_token_server_that_leads_in_a_circle_is_an_error() {
    let recorder = guarded(|asked| Reply::new(302).header("Location", &asked.path));
    let registry = Registry::new(login("me", "hidden"));
    let repository = registry.repository(&repository(&recorder.host, "team/app"));
    let error = fault(repository.exists(&layer(b"x").0).unwrap_err());
    assert!(error.to_string().contains("more than 5 redirects"), "{error}");
}

#[test]
fn a_secret_in_a_body_goes_nowhere_else() {
    let other = Recorder::start(|_, _| good());
    let host = other.host.clone();
    let recorder = guarded(move |_| Reply::new(307).header("Location", format!("http://{host}/token")));
    let mut options = options();
    let identity = Credential::identity_token("hidden", "the test");
    options.credentials = std::sync::Arc::new(ScopedCredential::new(&recorder.host, identity));
    let repository = Registry::new(options).repository(&repository(&recorder.host, "team/app"));
    let error = fault(repository.exists(&layer(b"x").0).unwrap_err());
    assert!(error.to_string().contains("a redirect elsewhere"), "{error}");
    assert!(other.asked().is_empty());
}

#[test]
fn what_was_sent_elsewhere_does_not_come_back_with_a_secret() {
    // The registry's storage sends us back to the registry.
    let storage = Recorder::start(|asked, _| {
        let back = asked.path.split_once("?back=").unwrap().1.replace("%2F", "/").replace("%3A", ":");
        Reply::new(307).header("Location", format!("http://{back}/blob"))
    });
    let host = storage.host.clone();
    let registry = Recorder::start(move |asked, _| {
        if asked.path == "/blob" {
            return Reply::new(200).body("blob");
        }
        match asked.header("authorization") {
            BASIC => {
                let back = format!("http://{host}/?back={}", asked.header("host").unwrap());
                Reply::new(307).header("Location", back)
            }
            _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        }
    });
    let repository = Registry::new(login("me", "hidden")).repository(&repository(&registry.host, "team/app"));
    assert!(repository.exists(&layer(b"blob").0).unwrap());
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
    let back: Vec<_> = registry.asked().into_iter().filter(|asked| asked.path == "/blob").collect();
    assert!(!back.is_empty() && back.iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn an_upload_elsewhere_goes_without_a_secret_and_is_made_anew_with_the_registrys_leave() {
    let storage = Recorder::start(|_, before| match before.len() {
        0 => Reply::new(503),
        _ => Reply::new(201),
    });
    let host = storage.host.clone();
    let registry =
        Recorder::start(move |asked, _| match (asked.header("authorization"), asked.method.as_str()) {
            (BASIC, "HEAD") => Reply::new(404),
            (BASIC, "POST") => Reply::new(202).header("Location", format!("http://{host}/upload")),
            _ => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        });
    let repository = Registry::new(login("me", "hidden")).repository(&repository(&registry.host, "team/app"));
    let (one, content) = layer(b"one");
    repository.push(&one, &content).unwrap();
    assert!(storage.asked().iter().all(|asked| asked.header("authorization").is_none()));
}
