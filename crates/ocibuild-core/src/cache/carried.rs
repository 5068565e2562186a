//! Records that travel with an image: what the descriptors of its layers say of their keys.
//!
//! What is written follows from the layer alone, never from whether it was built or found, so that
//! the state of a cache can't change an image.

use std::collections::{BTreeMap, BTreeSet};

use crate::cache::{BuiltLayer, Record};
use crate::digest::DiffId;
use crate::key::Key;
use crate::oci::{Descriptor, annotation};

/// The most parts that a layer has.
const MAX_PARTS: usize = 128;

/// Returns a record's layers with annotations that let the image answer for them. `manifest` is the
/// key of the lockfiles that vouch for the layer, for the image's platform.
#[must_use]
pub fn carried(record: &Record, manifest: Option<&Key>) -> Vec<BuiltLayer> {
    let Some(content) = &record.content else { return record.layers.clone() };
    let keys: Vec<String> = std::iter::once(content).chain(manifest).map(Key::hex).collect();
    let count = record.layers.len();
    let of = |(index, built): (usize, &BuiltLayer)| {
        let descriptor = built.descriptor.clone();
        let descriptor = descriptor.with_annotation(annotation::KEY, keys.join(" "));
        let mut descriptor = descriptor.with_annotation(annotation::DIFF_ID, built.diff_id.to_string());
        if count > 1 {
            descriptor = descriptor.with_annotation(annotation::PART, format!("{}/{count}", index + 1));
        }
        if !record.machines.is_empty() {
            let machines: Vec<&str> = record.machines.iter().map(String::as_str).collect();
            descriptor = descriptor.with_annotation(annotation::MACHINES, machines.join(" "));
        }
        BuiltLayer::new(descriptor, built.diff_id)
    };
    record.layers.iter().enumerate().map(of).collect()
}

/// Takes away what a descriptor says of keys.
pub fn uncarried(descriptor: &mut Descriptor) {
    descriptor.annotations.retain(|name, _| !name.starts_with(annotation::OWN));
}

/// Returns the records that an image's layers carry, by the keys that they answer. A layer that says
/// something else than its config, or of which a part is missing, carries none.
#[must_use]
pub fn records_of(layers: &[Descriptor], diff_ids: &[DiffId]) -> BTreeMap<Key, Record> {
    let mut groups: BTreeMap<&str, Vec<Label>> = BTreeMap::new();
    for (descriptor, diff_id) in layers.iter().zip(diff_ids) {
        let Some(keys) = descriptor.annotations.get(annotation::KEY) else { continue };
        groups.entry(keys).or_default().extend(Label::read(descriptor, *diff_id));
    }
    let mut records = BTreeMap::new();
    for (keys, labels) in groups {
        for record in whole(keys, &labels).into_iter().flatten() {
            records.entry(record.key).or_insert(record);
        }
    }
    records
}

/// What a layer's descriptor says of it, beside its keys.
struct Label {
    part: usize,
    count: usize,
    machines: BTreeSet<String>,
    layer: BuiltLayer,
}

impl Label {
    fn read(descriptor: &Descriptor, diff_id: DiffId) -> Option<Self> {
        let said = |name| descriptor.annotations.get(name).map(String::as_str);
        if said(annotation::DIFF_ID) != Some(diff_id.to_string().as_str()) {
            return None;
        }
        let (part, count) = match said(annotation::PART) {
            None => (1, 1),
            Some(part) => {
                let (part, count) = part.split_once('/')?;
                (part.parse().ok()?, count.parse().ok()?)
            }
        };
        let is_part = (1..=count).contains(&part) && count <= MAX_PARTS;
        let machines = said(annotation::MACHINES).unwrap_or_default();
        let machines = machines.split_whitespace().map(str::to_owned).collect();
        let mut descriptor = descriptor.clone();
        uncarried(&mut descriptor);
        is_part.then(|| Self { part, count, machines, layer: BuiltLayer::new(descriptor, diff_id) })
    }
}

/// Puts the parts of a layer together; a record for each key.
fn whole(keys: &str, labels: &[Label]) -> Option<Vec<Record>> {
    let first = labels.first()?;
    let mut parts: Vec<Option<&Label>> = vec![None; first.count];
    for label in labels.iter().filter(|label| label.count == first.count) {
        parts[label.part - 1].get_or_insert(label);
    }
    let parts: Vec<&Label> = parts.into_iter().collect::<Option<_>>()?;
    let keys: Vec<Key> = keys.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let content = *keys.first()?;
    let record = |key: &Key| Record {
        version: Record::VERSION,
        key: *key,
        content: Some(content),
        layers: parts.iter().map(|part| part.layer.clone()).collect(),
        materials: Vec::new(),
        inventory: None,
        machines: parts.iter().flat_map(|part| part.machines.clone()).collect(),
        entries: 0,
        tar_size: 0,
    };
    Some(keys.iter().map(record).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::key::KeyWriter;
    use crate::oci::MediaType;

    fn key(name: &str) -> Key {
        KeyWriter::new(name, 1).finish()
    }

    fn record(blobs: &[&str], content: &str) -> Record {
        let built = |blob: &&str| {
            let descriptor = Descriptor::of(MediaType::LAYER_GZIP, blob.as_bytes());
            let descriptor = descriptor.with_annotation("org.example.foreign", "kept");
            BuiltLayer::new(descriptor, DiffId(Digest::of(format!("tar {blob}").as_bytes())))
        };
        Record {
            version: Record::VERSION,
            key: key(content),
            content: Some(key(content)),
            layers: blobs.iter().map(built).collect(),
            materials: Vec::new(),
            inventory: None,
            machines: BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]),
            entries: 0,
            tar_size: 0,
        }
    }

    fn read(layers: &[BuiltLayer]) -> BTreeMap<Key, Record> {
        let (descriptors, diff_ids): (Vec<_>, Vec<_>) =
            layers.iter().map(|layer| (layer.descriptor.clone(), layer.diff_id)).unzip();
        records_of(&descriptors, &diff_ids)
    }

    #[test]
    fn what_an_image_carries_is_read_back() {
        let (one, parts) = (record(&["a"], "one"), record(&["b", "c", "d"], "parts"));
        let lock = key("lock");
        let mut layers = carried(&parts, None);
        layers.extend(carried(&one, Some(&lock)));
        let found = read(&layers);
        assert_eq!(found.len(), 3);
        assert_eq!(found[&key("one")], one);
        assert_eq!(found[&lock], one.under(lock));
        assert_eq!(found[&key("parts")], parts);
        // The order in the image is nobody's promise.
        layers.reverse();
        assert_eq!(read(&layers)[&key("parts")], parts);
    }

    #[test]
    fn a_layer_that_is_not_whole_or_not_what_it_says_answers_nothing() {
        let parts = carried(&record(&["b", "c"], "parts"), None);
        assert!(read(&parts[..1]).is_empty());
        let change = |name: &str, value: &str| {
            let mut layers = parts.clone();
            layers[1].descriptor.annotations.insert(name.to_owned(), value.to_owned());
            read(&layers).len()
        };
        assert_eq!(change("org.example.foreign", "other"), 1);
        for (name, value) in [
            (annotation::DIFF_ID, parts[0].diff_id.to_string().as_str()),
            (annotation::PART, "1/2"),
            (annotation::PART, "0/2"),
            (annotation::PART, "3/2"),
            (annotation::PART, "2/3"),
            (annotation::PART, "2"),
            (annotation::PART, "2/99999999999999999999"),
            (annotation::KEY, "other"),
        ] {
            assert_eq!(change(name, value), 0, "{name} {value}");
        }
        for keys in ["", "k", "00 "] {
            let mut layers = carried(&record(&["a"], "one"), None);
            layers[0].descriptor.annotations.insert(annotation::KEY.to_owned(), keys.to_owned());
            assert!(read(&layers).is_empty(), "{keys:?}");
        }
    }

    #[test]
    fn foreign_annotations_stay() {
        let mut layer = carried(&record(&["a"], "one"), None).remove(0).descriptor;
        assert_eq!(layer.annotations.len(), 4);
        uncarried(&mut layer);
        assert_eq!(layer, record(&["a"], "one").layers[0].descriptor);
    }
}
