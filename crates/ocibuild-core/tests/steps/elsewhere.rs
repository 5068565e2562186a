//! A fresh runner: what it runs, and which bytes come to it, by the requests that registries get.
#![cfg(feature = "registry")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ocibuild_core::build::RanSteps;
use ocibuild_core::digest::Digest;
use ocibuild_core::event::{Event, LayerOutcome};
use ocibuild_core::plan::Plan;
use ocibuild_core::reference::Reference;
use ocibuild_core::registry::{Registry, RegistryOptions};
use ocibuild_core::spec::CacheMode;
use ocibuild_core::{Builder, Built};
use ocibuild_serve::{Running, ServeOptions, Server};
use tempfile::TempDir;

use crate::debian::Debian;
use crate::project::{Project, SPEC, all, parse};

/// Registries: ours, and Debian's where that is installed or running.
fn registries() -> Vec<(String, Box<dyn std::any::Any>)> {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path().join("served.oci"), ServeOptions::default()).unwrap();
    let host = server.address().to_string();
    let ours: (Running, TempDir) = (server, directory);
    let mut all: Vec<(String, Box<dyn std::any::Any>)> = vec![(host, Box::new(ours))];
    all.extend(debian().map(|debian| (debian.host.clone(), Box::new(debian) as _)));
    all
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where registries run")]
fn debian() -> Option<Debian> {
    match std::env::var("OCIBUILD_TEST_REGISTRY").ok().filter(|host| !host.is_empty()) {
        Some(host) => Some(Debian::named(host)),
        None => Debian::start(|_| String::new()),
    }
}

/// Digests of blobs whose bytes were asked for.
#[derive(Default)]
struct Asked(Mutex<BTreeSet<String>>);

impl ocibuild_core::Observer for Asked {
    fn event(&self, event: &Event) {
        if let Event::Request { method, url, .. } = event
            && let (true, Some((_, digest))) = (method == "GET", url.rsplit_once("/blobs/"))
        {
            self.0.lock().unwrap().insert(digest.to_owned());
        }
    }
}

impl Asked {
    fn has(&self, blob: &Digest) -> bool {
        self.0.lock().unwrap().contains(&blob.to_string())
    }
}

/// A registry, as one runner after the other sees it.
struct Shared<'a> {
    project: &'a Project,
    image: Reference,
    cache: Reference,
}

impl<'a> Shared<'a> {
    fn new(project: &'a Project, host: &str) -> Self {
        // Debian's is that of all tests.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{host}/steps{}-{count}", std::process::id());
        let named = |path: &str| format!("{name}/{path}").parse().unwrap();
        Self { project, image: named("app:main"), cache: named("cache:steps") }
    }

    fn client(asked: &Arc<Asked>) -> Registry {
        let mut options = RegistryOptions::default();
        options.observer = Arc::clone(asked) as _;
        Registry::new(options)
    }

    /// A runner that knows nothing but the place it is given.
    fn runner(&self, cache: &TempDir, from: &Reference, asked: &Arc<Asked>) -> Builder<'a> {
        let builder = self.project.builder_with(cache.path()).registry(Self::client(asked));
        builder.cache_from([from.clone()]).pushes_to([self.image.clone()])
    }

    /// Has a fresh runner told of one place run a step as `ocibuild run` does, and tell another place of it.
    fn run(&self, step: &str, from: &Reference, to: Option<&Reference>) -> RanSteps {
        let cache = tempfile::tempdir().unwrap();
        let builder = self.runner(&cache, from, &Arc::default()).cache_mode(CacheMode::Max);
        let builder = to.into_iter().fold(builder, |builder, to| builder.cache_to(to.clone()));
        let plan = builder.plan_steps(&parse(SPEC), &[step.to_owned()], &[]).unwrap();
        let wanted = plan.steps.iter().position(|planned| planned.name == step).unwrap();
        let ran = builder.run_steps(&plan, &[wanted]).unwrap_or_else(|error| panic!("{}", all(&error)));
        assert_eq!(builder.write_step_cache(&plan, &ran).unwrap().is_some(), to.is_some());
        ran
    }

    fn plan(builder: &Builder<'_>) -> Plan {
        builder.plan(&parse(SPEC)).unwrap()
    }

    fn build(builder: &Builder<'_>) -> Built {
        builder.build_spec(&parse(SPEC)).unwrap_or_else(|error| panic!("{}", all(&error)))
    }

    /// What a first runner builds and pushes; the cache repository gets all of it.
    fn fill(&self) -> Built {
        let (cache, asked) = (tempfile::tempdir().unwrap(), Arc::default());
        let builder = self.runner(&cache, &self.cache, &asked).cache_to(self.cache.clone());
        let builder = builder.cache_mode(CacheMode::Max);
        let plan = Self::plan(&builder);
        let built = Self::build(&builder);
        built.push(&Self::client(&asked), &self.image).unwrap();
        let kept = builder.write_cache(&plan, &built).unwrap();
        assert!(kept.is_some());
        assert_eq!(self.project.ran(), ["bundle", "compile", "install", "production"]);
        // What lies there outlives the runner's disk.
        std::mem::forget(cache);
        built
    }
}

fn made_by(built: &Built, step: &str) -> Digest {
    let step = built.steps.iter().find(|finished| finished.name == step);
    step.unwrap().record.layers[0].descriptor.digest
}

#[test]
fn a_fresh_runner_compiles_without_installing_and_gets_only_the_bytes_it_needs() {
    for (host, _up) in registries() {
        let project = Project::new();
        let shared = Shared::new(&project, &host);
        let first = shared.fill();
        let cache = tempfile::tempdir().unwrap();
        project.write("src/index.ts", "let a = 2\n");
        let asked = Arc::<Asked>::default();
        let built = Shared::build(&shared.runner(&cache, &shared.cache, &asked));
        assert_eq!(project.ran(), ["bundle", "compile"], "{host}");
        assert!(asked.has(&made_by(&first, "install")), "`node_modules` is brought for the compiler");
        assert!(!asked.has(&made_by(&first, "production")), "nobody needs the bytes of this one");
        let dependencies = &built.layers[0];
        assert_eq!(dependencies.outcome, LayerOutcome::Shared);
        assert!(!asked.has(&dependencies.record.layers[0].descriptor.digest));
        // It comes to what a machine makes that has nothing.
        let (alone, _) = project.build(SPEC);
        assert_eq!(built.images[0].root, alone.images[0].root);
        built.push(&Shared::client(&asked), &shared.image).unwrap();
    }
}

#[test]
fn a_fresh_runner_of_an_unchanged_checkout_runs_nothing_and_gets_no_bytes_of_steps() {
    for (host, _up) in registries() {
        let project = Project::new();
        let shared = Shared::new(&project, &host);
        let first = shared.fill();
        for from in [&shared.image, &shared.cache] {
            let cache = tempfile::tempdir().unwrap();
            let asked = Arc::<Asked>::default();
            let built = Shared::build(&shared.runner(&cache, from, &asked));
            assert!(project.ran().is_empty(), "{host}");
            assert_eq!(built.images[0].root, first.images[0].root);
            for step in &first.steps {
                assert!(!asked.has(&step.record.layers[0].descriptor.digest), "{}", step.label);
            }
            assert!(built.layers.iter().all(|layer| layer.outcome == LayerOutcome::Shared));
            assert!(!asked.has(&built.layers[0].record.layers[0].descriptor.digest), "nor of layers");
        }
    }
}

#[test]
fn what_steps_made_is_brought_back_byte_by_byte_or_made_again_where_it_is_gone() {
    let (host, _up) = registries().remove(0);
    let project = Project::new();
    let shared = Shared::new(&project, &host);
    shared.fill();
    let cache = tempfile::tempdir().unwrap();
    project.write("src/index.ts", "let a = 3\n");
    // Only the image answers: the steps' own blobs are nowhere, so what the compiler needs is installed.
    let built = Shared::build(&shared.runner(&cache, &shared.image, &Arc::default()));
    assert_eq!(project.ran(), ["bundle", "compile", "install"]);
    let (alone, _) = project.build(SPEC);
    assert_eq!(built.images[0].root, alone.images[0].root);
}

/// Three steps one after the other; what the first makes depends on something that it doesn't declare.
const CHAIN: &str = r#"
version = 1

[steps.a]
run = "echo a >> $RAN; cat $RAN.value > a"
inputs = ["in"]
outputs = ["a"]
pass-env = [{ name = "RAN", unkeyed = true }]

[steps.b]
needs = ["a"]
run = "echo b >> $RAN; cp a b"
outputs = ["b"]
pass-env = [{ name = "RAN", unkeyed = true }]

[steps.c]
needs = ["b"]
run = "echo c >> $RAN; cp b c"
outputs = ["c"]
pass-env = [{ name = "RAN", unkeyed = true }]
"#;

/// Runs one of the chain's steps, and what it needs; tells the place in `to`, if there is one.
fn run_chain(builder: &Builder<'_>, step: &str) {
    let platforms = ["linux/amd64".parse().unwrap()];
    let plan = builder.plan_steps(&parse(CHAIN), &[step.to_owned()], &platforms).unwrap();
    let last = plan.steps.len() - 1;
    let finished = builder.run_steps(&plan, &[last]).unwrap_or_else(|error| panic!("{}", all(&error)));
    builder.write_step_cache(&plan, &finished).unwrap();
}

#[test]
fn what_a_place_answered_is_no_answer_for_those_who_are_not_told_of_it_however_far_along() {
    let (host, _up) = registries().remove(0);
    let project = Project::empty();
    let shared = Shared::new(&project, &host);
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let value = project.log().with_extension("value");
    let asked = Arc::default();
    let told = |cache: &TempDir| shared.runner(cache, &shared.cache, &asked);

    std::fs::write(&value, "one").unwrap();
    project.write("in", "1");
    run_chain(&project.builder_with(here.path()), "c");
    project.write("in", "2");
    let filling = told(&there).cache_to(shared.cache.clone()).cache_mode(CacheMode::Max);
    run_chain(&filling, "a");
    assert_eq!(project.ran(), ["a", "a", "b", "c"]);

    // The place answers for the first; for what comes of that there are answers of our own.
    run_chain(&told(&here), "c");
    assert!(project.ran().is_empty());
    std::fs::write(&value, "two").unwrap();
    run_chain(&project.builder_with(here.path()), "c");
    assert_eq!(project.ran(), ["a", "b", "c"]);
    let own = project.builder_with(here.path());
    run_chain(&own, "c");
    assert!(project.ran().is_empty(), "what was made here is known by what it is");
}

#[test]
fn what_one_place_answers_a_run_with_is_passed_on_to_another() {
    for (host, _up) in registries() {
        let project = Project::new();
        let shared = Shared::new(&project, &host);
        shared.fill();
        let other = shared.image.to_string().replace("app:main", "other:steps").parse().unwrap();
        project.write("src/index.ts", "let a = 4\n");
        shared.run("compile", &shared.cache, Some(&other));
        assert_eq!(project.ran(), ["compile"], "{host}");
        // Whoever knows of the other one alone has all of it.
        let ran = shared.run("compile", &other, None);
        assert!(project.ran().is_empty(), "{host}");
        assert_eq!(ran.steps[0].outcome, LayerOutcome::Shared);
        project.write("src/index.ts", "let a = 5\n");
        shared.run("compile", &other, None);
        assert_eq!(project.ran(), ["compile"], "{host}: nothing is installed");
    }
}

#[test]
fn a_place_is_told_of_steps_that_the_run_had_no_need_to_look_at() {
    for (host, _up) in registries() {
        let project = Project::new();
        let shared = Shared::new(&project, &host);
        project.build(SPEC);
        // All layers are known by now, so that nobody asks for steps.
        let builder = project.builder().registry(Shared::client(&Arc::default()));
        let builder = builder.cache_to(shared.cache.clone()).cache_mode(CacheMode::Max);
        let built = Shared::build(&builder);
        assert!(built.steps.is_empty() && project.ran().is_empty());
        builder.write_cache(&Shared::plan(&builder), &built).unwrap();
        // A step that needs another is found by what that made as well: here of another lockfile.
        project.write("src/index.ts", "let a = 2\n");
        shared.run("compile", &shared.cache, None);
        assert_eq!(project.ran(), ["compile"], "{host}: nothing is installed");
        project.write("src/index.ts", "let a = 1\n");
        project.write("package.json", "{ }");
        shared.run("compile", &shared.cache, None);
        assert_eq!(project.ran(), ["install"], "{host}: it made what it made before");
    }
}
