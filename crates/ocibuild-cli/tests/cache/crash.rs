//! SIGKILL at each call that changes a file: of a build that writes cache and layout, of one that runs
//! steps, of a push that keeps a note on its registry, of tidying up. The next run succeeds, with the same digest, and nobody
//! has to clean up.
//!
//! The moments at which several files change together are among them: they are named here, by the call
//! and what it changes. `cargo test` tries some of the moments, `cargo xtask test` all.

mod steps;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use ocibuild_serve::{Fault, Running, ServeOptions, Server};
use ocibuild_testkit::killed::{Change, Ended, changes, killed_at};
use ocibuild_testkit::{Missing, require};

use crate::bench::Bench;
use crate::project::{
    self, Random, builds, cache, copied, expected, is_thorough, is_whole_and_tidy, project,
};

/// As many processes are killed at a time.
const WORKERS: usize = 3;

/// As many moments are tried, about, where not all are.
const SOME: usize = 7;

/// What is killed, and what is demanded afterwards.
struct Case<'a> {
    name: &'a str,
    /// What was there before.
    before: &'a (dyn Fn() -> Bench + Sync),
    /// What is said to the program; `MOMENT` stands for a number that is another each time.
    words: &'a [&'a str],
    after: &'a (dyn Fn(&Bench) + Sync),
    /// Moments that have to be among those tried: a call, and what its path begins with.
    named: &'a [(&'a str, &'a str)],
    /// Whether what was there before is made anew each time, not copied: what steps have on the disk is
    /// known by inodes and times, which no copy has.
    is_made_anew: bool,
}

/// A directory to work in, and what was in it before.
struct Stage {
    bench: Bench,
}

impl Stage {
    fn new(bench: Bench) -> Self {
        for name in ["cache", "work"] {
            copied(&bench.tree.join(name), &bench.tree.join("saved").join(name));
        }
        Self { bench }
    }

    /// Makes everything as it was; the input files stay the same, as a cache knows them by inode and times.
    fn reset(&self) {
        let saved = self.bench.tree.join("saved");
        copied(&saved.join("cache"), &cache(&self.bench));
        copied(&saved.join("work/out"), &self.bench.path("out"));
    }

    fn command(&self, words: &[&str], moment: usize) -> Command {
        let words: Vec<String> =
            words.iter().map(|word| word.replace("MOMENT", &moment.to_string())).collect();
        let mut command = self.bench.command(&["--threads", "1"]);
        command.args(words);
        command
    }

    fn killed(&self, words: &[&str], moment: usize) -> Result<Ended, Missing> {
        killed_at(&self.command(words, moment), &self.bench.tree.path().canonicalize().unwrap(), moment)
    }
}

impl Case<'_> {
    fn run(&self) -> Result<(), Missing> {
        let start = Instant::now();
        let first = Stage::new((self.before)());
        let whole = changes(&first.command(self.words, 0), &first.bench.tree.path().canonicalize().unwrap())?;
        assert_eq!(whole.code, Some(0), "{}: {:?}", self.name, whole.changes);
        let all = whole.changes.len();
        self.demand_named(&whole.changes);
        // One more, as others may be made in another order, and for what is after the last.
        let step = if is_thorough() { 1 } else { all / SOME + 1 };
        let from = 1 + Random::new(all as u64).below(step as u64) as usize;
        let moments: Vec<usize> = (from..=all + 1).step_by(step).collect();
        let killed: usize = thread::scope(|scope| {
            let worker = |number: usize| {
                let moments = &moments;
                scope.spawn(move || {
                    let stage = Stage::new((self.before)());
                    let own = moments.iter().skip(number).step_by(WORKERS);
                    let at = |moment: usize| match self.is_made_anew {
                        true => self.at(&Stage { bench: (self.before)() }, moment),
                        false => {
                            stage.reset();
                            self.at(&stage, moment)
                        }
                    };
                    own.filter(|moment| at(**moment)).count()
                })
            };
            let workers: Vec<_> = (0..WORKERS).map(worker).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        // Where all is made anew, other paths may take some calls more or fewer.
        let fewer = if self.is_made_anew { moments.len() / 10 } else { 0 };
        assert!(killed + WORKERS + fewer >= moments.len(), "{killed} of {}", moments.len());
        println!("{}: {all} calls, killed at {killed}, {:.0?}", self.name, start.elapsed());
        for (moment, count) in summary(&whole.changes) {
            println!("  {count:3} {moment}");
        }
        Ok(())
    }

    /// Kills at one moment, and looks what came of it; tells whether it was still running then.
    fn at(&self, stage: &Stage, moment: usize) -> bool {
        let ended = stage.killed(self.words, moment).unwrap();
        if let Some(code) = ended.code {
            assert_eq!(code, 0);
            return false;
        }
        let last = ended.changes.last().unwrap().clone();
        let told = Told(self.name, moment, last);
        (self.after)(&stage.bench);
        drop(told);
        true
    }

    fn demand_named(&self, changes: &[Change]) {
        for (call, path) in self.named {
            let is_it = |change: &&Change| change.call == *call && change.path.starts_with(path);
            assert!(changes.iter().any(|change| is_it(&change)), "{}: no {call} of {path}", self.name);
        }
    }
}

/// Tells where it was killed if the test fails after it.
struct Told<'a>(&'a str, usize, Change);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self(name, moment, Change { call, path }) = self;
            eprintln!("{name}: killed at call {moment}: {call} {path}");
        }
    }
}

/// How many calls of a kind there are, by the directory that they change.
fn summary(changes: &[Change]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for Change { call, path } in changes {
        let place: Vec<&str> = path.split('/').take(2).collect();
        let place = match &place[..] {
            ["work", "out"] => format!("work/out/{}", out(path)),
            place => place.join("/"),
        };
        *counts.entry(format!("{call} {place}")).or_default() += 1;
    }
    counts
}

/// What of a layout a path is.
fn out(path: &str) -> &str {
    let name = path.split('/').nth(2).unwrap_or_default();
    if name.starts_with(".ocibuild-") { "(temporary)" } else { name }
}

const BUILD: [&str; 3] = ["build", "--output", "type=oci,dest=out"];

/// The image is what it would have been, and nothing is left behind; the next run finds so many layers.
fn is_right(bench: &Bench, digest: &str, layers: usize) {
    builds(bench, digest);
    is_whole_and_tidy(bench);
    let mut names: Vec<_> =
        fs::read_dir(bench.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["blobs", "index.json", "oci-layout"]);
    // What the next run wrote answers.
    let again = bench.ok(&BUILD);
    assert_eq!(again.text(), digest);
    assert!(again.errors().contains(&format!("cache: {layers} of {layers} layers")), "{again}");
}

#[test]
fn a_build_on_an_empty_cache_is_killed() {
    let digest = expected(1);
    let case = Case {
        name: "build, empty cache",
        before: &|| project(1),
        words: &BUILD,
        after: &|bench| is_right(bench, &digest, 3),
        named: &[
            ("open", "cache/lock"),
            ("sync", "cache/tmp/"),
            ("rename", "cache/blobs/sha256/"),
            ("rename", "cache/records/v1/"),
            ("rename", "cache/stat/v1/"),
            ("rename", "cache/layers/v1/"),
            ("rename", "work/out/blobs/sha256/"),
            ("rename", "work/out/index.json"),
        ],
        is_made_anew: false,
    };
    require!(case.run());
}

#[test]
fn a_build_over_the_one_before_is_killed() {
    let digest = expected(2);
    let before = || {
        let bench = project(1);
        bench.digest(&["--output", "type=oci,dest=out"]);
        project::write(&bench, 2);
        bench
    };
    let case = Case {
        name: "build, the previous one's cache",
        before: &before,
        words: &BUILD,
        after: &|bench| is_right(bench, &digest, 3),
        named: &[
            ("touch", "cache/records/v1/"),
            ("rename", "cache/blobs/sha256/"),
            ("rename", "cache/records/v1/"),
            ("rename", "cache/stat/v1/"),
            ("rename", "cache/layers/v1/"),
            ("rename", "work/out/index.json"),
        ],
        is_made_anew: false,
    };
    require!(case.run());
}

/// Blocks are taken from the blob of the build before, while what they were made of is written anew.
#[test]
fn a_build_that_takes_blocks_is_killed() {
    let digest = project::expected_large();
    let said = project::large().ok(&["build", "-v"]).errors();
    assert!(said.contains("layer large: ") && said.contains(" are not compressed again"), "{said}");
    let case = Case {
        name: "build, blocks of the previous one's layer",
        before: &project::large,
        words: &BUILD,
        after: &|bench| is_right(bench, &digest, 2),
        named: &[
            ("rename", "cache/blobs/sha256/"),
            ("rename", "cache/blocks/v1/"),
            ("rename", "cache/layers/v1/"),
            ("rename", "cache/records/v1/"),
            ("rename", "cache/stat/v1/"),
        ],
        is_made_anew: false,
    };
    require!(case.run());
}

/// Two builds' worth, and a blob that nothing names.
fn full() -> Bench {
    let bench = project(1);
    bench.digest(&["--output", "type=oci,dest=out"]);
    project::write(&bench, 2);
    bench.digest(&["--output", "type=oci,dest=out"]);
    bench
}

#[test]
fn tidying_up_is_killed() {
    let digest = expected(2);
    let case = Case {
        name: "cache prune --all",
        before: &full,
        words: &["cache", "prune", "--all"],
        after: &|bench| is_right(bench, &digest, 3),
        named: &[
            ("unlink", "cache/records/v1/"),
            ("unlink", "cache/blobs/sha256/"),
            ("unlink", "cache/stat/v1/"),
            ("unlink", "cache/layers/v1/"),
        ],
        is_made_anew: false,
    };
    require!(case.run());
}

#[test]
fn dropping_what_is_damaged_is_killed() {
    let digest = expected(2);
    let before = || {
        let bench = full();
        let files = |name: &str| project::files(&cache(&bench).join(name));
        for path in ["blobs", "stat", "layers"].map(files).concat().iter().step_by(2) {
            flip(path);
        }
        bench
    };
    let case = Case {
        name: "cache verify --remove",
        before: &before,
        words: &["cache", "verify", "--remove"],
        // What it hadn't come to is damaged still, but no image is.
        after: &|bench| {
            builds(bench, &digest);
            bench.ok(&["cache", "verify", "--remove"]);
            is_right(bench, &digest, 3);
        },
        named: &[("unlink", "cache/records/v1/"), ("unlink", "cache/blobs/sha256/")],
        is_made_anew: false,
    };
    require!(case.run());
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A registry that takes small requests only, which is worth a note.
fn registry() -> (tempfile::TempDir, Running) {
    let directory = ocibuild_testkit::in_memory();
    let mut options = ServeOptions::default();
    options.faults = Some(Arc::new(|_: &_| vec![Fault::BodyLimit(200 << 10)]));
    let server = Server::start(directory.path().join("registry.oci"), options).unwrap();
    (directory, server)
}

#[test]
fn a_push_that_keeps_a_note_is_killed() {
    let (_directory, server) = registry();
    // What a registry has is not sent, so no repository is used twice.
    let name = |name: &str| format!("{}/{name}:1", server.address());
    let count = AtomicUsize::new(0);
    let push = |bench: &Bench| {
        let name = name(&format!("after/{}", count.fetch_add(1, Ordering::Relaxed)));
        let line = bench.digest(&["-t", &name, "--push"]);
        bench.valid(&name);
        line.split_once('@').unwrap().1.to_owned()
    };
    let before = || {
        let bench = project::bench(crate::bench::SPEC);
        bench.write("hello", Random::new(3).bytes(700 << 10));
        thread::sleep(std::time::Duration::from_millis(150));
        bench
    };
    let digest = push(&before());
    let killed = name("killed/MOMENT");
    let case = Case {
        name: "build --push",
        before: &before,
        words: &["build", "-t", &killed, "--push"],
        after: &|bench| {
            assert_eq!(push(bench), digest);
            is_whole_and_tidy(bench);
        },
        named: &[("rename", "cache/registries/")],
        is_made_anew: false,
    };
    require!(case.run());
}
