//! A store in memory, and what is done to it behind our back.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ocibuild_core::blob::{BlobError, BytesContent, Content, Memory, Sink as _, Source, read_whole};
use ocibuild_core::cache::{BuiltLayer, CacheError, Kept, Record, RecordSink as _, RecordStore as _};
use ocibuild_core::event::Transfer;
use ocibuild_core::key::{Key, KeyWriter};
use ocibuild_core::oci::MediaType;
use ocibuild_core::{Cancel, Descriptor, DiffId, Digest, Registry};
use opendal_core::services::Memory as MemoryService;
use opendal_core::{Buffer, Error, ErrorKind, Operator};

use crate::access::Access;
use crate::blobs::PART;
use crate::records;
use crate::store::ObjectStore;

fn key(name: &str) -> Key {
    KeyWriter::new(name, 1).finish()
}

fn record(name: &str, blobs: &[&[u8]]) -> Record {
    let layer = |blob: &&[u8]| {
        BuiltLayer::new(Descriptor::of(MediaType::LAYER_GZIP, blob), DiffId(Digest::of(b"tar")))
    };
    let json = serde_json::json!({
        "version": Record::VERSION, "key": key(name), "content": key("content"),
        "layers": blobs.iter().map(layer).collect::<Vec<_>>(), "materials": [],
        "inventory": Descriptor::of(MediaType::INVENTORY, b"inventory"),
        "machines": BTreeSet::from(["amd64"]), "entries": 3, "tarSize": 4096,
    });
    serde_json::from_value(json).unwrap()
}

/// A store in memory, and the way to its objects.
struct Place {
    operator: Operator,
    objects: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Self {
        let operator = Operator::new(MemoryService::default()).unwrap();
        Self { operator, objects: tokio::runtime::Builder::new_current_thread().build().unwrap() }
    }

    /// Another machine's view of it.
    fn store(&self) -> ObjectStore {
        let operator = self.operator.clone();
        let access = Access::new(Registry::default());
        ObjectStore::with("memory".to_owned(), access, None, move || Ok(operator.clone()))
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.objects.block_on(self.operator.read(path)).ok().map(|bytes: Buffer| bytes.to_vec())
    }

    fn write(&self, path: &str, bytes: Vec<u8>) {
        self.objects.block_on(self.operator.write(path, bytes)).unwrap();
    }

    fn delete(&self, path: &str) {
        self.objects.block_on(self.operator.delete(path)).unwrap();
    }

    fn paths(&self) -> Vec<String> {
        let list = self.operator.list_with("").recursive(true);
        let entries = self.objects.block_on(async { list.await }).unwrap();
        let paths = entries.iter().map(|entry| entry.path().to_owned());
        let mut paths: Vec<String> = paths.filter(|path| !path.ends_with('/')).collect();
        paths.sort();
        paths
    }
}

fn blob_path(bytes: &[u8], part: u64) -> String {
    format!("v1/blobs/sha256/{}.{part:04}", Digest::of(bytes).hex())
}

fn large() -> Vec<u8> {
    let size = usize::try_from(2 * PART + 12_345).unwrap();
    (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn source(blobs: &[&[u8]]) -> Memory {
    let memory = Memory::new();
    for blob in blobs {
        memory.insert(MediaType::LAYER_GZIP, blob.to_vec());
    }
    memory
}

#[test]
fn a_record_is_read_as_written_under_its_own_key_only() {
    let place = Place::new();
    let one = record("one", &[b"a"]);
    assert_eq!(place.store().get(&one.key).unwrap(), None);
    place.store().put(&one).unwrap();
    let hex = one.key.hex();
    assert_eq!(place.paths(), [format!("v1/records/{}/{hex}.json", &hex[..2])]);
    let store = place.store();
    assert_eq!(store.get(&one.key).unwrap(), Some(one.clone()));
    store.remove(&one.key).unwrap();
    store.remove(&one.key).unwrap();
    assert_eq!(store.get(&one.key).unwrap(), None);
    assert!(place.paths().is_empty());
}

#[test]
fn a_damaged_record_is_told_once_and_written_again() {
    let (place, one) = (Place::new(), record("one", &[b"a"]));
    let (path, good) = (records::path(&one.key), records::encode(&one, false));
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let size = String::from_utf8(good.clone()).unwrap().find("\"size\":1").unwrap() + 7;
    let other = records::encode(&record("other", &[b"a"]), false);
    for bytes in [Vec::new(), good[..good.len() / 2].to_vec(), flipped(size), flipped(15), other] {
        place.write(&path, bytes);
        let store = place.store();
        let error = store.get(&one.key).unwrap_err();
        assert!(matches!(error, CacheError::Damaged { .. }), "{error}");
        assert_eq!(store.get(&one.key).unwrap(), None);
        // The rest of the store answers still.
        assert_eq!(store.get(&key("another")).unwrap(), None);
        let kept = store.keep(std::slice::from_ref(&one), None, &Cancel::new()).unwrap();
        assert_eq!(kept.records, 1);
        assert!(place.store().get(&one.key).unwrap().is_some());
    }
    // Every single bit of it counts.
    for at in 0..good.len() {
        place.write(&path, flipped(at));
        let answer = place.store().get(&one.key);
        assert!(!matches!(&answer, Ok(Some(found)) if *found != one), "{at}: {answer:?}");
    }
}

#[test]
fn a_later_versions_record_is_none_and_no_damage() {
    let place = Place::new();
    let mut one = record("one", &[b"a"]);
    one.version += 1;
    place.write(&records::path(&one.key), records::encode(&one, false));
    assert_eq!(place.store().get(&one.key).unwrap(), None);
}

#[test]
fn what_is_there_is_not_written_again() {
    let place = Place::new();
    let (one, two) = (record("one", &[b"a"]), record("two", &[b"a"]));
    let (all, never) = ([one.clone(), two.clone()], Cancel::new());
    let kept = place.store().keep(&all[..1], None, &never).unwrap();
    assert_eq!((kept.records, kept.blobs), (1, 0));
    let kept = place.store().keep(&all, None, &never).unwrap();
    assert_eq!(kept.records, 1);
    assert_eq!(place.store().keep(&all, None, &never).unwrap(), Kept::default());
    // Records alone name no inventory.
    let found = place.store().get(&one.key).unwrap().unwrap();
    assert_eq!((found.inventory, found.layers), (None, one.layers.clone()));
    // With blobs they say more, and keep saying it.
    let source = source(&[b"a", b"inventory"]);
    let kept = place.store().keep(&all, Some(&source), &never).unwrap();
    assert_eq!((kept.records, kept.blobs, kept.bytes), (2, 2, 10));
    assert_eq!(place.store().keep(&all, Some(&source), &never).unwrap(), Kept::default());
    assert_eq!(place.store().keep(&all, None, &never).unwrap(), Kept::default());
    assert_eq!(place.store().get(&one.key).unwrap(), Some(one));
}

#[test]
fn what_a_base_holds_stands_in_its_record_either_way() {
    let (place, never) = (Place::new(), Cancel::new());
    let mut listing = record("base", &[b"a layer of the base"]);
    listing.content = None;
    listing.inventory = Some(Descriptor::of(MediaType::LISTING, b"listing").embed(b"listing"));
    let all = [listing.clone()];
    assert_eq!(place.store().keep(&all, None, &never).unwrap().records, 1);
    assert_eq!(place.store().get(&listing.key).unwrap().as_ref(), Some(&listing));
    // That the base is named otherwise elsewhere is no other listing; its layers are no blobs of it.
    let mut other = listing.clone();
    other.layers = record("", &[b"a layer otherwise compressed"]).layers;
    for blobs in [None, Some(&Memory::new() as &dyn ocibuild_core::blob::Source)] {
        assert_eq!(place.store().keep(&[other.clone()], blobs, &never).unwrap(), Kept::default());
    }
    assert_eq!(place.paths().len(), 1);
    // What it was told else, it keeps else.
    other.inventory = Some(Descriptor::of(MediaType::LISTING, b"later").embed(b"later"));
    assert_eq!(place.store().keep(&[other.clone()], None, &never).unwrap().records, 1);
    assert_eq!(place.store().get(&other.key).unwrap(), Some(other));
}

#[test]
fn blobs_come_back_as_they_were_sent() {
    let place = Place::new();
    let large = large();
    let exact = large[..usize::try_from(PART).unwrap()].to_vec();
    let one = record("one", &[b"", b"small", &exact, &large]);
    let memory = source(&[b"", b"small", &exact, &large, b"inventory"]);
    place.store().keep(std::slice::from_ref(&one), Some(&memory), &Cancel::new()).unwrap();
    assert_eq!(place.paths().len(), 1 + 1 + 1 + 1 + 1 + 3);
    let store = place.store();
    let blob = &one.layers[3].descriptor;
    assert!(!store.exists(blob).unwrap(), "no record was read yet");
    store.get(&one.key).unwrap().unwrap();
    for (built, bytes) in one.layers.iter().zip([&b""[..], b"small", &exact, &large]) {
        assert!(store.exists(&built.descriptor).unwrap());
        assert_eq!(read_whole(&store, &built.descriptor, u64::MAX).unwrap(), bytes);
    }
    let content = store.fetch(blob).unwrap();
    for offset in [1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 12_344, 2 * PART + 12_345] {
        let mut rest = Vec::new();
        content.open(offset).unwrap().read_to_end(&mut rest).unwrap();
        assert!(rest == large[usize::try_from(offset).unwrap()..], "{offset}");
    }
    assert_eq!(store.push(blob, &BytesContent::new(large)).unwrap(), Transfer::Present);
}

#[test]
fn a_blob_that_is_gone_or_cut_is_not_there() {
    let large = large();
    let one = record("one", &[&large]);
    let memory = source(&[&large, b"inventory"]);
    for part in 0..3 {
        for is_cut in [false, true] {
            let place = Place::new();
            place.store().keep(std::slice::from_ref(&one), Some(&memory), &Cancel::new()).unwrap();
            let path = blob_path(&large, part);
            let bytes = place.read(&path).unwrap();
            if is_cut {
                place.write(&path, bytes[1..].to_vec())
            } else {
                place.delete(&path)
            }
            let store = place.store();
            store.get(&one.key).unwrap().unwrap();
            assert!(!store.exists(&one.layers[0].descriptor).unwrap());
            let fault = store.fetch(&one.layers[0].descriptor).err().unwrap();
            assert!(fault.is_absence(), "{fault}");
            // Whoever writes sends it again.
            let kept = store.keep(std::slice::from_ref(&one), Some(&memory), &Cancel::new()).unwrap();
            assert_eq!((kept.records, kept.blobs), (0, 1));
            assert!(read_whole(&place.store(), &one.layers[0].descriptor, u64::MAX).unwrap() == large);
        }
    }
}

#[test]
fn a_blob_that_goes_while_it_is_read_is_an_absence() {
    let (place, large) = (Place::new(), large());
    let one = record("one", &[&large]);
    place
        .store()
        .keep(std::slice::from_ref(&one), Some(&source(&[&large, b"inventory"])), &Cancel::new())
        .unwrap();
    let store = place.store();
    let content = store.fetch(&one.layers[0].descriptor).unwrap();
    place.delete(&blob_path(&large, 1));
    let error = content.open(0).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(!store.exists(&one.layers[0].descriptor).unwrap());
}

#[test]
fn a_damaged_blob_is_found_when_it_is_read_and_sent_again() {
    let (place, large) = (Place::new(), large());
    let one = record("one", &[&large]);
    let memory = source(&[&large, b"inventory"]);
    place.store().keep(std::slice::from_ref(&one), Some(&memory), &Cancel::new()).unwrap();
    for (part, at) in [(0, 0), (1, 5_000_000), (2, 12_344)] {
        let mut bytes = place.read(&blob_path(&large, part)).unwrap();
        bytes[at] ^= 0x40;
        place.write(&blob_path(&large, part), bytes);
        let store = place.store();
        store.get(&one.key).unwrap().unwrap();
        let blob = &one.layers[0].descriptor;
        assert!(store.exists(blob).unwrap(), "its size is what it should be");
        let fault = read_whole(&store, blob, u64::MAX).unwrap_err();
        assert!(matches!(fault, BlobError::Corrupt { .. }), "{fault}");
        assert!(!store.exists(blob).unwrap());
        let kept = store.keep(std::slice::from_ref(&one), Some(&memory), &Cancel::new()).unwrap();
        assert_eq!((kept.blobs, kept.bytes), (1, blob.size));
        assert!(store.exists(blob).unwrap());
        assert!(read_whole(&place.store(), blob, u64::MAX).unwrap() == large);
    }
}

#[test]
fn bytes_that_are_not_what_they_should_be_are_not_sent_whole() {
    let (place, large) = (Place::new(), large());
    let blob = Descriptor::of(MediaType::LAYER_GZIP, &large);
    let mut other = large.clone();
    *other.last_mut().unwrap() ^= 1;
    for wrong in [other, large[..large.len() - 1].to_vec(), [&large[..], b"x"].concat(), Vec::new()] {
        let fault = place.store().push(&blob, &BytesContent::new(wrong)).unwrap_err();
        assert!(matches!(fault, BlobError::Corrupt { .. }), "{fault}");
        assert!(!place.paths().contains(&blob_path(&large, 2)));
    }
}

#[test]
fn a_record_whose_blobs_cannot_be_had_is_kept_without() {
    let (place, one) = (Place::new(), record("one", &[b"a", b"b"]));
    place.store().keep(std::slice::from_ref(&one), Some(&source(&[b"a"])), &Cancel::new()).unwrap();
    let store = place.store();
    assert_eq!(store.get(&one.key).unwrap().unwrap().inventory, None);
    assert!(!store.exists(&one.layers[0].descriptor).unwrap());
}

#[test]
fn a_store_that_fails_is_told_once_and_left_alone() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let setup = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(ErrorKind::ConfigInvalid, "nobody knows where it is"))
    };
    let access = Access::new(Registry::default());
    let store = ObjectStore::with("gone".to_owned(), access, None, setup);
    let one = record("one", &[b"a"]);
    let fault = store.get(&one.key).unwrap_err();
    let cause = std::error::Error::source(&fault).unwrap().to_string();
    assert_eq!(format!("{fault}: {cause}"), "cannot use the cache `gone`: nobody knows where it is");
    assert_eq!(store.get(&one.key).unwrap(), None);
    assert_eq!(store.get(&key("two")).unwrap(), None);
    assert!(!store.exists(&one.layers[0].descriptor).unwrap());
    store.put(&one).unwrap();
    let kept = store.keep(&[one], Some(&source(&[b"a"])), &Cancel::new()).unwrap();
    assert_eq!(kept, Kept::default());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn who_is_cancelled_waits_for_nobody() {
    // Nobody answers there, and nobody says no.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}/a", listener.local_addr().unwrap());
    let mut access = Access::new(Registry::default());
    access.cancel = Cancel::new();
    let store = ObjectStore::new(&address.parse().unwrap(), &access);
    let cancel = access.cancel.clone();
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(200));
            cancel.cancel();
        });
        assert!(matches!(store.get(&key("one")), Err(CacheError::Cancelled(_))));
    });
    assert!(start.elapsed() < std::time::Duration::from_secs(3));
}

/// Blobs from somewhere slow, which counts how many are read at a time.
#[derive(Default)]
struct Slow {
    blobs: Memory,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct SlowContent {
    bytes: Vec<u8>,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Content for SlowContent {
    fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(100));
        self.now.fetch_sub(1, Ordering::SeqCst);
        BytesContent::new(self.bytes.clone()).open(offset)
    }
}

impl Source for Slow {
    fn place(&self) -> String {
        "somewhere slow".to_owned()
    }

    fn exists(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        self.blobs.exists(blob)
    }

    fn fetch(&self, blob: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let bytes = read_whole(&self.blobs, blob, u64::MAX)?;
        Ok(Box::new(SlowContent { bytes, now: Arc::clone(&self.now), most: Arc::clone(&self.most) }))
    }
}

#[test]
fn many_blobs_are_sent_at_a_time() {
    let (place, slow) = (Place::new(), Slow::default());
    let blobs: Vec<Vec<u8>> = (0..40_u8).map(|at| vec![at; 10]).collect();
    for blob in &blobs {
        slow.blobs.insert(MediaType::LAYER_GZIP, blob.clone());
    }
    slow.blobs.insert(MediaType::INVENTORY, b"inventory".to_vec());
    let records: Vec<Record> = blobs.iter().map(|blob| record(&format!("{}", blob[0]), &[blob])).collect();
    let kept = place.store().keep(&records, Some(&slow), &Cancel::new()).unwrap();
    assert_eq!((kept.records, kept.blobs, kept.bytes), (40, 41, 409));
    let most = slow.most.load(Ordering::SeqCst);
    assert!((8..=16).contains(&most), "{most}");
    for record in &records {
        assert_eq!(place.store().get(&record.key).unwrap().as_ref(), Some(record));
    }
}

#[test]
fn a_layer_is_kept_without_the_list_of_what_it_holds() {
    let (place, one) = (Place::new(), record("one", &[b"a", b"b"]));
    let never = Cancel::new();
    let kept = place.store().keep(std::slice::from_ref(&one), Some(&source(&[b"a", b"b"])), &never).unwrap();
    assert_eq!((kept.records, kept.blobs), (1, 2));
    let store = place.store();
    let found = store.get(&one.key).unwrap().unwrap();
    assert_eq!((found.inventory, &found.layers), (None, &one.layers));
    assert!(one.layers.iter().all(|layer| store.exists(&layer.descriptor).unwrap()));
}

#[test]
fn few_of_those_that_are_not_small_are_sent_at_a_time() {
    let (place, slow) = (Place::new(), Slow::default());
    let size = usize::try_from(crate::SMALL).unwrap() + 1;
    let blobs: Vec<Vec<u8>> = (0..8_u8).map(|at| vec![at; size]).collect();
    for blob in &blobs {
        slow.blobs.insert(MediaType::LAYER_GZIP, blob.clone());
    }
    let record = record("one", &blobs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let kept = place.store().keep(&[record], Some(&slow), &Cancel::new()).unwrap();
    assert_eq!((kept.records, kept.blobs), (1, 8));
    assert!(slow.most.load(Ordering::SeqCst) <= crate::LARGE_AT_ONCE);
}

/// A Redis that says these words, one to each who connects, and the last one to all others.
fn redis(words: &'static [&'static str]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("redis://{}/a", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().flatten().enumerate() {
            let mut said = [0; 64];
            let _ = (&stream).read(&mut said);
            let _ = write!(&stream, "{}\r\n", words[at.min(words.len() - 1)]);
        }
    });
    address
}

#[test]
fn what_a_redis_says_is_told_as_what_it_is() {
    let mut access = Access::new(Registry::default());
    access.variables.insert("REDIS_PASSWORD".to_owned(), "hidden".to_owned());
    let told = |words: &'static [&'static str]| {
        let fault = ObjectStore::new(&redis(words).parse().unwrap(), &access).get(&key("one")).unwrap_err();
        std::error::Error::source(&fault).unwrap().to_string()
    };
    let protected = "DENIED Redis is running in protected mode";
    assert_eq!(told(&["-DENIED Redis is running in protected mode"]), protected);
    // What may pass is asked again, and told if it doesn't.
    assert_eq!(told(&["-LOADING a dataset"]), "LOADING a dataset");
    let refusals: [&'static [&'static str]; 2] = [&["-WRONGPASS invalid pair"], &["-ERR invalid password"]];
    for said in refusals {
        let told = told(said);
        assert!(told.starts_with("it doesn't let these credentials do that: "), "{told}");
        assert!(told.contains("check `REDIS_USERNAME` and `REDIS_PASSWORD`"), "{told}");
    }
    assert!(told(&["-LOADING a dataset", "-WRONGPASS no"]).contains("WRONGPASS no"));
}

/// What answers each request as S3 does where there is no such bucket.
fn no_bucket() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |stream: std::net::TcpStream| -> std::io::Result<()> {
        let mut lines = BufReader::new(&stream).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let said = "<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>";
        let head = "HTTP/1.1 404 Not Found\r\ncontent-type: application/xml\r\nconnection: close";
        write!(&stream, "{head}\r\ncontent-length: {}\r\n\r\n{said}", said.len())?;
        // Until the other side has read it.
        std::io::copy(&mut &stream, &mut std::io::sink()).map(|_| ())
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

#[test]
fn a_bucket_that_is_not_there_is_told() {
    let mut access = Access::new(Registry::default());
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        access.variables.insert(name.to_owned(), "any".to_owned());
    }
    let address = format!("s3://elsewhere/a?endpoint=http://{}", no_bucket()).parse().unwrap();
    let told = |fault: CacheError| std::error::Error::source(&fault).unwrap().to_string();
    let one = record("one", &[b"a"]);
    let words = "there is no such bucket or container: make it, or correct the address";
    let reading = ObjectStore::new(&address, &access);
    let said = told(reading.get(&one.key).unwrap_err());
    assert!(said.starts_with(words), "{said}");
    assert_eq!(reading.get(&one.key).unwrap(), None);
    let said = told(ObjectStore::new(&address, &access).put(&one).unwrap_err());
    assert!(said.starts_with(words), "{said}");
}

#[test]
fn who_has_no_credentials_is_told_how_to_give_them() {
    let access = Access::new(Registry::default());
    let address = format!("s3://elsewhere/a?endpoint=http://{}", no_bucket()).parse().unwrap();
    let fault = ObjectStore::new(&address, &access).get(&key("one")).unwrap_err();
    assert_eq!(
        std::error::Error::source(&fault).unwrap().to_string(),
        "no credentials are known for it: give them by `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"
    );
}

#[test]
fn of_many_that_ask_at_a_time_one_is_told_of_a_failure() {
    let setup = || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        Err(Error::new(ErrorKind::ConfigInvalid, "nobody knows where it is"))
    };
    let store = ObjectStore::with("gone".to_owned(), Access::new(Registry::default()), None, setup);
    let told = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (store, told) = (&store, &told);
            scope.spawn(move || match store.get(&key(&at.to_string())) {
                Ok(found) => assert_eq!(found, None),
                Err(_) => drop(told.fetch_add(1, Ordering::SeqCst)),
            });
        }
    });
    assert_eq!(told.into_inner(), 1);
}
