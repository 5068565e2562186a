//! Tokens and credentials: how they are got, where they go, and for how long they count.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use ocibuild_core::blob::{BlobError, Sink, Source};
use ocibuild_core::event::Cancel;
use ocibuild_core::registry::{
    Credential, Credentials, CredentialsError, DockerConfig, Helpers, Registry, RegistryError,
    RegistryOptions, RemoteRepository, ScopedCredential,
};

use crate::recorder::{Asked, Recorder, Reply};
use crate::{layer, login, options, repository};

fn connect(recorder: &Recorder, options: RegistryOptions) -> RemoteRepository {
    Registry::new(options).repository(&repository(&recorder.host, "team/app"))
}

fn with(credentials: impl Credentials + 'static) -> RegistryOptions {
    let mut options = options();
    options.credentials = Arc::new(credentials);
    options
}

fn error(error: BlobError) -> RegistryError {
    match error {
        BlobError::Place { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn is_token(asked: &Asked) -> bool {
    asked.path.starts_with("/token")
}

/// A registry that wants a token; `grant` answers who asks for one, and all that begin with `good`
/// are.
fn guarded(grant: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Recorder {
    Recorder::start(move |asked, before| {
        if is_token(asked) {
            return grant(asked, before.iter().filter(|asked| is_token(asked)).count());
        }
        match asked.header("authorization") {
            Some(value) if value.starts_with("Bearer good") => Reply::new(200),
            _ => {
                let host = asked.header("host").unwrap();
                let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
                Reply::new(401).header("WWW-Authenticate", challenge)
            }
        }
    })
}

fn token(text: &str, rest: &str) -> Reply {
    Reply::new(200).body(format!(r#"{{"token": "{text}"{rest}}}"#))
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let recorder = guarded(|_, before| match before {
        0 => token("good1", r#", "expires_in": 1"#),
        _ => token("good2", r#", "expires_in": 300"#),
    });
    let repository = connect(&recorder, login("me", "hidden"));
    let (one, _) = layer(b"one");
    for pause in [0, 0, 1100, 0] {
        thread::sleep(Duration::from_millis(pause));
        assert!(repository.exists(&one).unwrap());
    }
    let presented: Vec<String> = recorder
        .asked()
        .iter()
        .map(|asked| match asked.header("authorization") {
            _ if is_token(asked) => "token".to_owned(),
            value => value.unwrap_or("none").to_owned(),
        })
        .collect();
    // No request goes out with the token that has ended, nor without any.
    let expected = ["none", "token", "Bearer good1", "Bearer good1", "token", "Bearer good2", "Bearer good2"];
    assert_eq!(presented, expected);
}

#[test]
fn eight_threads_ask_for_one_token() {
    let recorder = guarded(|_, _| token("good", ""));
    let repository = connect(&recorder, login("me", "hidden"));
    let ready = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                ready.wait();
                assert!(repository.exists(&layer(b"one").0).unwrap());
            });
        }
    });
    assert_eq!(recorder.asked().iter().filter(|asked| is_token(asked)).count(), 1);
}

#[test]
fn who_waits_for_a_token_shares_its_refusal() {
    // The other threads have their challenge, and wait, by the time that the token is refused.
    let recorder = Recorder::start(|asked, _| match is_token(asked) {
        true => Reply::new(401).body(r#"{"details":"incorrect username or password"}"#),
        false => {
            let host = asked.header("host").unwrap();
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
            Reply::new(401).header("WWW-Authenticate", challenge)
        }
    });
    /// Takes its time, as helpers do.
    struct Slow;
    impl Credentials for Slow {
        fn lookup(
            &self,
            _: &ocibuild_core::reference::Repository,
        ) -> Result<Option<Credential>, CredentialsError> {
            thread::sleep(Duration::from_secs(1));
            Ok(Some(Credential::password("me", "wrong", "the test")))
        }
    }
    let repository = connect(&recorder, with(Slow));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let error = error(repository.exists(&layer(b"one").0).unwrap_err()).to_string();
                assert!(error.ends_with("the test: 401: incorrect username or password"), "{error}");
            });
        }
    });
    assert_eq!(recorder.asked().iter().filter(|asked| is_token(asked)).count(), 1);
    // Who comes later asks again: the password may have been set since.
    assert!(repository.exists(&layer(b"one").0).is_err());
    assert_eq!(recorder.asked().iter().filter(|asked| is_token(asked)).count(), 2);
}

#[test]
fn an_identity_token_is_traded_by_post() {
    let recorder = guarded(|_, _| Reply::new(200).body(r#"{"access_token": "good"}"#));
    let identity = Credential::identity_token("refr/esh", "the test");
    let repository = connect(&recorder, with(ScopedCredential::new(&recorder.host, identity)));
    repository.missing(&[layer(b"one").0]).unwrap();
    let asked = recorder.asked();
    assert_eq!(asked[1].line(), "POST /token");
    assert!(asked[1].header("authorization").is_none());
    assert_eq!(asked[1].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        String::from_utf8(asked[1].body.clone()).unwrap(),
        "client_id=ocibuild&grant_type=refresh_token&refresh_token=refr%2Fesh&service=s\
         &scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
    );
}

#[test]
fn a_password_is_sent_by_post_where_get_is_unknown() {
    for status in [404, 405] {
        let recorder = guarded(move |asked, _| match asked.method.as_str() {
            "GET" => Reply::new(status),
            _ => token("good", ""),
        });
        let repository = connect(&recorder, login("me", "hid&den"));
        assert!(repository.exists(&layer(b"one").0).unwrap());
        let asked = recorder.asked();
        let body = String::from_utf8(asked[2].body.clone()).unwrap();
        assert!(body.contains("grant_type=password&username=me&password=hid%26den&service=s"), "{body}");
    }
}

#[test]
fn a_token_of_ones_own_is_presented_as_it_is() {
    let recorder = guarded(|_, _| Reply::new(500));
    let bearer =
        |token: &str| with(ScopedCredential::new(&recorder.host, Credential::bearer(token, "the test")));
    assert!(connect(&recorder, bearer("good")).exists(&layer(b"one").0).unwrap());
    assert!(!recorder.asked().iter().any(is_token));
    let refused = error(connect(&recorder, bearer("stale")).exists(&layer(b"one").0).unwrap_err());
    assert!(refused.to_string().contains("with the credentials of the test: 401"), "{refused}");
    let odd = error(connect(&recorder, bearer("two\nlines")).exists(&layer(b"one").0).unwrap_err());
    assert!(odd.to_string().contains("the token of the test is not one"), "{odd}");
}

#[test]
fn a_token_is_no_password() {
    let recorder = Recorder::start(|_, _| Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""));
    for credential in
        [Credential::bearer("hidden", "the test"), Credential::identity_token("hidden", "the test")]
    {
        let options = with(ScopedCredential::new(&recorder.host, credential));
        let error = error(connect(&recorder, options).exists(&layer(b"one").0).unwrap_err()).to_string();
        assert!(error.contains("it wants a password") && error.contains("token of the test"), "{error}");
        assert!(!error.contains("hidden"));
    }
    assert!(recorder.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[test]
fn a_credential_is_for_what_it_is_named_for() {
    let recorder = guarded(|asked, _| match asked.header("authorization") {
        Some("Basic bWU6aGlkZGVu") => token("good", ""),
        _ => token("other", ""),
    });
    let password = || Credential::password("me", "hidden", "the test");
    for (scope, is_known) in [
        (recorder.host.clone(), true),
        (format!("https://{}/v2/", recorder.host), true),
        (format!("{}/team", recorder.host), true),
        (format!("{}/team/app", recorder.host), true),
        (format!("{}/team/ap", recorder.host), false),
        (format!("{}/other", recorder.host), false),
        ("127.0.0.1".to_owned(), false),
    ] {
        let repository = connect(&recorder, with(ScopedCredential::new(&scope, password())));
        assert_eq!(repository.exists(&layer(b"one").0).is_ok(), is_known, "{scope}");
    }
}

#[test]
fn being_let_in_is_asked_of_the_registrys_root() {
    let recorder = guarded(|asked, _| match asked.header("authorization") {
        Some("Basic bWU6aGlkZGVu") => token("good", ""),
        _ => Reply::new(401).body(r#"{"details":"wrong"}"#),
    });
    connect(&recorder, login("me", "hidden")).check_access().unwrap();
    assert_eq!(recorder.lines(), ["GET /v2/", "GET /token?service=s", "GET /v2/"]);
    let refused = error(connect(&recorder, login("me", "no")).check_access().unwrap_err());
    assert!(refused.to_string().contains("401: wrong"), "{refused}");
    let open = Recorder::start(|_, _| Reply::new(200));
    connect(&open, options()).check_access().unwrap();
    let none = Recorder::start(|_, _| Reply::new(404));
    assert!(connect(&none, options()).check_access().is_err());
}

/// A directory with a helper `docker-credential-test`, which knows one registry and counts how often
/// it is asked.
fn helper(server: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "#!/bin/sh\nread server\necho \"$1 $server\" >> '{0}/log'\n\
         if [ \"$server\" = '{server}' ]; then echo '{{\"Username\":\"me\",\"Secret\":\"hidden\"}}'\n\
         else echo 'credentials not found in native keychain'; exit 1; fi\n",
        directory.path().display()
    );
    // By another program, so that no thread of ours holds it open when it is to be run.
    let write = "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let path = directory.path().join("docker-credential-test");
    assert!(Command::new("sh").args(["-c", write, "sh", &script]).arg(path).status().unwrap().success());
    directory
}

#[test]
fn a_helper_is_asked_once_for_all_of_a_registry() {
    let recorder = guarded(|asked, _| match asked.header("authorization") {
        Some("Basic bWU6aGlkZGVu") => token("good", ""),
        _ => Reply::new(401),
    });
    let directory = helper(&recorder.host);
    let helpers = Helpers::new(vec![directory.path().to_owned()], Duration::from_secs(10), Cancel::new());
    let config = DockerConfig::parse(r#"{"credsStore": "test"}"#, Path::new("config.json")).unwrap();
    let registry = Registry::new(with(config.with_helpers(Arc::new(helpers))));
    thread::scope(|scope| {
        for number in 0..8 {
            let (registry, host) = (&registry, &recorder.host);
            scope.spawn(move || {
                let repository = registry.repository(&repository(host, &format!("team/app{number}")));
                assert!(repository.exists(&layer(b"one").0).unwrap());
            });
        }
    });
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert_eq!(log, format!("get {}\n", recorder.host));
}

#[test]
fn the_first_of_several_sources_counts() {
    let recorder = guarded(|asked, _| match asked.header("authorization") {
        Some("Basic Mjoy") => token("good", ""),
        _ => Reply::new(401),
    });
    let one = |name: &str, scope: &str| -> Arc<dyn Credentials> {
        Arc::new(ScopedCredential::new(scope, Credential::password(name, name, name)))
    };
    let all = vec![one("1", "r.io"), one("2", &recorder.host), one("3", &recorder.host)];
    assert!(connect(&recorder, with(all)).exists(&layer(b"one").0).unwrap());
}

#[test]
fn tokens_do_not_go_to_another_registry() {
    let other = guarded(|_, _| Reply::new(401));
    let recorder = guarded(|_, _| token("good", ""));
    let registry = Registry::new(login("me", "hidden"));
    assert!(registry.repository(&repository(&recorder.host, "team/app")).exists(&layer(b"one").0).unwrap());
    assert!(registry.repository(&repository(&other.host, "team/app")).exists(&layer(b"one").0).is_err());
    let presented = other.asked();
    let presented = presented.iter().filter_map(|asked| asked.header("authorization"));
    assert!(presented.clone().all(|value| !value.contains("good")), "{presented:?}");
}

#[test]
fn no_form_shows_a_secret() {
    let password = Credential::password("me", "hidden", "the test");
    let scoped = ScopedCredential::new("r.io", Credential::bearer("hidden", "the test"));
    let mut options = login("me", "hidden");
    options.proxies =
        ocibuild_core::registry::Proxies::new().https("http://me:hidden@p.io:1".parse().unwrap());
    let shown = format!("{password:?}{scoped:?}{options:?}{:?}", Registry::new(options.clone()));
    for secret in ["hidden", "aGlkZGVu", "bWU6aGlkZGVu"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Knows of each registry its own.
struct Each(BTreeMap<String, Credential>, Mutex<Vec<String>>);

impl Credentials for Each {
    fn lookup(
        &self,
        repository: &ocibuild_core::reference::Repository,
    ) -> Result<Option<Credential>, CredentialsError> {
        self.1.lock().unwrap().push(repository.to_string());
        Ok(self.0.get(repository.registry()).cloned())
    }
}

#[test]
fn a_mirror_has_credentials_of_its_own() {
    use ocibuild_core::registry::Mirror;
    let mirror = guarded(|asked, _| match asked.header("authorization") {
        Some("Basic bWlycm9yOm0=") => token("good", ""),
        _ => Reply::new(401),
    });
    let main = guarded(|_, _| Reply::new(401));
    let known = [(mirror.host.clone(), Credential::password("mirror", "m", "the mirror's"))];
    let known =
        known.into_iter().chain([(main.host.clone(), Credential::password("main", "x", "the registry's"))]);
    let credentials = Arc::new(Each(known.collect(), Mutex::default()));
    let mut options = options();
    options.credentials = credentials.clone();
    options.mirrors = vec![Mirror::new(&main.host, &format!("{}/hub", mirror.host)).unwrap()];
    assert!(connect(&main, options).exists(&layer(b"one").0).unwrap());
    assert_eq!(*credentials.1.lock().unwrap(), [format!("{}/hub/team/app", mirror.host)]);
    assert!(main.asked().is_empty());
}
