//! What a real registry shows.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use ocibuild_core::blob::{
    BlobError, BytesContent, Content, FileContent, PlaceFault, Sink, Source, Target, read_whole,
};
use ocibuild_core::event::Transfer;
use ocibuild_core::oci::{Descriptor, Manifest, MediaType, to_json};
use ocibuild_core::reference::Repository;
use ocibuild_core::registry::{Memory, Registry, RemoteRepository};

use crate::debian::Debian;
use crate::{layer, login, noise, options, repository};

/// `htpasswd -Bbn tester hidden`
const HTPASSWD: &str = "tester:$2b$04$hFmLdG0KYmAalm1dGV2Qee05N0ksjG44vMwTTN7H5nP6S0oEdRqkq\n";

/// Reads what the test command hands over.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where registries run")]
fn environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

pub(crate) fn open() -> Option<Debian> {
    match environment("OCIBUILD_TEST_REGISTRY") {
        Some(host) => Some(Debian::named(host)),
        None => Debian::start(|_| String::new()),
    }
}

fn guarded() -> Option<Debian> {
    if let Some(host) = environment("OCIBUILD_TEST_REGISTRY_AUTH") {
        return Some(Debian::named(host));
    }
    Debian::start(|directory| {
        let file = directory.join("htpasswd");
        fs::write(&file, HTPASSWD).unwrap();
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
    })
}

/// A repository that no other run knows.
fn fresh(debian: &Debian, name: &str) -> Repository {
    repository(&debian.host, &format!("run{}/{name}", std::process::id()))
}

fn push_image(repository: &RemoteRepository) -> (Descriptor, Vec<u8>) {
    let (one, content) = layer(&noise(300_000));
    repository.push(&one, &content).unwrap();
    let config = Descriptor::of(MediaType::CONFIG, b"{}");
    repository.push(&config, &BytesContent::new(*b"{}")).unwrap();
    let bytes = to_json(&Manifest::new(config, vec![one]));
    let manifest = Descriptor::of(MediaType::MANIFEST, &bytes);
    assert_eq!(repository.push(&manifest, &BytesContent::new(bytes.clone())).unwrap(), Transfer::Sent);
    (manifest, bytes)
}

#[test]
fn an_image_goes_there_and_comes_back() {
    let Some(debian) = open() else { return };
    let repository = Registry::new(options()).repository(&fresh(&debian, "image"));
    let (manifest, bytes) = push_image(&repository);
    assert!(matches!(repository.resolve("v1"), Err(BlobError::UnknownName { .. })));
    repository.tag(&manifest, "v1").unwrap();
    assert_eq!(repository.resolve("v1").unwrap(), manifest);
    assert_eq!(repository.resolve(&manifest.digest.to_string()).unwrap(), manifest);
    assert_eq!(read_whole(&repository, &manifest, 1 << 20).unwrap(), bytes);
    let (one, content) = layer(&noise(300_000));
    assert_eq!(read_whole(&repository, &one, 1 << 20).unwrap(), noise(300_000));
    let mut rest = Vec::new();
    repository.fetch(&one).unwrap().open(299_990).unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, noise(300_000)[299_990..]);
    assert_eq!(repository.push(&one, &content).unwrap(), Transfer::Present);
    assert_eq!(repository.push(&manifest, &BytesContent::new(bytes)).unwrap(), Transfer::Present);
}

#[test]
fn another_run_tags_what_is_there() {
    let Some(debian) = open() else { return };
    let name = fresh(&debian, "tag");
    let (manifest, _) = push_image(&Registry::new(options()).repository(&name));
    let repository = Registry::new(options()).repository(&name);
    repository.tag(&manifest, "later").unwrap();
    assert_eq!(repository.resolve("later").unwrap(), manifest);
    let absent = Descriptor::of(MediaType::MANIFEST, b"absent");
    assert!(matches!(repository.tag(&absent, "never"), Err(BlobError::Missing { .. })));
    assert!(matches!(repository.fetch(&absent), Err(BlobError::Missing { .. })));
}

#[test]
fn what_is_missing_is_told_in_order() {
    let Some(debian) = open() else { return };
    let repository = Registry::new(options()).repository(&fresh(&debian, "missing"));
    let all: Vec<_> = (0..40_u8).map(|number| layer(&[number])).collect();
    for (descriptor, content) in all.iter().step_by(3) {
        repository.push(descriptor, content).unwrap();
    }
    let asked: Vec<_> = all.iter().map(|(descriptor, _)| descriptor.clone()).collect();
    let expected: Vec<_> =
        asked.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, one)| one.clone()).collect();
    assert_eq!(repository.missing(&asked).unwrap(), expected);
}

#[test]
fn many_threads_push_at_once() {
    let Some(debian) = open() else { return };
    let repository = Registry::new(options()).repository(&fresh(&debian, "threads"));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let repository = &repository;
            scope.spawn(move || {
                let (descriptor, content) = layer(&noise(100_000 + number % 8));
                repository.push(&descriptor, &content).unwrap();
                assert!(repository.exists(&descriptor).unwrap());
            });
        }
    });
}

#[test]
fn an_empty_blob_is_a_blob() {
    let Some(debian) = open() else { return };
    let repository = Registry::new(options()).repository(&fresh(&debian, "empty"));
    let (empty, content) = layer(b"");
    repository.push(&empty, &content).unwrap();
    assert!(repository.exists(&empty).unwrap());
    assert_eq!(read_whole(&repository, &empty, 1).unwrap(), b"");
}

#[test]
fn a_file_is_sent_from_disk() {
    let Some(debian) = open() else { return };
    let repository = Registry::new(options()).repository(&fresh(&debian, "file"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = noise(5 << 20);
    fs::write(file.path(), &bytes).unwrap();
    let descriptor = Descriptor::of(MediaType::LAYER, &bytes);
    let content = FileContent::new(file.path().to_owned(), descriptor.clone());
    assert_eq!(repository.push(&descriptor, &content).unwrap(), Transfer::Sent);
    assert!(read_whole(&repository, &descriptor, 5 << 20).unwrap() == bytes);
}

/// Content of which it isn't known where else it is, so that it has to be sent.
struct Unknown(Box<dyn Content>);

impl Content for Unknown {
    fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        self.0.open(offset)
    }
}

#[test]
fn a_blob_is_mounted_from_the_repository_next_door() {
    let Some(debian) = open() else { return };
    let registry = Registry::new(options());
    let (from, to) = (fresh(&debian, "near/from"), fresh(&debian, "near/to"));
    let (from, to) = (registry.repository(&from), registry.repository(&to));
    let (descriptor, content) = layer(&noise(200_000));
    from.push(&descriptor, &content).unwrap();
    assert_eq!(to.push(&descriptor, &*from.fetch(&descriptor).unwrap()).unwrap(), Transfer::Mounted);
    assert_eq!(read_whole(&to, &descriptor, 1 << 20).unwrap(), noise(200_000));
    // What isn't there is sent, if it can be had.
    let (other, content) = layer(&noise(100_000));
    struct Claims<'a>(BytesContent, &'a [Repository]);
    impl Content for Claims<'_> {
        fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
            self.0.open(offset)
        }
        fn origins(&self) -> &[Repository] {
            self.1
        }
    }
    let claims = Claims(content, std::slice::from_ref(from.repository()));
    assert_eq!(to.push(&other, &claims).unwrap(), Transfer::Sent);
    assert_eq!(read_whole(&to, &other, 1 << 20).unwrap(), noise(100_000));
}

/// Has it that the registry never mounts.
struct MountsNothing;

impl Memory for MountsNothing {
    fn load(&self, _: &str) -> Option<Vec<u8>> {
        Some(b"{\"version\":1,\"mounts_refused\":3}".to_vec())
    }

    fn save(&self, _: &str, _: &[u8]) {}
}

#[test]
fn a_blob_goes_from_repository_to_repository_though_turns_are_few() {
    let Some(debian) = open() else { return };
    let mut few = options();
    few.requests = 1;
    few.memory = Arc::new(MountsNothing);
    let registry = Registry::new(few);
    let (from, to) = (fresh(&debian, "from"), fresh(&debian, "to"));
    let (from, to) = (registry.repository(&from), registry.repository(&to));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (from, to) = (&from, &to);
            scope.spawn(move || {
                let (descriptor, content) = layer(&noise(1_000_000 + number));
                from.push(&descriptor, &content).unwrap();
                let content = Unknown(from.fetch(&descriptor).unwrap());
                assert_eq!(to.push(&descriptor, &content).unwrap(), Transfer::Sent);
            });
        }
    });
}

#[test]
fn a_password_opens_a_guarded_registry() {
    let Some(debian) = guarded() else { return };
    let given = |name: &str, default: &str| environment(name).unwrap_or_else(|| default.to_owned());
    let user = given("OCIBUILD_TEST_REGISTRY_AUTH_USER", "tester");
    let password = given("OCIBUILD_TEST_REGISTRY_AUTH_PASSWORD", "hidden");
    let name = fresh(&debian, "guarded");
    let guarded = Registry::new(login(&user, &password)).repository(&name);
    let (manifest, _) = push_image(&guarded);
    guarded.tag(&manifest, "v1").unwrap();
    assert_eq!(guarded.resolve("v1").unwrap(), manifest);
    for (options, told) in
        [(options(), "without credentials"), (login(&user, "no"), "with the credentials of the test")]
    {
        let repository = Registry::new(options).repository(&name);
        let BlobError::Place { fault, source, .. } = repository.resolve("v1").unwrap_err() else { panic!() };
        assert_eq!(fault, PlaceFault::Unauthorized);
        assert!(source.to_string().contains(told), "{source}");
    }
}
