//! Pushes under random faults: whoever is told that a push went well finds a whole image, and where
//! it failed, the tag names what it named before.
//!
//! An episode is a registry of its own and a few pushes to it, one after the other; all of it follows
//! from a number, which is told if something is wrong. `OCIBUILD_TEST_SEED=NUMBER` has only that
//! episode run, and `OCIBUILD_TEST_PUSHES=NUMBER` as many pushes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_core::blob::Target as _;
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::layout::Layout;
use ocibuild_core::reference::Reference;
use ocibuild_core::registry::{Registry, RegistryOptions, RemoteRepository};
use ocibuild_serve::faults::{Answer, Asked};
use ocibuild_serve::{Access, Fault, Running, Tokens};

use crate::bench::Bench;
use crate::cases::ends;
use crate::double::{Double, has, normal, options};
use crate::image::{Image, Random, layer};

const PUSHES_OF_AN_EPISODE: usize = 5;
/// Most of the time is waited.
const SIDE_BY_SIDE: usize = 32;
/// No push takes longer, whatever happens.
const LONGEST: Duration = Duration::from_secs(100);
const REPOSITORIES: [&str; 2] = ["team/app", "team/other"];
const TAGS: [&str; 2] = ["a", "b"];

/// Layers of 1 to 200 KB, which images share.
static LAYERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random::new(0);
    (0..24).map(|seed| layer(1000 << random.below(8), 100 + seed)).collect()
});

/// Draws faults. What a request meets follows from the push, from what it asks, and from how often
/// that was asked before: not from what others ask at the same time.
#[derive(Default)]
struct Dice {
    is_on: AtomicBool,
    seed: AtomicU64,
    /// Of a thousand requests.
    share: AtomicU64,
    /// By which other origin the registry is reached, too.
    other: Mutex<String>,
    asked: Mutex<HashMap<String, u64>>,
    met: Mutex<Vec<(String, Fault)>>,
}

impl Dice {
    fn faults(&self, asked: &Asked) -> Vec<Fault> {
        if !self.is_on.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let line = format!("{} {}", asked.method(), normal(asked.path()));
        let count = {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry(line.clone()).or_default();
            *count += 1;
            *count
        };
        let mut hasher = DefaultHasher::new();
        (self.seed.load(Ordering::SeqCst), &line, count).hash(&mut hasher);
        let mut random = Random::new(hasher.finish());
        if random.below(1000) >= self.share.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let fault = self.draw(&mut random, length);
        self.met.lock().unwrap().push((line, fault.clone()));
        vec![fault]
    }

    fn draw(&self, random: &mut Random, length: u64) -> Fault {
        let elsewhere = |random: &mut Random| match random.is_one_in(4) {
            true => "http://127.0.0.1:1".to_owned(),
            false => self.other.lock().unwrap().clone(),
        };
        match random.below(18) {
            0 | 1 => Fault::status(random.pick(&[408, 429, 500, 502, 503, 504])),
            2 => Fault::retry_after(random.pick(&[429, 503]), random.below(2)),
            3 => Fault::Answer(
                Answer::new(random.pick(&[301, 400, 401, 403, 404, 405, 409, 413, 416])).body("no"),
            ),
            4 | 5 => Fault::ResetRequest(random.below(length + 1)),
            6 => Fault::ResetResponse(random.below(200)),
            7 | 8 => Fault::LoseReply,
            9 => Fault::Lie,
            10 => Fault::NoLocation,
            11 => Fault::LocationAt(elsewhere(random)),
            12 => Fault::Redirect(elsewhere(random)),
            13 => Fault::Slow(400_000 + random.below(1_000_000)),
            14 => Fault::Delay(Duration::from_millis(random.below(100))),
            15 => Fault::ForgetUploads,
            16 => Fault::BodyLimit(1000 + random.below(100_000)),
            17 if random.is_one_in(2) => Fault::Hide(Duration::from_millis(random.below(400))),
            _ => Fault::RevokeTokens,
        }
    }

    fn arm(&self, random: &mut Random) {
        self.seed.store(random.next(), Ordering::SeqCst);
        self.share.store(random.pick(&[20, 50, 150, 300]), Ordering::SeqCst);
        self.asked.lock().unwrap().clear();
        self.met.lock().unwrap().clear();
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Gives what was met.
    fn disarm(&self) -> Vec<(String, Fault)> {
        self.is_on.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.met.lock().unwrap())
    }
}

/// What came of pushes.
#[derive(Default)]
struct Outcome {
    good: u64,
    /// That went well though faults were met.
    good_with_faults: u64,
    failed: u64,
    /// Tags of pushes that failed at a later tag.
    ahead: u64,
    /// Tags that were moved by a push that failed, as it was never told.
    unheard: u64,
    requests: u64,
    longest: Duration,
    kinds: BTreeMap<String, u64>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.good_with_faults += other.good_with_faults;
        self.failed += other.failed;
        self.ahead += other.ahead;
        self.unheard += other.unheard;
        self.requests += other.requests;
        self.longest = self.longest.max(other.longest);
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

/// The name of a kind of fault.
fn kind(fault: &Fault) -> String {
    let text = format!("{fault:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

struct Episode {
    random: Random,
    double: Double,
    /// The same without faults.
    view: Running,
    dice: Arc<Dice>,
    bench: Bench,
    registry: Registry,
    /// What tags name, as far as it is known.
    tags: BTreeMap<Target, Image>,
    outcome: Outcome,
}

/// A push to be made.
struct Push {
    image: Image,
    /// Repositories and tags, in the order in which they are moved.
    targets: Vec<Target>,
    by_program: bool,
}

type Target = (&'static str, &'static str);

impl Episode {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let dice = Arc::new(Dice::default());
        let asked = Arc::clone(&dice);
        let double = Double::with(
            move |request: &Asked| asked.faults(request),
            |options| {
                if random.is_one_in(2) {
                    let mut tokens = Tokens::default();
                    tokens.uses = (!random.is_one_in(3)).then(|| 2 + random.below(8) as u32);
                    options.access = Some(Access::Tokens(tokens));
                }
                options.chunk_min_length = random.is_one_in(5).then_some(10_000);
                // Short enough to end between two requests, and not before the first, on a busy machine, too.
                options.idle_timeout = Duration::from_millis(random.pick(&[50, 60_000]));
            },
        );
        *dice.other.lock().unwrap() = format!("http://localhost:{}", double.server.address().port());
        let view = double.view();
        let (bench, registry) = (Bench::new(), client());
        Self {
            random,
            double,
            view,
            dice,
            bench,
            registry,
            tags: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    fn run(mut self) -> Result<Outcome, String> {
        let first = self.draw(0);
        self.push(&first).map_err(|error| format!("without faults: {error}"))?;
        self.tags.extend(first.targets.iter().map(|target| (*target, first.image.clone())));
        for number in 1..=PUSHES_OF_AN_EPISODE {
            if self.random.is_one_in(2) {
                self.registry = client();
            }
            let push = self.draw(number);
            self.dice.arm(&mut self.random);
            let begun = Instant::now();
            let result = self.push(&push);
            let time = begun.elapsed();
            let met = self.dice.disarm();
            self.judge(&push, &result, &met, time)
                .map_err(|fault| self.told(number, &push, &result, &met, &fault))?;
        }
        self.are_whole().map_err(|fault| format!("in the end, {fault}"))?;
        self.outcome.requests = self.double.recorder.exchanges().len() as u64;
        Ok(self.outcome)
    }

    fn told(
        &self,
        number: usize,
        push: &Push,
        result: &Result<(), String>,
        met: &[(String, Fault)],
        fault: &str,
    ) -> String {
        let Push { targets, by_program, .. } = push;
        let met: String = met.iter().map(|(line, fault)| format!("\n    {line}: {fault:?}")).collect();
        format!(
            "push {number} to {targets:?} (by the program: {by_program}) gave {result:?}, but {fault}; it met{met}"
        )
    }

    fn draw(&mut self, number: usize) -> Push {
        let random = &mut self.random;
        let count = 3 + random.below(2) as usize;
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(random.below(LAYERS.len() as u64) as usize);
        }
        let layers: Vec<_> = chosen.into_iter().map(|index| LAYERS[index].clone()).collect();
        let mark = format!("{number}");
        let image = match random.is_one_in(4) {
            true => Image::index(&layers, &mark),
            false => Image::new(&layers, &mark),
        };
        let mut targets: Vec<Target> =
            REPOSITORIES.iter().flat_map(|name| TAGS.map(|tag| (*name, tag))).collect();
        let count = random.pick(&[1, 1, 1, 2, 3]);
        while targets.len() > count {
            targets.remove(random.below(targets.len() as u64) as usize);
        }
        Push { image, targets, by_program: random.is_one_in(8) }
    }

    fn push(&self, push: &Push) -> Result<(), String> {
        if push.by_program {
            return self.push_by_program(push);
        }
        let told = |error| chain(&error);
        let to = |name: &str| repository(&self.registry, &self.double.name(name));
        let places: BTreeSet<_> = push.targets.iter().map(|(name, _)| name).collect();
        let places: BTreeMap<_, _> = places.into_iter().map(|name| (name, to(name))).collect();
        for place in places.values() {
            let roots = std::slice::from_ref(&push.image.root);
            copy(roots, &push.image.memory(), place, &CopyOptions::new()).map_err(told)?;
        }
        let mut targets = push.targets.iter();
        targets.try_for_each(|(name, tag)| places[name].tag(&push.image.root, tag)).map_err(told)
    }

    fn push_by_program(&self, push: &Push) -> Result<(), String> {
        let layout = tempfile::tempdir().unwrap();
        push.image.put(&Layout::open_or_create(layout.path()).unwrap(), "it");
        let names = push.targets.iter().map(|(name, tag)| self.double.name(&format!("{name}:{tag}")));
        let mut command = self.bench.command(&["push", layout.path().to_str().unwrap()]);
        command.args(names).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        ends(command.spawn().unwrap()).map(drop)
    }

    /// Holds what is there against what was said of the push.
    fn judge(
        &mut self,
        push: &Push,
        result: &Result<(), String>,
        met: &[(String, Fault)],
        time: Duration,
    ) -> Result<(), String> {
        for (_, fault) in met {
            *self.outcome.kinds.entry(kind(fault)).or_default() += 1;
        }
        self.outcome.longest = self.outcome.longest.max(time);
        if time > LONGEST {
            return Err(format!("it took {time:?}"));
        }
        let is_good = result.is_ok();
        self.outcome.good += u64::from(is_good);
        self.outcome.good_with_faults += u64::from(is_good && !met.is_empty());
        self.outcome.failed += u64::from(!is_good);
        for key in push.targets.iter().copied() {
            let new = self.names(key, Some(&push.image));
            if new.is_err() && !is_good {
                // Or what was there before, or still nothing.
                self.names(key, self.tags.get(&key))?;
                continue;
            }
            new?;
            if !is_good {
                match may_have_moved(push, key, met)? {
                    true => self.outcome.unheard += 1,
                    false => self.outcome.ahead += 1,
                }
            }
            self.tags.insert(key, push.image.clone());
        }
        // No other tag is touched; that they are whole is seen in the end.
        self.tags.iter().try_for_each(|((name, tag), image)| {
            let found = self.view(name).resolve(tag).map_err(|error| chain(&error))?;
            let is_it = found.digest == image.root.digest;
            if is_it { Ok(()) } else { Err(format!("{name}:{tag} names {} now", found.digest)) }
        })
    }

    fn are_whole(&self) -> Result<(), String> {
        self.tags.iter().try_for_each(|(key, image)| self.names(*key, Some(image)))
    }

    fn view(&self, name: &str) -> RemoteRepository {
        repository(&client(), &format!("{}/{name}", self.view.address()))
    }

    fn names(&self, (name, tag): (&str, &str), image: Option<&Image>) -> Result<(), String> {
        let repository = self.view(name);
        match image {
            Some(image) => has(&repository, tag, image),
            None => match repository.resolve(tag) {
                Ok(found) => Err(format!("{name}:{tag} names {}, which was nothing before", found.digest)),
                Err(_) => Ok(()),
            },
        }
    }
}

/// A push that failed may have moved a tag if it never got to know, or if it failed at the next.
/// Tells whether it is for the first reason.
fn may_have_moved(push: &Push, target: Target, met: &[(String, Fault)]) -> Result<bool, String> {
    let is_last = push.targets.last() == Some(&target);
    let (name, tag) = target;
    let put = format!("PUT /v2/{name}/manifests/{tag}");
    let is_unheard = |fault: &Fault| matches!(fault, Fault::LoseReply | Fault::ResetResponse(_));
    let was_lost = met.iter().any(|(line, fault)| *line == put && is_unheard(fault));
    match (was_lost, is_last) {
        (false, false) => Ok(false),
        (true, _) => Ok(true),
        (false, true) => Err(format!("{name}:{tag} names the new image, though no reply was lost")),
    }
}

fn client() -> Registry {
    let mut options: RegistryOptions = options();
    options.idle_timeout = Duration::from_secs(5);
    options.connect_timeout = Duration::from_secs(5);
    Registry::new(options)
}

fn repository(registry: &Registry, name: &str) -> RemoteRepository {
    registry.repository(name.parse::<Reference>().unwrap().repository())
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs as many pushes, and prints what came of them.
fn pushes(count: usize) {
    let seeds: Vec<u64> = match number("OCIBUILD_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..count.div_ceil(PUSHES_OF_AN_EPISODE) as u64).collect(),
    };
    let begun = Instant::now();
    let (next, faults) = (Mutex::new(seeds.iter()), Mutex::new(Vec::new()));
    let total = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(seed) = { next.lock().unwrap().next() } {
                    match Episode::new(*seed).run() {
                        Ok(outcome) => total.lock().unwrap().add(outcome),
                        Err(fault) => {
                            faults.lock().unwrap().push(format!("OCIBUILD_TEST_SEED={seed}: {fault}"))
                        }
                    }
                }
            });
        }
    });
    let Outcome { good, good_with_faults, failed, ahead, unheard, requests, longest, kinds } =
        total.into_inner().unwrap();
    println!(
        "{good} pushes went well, {good_with_faults} of them through faults; {failed} failed, with {ahead} tags moved before the one that failed and {unheard} unheard; {requests} requests, the longest push {:.1} s, all {:.1} s",
        longest.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    println!("faults met: {kinds:?}");
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {} episodes:\n{}", faults.len(), seeds.len(), faults.join("\n"));
    if seeds.len() > 1 {
        assert!(good_with_faults > 0 && failed > 0 && kinds.len() == 14, "not all happened: {kinds:?}");
    }
}

#[test]
fn pushes_under_random_faults_leave_whole_images() {
    // With all parts there is all the time.
    let is_all = std::env::var_os(ocibuild_testkit::ALL).is_some_and(|value| value == "1");
    pushes(number("OCIBUILD_TEST_PUSHES").unwrap_or(if is_all { 2000 } else { 200 }) as usize);
}
