//! What was learned of a registry spares requests and bytes, and harms nothing where it is wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;

use ocibuild_core::blob::{Content, Sink, Source};
use ocibuild_core::event::Transfer;
use ocibuild_core::reference::Repository;
use ocibuild_core::registry::{Memory, Registry, RegistryOptions};
use ocibuild_serve::faults::{Answer, Asked};
use ocibuild_serve::{Access, Fault, Script, ServeOptions, Tokens, When};

use crate::served::Served;
use crate::{layer, login, noise, options, real};

/// Keeps what is learned in memory.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory for Kept {
    fn load(&self, registry: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(registry).cloned()
    }

    fn save(&self, registry: &str, bytes: &[u8]) {
        self.0.lock().unwrap().insert(registry.to_owned(), bytes.to_vec());
    }
}

fn remembering(kept: &Arc<Kept>) -> RegistryOptions {
    let mut options = options();
    options.memory = Arc::clone(kept) as Arc<dyn Memory>;
    options
}

#[test]
fn what_one_repository_was_sent_the_next_mounts() {
    let served = Served::start();
    let registry = Registry::new(options());
    let (descriptor, content) = layer(&noise(300_000));
    for (path, transfer) in [
        ("a", Transfer::Sent),
        ("b", Transfer::Mounted),
        ("c/d", Transfer::Mounted),
        ("b", Transfer::Present),
    ] {
        let repository = registry.repository(&served.name(path));
        assert_eq!(repository.push(&descriptor, &content).unwrap(), transfer, "{path}");
    }
    assert_eq!(served.received(), 300_000);
    let posts = served.recorder.count(|one| one.method == "POST");
    let mounts = served.recorder.count(|one| one.path.contains("mount=") && one.status == Some(201));
    assert_eq!((posts, mounts), (3, 2), "{:#?}", served.lines());
}

#[test]
fn what_is_known_is_not_asked_again() {
    let served = Served::start();
    let repository = served.repository("a");
    let (one, content) = layer(&noise(1000));
    let (other, other_content) = layer(&noise(1001));
    assert_eq!(repository.missing(&[one.clone(), other.clone()]).unwrap().len(), 2);
    assert_eq!(repository.push(&one, &content).unwrap(), Transfer::Sent);
    assert_eq!(repository.push(&other, &other_content).unwrap(), Transfer::Sent);
    let heads = || served.recorder.count(|one| one.method == "HEAD");
    assert_eq!(heads(), 2, "{:#?}", served.lines());
    let before = served.lines().len();
    assert!(repository.missing(&[one.clone(), other]).unwrap().is_empty());
    assert_eq!(repository.push(&one, &content).unwrap(), Transfer::Present);
    assert_eq!(served.lines().len(), before);
    // Another client doesn't know.
    assert_eq!(served.repository("a").push(&one, &content).unwrap(), Transfer::Present);
    assert_eq!(served.lines().len(), before + 1);
}

#[test]
fn one_blob_for_many_repositories_is_sent_once_though_all_begin_at_once() {
    // So slow that all have begun before the first is done.
    let served = Served::failing(Script::new().on(When::asked("PUT", "/blobs/"), Fault::Slow(2_000_000)));
    let registry = Registry::new(options());
    let (descriptor, content) = layer(&noise(800_000));
    let transfers: Vec<Transfer> = thread::scope(|scope| {
        let push = |number: usize| {
            let repository = registry.repository(&served.name(&format!("r{}", number % 6)));
            let (descriptor, content) = (&descriptor, &content);
            scope.spawn(move || repository.push(descriptor, content).unwrap())
        };
        let pushes: Vec<_> = (0..12).map(push).collect();
        pushes.into_iter().map(|push| push.join().unwrap()).collect()
    });
    let count = |wanted| transfers.iter().filter(|one| **one == wanted).count();
    assert_eq!(
        (count(Transfer::Sent), count(Transfer::Mounted), count(Transfer::Present)),
        (1, 5, 6),
        "{transfers:?}"
    );
    assert_eq!(served.received(), 800_000);
}

#[test]
fn a_blob_that_is_waited_for_and_fails_is_brought_by_the_next() {
    let faults = Script::new().on(When::asked("PUT", "/v2/a/blobs/"), Fault::status(400));
    let served = Served::failing(
        faults.on(When::asked("POST", "/v2/a/"), Fault::Delay(std::time::Duration::from_millis(200))),
    );
    let registry = Registry::new(options());
    let (descriptor, content) = layer(&noise(100_000));
    let (a, b) = (registry.repository(&served.name("a")), registry.repository(&served.name("b")));
    thread::scope(|scope| {
        let failing = scope.spawn(|| a.push(&descriptor, &content));
        while served.recorder.count(|one| one.method == "POST") == 0 {
            thread::yield_now();
        }
        assert_eq!(b.push(&descriptor, &content).unwrap(), Transfer::Sent);
        assert!(failing.join().unwrap().is_err());
    });
    assert!(b.exists(&descriptor).unwrap());
}

#[test]
fn what_is_read_or_only_found_is_mounted_from() {
    let served = Served::start();
    let (descriptor, content) = layer(&noise(10_000));
    served.repository("a").push(&descriptor, &content).unwrap();
    for found in [true, false] {
        let registry = Registry::new(options());
        let a = registry.repository(&served.name("a"));
        match found {
            true => assert!(a.exists(&descriptor).unwrap()),
            false => drop(a.content(&descriptor).open(0).unwrap()),
        }
        let to = registry.repository(&served.name(if found { "b" } else { "c" }));
        assert_eq!(to.push(&descriptor, &content).unwrap(), Transfer::Mounted);
    }
    assert_eq!(served.received(), 10_000);
}

/// Content that should be elsewhere, too.
struct Claims<'a>(&'a dyn Content, Vec<Repository>);

impl Content for Claims<'_> {
    fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        self.0.open(offset)
    }

    fn origins(&self) -> &[Repository] {
        &self.1
    }
}

#[test]
fn two_repositories_are_tried_and_what_is_sure_comes_first() {
    let faults = Script::new().on(When::asked("POST", "mount="), Fault::status(404));
    let served = Served::failing(faults);
    let registry = Registry::new(options());
    let (descriptor, content) = layer(&noise(10_000));
    let claims = Claims(&content, ["w", "x", "y"].map(|path| served.name(path)).to_vec());
    registry.repository(&served.name("z")).push(&descriptor, &content).unwrap();
    served.recorder.clear();
    let transfer = registry.repository(&served.name("a")).push(&descriptor, &claims).unwrap();
    assert_eq!(transfer, Transfer::Sent);
    let lines = served.lines();
    let mounts: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once("from=")?.1)).collect();
    assert_eq!(mounts, ["z", "w"]);
}

#[test]
fn a_registry_that_mounts_nothing_is_not_asked_for_ever() {
    let faults = || Script::new().on(When::asked("POST", "mount="), Fault::status(405));
    let served = Served::failing(faults());
    let kept = Arc::new(Kept::default());
    let push = |path: &str, sizes: std::ops::Range<usize>| {
        served.recorder.clear();
        let registry = Registry::new(remembering(&kept));
        for size in sizes {
            let (descriptor, content) = layer(&noise(size));
            for path in ["base", path] {
                assert_eq!(
                    registry.repository(&served.name(path)).push(&descriptor, &content).unwrap(),
                    Transfer::Sent
                );
            }
        }
        served.recorder.count(|one| one.path.contains("mount="))
    };
    assert_eq!(push("a", 1..10), 3);
    assert_eq!(push("b", 11..20), 0, "the next run knows");
    let kept = kept.0.lock().unwrap();
    assert_eq!(kept.keys().collect::<Vec<_>>(), [&served.host]);
    assert!(kept.values().all(|bytes| bytes.len() < 500 && bytes.starts_with(b"{")));
}

#[test]
fn what_is_kept_and_wrong_is_no_fault() {
    let served = Served::start();
    for bytes in [
        &b"\0"[..],
        b"[]",
        b"{\"version\":1,\"mounts_refused\":-1}",
        b"{\"version\":1,\"bodies\":{\"refused\":1}}",
    ] {
        let kept = Arc::new(Kept::default());
        kept.save(&served.host, bytes);
        let registry = Registry::new(remembering(&kept));
        let (descriptor, content) = layer(&[bytes, &noise(1000)].concat());
        for path in ["a", "b"] {
            registry.repository(&served.name(path)).push(&descriptor, &content).unwrap();
            assert!(served.repository(path).exists(&descriptor).unwrap());
        }
    }
}

#[test]
fn chunks_go_where_nothing_else_does_whatever_came_of_them_before() {
    let served = Served::failing(Script::new().on(When::any(), Fault::BodyLimit(4 << 20)));
    let kept = Arc::new(Kept::default());
    kept.save(&served.host, b"{\"version\":1,\"bodies\":{\"whole_only\":true}}");
    let (descriptor, content) = layer(&noise(6 << 20));
    served.repository_with("a", remembering(&kept)).push(&descriptor, &content).unwrap();
    assert!(served.repository("a").exists(&descriptor).unwrap());
    assert!(!String::from_utf8(kept.load(&served.host).unwrap()).unwrap().contains("\"whole_only\":true"));
}

#[test]
fn a_session_that_a_mount_became_has_chunks_of_the_size_it_wants() {
    let mut options = ServeOptions::default();
    options.chunk_min_length = Some(6 << 20);
    options.faults =
        Some(Arc::new(Script::new().on(When::asked("PUT", "").times(1), Fault::ResetRequest(0))));
    let served = Served::with(options);
    let (descriptor, content) = layer(&noise(9 << 20));
    let claims = Claims(&content, vec![served.name("b")]);
    let repository = served.repository("a");
    assert_eq!(repository.push(&descriptor, &claims).unwrap(), Transfer::Sent);
    let ranges: Vec<_> = served.recorder.exchanges().into_iter().filter_map(|one| one.range).collect();
    assert_eq!(ranges, ["0-6291455", "6291456-9437183"]);
    assert_eq!(served.recorder.count(|one| one.method == "POST"), 1);
}

fn guarded(faults: impl Fn(&Asked) -> Vec<Fault> + Send + Sync + 'static) -> Served {
    let mut options = ServeOptions::default();
    let mut tokens = Tokens::default();
    tokens.credentials = Some(("me".to_owned(), "secret".to_owned()));
    options.access = Some(Access::Tokens(tokens));
    options.faults = Some(Arc::new(faults));
    Served::with(options)
}

#[test]
fn a_mount_asks_for_leave_to_read_its_source() {
    let served = guarded(|_| Vec::new());
    let registry = Registry::new(login("me", "secret"));
    let (descriptor, content) = layer(&noise(1000));
    registry.repository(&served.name("a")).push(&descriptor, &content).unwrap();
    let b = registry.repository(&served.name("b"));
    assert_eq!(b.push(&descriptor, &content).unwrap(), Transfer::Mounted);
    let both = |line: &String| {
        line.contains("repository%3Ab%3Apull%2Cpush") && line.contains("repository%3Aa%3Apull")
    };
    assert!(served.recorder.lines().iter().any(both), "{:#?}", served.recorder.lines());
}

#[test]
fn where_the_source_may_not_be_read_it_goes_on_without_and_remembers() {
    let refuse = |asked: &Asked| {
        let wide = asked.path().starts_with("/token") && asked.path().matches("scope=").count() > 1;
        if wide { vec![Fault::Answer(Answer::new(403))] } else { Vec::new() }
    };
    let served = guarded(refuse);
    let registry = Registry::new(login("me", "secret"));
    for size in [1000, 1001, 1002] {
        let (descriptor, content) = layer(&noise(size));
        for path in ["a", "b"] {
            let repository = registry.repository(&served.name(path));
            assert_eq!(repository.push(&descriptor, &content).unwrap(), Transfer::Sent);
        }
    }
    let mounts = served.recorder.count(|one| one.path.contains("mount="));
    assert_eq!(mounts, 1, "{:#?}", served.recorder.lines());
}

#[test]
fn a_real_registry_mounts_what_its_neighbour_was_sent() {
    let Some(debian) = real::open() else { return };
    let registry = Registry::new(options());
    let name = |path: &str| crate::repository(&debian.host, &format!("known{}/{path}", std::process::id()));
    let (descriptor, content) = layer(&noise(250_000));
    let (a, b) = (registry.repository(&name("a")), registry.repository(&name("b")));
    assert_eq!(a.push(&descriptor, &content).unwrap(), Transfer::Sent);
    assert_eq!(b.push(&descriptor, &content).unwrap(), Transfer::Mounted);
    assert_eq!(ocibuild_core::blob::read_whole(&b, &descriptor, 1 << 20).unwrap(), noise(250_000));
}
