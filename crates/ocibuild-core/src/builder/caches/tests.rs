//! Where blobs are looked for, and how often.

use super::*;
use crate::blob::{Memory, PlaceFault};
use crate::oci::MediaType;

/// A place that notes how many blobs it is asked for at a time.
struct Asked {
    has: Memory,
    /// How many questions it doesn't answer.
    broken: Mutex<usize>,
    asked: Mutex<Vec<usize>>,
}

impl Asked {
    fn having(blobs: &[Descriptor], broken: usize) -> Arc<Self> {
        let has = Memory::new();
        for blob in blobs {
            has.insert(blob.media_type.clone(), content(blob.size));
        }
        Arc::new(Self { has, broken: broken.into(), asked: Mutex::default() })
    }
}

impl Source for Asked {
    fn place(&self) -> String {
        "it".to_owned()
    }

    fn exists(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        self.has.exists(blob)
    }

    fn lacking(&self, blobs: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        lock(&self.asked).push(blobs.len());
        let mut broken = lock(&self.broken);
        if *broken > 0 {
            *broken -= 1;
            let source = "no answer".into();
            return Err(BlobError::Place { place: "it".to_owned(), fault: PlaceFault::Unavailable, source });
        }
        self.has.lacking(blobs)
    }

    fn fetch(&self, blob: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        self.has.fetch(blob)
    }
}

fn content(size: u64) -> Vec<u8> {
    std::iter::repeat_n(b'x', size as usize).collect()
}

fn parts() -> Vec<Descriptor> {
    (1..=72).map(|size| Descriptor::of(MediaType::LAYER, &content(size))).collect()
}

/// The blobs of a place, with a destination beside it.
fn beside(own: &Arc<Asked>, destination: &Arc<Asked>) -> Blobs {
    let places: Vec<Arc<dyn Source>> = vec![Arc::clone(destination) as _];
    let beside = Arc::new(Beside { places, destinations: 1, lacks: Mutex::default() });
    Blobs { beside, ..blobs(own, &[]) }
}

fn blobs(own: &Arc<Asked>, distrusted: &[Descriptor]) -> Blobs {
    let distrusted = distrusted.iter().map(|blob| blob.digest).collect();
    Blobs { own: Arc::clone(own) as _, beside: Arc::default(), distrusted, known: Mutex::default() }
}

#[test]
fn the_parts_of_a_layer_are_asked_for_together_and_once() {
    let parts = parts();
    let own = Asked::having(&parts[..70], 0);
    let blobs = blobs(&own, &parts[..1]);
    let lacking = [&parts[..1], &parts[70..]].concat();
    // Under each of its keys, and then each part by itself.
    for _ in 0..3 {
        assert_eq!(blobs.lacking(&parts).unwrap(), lacking);
    }
    for part in &parts {
        assert_eq!(blobs.exists(part).unwrap(), !lacking.contains(part));
    }
    // What it hasn't is its own to remember, as it may learn of more.
    assert_eq!(*lock(&own.asked), [71, 2, 2, 1, 1]);
    assert!(blobs.fetch(&parts[1]).is_ok());
}

#[test]
fn what_could_not_be_asked_is_a_fault_and_may_be_asked_again() {
    let parts = parts();
    let own = Asked::having(&parts, 2);
    let blobs = blobs(&own, &[]);
    assert!(blobs.lacking(&parts).is_err() && blobs.exists(&parts[0]).is_err());
    assert_eq!(*lock(&own.asked), [72, 1]);
    assert_eq!(blobs.lacking(&[]).unwrap(), []);
}

#[test]
fn what_a_place_learns_of_later_is_there() {
    let parts = parts();
    let own = Asked::having(&[], 0);
    let blobs = blobs(&own, &[]);
    assert_eq!(blobs.lacking(&parts).unwrap(), parts);
    for part in &parts[..70] {
        own.has.insert(part.media_type.clone(), content(part.size));
    }
    assert_eq!(blobs.lacking(&parts).unwrap(), parts[70..]);
    assert!(blobs.exists(&parts[0]).unwrap());
}

#[test]
fn a_destination_is_asked_once_for_what_it_has_not() {
    let parts = parts();
    let (own, destination) = (Asked::having(&parts[..1], 0), Asked::having(&parts[1..70], 0));
    let blobs = beside(&own, &destination);
    for _ in 0..3 {
        assert_eq!(blobs.lacking(&parts).unwrap(), parts[70..]);
    }
    assert_eq!(*lock(&destination.asked), [72]);
    assert_eq!(*lock(&own.asked), [3, 2, 2]);
}

#[test]
fn a_question_that_fails_at_a_destination_is_told_and_asked_again() {
    let parts = parts();
    let (own, destination) = (Asked::having(&[], 0), Asked::having(&parts, 1));
    let blobs = beside(&own, &destination);
    assert!(matches!(blobs.lacking(&parts), Err(BlobError::Place { .. })));
    assert_eq!(blobs.lacking(&parts).unwrap(), []);
    assert_eq!(*lock(&destination.asked), [72, 72]);
    // Of no matter where another place has them.
    let (own, destination) = (Asked::having(&parts, 0), Asked::having(&parts, 1));
    assert_eq!(beside(&own, &destination).lacking(&parts).unwrap(), []);
}
