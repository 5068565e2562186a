//! Registries by https; a test program of its own, as a TLS provider is for a whole process.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../registry/debian.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod debian;

#[path = "../registry/proxy.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod proxy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ocibuild_core::blob::{BlobError, BytesContent, Sink, Source, Target};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::oci::{Descriptor, MediaType, Platform};
use ocibuild_core::reference::{Reference, Repository};
use ocibuild_core::registry::{
    ClientCertificate, Credential, Credentials, CredentialsError, HostCertificates, Proxies, Registry,
    RegistryError, RegistryOptions, RemoteRepository,
};
use ocibuild_core::{Builder, ImageSpec, LayerSpec};

use debian::{Debian, skipped};

fn openssl(directory: &Path, arguments: &str) -> bool {
    let mut command = Command::new("openssl");
    let command = command.args(arguments.split(' ')).current_dir(directory);
    command.output().is_ok_and(|output| output.status.success())
}

/// Makes a CA, and a certificate for this machine; false where there is no openssl.
fn make_certificates(directory: &Path) -> bool {
    let make = |name: &str| {
        format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        )
    };
    openssl(directory, &make("authority"))
        && openssl(
            directory,
            &format!(
                "{} -addext subjectAltName=IP:127.0.0.1,DNS:registry.test -addext basicConstraints=critical,CA:FALSE -CA authority.pem -CAkey authority.key",
                make("server")
            ),
        )
}

fn connect(debian: &Debian, ca: Option<&Path>) -> RemoteRepository {
    let mut options = RegistryOptions::default();
    options.secure = vec![debian.host.clone()];
    options.attempts = 2;
    options.ca = ca.map(|path| fs::read(path).unwrap()).into_iter().collect();
    let reference: Reference = format!("{}/tls/app", debian.host).parse().unwrap();
    Registry::new(options).repository(reference.repository())
}

fn fault(error: BlobError) -> RegistryError {
    match error {
        BlobError::Place { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn https_needs_a_provider_and_an_authority() {
    let certificates = tempfile::tempdir().unwrap();
    if !make_certificates(certificates.path()) {
        return skipped("openssl");
    }
    let path = |name: &str| certificates.path().join(name);
    let (certificate, key) = (path("server.pem"), path("server.key"));
    let section = |_: &Path| {
        format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display())
    };
    let Some(debian) = Debian::start(section) else { return };
    let blob = Descriptor::of(MediaType::LAYER, b"one");

    let error = fault(connect(&debian, Some(&path("authority.pem"))).exists(&blob).unwrap_err());
    assert!(error.remedy().unwrap().contains("install_default"), "{error:?}");

    rustls::crypto::ring::default_provider().install_default().unwrap();
    let repository = connect(&debian, Some(&path("authority.pem")));
    repository.push(&blob, &BytesContent::new(*b"one")).unwrap();
    assert!(repository.exists(&blob).unwrap());
    assert!(matches!(repository.resolve("v1"), Err(BlobError::UnknownName { .. })));

    let untrusted = tempfile::tempdir().unwrap();
    assert!(make_certificates(untrusted.path()));
    let error = connect(&debian, Some(&untrusted.path().join("authority.pem"))).exists(&blob).unwrap_err();
    let error = fault(error);
    assert!(error.remedy().unwrap().contains("CA certificate"), "{error:?}");

    let error = fault(connect(&debian, Some(&key)).exists(&blob).unwrap_err());
    assert!(error.to_string().contains("cannot use the given CA certificates"), "{error}");

    a_base_is_pulled_and_mounted_behind_a_password(certificates.path());
    through_a_proxy(&debian, &path("authority.pem"));
    with_certificates_of_its_own(&debian, certificates.path());
    unverified(&debian);
}

fn named(registry: &str, options: RegistryOptions) -> RemoteRepository {
    let reference: Reference = format!("{registry}/tls/app").parse().unwrap();
    Registry::new(options).repository(reference.repository())
}

/// What the proxy sees is a name and bytes: who answers is verified behind it.
fn through_a_proxy(debian: &Debian, ca: &Path) {
    let blob = Descriptor::of(MediaType::LAYER, b"one");
    let proxy = proxy::Proxy::start(&debian.host, Some("Basic bWU6aGlkZGVu"));
    let options = |login: &str| {
        let mut options = RegistryOptions::default();
        options.attempts = 1;
        options.ca = vec![fs::read(ca).unwrap()];
        options.proxies = Proxies::new().https(format!("http://{login}{}", proxy.host).parse().unwrap());
        options
    };
    assert!(named("registry.test", options("me:hidden@")).exists(&blob).unwrap());
    assert!(named("registry.test:5443", options("me:hidden@")).exists(&blob).unwrap());
    let lines = ["CONNECT registry.test:443 HTTP/1.1", "CONNECT registry.test:5443 HTTP/1.1"];
    assert_eq!(proxy.lines(), lines);
    assert!(named("other.test", options("me:hidden@")).exists(&blob).is_err());
    let error = fault(named("registry.test", options("me:wrong@")).exists(&blob).unwrap_err());
    assert!(error.remedy().unwrap().contains("proxy"), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    let (host, asked) = proxy::start_socks(&debian.host);
    let mut socks = options("");
    socks.proxies = Proxies::new().https(format!("socks5://{host}").parse().unwrap());
    assert!(named("registry.test", socks).exists(&blob).unwrap());
    assert_eq!(*asked.lock().unwrap(), ["registry.test:443"]);
}

fn with_certificates_of_its_own(debian: &Debian, certificates: &Path) {
    let blob = Descriptor::of(MediaType::LAYER, b"one");
    let read = |name: &str| fs::read(certificates.join(name)).unwrap();
    let options = |host: &str, own: HostCertificates| {
        let mut options = RegistryOptions::default();
        options.attempts = 1;
        options.certificates = Arc::new(BTreeMap::from([(host.to_owned(), own)]));
        options
    };
    let mut own = HostCertificates::default();
    own.ca = vec![read("authority.pem")];
    // That there are some says that it speaks TLS, on this machine, too.
    assert!(named(&debian.host, options(&debian.host, own.clone())).exists(&blob).unwrap());
    let mut other = options("127.0.0.1", own.clone());
    other.secure = vec![debian.host.clone()];
    let error = fault(named(&debian.host, other).exists(&blob).unwrap_err());
    assert!(error.remedy().unwrap().contains("CA certificate"), "{error:?}");
    own.client = Some(ClientCertificate::new(read("server.pem"), "no key"));
    let error = fault(named(&debian.host, options(&debian.host, own)).exists(&blob).unwrap_err());
    assert!(error.to_string().contains(&format!("certificates for `{}`", debian.host)), "{error}");
}

fn unverified(debian: &Debian) {
    let blob = Descriptor::of(MediaType::LAYER, b"one");
    let mut options = RegistryOptions::default();
    options.attempts = 1;
    options.insecure = vec![debian.host.clone()];
    assert!(named(&debian.host, options.clone()).exists(&blob).unwrap());
    options.insecure = vec!["127.0.0.1".to_owned()];
    options.secure = vec![debian.host.clone()];
    assert!(named(&debian.host, options).exists(&blob).is_err());
}

/// `htpasswd -Bbn tester hidden`
const HTPASSWD: &str = "tester:$2b$04$hFmLdG0KYmAalm1dGV2Qee05N0ksjG44vMwTTN7H5nP6S0oEdRqkq\n";

struct Login;

impl Credentials for Login {
    fn lookup(&self, _: &Repository) -> Result<Option<Credential>, CredentialsError> {
        Ok(Some(Credential::password("tester", "hidden", "the test")))
    }
}

fn a_base_is_pulled_and_mounted_behind_a_password(certificates: &Path) {
    let section = |directory: &Path| {
        let htpasswd = directory.join("htpasswd");
        fs::write(&htpasswd, HTPASSWD).unwrap();
        format!(
            "  tls:\n    certificate: {0}/server.pem\n    key: {0}/server.key\n\
             auth:\n  htpasswd:\n    realm: test\n    path: {1}\n",
            certificates.display(),
            htpasswd.display()
        )
    };
    let Some(debian) = Debian::start(section) else { return };
    let mut options = RegistryOptions::default();
    options.secure = vec![debian.host.clone()];
    options.ca = vec![fs::read(certificates.join("authority.pem")).unwrap()];
    options.credentials = Arc::new(Login);
    let registry = Registry::new(options);
    let name = |path: &str| -> Reference { format!("{}/{path}", debian.host).parse().unwrap() };

    let directory = tempfile::tempdir().unwrap();
    let builder =
        || Builder::new(directory.path(), directory.path().join("cache")).registry(registry.clone());
    let scratch = ImageSpec::scratch(Platform::linux_amd64());
    let base = scratch.clone().layer(LayerSpec::named("base").content("/etc/base", "base"));
    builder().build(&base).unwrap().push(&registry, &name("team/base:1")).unwrap();
    fs::remove_dir_all(directory.path().join("cache")).unwrap();

    let image = scratch.base(name("team/base:1")).layer(LayerSpec::named("app").content("/etc/app", "app"));
    let built = builder().build(&image).unwrap();
    let report = built.push(&registry, &name("team/app:1")).unwrap();
    assert_eq!((report.mounted.blobs, report.sent.blobs), (1, 3), "beside a layer, config and manifest");
    let target = registry.repository(name("team/app:1").repository());
    assert_eq!(validate(&target, &built.images[0].root, &ValidateOptions::default()).unwrap(), []);
    // The same bytes, though another's eyes may not see them.
    let mut guest = RegistryOptions::default();
    guest.secure = vec![debian.host.clone()];
    guest.ca = vec![fs::read(certificates.join("authority.pem")).unwrap()];
    let error = builder().registry(Registry::new(guest)).build(&image).err().unwrap();
    let error: &dyn std::error::Error = &error;
    let causes = std::iter::successors(Some(error), |error| error.source());
    assert!(causes.map(ToString::to_string).any(|text| text.contains("without credentials")));
}
