//! Debian's Redis and an S3 server: blobs of every size, many writers at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read as _;

use ocibuild_cache_opendal::{Access, ObjectStore};
use ocibuild_core::blob::{BlobError, BytesContent, Memory, Sink as _, Source as _, read_whole};
use ocibuild_core::cache::{Record, RecordSink as _, RecordStore as _};
use ocibuild_core::event::Transfer;
use ocibuild_core::key::KeyWriter;
use ocibuild_core::oci::MediaType;
use ocibuild_core::{Cancel, Descriptor, Digest, Registry};
use ocibuild_testkit::{Missing, Redis, S3, Store, skip};
use serde_json::json;

fn each(test: &str, judge: impl Fn(&dyn Store)) {
    let tell = |missing: Missing| skip(test, &format!("it needs {missing}"));
    match Redis::start() {
        Ok(redis) => judge(&redis),
        Err(missing) => tell(missing),
    }
    match S3::start() {
        Ok(s3) => judge(&s3),
        Err(missing) => tell(missing),
    }
}

/// Another machine's view of a store.
fn open(store: &dyn Store, prefix: &str) -> ObjectStore {
    let mut access = Access::new(Registry::default());
    let variables = store.credentials().into_iter();
    access.variables = variables.map(|(name, value)| (name.to_owned(), value)).collect();
    ObjectStore::new(&store.address(prefix).parse().unwrap(), &access)
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

fn record(name: &str, blobs: &[&[u8]]) -> Record {
    let key = KeyWriter::new(name, 1).finish();
    let layer = |blob: &&[u8]| json!({ "descriptor": Descriptor::of(MediaType::LAYER_GZIP, blob), "diffId": Digest::of(b"tar") });
    let record = json!({
        "version": Record::VERSION, "key": key, "content": key,
        "layers": blobs.iter().map(layer).collect::<Vec<_>>(),
        "materials": [], "machines": [], "entries": 0, "tarSize": 0,
    });
    serde_json::from_value(record).unwrap()
}

const SIZES: [usize; 5] = [0, 1, 8 << 20, (8 << 20) + 1, 20_000_000];

#[test]
fn blobs_of_every_size_come_back() {
    each(ocibuild_testkit::this_function!(), |place| {
        let all = SIZES.map(bytes);
        let slices = all.each_ref().map(Vec::as_slice);
        let (record, memory) = (record("all", &slices), Memory::new());
        for blob in &all {
            memory.insert(MediaType::LAYER_GZIP, blob.clone());
        }
        let kept = open(place, "a").keep(std::slice::from_ref(&record), Some(&memory), &Cancel::new());
        let kept = kept.unwrap();
        assert_eq!((kept.records, kept.blobs), (1, 5), "{}", place.name());
        let store = open(place, "a");
        assert_eq!(store.get(&record.key).unwrap(), Some(record.clone()));
        for (built, blob) in record.layers.iter().zip(&all) {
            assert!(store.exists(&built.descriptor).unwrap());
            assert!(read_whole(&store, &built.descriptor, u64::MAX).unwrap() == *blob, "{}", blob.len());
            let (content, half) = (store.fetch(&built.descriptor).unwrap(), blob.len() / 2);
            let mut rest = Vec::new();
            content.open(half as u64).unwrap().read_to_end(&mut rest).unwrap();
            assert!(rest == blob[half..], "{}", blob.len());
            let again = store.push(&built.descriptor, &BytesContent::new(blob.clone())).unwrap();
            assert_eq!(again, Transfer::Present);
        }
    });
}

#[test]
fn what_is_not_as_described_is_not_there() {
    each(ocibuild_testkit::this_function!(), |place| {
        let store = open(place, "a");
        for size in SIZES {
            let blob = Descriptor::of(MediaType::LAYER_GZIP, &bytes(size));
            let mut wrong = bytes(size);
            wrong.push(0);
            let fault = store.push(&blob, &BytesContent::new(wrong)).unwrap_err();
            assert!(matches!(fault, BlobError::Corrupt { .. }), "{fault}");
            assert_eq!(open(place, "a").missing(std::slice::from_ref(&blob)).unwrap(), [blob], "{size}");
        }
    });
}

#[test]
fn many_that_write_at_once_lose_nothing() {
    each(ocibuild_testkit::this_function!(), |place| {
        let all = bytes(9_000_000);
        let blob = Memory::new();
        blob.insert(MediaType::LAYER_GZIP, all.clone());
        let shared = record("shared", &[&all]);
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (shared, all, blob) = (&shared, &all, &blob);
                let store = open(place, "a");
                scope.spawn(move || {
                    let own = record(&format!("own {writer}"), &[all]);
                    store.keep(&[shared.clone(), own], Some(blob), &Cancel::new()).unwrap();
                });
            }
        });
        let store = open(place, "a");
        for name in (0..8).map(|writer| format!("own {writer}")).chain(["shared".to_owned()]) {
            let own = record(&name, &[&all]);
            assert_eq!(store.get(&own.key).unwrap(), Some(own), "{}: {name}", place.name());
        }
        assert!(read_whole(&store, &shared.layers[0].descriptor, u64::MAX).unwrap() == all);
    });
}
