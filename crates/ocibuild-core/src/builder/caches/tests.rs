//! Where blobs are looked for, and how often.

use super::*;
use crate::blob::{Memory, PlaceFault};
use crate::oci::MediaType;

/// A place that notes how many blobs it is asked for at a time.
struct Asked {
    has: Memory,
    is_broken: bool,
    asked: Mutex<Vec<usize>>,
}

impl Asked {
    fn having(blobs: &[Descriptor], is_broken: bool) -> Arc<Self> {
        let has = Memory::new();
        for blob in blobs {
            has.insert(blob.media_type.clone(), content(blob.size));
        }
        Arc::new(Self { has, is_broken, asked: Mutex::default() })
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
        if self.is_broken {
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

fn blobs(own: &Arc<Asked>, distrusted: &[Descriptor]) -> Blobs {
    let distrusted = distrusted.iter().map(|blob| blob.digest).collect();
    let elsewhere: Vec<Whereabout> = Vec::new();
    Blobs { own: Arc::clone(own) as _, elsewhere: elsewhere.into(), distrusted, known: Mutex::default() }
}

#[test]
fn the_parts_of_a_layer_are_asked_for_together_and_once() {
    let parts = parts();
    let own = Asked::having(&parts[..70], false);
    let blobs = blobs(&own, &parts[..1]);
    let lacking = [&parts[..1], &parts[70..]].concat();
    // Under each of its keys, and then each part by itself.
    for _ in 0..3 {
        assert_eq!(blobs.lacking(&parts).unwrap(), lacking);
    }
    for part in &parts {
        assert_eq!(blobs.exists(part).unwrap(), !lacking.contains(part));
    }
    assert_eq!(*lock(&own.asked), [71]);
    assert!(blobs.fetch(&parts[1]).is_ok());
}

#[test]
fn what_could_not_be_asked_is_a_fault_and_may_be_asked_again() {
    let parts = parts();
    let own = Asked::having(&parts, true);
    let blobs = blobs(&own, &[]);
    assert!(blobs.lacking(&parts).is_err() && blobs.exists(&parts[0]).is_err());
    assert_eq!(*lock(&own.asked), [72, 1]);
    assert_eq!(blobs.lacking(&[]).unwrap(), []);
}
