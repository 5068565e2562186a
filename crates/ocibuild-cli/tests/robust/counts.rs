//! What a push costs that has nothing to do: requests, and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ocibuild_core::layout::Layout;
use ocibuild_serve::faults::Asked;
use ocibuild_serve::{Access, Exchange, Fault, Tokens};

use crate::bench::{Bench, SPEC};
use crate::debian::Debian;
use crate::double::Double;
use crate::front::{Front, Seen};
use crate::image::{Image, layer};

/// What was asked of a registry since it was looked at last.
pub(crate) trait Watched {
    fn host(&self) -> String;
    /// Methods and paths, without what authentication takes.
    fn requests(&self) -> Vec<String>;
    /// Bytes that came in uploads.
    fn uploaded(&self) -> u64;
}

/// `serve`.
struct Ours(Double);

impl Ours {
    fn start(with_tokens: bool) -> Self {
        Self(Double::with(
            |_: &Asked| Vec::<Fault>::new(),
            |options| options.access = with_tokens.then(|| Access::Tokens(Tokens::default())),
        ))
    }
}

impl Watched for Ours {
    fn host(&self) -> String {
        self.0.server.address().to_string()
    }

    fn requests(&self) -> Vec<String> {
        let is_work = |one: &&Exchange| one.status != Some(401) && !one.path.starts_with("/token");
        let lines = self.0.recorder.exchanges().iter().filter(is_work).map(ToString::to_string).collect();
        self.0.recorder.clear();
        lines
    }

    fn uploaded(&self) -> u64 {
        self.0.uploaded()
    }
}

/// Debian's docker-registry behind a proxy that counts.
struct Theirs(Front, AtomicUsize, #[expect(dead_code, reason = "it runs as long as this lives")] Debian);

impl Theirs {
    fn start() -> Option<Self> {
        let debian = Debian::start(|_| String::new())?;
        let front = Front::bind(None);
        front.run(debian.host.parse().unwrap(), Arc::new(()));
        Some(Self(front, AtomicUsize::default(), debian))
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.seen().split_off(self.1.load(Ordering::SeqCst))
    }
}

impl Watched for Theirs {
    fn host(&self) -> String {
        self.0.address(0).to_string()
    }

    fn requests(&self) -> Vec<String> {
        let seen = self.seen();
        self.1.fetch_add(seen.len(), Ordering::SeqCst);
        seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    fn uploaded(&self) -> u64 {
        let is_upload = |seen: &&Seen| seen.path.contains("/blobs/uploads/");
        self.seen().iter().filter(is_upload).map(|seen| seen.body.len() as u64).sum()
    }
}

pub(crate) fn each(judge: impl Fn(&str, &dyn Watched)) {
    judge("serve", &Ours::start(false));
    judge("serve with tokens", &Ours::start(true));
    if let Some(theirs) = Theirs::start() {
        judge("docker-registry", &theirs);
    }
}

fn layout(bench: &Bench, image: &Image, name: &str) -> String {
    let path = bench.path(name);
    image.put(&Layout::open_or_create(&path).unwrap(), "1");
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_unchanged_image_costs_two_requests_a_tag() {
    each(|name, registry| {
        let (host, layers) = (registry.host(), [1, 2, 3, 4].map(|seed| layer(20_000, seed)));
        for (kind, image) in
            [("an image", Image::new(&layers, "unchanged")), ("an index", Image::index(&layers, "unchanged"))]
        {
            let bench = Bench::new();
            let source = layout(&bench, &image, "source.oci");
            for tags in [&["1"][..], &["1", "2", "3"]] {
                let names: Vec<_> = tags.iter().map(|tag| format!("{host}/team/app:{tag}")).collect();
                let mut arguments = vec!["push", &source];
                arguments.extend(names.iter().map(String::as_str));
                bench.ok(&arguments);
                registry.requests();
                bench.ok(&arguments);
                let requests = registry.requests();
                println!("{name}: {kind} under {} tags: {} requests", tags.len(), requests.len());
                assert!(requests.len() <= 2 * tags.len(), "{name}: {kind}: {requests:#?}");
            }
        }
    });
}

#[test]
fn an_unchanged_build_costs_two_requests_a_tag() {
    each(|name, registry| {
        let (bench, host) = (Bench::with_spec(SPEC), registry.host());
        let tags = ["1", "2"].map(|tag| format!("{host}/team/built:{tag}"));
        let arguments = ["build", "--push", "-t", &tags[0], "-t", &tags[1]];
        bench.ok(&arguments);
        registry.requests();
        bench.ok(&arguments);
        let requests = registry.requests();
        println!("{name}: a build under 2 tags: {} requests", requests.len());
        assert!(requests.len() <= 4, "{name}: {requests:#?}");
    });
}

#[test]
fn a_mount_moves_no_bytes() {
    each(|label, registry| {
        let (bench, host) = (Bench::new(), registry.host());
        let image = Image::new(&[1, 2, 3].map(|seed| layer(50_000, seed)), label);
        let size = image.size();
        let source = layout(&bench, &image, "source.oci");
        // Two repositories in one run.
        bench.ok(&["push", &source, &format!("{host}/one/app:1"), &format!("{host}/two/app:1")]);
        let once = registry.uploaded();
        assert!(once <= size, "{label}: {once} bytes were sent of {size}");
        registry.requests();
        // From a repository to another.
        let name = |repository: &str| format!("docker://{host}/{repository}/app:1");
        bench.ok(&["copy", &name("one"), &name("three")]);
        let copied = registry.uploaded();
        // A base that lies in another.
        bench.ok(&[
            "build",
            "--push",
            "--base",
            &format!("{host}/one/app:1"),
            "--copy",
            "hello:/hello",
            "-t",
            &format!("{host}/four/app:1"),
        ]);
        let built = registry.uploaded();
        println!(
            "{label}: {once} bytes to two repositories, {copied} by a copy, {built} on a base of {size}",
        );
        assert_eq!(copied, 0, "{label}");
        assert!(built < 20_000, "{label}: {built}");
        for repository in ["one", "two", "three", "four"] {
            bench.valid(&format!("{host}/{repository}/app:1"));
        }
    });
}
