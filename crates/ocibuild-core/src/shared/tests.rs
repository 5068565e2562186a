//! Writing and reading cache repositories.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::blob::{BytesContent, PlaceFault, Sink};
use crate::cache::{BuiltLayer, RecordSink as _};
use crate::digest::DiffId;
use crate::event::{Cancel, Transfer};
use crate::image::{ValidateOptions, validate};
use crate::key::KeyWriter;
use crate::oci::{MediaType, annotation, to_json};
use pack::Entry;
use repository::keys;
use state::{Entries, by_recency, merge, trim};

fn key(name: &str) -> Key {
    KeyWriter::new(name, 1).finish()
}

/// A record of a layer that is an empty tar with a name's worth of zeros behind it.
fn record(name: &str) -> Record {
    let tar = blob(name);
    let descriptor = Descriptor::of(MediaType::LAYER, &tar);
    Record {
        inspection: None,
        version: Record::VERSION,
        key: key(name),
        content: Some(key(name)),
        layers: vec![BuiltLayer::new(descriptor, DiffId(Digest::of(&tar)))],
        materials: Vec::new(),
        inventory: Some(Descriptor::of(MediaType::INVENTORY, name.as_bytes())),
        machines: BTreeSet::new(),
        entries: 3,
        tar_size: tar.len() as u64,
        is_trace: false,
    }
}

/// A tar that holds a file of this name and content.
fn blob(name: &str) -> Vec<u8> {
    pack::single(name, name.as_bytes())
}

/// A place with the blobs of records.
fn store(names: &[&str]) -> Memory {
    let store = Memory::new();
    for name in names {
        store.insert(MediaType::LAYER, blob(name));
        store.insert(MediaType::INVENTORY, name.as_bytes().to_vec());
    }
    store
}

fn write(target: &Arc<Memory>, names: &[&str]) -> crate::cache::Kept {
    let records: Vec<Record> = names.iter().map(|name| record(name)).collect();
    cache(target).keep(&records, None, &Cancel::new()).unwrap()
}

fn cache(target: &Arc<Memory>) -> RepositoryCache {
    RepositoryCache::new(Arc::clone(target) as _, "cache")
}

fn reader(target: &Arc<Memory>) -> ImageRecords {
    ImageRecords::of(Arc::clone(target), "cache", [Platform::linux_amd64()])
}

fn manifest(target: &Memory) -> Manifest {
    let root = target.resolve("cache").unwrap();
    from_json(&read_whole(target, &root, 1 << 20).unwrap()).unwrap()
}

fn assert_valid(target: &Memory) {
    let root = target.resolve("cache").unwrap();
    let violations = validate(target, &root, &ValidateOptions::default()).unwrap();
    assert_eq!(violations, []);
}

#[test]
fn what_is_written_is_read_back_and_names_no_blob_that_is_not_there() {
    let target = Arc::new(Memory::new());
    assert_eq!(write(&target, &["a", "b"]).records, 2);
    assert_eq!(write(&target, &["b", "c"]).records, 1);
    let reader = reader(&target);
    for name in ["a", "b", "c"] {
        let found = reader.get(&key(name)).unwrap().unwrap();
        let expected = record(name);
        assert_eq!(found.layers, expected.layers);
        assert_eq!((found.inventory, found.entries, found.tar_size), (None, 0, 0));
        assert!(!reader.exists(&expected.layers[0].descriptor).unwrap());
    }
    assert_eq!(reader.get(&key("d")).unwrap(), None);
    assert!(reader.put(&record("d")).is_err());
    assert_valid(&target);
}

#[test]
fn with_blobs_it_answers_alone() {
    let (target, names) = (Arc::new(Memory::new()), ["a", "b"]);
    let records = names.map(record);
    let kept = cache(&target).keep(&records, Some(&store(&names)), &Cancel::new()).unwrap();
    // Two layers, two inventories, a pack, a config and a manifest.
    assert_eq!((kept.records, kept.blobs), (2, 7));
    // Others who give none leave those that are there.
    write(&target, &["a", "c"]);
    let reader = reader(&target);
    for name in names {
        let found = reader.get(&key(name)).unwrap().unwrap();
        assert_eq!(found, record(name));
        let layer = &found.layers[0].descriptor;
        assert!(reader.exists(layer).unwrap());
        assert_eq!(read_whole(&reader, layer, 1 << 20).unwrap(), blob(name));
        let inventory = found.inventory.unwrap();
        assert!(reader.exists(&inventory).unwrap());
        assert_eq!(read_whole(&reader, &inventory, 1 << 20).unwrap(), name.as_bytes());
        let mut rest = String::new();
        reader.fetch(&inventory).unwrap().open(1).unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, name[1..]);
    }
    assert_valid(&target);
    let again = cache(&target).keep(&records, Some(&store(&names)), &Cancel::new()).unwrap();
    assert_eq!(again, crate::cache::Kept::default());
}

/// A record of what a base holds, of which the registry has no layer.
fn base(name: &str) -> Record {
    let bytes = format!("what {name} holds");
    let inventory = Descriptor::of(MediaType::LISTING, bytes.as_bytes()).embed(bytes.as_bytes());
    Record { content: None, inventory: Some(inventory), ..record(name) }
}

#[test]
fn what_a_base_holds_lies_beside_the_packs_and_its_layers_do_not() {
    for blobs in [None, Some(store(&["a"]))] {
        let target = Arc::new(Memory::new());
        let records = [record("a"), base("base")];
        let blobs = blobs.as_ref().map(|blobs| blobs as &dyn Source);
        let keep = |records: &[Record]| cache(&target).keep(records, blobs, &Cancel::new()).unwrap();
        assert_eq!(keep(&records).records, 2);
        assert_eq!(keep(&records), crate::cache::Kept::default());
        let reader = reader(&target);
        let found = reader.get(&key("base")).unwrap().unwrap();
        assert!(found.is_listing());
        let listing = found.inventory.unwrap();
        assert_eq!(listing.data, None);
        assert_eq!(read_whole(&reader, &listing, 1 << 20).unwrap(), b"what base holds");
        let named: BTreeSet<Digest> = manifest(&target).layers.iter().map(|layer| layer.digest).collect();
        assert!(!named.contains(&base("base").layers[0].descriptor.digest));
        // Others who write leave it, and who has it otherwise compressed has nothing new to tell.
        write(&target, &["b"]);
        let mut same = base("base");
        same.layers = record("b").layers;
        assert_eq!(keep(&[same]), crate::cache::Kept::default());
        let reader = ImageRecords::of(Arc::clone(&target), "cache", []);
        assert_eq!(reader.get(&key("base")).unwrap().unwrap().inventory.unwrap(), listing);
        assert_valid(&target);
    }
}

#[test]
fn listings_have_a_bound_of_their_own() {
    let target = Arc::new(Memory::new());
    let mut limits = RepositoryLimits::default();
    // Each takes a header, a block, and the end of a tar.
    (limits.listing_bytes, limits.blobs) = (2 * 2048, 2);
    let keep = |names: &[&str]| {
        let records: Vec<Record> = names.iter().map(|name| base(name)).chain([record("x")]).collect();
        cache(&target).limits(limits).keep(&records, Some(&store(&["x"])), &Cancel::new()).unwrap();
    };
    keep(&["a"]);
    keep(&["b"]);
    keep(&["c", "a"]);
    let reader = reader(&target);
    let is_listed = |name: &str| reader.get(&key(name)).unwrap().is_some();
    assert_eq!(["a", "b", "c", "x"].map(is_listed), [true, false, true, true]);
    // More at once than there is room for: some of it.
    keep(&["d", "e", "f"]);
    let reader = super::tests::reader(&target);
    let is_listed = |name: &str| reader.get(&key(name)).unwrap().is_some();
    assert_eq!(["a", "c", "d", "e", "f"].map(is_listed), [false, false, true, true, false]);
    assert!(reader.exists(&record("x").layers[0].descriptor).unwrap());
    assert_valid(&target);
}

/// A place whose tags move slowly, and which counts what is pushed.
struct Slow {
    inner: Arc<Memory>,
    /// What another does right after a tag was moved.
    rival: Option<Box<dyn Fn() + Send + Sync>>,
    pushes: AtomicUsize,
    tags: AtomicUsize,
    delay: Duration,
    /// How many manifests it refuses, as if it hadn't what they name.
    blind: AtomicUsize,
    /// Whether it answers no question any more once a tag was moved.
    is_deaf: bool,
}

impl Slow {
    fn new(delay: u64) -> Arc<Self> {
        Arc::new(Self::over(Arc::default(), Duration::from_millis(delay)))
    }

    fn over(inner: Arc<Memory>, delay: Duration) -> Self {
        let [pushes, tags, blind] = [(); 3].map(|()| AtomicUsize::new(0));
        Self { inner, rival: None, pushes, tags, delay, blind, is_deaf: false }
    }
}

fn fault(fault: PlaceFault) -> BlobError {
    BlobError::Place { place: "it".to_owned(), fault, source: "so it says".into() }
}

impl Source for Slow {
    fn place(&self) -> String {
        Source::place(&*self.inner)
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.inner.exists(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.inner.fetch(descriptor)
    }
}

impl Sink for Slow {
    fn place(&self) -> String {
        Source::place(&*self.inner)
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        match self.blind.load(Ordering::SeqCst) {
            0 => self.inner.missing(descriptors),
            _ => Ok(descriptors.to_vec()),
        }
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        self.pushes.fetch_add(1, Ordering::SeqCst);
        if descriptor.media_type.is_manifest() && self.blind.load(Ordering::SeqCst) > 0 {
            self.blind.fetch_sub(1, Ordering::SeqCst);
            return Err(fault(PlaceFault::Lacking));
        }
        self.inner.push(descriptor, content)
    }
}

impl Target for Slow {
    fn resolve(&self, name: &str) -> Result<Descriptor, BlobError> {
        if self.is_deaf && self.tags.load(Ordering::SeqCst) > 0 {
            return Err(fault(PlaceFault::Unavailable));
        }
        self.inner.resolve(name)
    }

    fn tag(&self, descriptor: &Descriptor, name: &str) -> Result<(), BlobError> {
        self.tags.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.delay);
        self.inner.tag(descriptor, name)?;
        if let Some(rival) = &self.rival {
            rival();
        }
        Ok(())
    }
}

#[test]
fn of_eight_writers_at_once_none_loses_a_record() {
    let target = Slow::new(15);
    let names: Vec<String> = (0..8).map(|number| format!("writer {number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache");
            scope.spawn(move || cache.keep(&[record(name), record("all")], None, &Cancel::new()).unwrap());
        }
    });
    let expected: BTreeSet<Key> = names.iter().map(String::as_str).chain(["all"]).map(key).collect();
    assert_eq!(keys(&*target, "cache"), expected);
    assert_valid(&target.inner);
}

#[test]
fn where_all_is_there_nothing_is_written() {
    let target = Slow::new(0);
    let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache");
    let records = ["a", "b"].map(record);
    cache.keep(&records, None, &Cancel::new()).unwrap();
    let count = || [&target.pushes, &target.tags].map(|count| count.load(Ordering::SeqCst));
    let before = count();
    assert_eq!(before[1], 1);
    assert_eq!(cache.keep(&records[..1], None, &Cancel::new()).unwrap(), crate::cache::Kept::default());
    assert_eq!(count(), before);
}

#[test]
fn what_was_written_least_recently_goes_first_and_its_blobs_with_it() {
    let target = Arc::new(Memory::new());
    let limited = || {
        let limits = RepositoryLimits { records: 3, ..RepositoryLimits::default() };
        cache(&target).limits(limits)
    };
    let all = ["a", "b", "c", "d", "e"];
    let put = |names: &[&str]| {
        let records: Vec<Record> = names.iter().map(|name| record(name)).collect();
        limited().keep(&records, Some(&store(&all)), &Cancel::new()).unwrap();
    };
    put(&["a"]);
    put(&["b"]);
    put(&["c", "a"]);
    assert_eq!(keys(&*target, "cache"), ["a", "b", "c"].map(key).into());
    // A build that has something new is a use of all that it has.
    put(&["d"]);
    assert_eq!(keys(&*target, "cache"), ["a", "c", "d"].map(key).into());
    put(&["e", "a"]);
    assert_eq!(keys(&*target, "cache").len(), 3);
    assert!(keys(&*target, "cache").is_superset(&["a", "d", "e"].map(key).into()));
    let named: BTreeSet<Digest> = manifest(&target).layers.iter().map(|layer| layer.digest).collect();
    for name in all {
        let is_kept = ["a", "d", "e"].contains(&name);
        assert_eq!(named.contains(&Digest::of(&blob(name))), is_kept, "{name}");
    }
    assert_valid(&target);
    // Bytes count as well.
    let limits = RepositoryLimits { blob_bytes: blob("a").len() as u64 * 2, ..RepositoryLimits::default() };
    let two = cache(&target).limits(limits);
    two.keep(&[record("x")], Some(&store(&["x"])), &Cancel::new()).unwrap();
    let layers = manifest(&target).layers;
    let blobs = layers.iter().filter(|layer| !layer.annotations.contains_key(annotation::CACHE_RECORDS));
    assert!(blobs.map(|layer| layer.size).sum::<u64>() <= blob("a").len() as u64 * 2);
    assert_valid(&target);
}

#[test]
fn nothing_but_a_cache_is_written_over() {
    let target = Arc::new(Memory::new());
    let image = Manifest::new(Descriptor::of(MediaType::CONFIG, b"{}"), Vec::new());
    let root = target.insert(MediaType::MANIFEST, to_json(&image));
    target.tag(&root, "cache").unwrap();
    let refused = cache(&target).keep(&[record("a")], None, &Cancel::new()).unwrap_err();
    assert_eq!(refused.to_string(), "the cache `memory: cache` is no cache, but an image");
    let index = target.insert(MediaType::INDEX, b"{}".to_vec());
    target.tag(&index, "cache").unwrap();
    let refused = cache(&target).keep(&[record("a")], None, &Cancel::new()).unwrap_err();
    assert_eq!(refused.to_string(), "the cache `memory: cache` is no cache, but an index of images");
    let mut later = image;
    later.annotations.insert(annotation::CACHE.to_owned(), "2".to_owned());
    let later = target.insert(MediaType::MANIFEST, to_json(&later));
    target.tag(&later, "cache").unwrap();
    assert!(cache(&target).keep(&[record("a")], None, &Cancel::new()).is_err());
    assert!(reader(&target).get(&key("a")).is_err());
    assert_eq!(target.resolve("cache").unwrap(), later);
}

/// Replaces the only pack of a cache.
fn with_pack(target: &Arc<Memory>, bytes: Vec<u8>) {
    let mut manifest = manifest(target);
    let pack = target.insert(MediaType::LAYER_ZSTD, bytes);
    manifest.layers = vec![pack.with_annotation(annotation::CACHE_RECORDS, "1")];
    let root = target.insert(MediaType::MANIFEST, to_json(&manifest));
    target.tag(&root, "cache").unwrap();
}

#[test]
fn packs_that_are_none_answer_nothing_and_are_written_over() {
    let made = |lines: &[u8]| {
        let tar = pack::single("records.jsonl", lines);
        zstd::bulk::compress(&tar, 1).unwrap()
    };
    let bomb = zstd::bulk::compress(&vec![0; 80 << 20], 1).unwrap();
    let line = |record: &Record| to_json(&Entry { generation: 1, record: record.clone() });
    let trace = Record { is_trace: true, ..record("a") };
    let other = Record { version: 2, ..record("a") };
    for (bytes, is_read) in [
        (b"nonsense".to_vec(), true),
        (zstd::bulk::compress(&[1; 2000], 1).unwrap(), false),
        (bomb, false),
        (made(b"{}\n[]\n\n\xff"), true),
        (made(&line(&trace)), true),
        (made(&line(&other)), true),
    ] {
        let target = Arc::new(Memory::new());
        write(&target, &["a"]);
        with_pack(&target, bytes);
        let reader = reader(&target);
        let answer = reader.get(&key("a"));
        assert!(if is_read { matches!(answer, Ok(None) | Err(_)) } else { answer.is_err() });
        // Told once.
        assert_eq!(reader.get(&key("a")).unwrap(), None);
        write(&target, &["b"]);
        assert_eq!(keys(&*target, "cache"), [key("b")].into());
        assert_valid(&target);
    }
}

#[test]
fn a_pack_that_is_gone_is_a_warning_for_readers_and_no_loss_for_writers() {
    let target = Arc::new(Memory::new());
    write(&target, &["a"]);
    let mut manifest = manifest(&target);
    manifest.layers[0].digest = Digest::of(b"gone");
    let root = target.insert(MediaType::MANIFEST, to_json(&manifest));
    target.tag(&root, "cache").unwrap();
    assert!(reader(&target).get(&key("a")).is_err());
    write(&target, &["b"]);
    assert_eq!(keys(&*target, "cache"), [key("b")].into());
}

/// Changes the manifest of a cache.
fn rewrite(target: &Arc<Memory>, change: impl FnOnce(&mut Manifest)) {
    let mut manifest = manifest(target);
    change(&mut manifest);
    let root = target.insert(MediaType::MANIFEST, to_json(&manifest));
    target.tag(&root, "cache").unwrap();
}

#[test]
fn of_a_cache_that_lost_a_pack_the_others_answer() {
    let target = Arc::new(Memory::new());
    let names: Vec<String> = (0..10).map(|number| format!("first {number}")).collect();
    write(&target, &names.iter().map(String::as_str).collect::<Vec<_>>());
    write(&target, &["second"]);
    rewrite(&target, |manifest| {
        assert_eq!(manifest.layers.len(), 2);
        let count = |layer: &Descriptor| layer.annotations[annotation::CACHE_RECORDS].clone();
        manifest.layers.iter_mut().find(|layer| count(layer) == "1").unwrap().digest = Digest::of(b"gone");
    });
    let reader = reader(&target);
    for name in &names {
        assert!(reader.get(&key(name)).unwrap().is_some());
    }
    // It is told once, and costs nobody an answer.
    assert!(reader.get(&key("second")).is_err());
    assert_eq!(reader.get(&key("second")).unwrap(), None);
    assert!(reader.get(&key(&names[0])).unwrap().is_some());
    write(&target, &["second"]);
    assert_eq!(keys(&*target, "cache").len(), 11);
}

#[test]
fn packs_are_read_up_to_a_bound() {
    let target = Arc::new(Memory::new());
    write(&target, &["x"]);
    let pad = vec![0; 24 << 20];
    let pack = |name: &str| {
        let entry = Entry { generation: 1, record: record(name) };
        let mut tar = pack::single("records.jsonl", &to_json(&entry));
        tar.truncate(tar.len() - crate::tar::TRAILER.len());
        tar.extend(pack::single("pad", &pad));
        let layer = target.insert(MediaType::LAYER_ZSTD, zstd::bulk::compress(&tar, 1).unwrap());
        layer.with_annotation(annotation::CACHE_RECORDS, "1")
    };
    let names = ["a", "b", "c", "d"];
    let packs = names.map(pack);
    rewrite(&target, |manifest| manifest.layers = packs.to_vec());
    let reader = reader(&target);
    let found = ["a", "b"].map(|name| reader.get(&key(name)).unwrap().is_some());
    assert_eq!(found, [true; 2]);
    assert!(reader.get(&key("c")).is_err());
    assert_eq!(["c", "d"].map(|name| reader.get(&key(name)).unwrap()), [None, None]);
    // Who writes makes it smaller.
    write(&target, &["c"]);
    assert_eq!(keys(&*target, "cache"), ["a", "b", "c"].map(key).into());
    assert!(manifest(&target).layers.iter().map(|layer| layer.size).sum::<u64>() < 100_000);
}

#[test]
fn of_more_than_there_is_room_for_is_kept_what_fits() {
    let target = Slow::new(0);
    let limits = RepositoryLimits { records: 4, blobs: 5, ..RepositoryLimits::default() };
    let names = ["a", "b", "c", "d", "e", "f"];
    let keep = |names: &[&str]| {
        let records: Vec<Record> = names.iter().map(|name| record(name)).collect();
        let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache").limits(limits).settled();
        cache.keep(&records, Some(&store(names)), &Cancel::new()).unwrap()
    };
    // Of two the blobs have no room, and two have none at all.
    assert_eq!(keep(&names).left_out, 4);
    assert_eq!(target.tags.load(Ordering::SeqCst), 1);
    let reader = ImageRecords::of(Arc::clone(&target), "cache", []);
    let found = names.map(|name| reader.get(&key(name)).unwrap());
    assert_eq!(found.clone().map(|record| record.is_some()), [true, true, true, true, false, false]);
    let has = |name: &&str| reader.exists(&record(name).layers[0].descriptor).unwrap();
    assert_eq!(names.iter().map(has).collect::<Vec<_>>(), [true, true, false, false, false, false]);
    assert_eq!(found[1].as_ref().unwrap().inventory, record("b").inventory);
    assert_eq!(found[2].as_ref().unwrap().inventory, None);
    assert_valid(&target.inner);
    // The next build of the same has nothing to tell, and sends nothing.
    let pushes = target.pushes.load(Ordering::SeqCst);
    keep(&names);
    assert_eq!(target.pushes.load(Ordering::SeqCst), pushes);
}

#[test]
fn who_finds_that_another_disagrees_does_not_insist() {
    let inner = Arc::new(Memory::new());
    let mut target = Slow::over(Arc::clone(&inner), Duration::ZERO);
    let own = Arc::clone(&inner);
    target.rival = Some(Box::new(move || {
        let record = record("other").under(key("both"));
        cache(&own).settled().keep(&[record], None, &Cancel::new()).unwrap();
    }));
    let target = Arc::new(target);
    let record = record("one").under(key("both"));
    let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache").settled();
    cache.keep(std::slice::from_ref(&record), None, &Cancel::new()).unwrap();
    assert_eq!(target.tags.load(Ordering::SeqCst), 1);
    assert_ne!(reader(&inner).get(&key("both")).unwrap().unwrap().layers, record.layers);
}

#[test]
fn what_belongs_to_a_write_outlasts_what_does_not() {
    let target = Arc::new(Memory::new());
    let limits = RepositoryLimits { records: 3, ..RepositoryLimits::default() };
    let limited = || cache(&target).limits(limits).settled();
    for name in ["a", "b", "c"] {
        limited().keep(&[record(name)], Some(&store(&[name])), &Cancel::new()).unwrap();
    }
    let keep = |name: &str, others: &[&str]| {
        let others: Vec<Key> = others.iter().map(|name| key(name)).collect();
        // Nothing but what is told is brought, and what isn't there isn't missed.
        limited().keep_beside(&[record(name)], &others, &store(&[name]), &Cancel::new()).unwrap()
    };
    assert_eq!(keep("d", &["a", "none"]).records, 1);
    assert_eq!(keys(&*target, "cache"), ["a", "c", "d"].map(key).into());
    // Where nothing is new, nothing is written.
    let before = target.resolve("cache").unwrap();
    assert_eq!(keep("d", &["c"]), crate::cache::Kept::default());
    assert_eq!(target.resolve("cache").unwrap(), before);
    // Of more than there is room for, what was told stays.
    keep("e", &["a", "c", "d"]);
    assert_eq!(keys(&*target, "cache").len(), 3);
    assert!(keys(&*target, "cache").contains(&key("e")));
    let reader = reader(&target);
    for name in ["a", "e"] {
        assert!(reader.get(&key(name)).unwrap().is_some());
        assert!(reader.exists(&record(name).layers[0].descriptor).unwrap(), "{name}");
    }
    assert_valid(&target);
}

#[test]
fn what_another_went_over_is_written_again_and_what_it_trimmed_is_not() {
    let inner = Arc::new(Memory::new());
    write(&inner, &["before"]);
    let before = inner.resolve("cache").unwrap();
    let mut target = Slow::over(Arc::clone(&inner), Duration::ZERO);
    let (own, count) = (Arc::clone(&inner), AtomicUsize::new(0));
    let limits = RepositoryLimits { records: 2, ..RepositoryLimits::default() };
    target.rival = Some(Box::new(move || {
        // At first one that has read what was there before, then one that merged it, and has much.
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            own.tag(&before, "cache").unwrap();
            write(&own, &["straggler"]);
        } else {
            let records = ["x", "y"].map(record);
            cache(&own).limits(limits).settled().keep(&records, None, &Cancel::new()).unwrap();
        }
    }));
    let target = Arc::new(target);
    let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache").settled();
    cache.keep(&[record("ours")], None, &Cancel::new()).unwrap();
    assert_eq!(target.tags.load(Ordering::SeqCst), 2);
    assert_eq!(keys(&*inner, "cache"), ["x", "y"].map(key).into());
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn entries(random: &mut Random) -> Vec<Entry> {
    let entry = |random: &mut Random| {
        let mut record = record(&format!("key {}", random.below(12)));
        record.entries = random.below(3);
        Entry { generation: random.below(6), record }
    };
    (0..random.below(10)).map(|_| entry(random)).collect()
}

fn merged(parts: &[&[Entry]], limits: &RepositoryLimits) -> Entries {
    let mut all = Entries::new();
    for part in parts {
        merge(&mut all, part.iter().cloned());
        trim(&mut all, limits);
    }
    all
}

#[test]
fn merging_comes_to_the_same_in_any_order_and_any_number_of_times() {
    let mut random = Random(7);
    for round in 0..100 {
        let limits = RepositoryLimits {
            records: usize::try_from(random.below(12)).unwrap() + 1,
            ..RepositoryLimits::default()
        };
        let [a, b, c] = [(); 3].map(|()| entries(&mut random));
        let expected = merged(&[&a, &b, &c], &limits);
        for order in [[&a, &c, &b], [&b, &a, &c], [&c, &b, &a], [&b, &c, &a], [&c, &a, &b]] {
            assert_eq!(merged(&order.map(Vec::as_slice), &limits), expected, "{round}");
        }
        let first: Vec<Entry> = merged(&[&a, &b], &limits).into_values().collect();
        let second: Vec<Entry> = merged(&[&b, &c], &limits).into_values().collect();
        assert_eq!(merged(&[&first, &second, &a, &first], &limits), expected, "{round}");
        assert!(expected.len() <= limits.records);
        let all = by_recency(&expected);
        assert!(all.is_sorted_by_key(|entry| std::cmp::Reverse(entry.generation)));
    }
}

#[test]
fn many_writes_leave_few_packs_and_every_record() {
    let target = Arc::new(Memory::new());
    let mut random = Random(3);
    let limits = RepositoryLimits { records: 60, ..RepositoryLimits::default() };
    let mut last: BTreeMap<Key, usize> = BTreeMap::new();
    for round in 0..60 {
        let names: Vec<String> = (0..=random.below(4)).map(|_| format!("key {}", random.below(50))).collect();
        let names: Vec<String> = names.into_iter().chain([format!("new {round}")]).collect();
        let records: Vec<Record> = names.iter().map(|name| record(name)).collect();
        let settled = RepositoryCache::new(Arc::clone(&target) as _, "cache").limits(limits).settled();
        settled.keep(&records, None, &Cancel::new()).unwrap();
        last.extend(records.iter().map(|record| (record.key, round)));
        let found = keys(&*target, "cache");
        // All that was written last is there, as far as there is room.
        let mut expected: Vec<(usize, Key)> = last.iter().map(|(key, round)| (*round, *key)).collect();
        expected.sort_by(|one, other| other.cmp(one));
        assert!((expected.len().min(53)..=60).contains(&found.len()), "{round}: {}", found.len());
        for (_, key) in &expected[..expected.len().min(50)] {
            assert!(found.contains(key), "{round}");
        }
        assert!(manifest(&target).layers.len() <= 5, "{round}: {}", manifest(&target).layers.len());
    }
    assert_valid(&target);
}

#[test]
fn blobs_that_are_gone_are_no_reason_not_to_write() {
    let target = Arc::new(Memory::new());
    let content = BytesContent::new(blob("a"));
    target.push(&Descriptor::of(MediaType::LAYER, &blob("a")), &content).unwrap();
    let missing = cache(&target).keep(&[record("b")], Some(&store(&["a"])), &Cancel::new());
    assert!(missing.is_err());
    assert!(target.resolve("cache").is_err(), "nothing is half written");
}

#[test]
fn a_place_that_does_not_see_what_it_was_sent_is_asked_a_few_times() {
    for (blind, is_written) in [(2, true), (1_000, false)] {
        let target = Slow::new(0);
        target.blind.store(blind, Ordering::SeqCst);
        let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache").settled();
        let kept = cache.keep(&[record("a")], None, &Cancel::new());
        assert_eq!(kept.is_ok(), is_written, "{kept:?}");
        assert_eq!(target.tags.load(Ordering::SeqCst), usize::from(is_written));
        assert!(is_written || matches!(kept, Err(CacheError::Place { .. })));
    }
}

#[test]
fn a_look_that_fails_after_the_tag_was_moved_is_no_failure_to_write() {
    let inner = Arc::new(Memory::new());
    let target = Slow { is_deaf: true, ..Slow::over(Arc::clone(&inner), Duration::ZERO) };
    let cache = RepositoryCache::new(Arc::new(target), "cache");
    assert_eq!(cache.keep(&[record("a")], None, &Cancel::new()).unwrap().records, 1);
    assert_eq!(keys(&*inner, "cache"), [key("a")].into());
}

#[test]
fn a_build_that_grows_beyond_the_bounds_is_written_once() {
    let limits = RepositoryLimits { blobs: 6, ..RepositoryLimits::default() };
    let names = ["a", "b", "c", "d", "e", "f"];
    for small in [&names[4..], &names[3..5], &names[2..5], &names[1..4]] {
        let target = Slow::new(0);
        let keep = |names: &[&str]| {
            let records: Vec<Record> = names.iter().map(|name| record(name)).collect();
            let cache = RepositoryCache::new(Arc::clone(&target) as _, "cache").limits(limits).settled();
            cache.keep(&records, Some(&store(names)), &Cancel::new()).unwrap();
            target.tags.load(Ordering::SeqCst)
        };
        assert_eq!([keep(small), keep(&names), keep(&names)], [1, 2, 2], "{small:?}");
        let reader = ImageRecords::of(Arc::clone(&target), "cache", []);
        assert!(reader.get(&key("a")).unwrap().is_some());
        let has = |name: &str| reader.exists(&record(name).layers[0].descriptor).unwrap();
        assert_eq!(["a", "b", "c"].map(has), [true; 3]);
        assert_valid(&target.inner);
    }
}

#[test]
fn what_an_image_turned_out_not_to_have_is_not_asked_for_again() {
    let target = Arc::new(Memory::new());
    cache(&target).keep(&[record("a")], Some(&store(&["a"])), &Cancel::new()).unwrap();
    let counted = Arc::new(Gone { inner: target, asked: AtomicUsize::new(0) });
    let root = counted.inner.resolve("cache").unwrap();
    let source = Arc::clone(&counted);
    let open = move || Ok(OpenBase { root: root.clone(), source: Arc::clone(&source) as Arc<dyn Source> });
    let reader = ImageRecords::new("it", [], open);
    let record = reader.get(&key("a")).unwrap().unwrap();
    let blobs = [record.layers[0].descriptor.clone()];
    for _ in 0..3 {
        assert_eq!(reader.lacking(&blobs).unwrap(), blobs);
    }
    assert_eq!(counted.asked.load(Ordering::SeqCst), 1);
}

/// A place that says of everything that it isn't there, and counts the questions.
struct Gone {
    inner: Arc<Memory>,
    asked: AtomicUsize,
}

impl Source for Gone {
    fn place(&self) -> String {
        Source::place(&*self.inner)
    }

    fn exists(&self, _: &Descriptor) -> Result<bool, BlobError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(false)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.inner.fetch(descriptor)
    }
}
