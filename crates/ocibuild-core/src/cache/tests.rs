//! Caches made by hand, at times that are made up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::blob::{BytesContent, Sink as _, Store};
use crate::digest::{DiffId, Digest};
use crate::event::Cancel;
use crate::key::KeyWriter;
use crate::oci::{Descriptor, MediaType};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Made {
    directory: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1000 * DAY
    }

    fn store(&self) -> Store {
        Store::new(self.root())
    }

    /// Keeps a blob that was written so long ago.
    fn blob(&self, media_type: MediaType, text: &str, age: Duration) -> Descriptor {
        let descriptor = Descriptor::of(media_type, text.as_bytes());
        self.store().push(&descriptor, &BytesContent::new(text.as_bytes())).unwrap();
        set_age(&self.store().path(&descriptor.digest), age);
        descriptor
    }

    /// Records a layer, last used so long ago, with blobs as old.
    fn record(&self, key: &str, layer: &str, age: Duration) -> Record {
        let descriptor = self.blob(MediaType::LAYER_GZIP, layer, age);
        let record = Record {
            inspection: None,
            version: Record::VERSION,
            key: KeyWriter::new(key, 1).finish(),
            content: Some(KeyWriter::new(key, 1).finish()),
            layers: vec![BuiltLayer::new(descriptor, DiffId(Digest::of(layer.as_bytes())))],
            materials: Vec::new(),
            inventory: Some(self.blob(MediaType::INVENTORY, "inventory", age)),
            machines: BTreeSet::new(),
            entries: 1,
            tar_size: 1024,
            is_trace: false,
        };
        self.put(&record, age);
        record
    }

    fn put(&self, record: &Record, age: Duration) {
        LocalRecords::new(self.root()).put(record).unwrap();
        set_age(&self.file(record), age);
    }

    fn file(&self, record: &Record) -> PathBuf {
        let hex = record.key.hex();
        self.root().join("records/v1").join(&hex[..2]).join(format!("{hex}.json"))
    }

    fn survey(&self) -> Survey {
        Survey::take(self.root(), &Cancel::new()).unwrap()
    }

    fn prune(&self, options: PruneOptions) -> Pruned {
        let dry = prune(self.root(), &PruneOptions { dry_run: true, ..options }, Self::now(), &Cancel::new());
        let pruned = prune(self.root(), &options, Self::now(), &Cancel::new()).unwrap();
        assert_eq!(dry.unwrap(), pruned, "what would be removed is what is");
        assert!(self.survey().records.iter().all(|known| known.is_whole));
        let survey = self.survey();
        let trees = survey.output_trees().bytes + survey.step_directories().bytes;
        assert_eq!(pruned.left.bytes, survey.record_files().bytes + survey.all_blobs().bytes + trees);
        pruned
    }

    /// Which of some records are there, with all their blobs.
    fn has(&self, records: &[&Record]) -> Vec<bool> {
        let survey = self.survey();
        let has =
            |record: &&Record| survey.records.iter().any(|known| known.record == **record && known.is_whole);
        records.iter().map(has).collect()
    }
}

fn set_age(path: &Path, age: Duration) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(Made::now() - age).unwrap();
}

#[test]
fn what_is_not_there_is_empty() {
    let made = Made::new();
    let root = made.root().join("none");
    let survey = Survey::take(&root, &Cancel::new()).unwrap();
    assert!(survey.records.is_empty() && survey.blobs.is_empty());
    let pruned = prune(&root, &PruneOptions { all: true, ..Default::default() }, Made::now(), &Cancel::new());
    assert_eq!(pruned.unwrap(), Pruned::default());
    assert!(!root.exists());
}

#[test]
fn a_survey_has_the_last_used_first_and_knows_what_nothing_names() {
    let made = Made::new();
    let old = made.record("old", "one", 3 * DAY);
    let new = made.record("new", "two", DAY);
    made.blob(MediaType::LAYER, "three", DAY);
    let survey = made.survey();
    let keys: Vec<_> = survey.records.iter().map(|known| known.record.key).collect();
    assert_eq!(keys, [new.key, old.key]);
    assert_eq!((survey.all_blobs().count, survey.unnamed_blobs().bytes), (4, 5));
    // Another key of the same layer counts for both; the same inventory doesn't.
    made.put(&old.under(KeyWriter::new("other", 1).finish()), Duration::ZERO);
    let survey = made.survey();
    let last: Vec<_> = survey.records.iter().map(|known| known.last_used).collect();
    assert_eq!(last, [Made::now(), Made::now(), Made::now() - DAY]);
}

#[test]
fn what_nothing_names_goes_without_being_asked_for() {
    let made = Made::new();
    let record = made.record("a", "one", DAY);
    made.blob(MediaType::LAYER, "unnamed", Duration::ZERO);
    let broken = made.record("b", "two", DAY);
    fs::write(made.file(&broken), "{").unwrap();
    let minute = Duration::from_secs(60);
    for (name, age) in [("tmp/.tmpA", 2 * DAY), ("tmp/.tmpB", 2 * minute), ("tmp/.tmpC", minute / 2)] {
        fs::write(made.root().join(name), "12345").unwrap();
        set_age(&made.root().join(name), age);
    }
    // While there is a build, a file may be its own that nothing was written to for long.
    let hold = Hold::share(made.root(), true, &Cancel::new()).unwrap();
    let pruned = made.prune(PruneOptions::default());
    assert_eq!((pruned.records.count, pruned.blobs.bytes, pruned.temporary.bytes), (1, 3, 5));
    drop(hold);
    let pruned = made.prune(PruneOptions::default());
    assert_eq!((pruned.records.count, pruned.blobs.bytes, pruned.temporary.bytes), (0, 7, 5));
    assert_eq!(made.has(&[&record, &broken]), [true, false]);
    assert!(made.root().join("tmp/.tmpC").exists());
    let pruned = made.prune(PruneOptions { all: true, ..Default::default() });
    assert_eq!((pruned.temporary.count, pruned.left.bytes), (1, 0));
}

#[test]
fn the_least_recently_used_goes_first() {
    let made = Made::new();
    let records = [5, 4, 3, 2].map(|age| made.record(&format!("{age}"), &format!("layer {age}"), age * DAY));
    let all: Vec<&Record> = records.iter().collect();
    // Two keys of one layer go together, or not at all.
    let other = records[0].under(KeyWriter::new("other", 1).finish());
    made.put(&other, DAY);
    let pruned = made.prune(PruneOptions { max_age: Some(3 * DAY), ..Default::default() });
    assert_eq!((pruned.records.count, pruned.blobs.count), (1, 1));
    assert_eq!(made.has(&all), [true, false, true, true]);
    let survey = made.survey();
    let bytes = survey.record_files().bytes + survey.all_blobs().bytes;
    let pruned = made.prune(PruneOptions { max_size: Some(bytes), ..Default::default() });
    assert_eq!(pruned.records.count, 0);
    let pruned = made.prune(PruneOptions { max_size: Some(bytes - 1), ..Default::default() });
    assert_eq!((pruned.records.count, pruned.blobs.count), (1, 1));
    assert_eq!(made.has(&all), [true, false, false, true]);
    assert_eq!(made.has(&[&other]), [true]);
    made.prune(PruneOptions { max_size: Some(0), ..Default::default() });
    assert_eq!(made.has(&all), [false; 4]);
    assert!(made.survey().blobs.is_empty());
}

#[test]
fn while_there_is_a_build_what_is_young_stays() {
    let made = Made::new();
    let old = made.record("old", "one", 2 * GRACE);
    let young = made.record("young", "two", GRACE / 2);
    let unnamed = made.blob(MediaType::LAYER, "just written", GRACE / 2);
    // An old record, whose blob was made anew and will be named again.
    let again = made.record("again", "three", 2 * GRACE);
    set_age(&made.store().path(&again.layers[0].descriptor.digest), Duration::ZERO);
    let hold = Hold::share(made.root(), true, &Cancel::new()).unwrap();
    let everything = PruneOptions { all: true, ..Default::default() };
    let pruned = made.prune(everything);
    assert!(pruned.is_spared);
    assert_eq!(made.has(&[&old, &young]), [false, true]);
    assert!(made.store().path(&unnamed.digest).exists());
    assert!(made.store().path(&again.layers[0].descriptor.digest).exists());
    drop(hold);
    let pruned = made.prune(everything);
    assert!(!pruned.is_spared);
    assert_eq!(pruned.left, Extent::default());
}

#[test]
fn what_is_used_between_looking_and_removing_stays_with_its_blobs() {
    let made = Made::new();
    let record = made.record("a", "one", DAY);
    let file = made.survey().records[0].file.clone();
    LocalRecords::new(made.root()).used(&record.key);
    assert!(prune::remove_unchanged(&file).is_ok_and(|gone| !gone));
    assert_eq!(made.has(&[&record]), [true]);
}

#[test]
fn what_is_no_cache_is_not_touched() {
    let names: [&[&str]; 7] = [
        &["blobs/sha256/x", "oci-layout", "index.json"],
        &["src/main.rs"],
        &["records/v2/ab/x.json"],
        &["records"],
        &["records/notes.csv", "tmp/draft"],
        &["records/v1/ab/x.json", "records/v1.bak/x"],
        &["tmp/x", ".git/config"],
    ];
    for files in names {
        let made = Made::new();
        for file in files {
            let path = made.root().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let options = PruneOptions { all: true, ..Default::default() };
        let error = prune(made.root(), &options, Made::now(), &Cancel::new()).unwrap_err();
        assert!(matches!(error, CacheError::Foreign { .. }), "{files:?}: {error}");
        assert!(files.iter().all(|file| made.root().join(file).exists()), "{files:?}");
        assert!(!made.root().join("lock").exists(), "{files:?}");
    }
    let made = Made::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), made.root().join("blobs")).unwrap();
    assert!(matches!(Survey::take(made.root(), &Cancel::new()), Err(CacheError::Foreign { .. })));
}

#[test]
fn what_lies_in_a_cache_and_is_none_of_it_is_passed_over() {
    let made = Made::new();
    let record = made.record("a", "one", DAY);
    let strays = [
        "blobs/note",
        "blobs/sha256/note",
        "records/.DS_Store",
        "records/v1/00/note.json",
        "records/v1/note",
        "tmp/note",
    ];
    for stray in strays {
        let path = made.root().join(stray);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        set_age(&path, 9 * DAY);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join(format!("{}.json", record.key.hex())), "").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), made.root().join("records/v1/zz")).unwrap();
    let mut all: Vec<PathBuf> = strays.iter().map(|stray| made.root().join(stray)).collect();
    all.push(made.root().join("records/v1/zz"));
    all.sort();
    let survey = made.survey();
    let mut found = survey.strays.clone();
    found.sort();
    assert_eq!(found, all);
    assert_eq!((survey.records.len(), survey.broken.len(), survey.temporary.len()), (1, 0, 0));
    assert!(damages(&survey).is_empty());
    let pruned = made.prune(PruneOptions { all: true, ..Default::default() });
    assert_eq!((pruned.records.count, pruned.blobs.count, pruned.strays.len()), (1, 2, all.len()));
    assert!(all.iter().all(|path| path.symlink_metadata().is_ok()));
}

/// Makes a directory of files that go together, last used so long ago.
#[cfg(unix)]
fn tree(made: &Made, below: &str, name: &str, size: usize, age: Duration) -> PathBuf {
    let path = made.root().join(below).join(name);
    fs::create_dir_all(path.join("d/e")).unwrap();
    fs::write(path.join("d/e/file"), vec![0; size]).unwrap();
    std::os::unix::fs::symlink("/", path.join("d/link")).unwrap();
    fs::write(path.join("lock"), "").unwrap();
    set_age(&path.join("lock"), age);
    path
}

#[cfg(unix)]
#[test]
fn what_steps_made_and_their_directories_go_by_their_last_use() {
    let made = Made::new();
    let name = |digit: &str| digit.repeat(64);
    let outputs = tree(&made, "outputs/v1", &name("a"), 100, 5 * DAY);
    let used = tree(&made, "outputs/v1", &name("b"), 10, DAY);
    let step = tree(&made, "steps/v1", &name("c"), 1000, 4 * DAY);
    let shared = tree(&made, "steps/v1/shared", &name("d"), 10_000, 6 * DAY);
    let left = tree(&made, "outputs/v1", ".tmpleft", 1, 3 * DAY);
    fs::create_dir_all(made.root().join("outputs/v1/other")).unwrap();
    fs::write(made.root().join("steps/v1/file"), "").unwrap();
    let note = made.root().join("steps/v1/tools").join(name("e"));
    fs::create_dir_all(note.parent().unwrap()).unwrap();
    fs::write(&note, "v22").unwrap();
    set_age(&note, DAY);
    fs::create_dir_all(made.root().join("steps/v2")).unwrap();
    let survey = made.survey();
    assert_eq!((survey.output_trees().count, survey.output_trees().bytes), (2, 110));
    assert_eq!((survey.step_directories().count, survey.step_directories().bytes), (2, 11_000));
    assert_eq!((survey.temporary_files().count, survey.tool_notes().count), (1, 1));
    assert_eq!(survey.strays.len(), 3);
    assert!(verify(&survey, &|_| {}, &Cancel::new()).unwrap().is_empty());
    let pruned = made.prune(PruneOptions::default());
    assert_eq!((pruned.outputs.count, pruned.steps.count, pruned.temporary.count), (0, 0, 1));
    assert!(!left.exists());
    let pruned = made.prune(PruneOptions { max_size: Some(1200), ..Default::default() });
    assert_eq!((pruned.outputs.count, pruned.steps.bytes), (0, 10_000));
    assert!(!shared.exists() && outputs.exists());
    let pruned = made.prune(PruneOptions { max_age: Some(2 * DAY), ..Default::default() });
    assert_eq!((pruned.outputs.bytes, pruned.steps.bytes, pruned.left.bytes), (100, 1000, 10));
    assert!(!outputs.exists() && !step.exists() && used.exists());
    assert_eq!(fs::read_dir(made.root().join("steps/v1")).unwrap().count(), 3);
    assert!(note.exists());
    let pruned = made.prune(PruneOptions { all: true, ..Default::default() });
    assert_eq!((pruned.outputs.count, pruned.tools.count, pruned.left.bytes), (1, 1, 0));
    assert!(!note.exists());
}

#[cfg(unix)]
#[test]
fn what_a_step_or_a_build_uses_stays() {
    let made = Made::new();
    let name = |digit: &str| digit.repeat(64);
    let outputs = tree(&made, "outputs/v1", &name("a"), 100, 5 * DAY);
    let step = tree(&made, "steps/v1", &name("b"), 100, 5 * DAY);
    let other = tree(&made, "steps/v1", &name("c"), 100, 5 * DAY);
    let everything = PruneOptions { all: true, ..Default::default() };
    let turns = [Turn::share(&outputs), Turn::alone(&step, &Cancel::new(), &|| {}).ok()];
    set_age(&outputs.join("lock"), 5 * DAY);
    set_age(&step.join("lock"), 5 * DAY);
    let pruned = made.prune(everything);
    assert!(pruned.is_spared && outputs.exists() && step.exists() && !other.exists());
    drop(turns);
    // While builds go on, what was used of late stays as well.
    let hold = Hold::share(made.root(), true, &Cancel::new()).unwrap();
    set_age(&outputs.join("lock"), Duration::from_secs(60));
    let pruned = made.prune(everything);
    assert!(pruned.is_spared && outputs.exists() && !step.exists());
    drop(hold);
    assert_eq!(made.prune(everything).left, Extent::default());
}

fn damages(survey: &Survey) -> Vec<Damage> {
    verify(survey, &|_| {}, &Cancel::new()).unwrap()
}

#[test]
fn damage_is_found_and_dropped_with_the_records_that_name_it() {
    let made = Made::new();
    let records = ["whole", "flipped", "cut", "gone", "garbage", "swapped"]
        .map(|name| made.record(name, &format!("layer {name}"), DAY));
    assert!(damages(&made.survey()).is_empty());
    let path = |record: &Record| made.store().path(&record.layers[0].descriptor.digest);
    fs::write(path(&records[1]), "layer FLIPPED").unwrap();
    fs::write(path(&records[2]), "lay").unwrap();
    fs::remove_file(path(&records[3])).unwrap();
    fs::write(made.file(&records[4]), "\0\0").unwrap();
    fs::copy(made.file(&records[0]), made.file(&records[5])).unwrap();
    let survey = made.survey();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for damage in &damages(&survey) {
        let kind = match damage {
            Damage::Record { .. } => "record",
            Damage::Blob { .. } => "blob",
            Damage::Stat { .. } => "stat",
            Damage::Blocks { .. } => "blocks",
            Damage::LastBuild { .. } => "last build",
            Damage::Note { .. } => "note",
            Damage::Incomplete { .. } => "incomplete",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    assert_eq!(kinds, BTreeMap::from([("record", 2), ("blob", 2), ("incomplete", 1)]));
    let gone = drop_damaged(&survey, &damages(&survey)).unwrap();
    assert_eq!(gone.count, 5 + 2);
    assert!(damages(&made.survey()).is_empty());
    let all: Vec<&Record> = records.iter().collect();
    assert_eq!(made.has(&all), [true, false, false, false, false, false]);
    // What only damaged records named is nobody's now.
    assert_eq!(made.survey().unnamed_blobs().count, 2);
}

#[test]
fn a_record_that_names_another_size_is_incomplete() {
    let made = Made::new();
    let mut record = made.record("a", "one", DAY);
    record.layers[0].descriptor.size += 1;
    made.put(&record, DAY);
    assert!(matches!(damages(&made.survey())[..], [Damage::Incomplete { .. }]));
}

#[test]
fn a_listing_keeps_nothing_of_the_layers_it_is_of() {
    let made = Made::new();
    let mut record = made.record("a", "one", DAY);
    record.inventory = Some(made.blob(MediaType::LISTING, "listing", DAY));
    made.put(&record, DAY);
    assert_eq!(made.prune(PruneOptions::default()).blobs.count, 2);
    let layers = BTreeSet::from([record.layers[0].descriptor.digest]);
    assert!(find_layers(made.root(), &layers, 10).unwrap().is_empty());
}

#[test]
fn layers_are_found_by_their_blobs_under_all_their_keys() {
    let made = Made::new();
    let record = made.record("a", "one", DAY);
    made.record("b", "two", DAY);
    let other = record.under(KeyWriter::new("c", 1).finish());
    made.put(&other, DAY);
    let digest = record.layers[0].descriptor.digest;
    let found = find_layers(made.root(), &BTreeSet::from([digest]), 10).unwrap();
    let keys: BTreeSet<Key> = found[&digest].iter().map(|naming| naming.key).collect();
    assert_eq!(keys, BTreeSet::from([record.key, other.key]));
    assert_eq!((found.len(), found[&digest][0].tar_size), (1, Some(1024)));
    assert!(find_layers(&made.root().join("none"), &BTreeSet::from([digest]), 10).unwrap().is_empty());
}
