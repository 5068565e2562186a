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
        if let Some(part) = &built.part {
            descriptor = descriptor.with_annotation(annotation::PART_KEY, part.hex());
        }
        if !record.machines.is_empty() {
            let machines: Vec<&str> = record.machines.iter().map(String::as_str).collect();
            descriptor = descriptor.with_annotation(annotation::MACHINES, machines.join(" "));
        }
        BuiltLayer { descriptor, ..built.clone() }
    };
    record.layers.iter().enumerate().map(of).collect()
}

/// Takes away what a descriptor says of keys.
pub fn uncarried(descriptor: &mut Descriptor) {
    descriptor.annotations.retain(|name, _| !name.starts_with(annotation::OWN));
}

/// Returns the records that an image's layers carry, by the keys that they answer. A layer that says
/// something else than its config carries none; one of which a part is missing, those of its parts.
#[must_use]
pub fn records_of(layers: &[Descriptor], diff_ids: &[DiffId]) -> BTreeMap<Key, Record> {
    let mut groups: BTreeMap<&str, Vec<Label>> = BTreeMap::new();
    for (descriptor, diff_id) in layers.iter().zip(diff_ids) {
        let Some(keys) = descriptor.annotations.get(annotation::KEY) else { continue };
        groups.entry(keys).or_default().extend(Label::read(descriptor, *diff_id));
    }
    let mut records = BTreeMap::new();
    for record in groups.values().flatten().filter_map(Label::alone) {
        records.entry(record.key).or_insert(record);
    }
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
        let key: Option<Key> = said(annotation::PART_KEY).map(str::parse).transpose().ok()?;
        let is_told_apart = (count > 1) == key.is_some();
        // What others wrote on the image's layers is theirs: a layer is the same whatever answers for it.
        let layer = BuiltLayer { descriptor: descriptor.plain(), diff_id, part: key };
        (is_part && is_told_apart).then_some(Self { part, count, machines, layer })
    }

    /// Of one of several parts, the record of what it alone holds.
    fn alone(&self) -> Option<Record> {
        let key = self.layer.part?;
        let layer = BuiltLayer { part: None, ..self.layer.clone() };
        Some(record(&[key], vec![layer], self.machines.clone()).remove(0))
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
    let machines = parts.iter().flat_map(|part| part.machines.clone()).collect();
    Some(record(&keys, parts.iter().map(|part| part.layer.clone()).collect(), machines))
}

/// Makes a record for each of these keys, the first of which is that of the content.
fn record(keys: &[Key], layers: Vec<BuiltLayer>, machines: BTreeSet<String>) -> Vec<Record> {
    let record = |key: &Key| Record {
        inspection: None,
        version: Record::VERSION,
        key: *key,
        content: keys.first().copied(),
        layers: layers.clone(),
        materials: Vec::new(),
        inventory: None,
        machines: machines.clone(),
        entries: 0,
        tar_size: 0,
        is_trace: false,
    };
    keys.iter().map(record).collect()
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
            let diff_id = DiffId(Digest::of(format!("tar {blob}").as_bytes()));
            BuiltLayer { descriptor, diff_id, part: (blobs.len() > 1).then(|| key(blob)) }
        };
        Record {
            inspection: None,
            version: Record::VERSION,
            key: key(content),
            content: Some(key(content)),
            layers: blobs.iter().map(built).collect(),
            materials: Vec::new(),
            inventory: None,
            machines: BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]),
            entries: 0,
            tar_size: 0,
            is_trace: false,
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
        assert_eq!(found.len(), 3 + 3);
        assert_eq!(found[&key("one")], one);
        assert_eq!(found[&lock], one.under(lock));
        assert_eq!(found[&key("parts")], parts);
        // A part alone is a layer like any other.
        let part = BuiltLayer { part: None, ..parts.layers[1].clone() };
        let of_part = Record { content: Some(key("c")), layers: vec![part], ..parts.under(key("c")) };
        assert_eq!(found[&key("c")], of_part);
        // The order in the image is nobody's promise.
        layers.reverse();
        assert_eq!(read(&layers)[&key("parts")], parts);
    }

    #[test]
    fn a_layer_that_is_not_whole_or_not_what_it_says_answers_nothing() {
        let parts = carried(&record(&["b", "c"], "parts"), None);
        let keys = |layers: &[BuiltLayer]| read(layers).into_keys().collect::<BTreeSet<Key>>();
        assert_eq!(keys(&parts[..1]), BTreeSet::from([key("b")]), "the part that is there");
        let change = |name: &str, value: &str| {
            let mut layers = parts.clone();
            layers[1].descriptor.annotations.insert(name.to_owned(), value.to_owned());
            keys(&layers)
        };
        let all = [key("parts"), key("b"), key("c")];
        assert_eq!(change("org.example.foreign", "other"), BTreeSet::from(all));
        for (name, value) in [
            (annotation::DIFF_ID, parts[0].diff_id.to_string().as_str()),
            (annotation::PART, "1/2"),
            (annotation::PART, "0/2"),
            (annotation::PART, "3/2"),
            (annotation::PART, "2/3"),
            (annotation::PART, "2"),
            (annotation::PART, "2/99999999999999999999"),
            (annotation::PART_KEY, "other"),
            (annotation::KEY, "other"),
        ] {
            let found = change(name, value);
            assert!(!found.contains(&key("parts")) && found.contains(&key("b")), "{name} {value}");
        }
        let mut layers = parts.clone();
        layers.iter_mut().for_each(|layer| drop(layer.descriptor.annotations.remove(annotation::PART_KEY)));
        assert!(read(&layers).is_empty(), "an image would be another than one of parts with keys");
        for keys in ["", "k", "00 "] {
            let mut layers = carried(&record(&["a"], "one"), None);
            layers[0].descriptor.annotations.insert(annotation::KEY.to_owned(), keys.to_owned());
            assert!(read(&layers).is_empty(), "{keys:?}");
        }
    }

    #[test]
    fn nothing_comes_along_that_the_layer_does_not_say_itself() {
        let expected = record(&["a"], "one");
        let mut layers = carried(&expected, None);
        let descriptor = &mut layers[0].descriptor;
        descriptor.annotations.insert("org.example.foreign".to_owned(), "theirs".to_owned());
        descriptor.annotations.insert(format!("{}later", annotation::OWN), "ours".to_owned());
        descriptor.urls.push("https://example.com/a".to_owned());
        descriptor.platform = Some(crate::oci::Platform::linux_amd64());
        descriptor.artifact_type = Some(MediaType::LAYER);
        descriptor.data = Some("YQ==".to_owned());
        let found = read(&layers);
        assert_eq!(found[&key("one")], expected);
        // The same of records that are written down.
        let noted = Record { layers, ..expected.clone() };
        let read: Record = serde_json::from_slice(&crate::oci::to_json(&noted)).unwrap();
        assert_eq!(read, expected);
    }

    #[test]
    fn of_a_base_foreign_annotations_stay() {
        let mut layer = carried(&record(&["a"], "one"), None).remove(0).descriptor;
        layer.annotations.insert("org.example.foreign".to_owned(), "kept".to_owned());
        assert_eq!(layer.annotations.len(), 4);
        uncarried(&mut layer);
        assert_eq!(layer.annotations.keys().collect::<Vec<_>>(), ["org.example.foreign"]);
    }
}
