//! Places that take their time, or whose word is believed for as long as they are named.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ocibuild_core::blob::{BlobError, Content, Source, Store};
use ocibuild_core::build::RanSteps;
use ocibuild_core::cache::{
    CacheError, CacheStore, Kept, LocalRecords, Record, RecordSink, RecordStore, Stores,
};
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::key::Key;
use ocibuild_core::spec::CachePlace;
use ocibuild_core::{Builder, Cancel, Descriptor};

use crate::project::{Project, SPEC, all, parse};

/// The cache of another machine, at some distance.
struct Distant {
    records: LocalRecords,
    blobs: Store,
    trip: Duration,
    questions: AtomicUsize,
    /// How many are under way, and the most that were.
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Distant {
    fn new(cache: &Path, trip: Duration) -> Arc<Self> {
        let (records, blobs) = (LocalRecords::new(cache), Store::new(cache));
        let (questions, now, most) = Default::default();
        Arc::new(Self { records, blobs, trip, questions, now, most })
    }

    fn travel(&self) {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(self.trip);
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl RecordStore for Distant {
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError> {
        self.travel();
        self.records.get(key)
    }

    fn put(&self, _: &Record) -> Result<(), CacheError> {
        unreachable!("places are told of all at once")
    }

    fn remove(&self, _: &Key) -> Result<(), CacheError> {
        unreachable!("nothing of theirs is removed")
    }
}

impl Source for Distant {
    fn place(&self) -> String {
        "another machine".to_owned()
    }

    fn exists(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        self.travel();
        self.blobs.exists(blob)
    }

    fn fetch(&self, blob: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.blobs.fetch(blob)
    }
}

impl RecordSink for Distant {
    fn place(&self) -> String {
        Source::place(self)
    }

    fn keep(&self, _: &[Record], _: Option<&dyn Source>, _: &Cancel) -> Result<Kept, CacheError> {
        unreachable!("it isn't told of anything")
    }
}

struct Roads(Arc<Distant>);

impl Stores for Roads {
    fn open(&self, _: &str) -> Result<CacheStore, CacheError> {
        let Self(place) = self;
        Ok(CacheStore {
            records: Arc::clone(place) as _,
            blobs: Arc::clone(place) as _,
            sink: Arc::clone(place) as _,
        })
    }
}

fn told_of<'a>(builder: Builder<'a>, place: &Arc<Distant>) -> Builder<'a> {
    let name = CachePlace::Store("far://away".to_owned());
    builder.cache_stores(Roads(Arc::clone(place))).cache_from([name])
}

/// Runs steps of a spec, by their names.
fn run(builder: &Builder<'_>, spec: &str, names: &[String]) -> RanSteps {
    let plan = builder.plan_steps(&parse(spec), names, &[]).unwrap();
    let is_wanted = |index: &usize| names.contains(&plan.steps[*index].name);
    let wanted: Vec<usize> = (0..plan.steps.len()).filter(is_wanted).collect();
    builder.run_steps(&plan, &wanted).unwrap_or_else(|error| panic!("{}", all(&error)))
}

/// So many steps that have nothing to do with each other.
fn apart(count: usize) -> (String, Vec<String>) {
    let names: Vec<String> = (0..count).map(|index| format!("step-{index}")).collect();
    let mut spec = String::from("version = 1\n");
    for name in &names {
        write!(spec, "[steps.{name}]\nrun = [\"mkdir\", \"{name}\"]\noutputs = [\"{name}\"]\n").unwrap();
    }
    (spec, names)
}

#[test]
fn a_distant_place_is_asked_for_many_steps_at_once_and_for_each_once() {
    let count = 40;
    let (spec, names) = apart(count);
    let project = Project::empty();
    let trip = Duration::from_millis(20);
    run(&project.builder(), &spec, &names);
    let (full, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = Distant::new(project.cache.path(), trip);
    let ran = run(&told_of(project.builder_with(full.path()), &place), &spec, &names);
    assert!(ran.steps.iter().all(|step| step.outcome == LayerOutcome::Stored));
    let most = place.most.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most} at once");
    // For each its record, and whether the blob is there.
    assert_eq!(place.questions.load(Ordering::SeqCst), 2 * count);
    // Where it has nothing, by one key: nothing was made before these.
    let place = Distant::new(&empty.path().join("none"), trip);
    let ran = run(&told_of(project.builder_with(empty.path()), &place), &spec, &names);
    assert!(ran.steps.iter().all(|step| step.outcome == LayerOutcome::Built));
    assert_eq!(place.questions.load(Ordering::SeqCst), count);
}

#[test]
fn what_was_made_of_a_place_s_word_answers_nobody_who_is_not_told_of_it() {
    let project = Project::new();
    run(&project.builder(), SPEC, &["install".to_owned()]);
    assert_eq!(project.ran(), ["install"]);
    let place = Distant::new(project.cache.path(), Duration::ZERO);
    let cache = tempfile::tempdir().unwrap();
    let bundle = ["bundle".to_owned()];
    let builder = || project.builder_with(cache.path());
    run(&told_of(builder(), &place), SPEC, &bundle);
    assert_eq!(project.ran(), ["bundle", "compile"]);
    // What `compile` made is found by what the place said that `install` made.
    let edited = SPEC.replace("outputs = [\"bundle.js\"]", "outputs = [\"bundle.js\"]\nenv = { A = \"1\" }");
    run(&told_of(builder(), &place), &edited, &bundle);
    assert_eq!(project.ran(), ["bundle"]);
    run(&builder(), &edited, &bundle);
    assert_eq!(project.ran(), ["install"], "and then all is found by what that made");
    run(&builder(), SPEC, &bundle);
    assert!(project.ran().is_empty());
}
