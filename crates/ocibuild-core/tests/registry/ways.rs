//! The ways to a registry: mirrors, proxies, and hosts that are called insecure.

use ocibuild_core::blob::{BlobError, Sink, Source, Target, read_whole};
use ocibuild_core::oci::{Descriptor, MediaType};
use ocibuild_core::registry::{Mirror, Proxies, Registry, RegistryError, RegistryOptions, RemoteRepository};

use crate::proxy::{self, Proxy};
use crate::recorder::{Asked, Recorder, Reply};
use crate::{layer, options, repository};

/// A registry with one manifest and one blob.
fn has(
    tag: &'static [u8],
    blob: &'static [u8],
) -> impl Fn(&Asked, &[Asked]) -> Reply + Send + Sync + 'static {
    move |asked, _| {
        let name = asked.path.rsplit('/').next().unwrap();
        let is = |bytes: &[u8]| name == Descriptor::of(MediaType::LAYER, bytes).digest.to_string();
        match asked.method.as_str() {
            "HEAD" | "GET" if name == "v1" || is(tag) => {
                Reply::new(200).header("Content-Type", MediaType::MANIFEST).body(tag)
            }
            "HEAD" | "GET" if is(blob) => Reply::new(200).body(blob),
            "POST" => Reply::new(202).header("Location", "/upload"),
            "PUT" => Reply::new(201),
            _ => Reply::new(404),
        }
    }
}

fn connect(registry: &Recorder, mirrors: &[&Recorder]) -> RemoteRepository {
    let mut options = options();
    options.attempts = 2;
    let mirror = |mirror: &&Recorder| Mirror::new(&registry.host, &mirror.host).unwrap();
    options.mirrors = mirrors.iter().map(mirror).collect();
    Registry::new(options).repository(&repository(&registry.host, "team/app"))
}

#[test]
fn a_mirror_is_read_first_and_never_written() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let mirror = Recorder::start(has(b"{\"new\":1}", b"mirrored"));
    let repository = connect(&registry, &[&mirror]);
    // What a tag means is what the mirror says.
    let manifest = repository.resolve("v1").unwrap();
    assert_eq!(manifest.digest, Descriptor::of(MediaType::MANIFEST, b"{\"new\":1}").digest);
    assert_eq!(read_whole(&repository, &manifest, 100).unwrap(), b"{\"new\":1}");
    assert_eq!(read_whole(&repository, &layer(b"mirrored").0, 100).unwrap(), b"mirrored");
    assert!(registry.asked().is_empty());
    // What it doesn't have comes from the registry.
    assert_eq!(read_whole(&repository, &layer(b"theirs").0, 100).unwrap(), b"theirs");
    assert!(!registry.asked().is_empty());
    let before = mirror.asked().len();
    let (new, content) = layer(b"new");
    repository.push(&new, &content).unwrap();
    repository.tag(&Descriptor::of(MediaType::MANIFEST, b"{}"), "v2").unwrap();
    assert_eq!(mirror.asked().len(), before);
}

#[test]
fn what_a_mirror_gives_wrongly_comes_from_the_registry() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let wrong =
        Recorder::start(|_, _| Reply::new(200).header("Content-Type", MediaType::MANIFEST).body("[]"));
    let manifest = Descriptor::of(MediaType::MANIFEST, b"{}");
    assert_eq!(read_whole(&connect(&registry, &[&wrong]), &manifest, 100).unwrap(), b"{}");
    // A blob's bytes are seen to be wrong only when all of them were read.
    let error = read_whole(&connect(&registry, &[&wrong]), &layer(b"theirs").0, 100).unwrap_err();
    assert!(matches!(error, BlobError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_mirror_that_is_down_is_asked_no_more() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let down = Recorder::start(|_, _| Reply::new(503));
    let refusing = Recorder::start(|_, _| Reply::new(403));
    let repository = connect(&registry, &[&down, &refusing]);
    for _ in 0..3 {
        assert_eq!(read_whole(&repository, &layer(b"theirs").0, 100).unwrap(), b"theirs");
    }
    assert_eq!(down.asked().len(), 2);
    // What refuses one thing may have another: three times HEAD, what it says to that, and GET.
    assert_eq!(refusing.asked().len(), 9);
}

fn by_proxy(proxies: Proxies) -> RegistryOptions {
    let mut options = options();
    (options.attempts, options.proxies) = (1, proxies);
    // It is asked whether it speaks TLS, and then by http.
    options.insecure = vec!["r.test:5000".to_owned()];
    options
}

fn error(error: BlobError) -> RegistryError {
    match error {
        BlobError::Place { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn http_is_handed_to_the_proxy() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let proxy = Proxy::start(&registry.host, Some("Basic bWU6aGlkZGVu"));
    let address = format!("http://me:hidden@{}", proxy.host).parse().unwrap();
    let options = by_proxy(Proxies::new().http(address));
    let remote = Registry::new(options).repository(&repository("r.test:5000", "team/app"));
    let (theirs, _) = layer(b"theirs");
    assert!(remote.exists(&theirs).unwrap());
    assert_eq!(
        proxy.lines(),
        [format!("HEAD http://r.test:5000/v2/team/app/blobs/{} HTTP/1.1", theirs.digest)]
    );
    let asked = registry.asked();
    assert_eq!(asked[0].header("host"), Some("r.test:5000"));
}

#[test]
fn both_go_through_a_socks_proxy() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let (host, asked) = proxy::start_socks(&registry.host);
    let options = by_proxy(Proxies::new().http(format!("socks5h://{host}").parse().unwrap()));
    let remote = Registry::new(options).repository(&repository("r.test:5000", "team/app"));
    let (theirs, _) = layer(b"theirs");
    assert!(remote.exists(&theirs).unwrap());
    assert_eq!(*asked.lock().unwrap(), ["r.test:5000"]);
    assert_eq!(registry.lines(), [format!("HEAD /v2/team/app/blobs/{}", theirs.digest)]);
}

#[test]
fn a_proxy_that_refuses_is_told_of_without_its_password() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let proxy = Proxy::start(&registry.host, Some("Basic other"));
    let address = |login: &str| format!("http://{login}{}", proxy.host).parse().unwrap();
    for login in ["", "me:hidden@"] {
        let options = by_proxy(Proxies::new().http(address(login)));
        let remote = Registry::new(options).repository(&repository("r.test:5000", "team/app"));
        let error = error(remote.exists(&layer(b"one").0).unwrap_err());
        assert!(error.to_string().contains("407") && error.remedy().unwrap().contains("proxy"), "{error}");
    }
    let mut options = by_proxy(Proxies::new().https(address("me:hidden@")));
    options.insecure.clear();
    options.ca = Vec::new();
    let remote = Registry::new(options).repository(&repository("r.test:5000", "team/app"));
    let shown = format!("{:?}", remote.exists(&layer(b"one").0).unwrap_err());
    assert!(!shown.contains("hidden"), "{shown}");
}

#[test]
fn a_proxy_is_passed_by_where_it_is_to_be() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let proxy = Proxy::start("127.0.0.1:1", None);
    let proxies = Proxies::new().http(proxy.host.parse().unwrap()).https(proxy.host.parse().unwrap());
    // This machine is never reached through one.
    let remote = Registry::new(by_proxy(proxies.clone())).repository(&repository(&registry.host, "team/app"));
    assert!(remote.exists(&layer(b"theirs").0).unwrap());
    let remote = Registry::new(by_proxy(proxies.except("r.test")));
    assert!(remote.repository(&repository("r.test:5000", "a")).exists(&layer(b"one").0).is_err());
    assert_eq!(proxy.lines(), [""; 0]);
}

#[test]
fn who_is_called_insecure_and_has_no_tls_is_reached_by_http() {
    let registry = Recorder::start(has(b"{}", b"theirs"));
    let mut options = options();
    options.insecure = vec![registry.host.clone()];
    let remote = Registry::new(options).repository(&repository(&registry.host, "team/app"));
    assert!(remote.exists(&layer(b"theirs").0).unwrap());
    assert!(registry.asked().iter().all(|asked| asked.header("authorization").is_none()));
}
