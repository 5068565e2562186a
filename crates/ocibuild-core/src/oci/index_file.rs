//! An index that several tools write into, of which others' parts are kept to the byte: a layout's
//! `index.json`, and the list of referrers behind a registry's fallback tag.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::oci::{Descriptor, JsonError, MAX_MANIFEST_SIZE, MediaType, annotation, from_json, to_json};

/// An index: entries and other fields as they were read.
#[derive(Debug)]
pub(crate) struct IndexFile {
    fields: BTreeMap<String, Box<RawValue>>,
    manifests: Vec<Box<RawValue>>,
}

impl Default for IndexFile {
    fn default() -> Self {
        let fields = [("schemaVersion", raw(&2)), ("mediaType", raw(&MediaType::INDEX))];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { fields, manifests: Vec::new() }
    }
}

/// As much of an entry as any has.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl IndexFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        let mut fields: BTreeMap<String, Box<RawValue>> = from_json(bytes)?;
        let manifests: Option<Vec<Box<RawValue>>> = match fields.remove("manifests") {
            Some(raw) => serde_json::from_str(raw.get()).map_err(JsonError::Form)?,
            None => None,
        };
        Ok(Self { fields, manifests: manifests.unwrap_or_default() })
    }

    /// Returns the entries that this library can follow.
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        self.manifests.iter().filter_map(|entry| read(entry)).collect()
    }

    /// Returns the entries of this name.
    pub(crate) fn named(&self, name: &str) -> Vec<Descriptor> {
        self.manifests.iter().filter(|entry| has_name(entry, name)).filter_map(|entry| read(entry)).collect()
    }

    /// Returns what a user may mean by a name: the entries of this name, or else those of this full
    /// name.
    pub(crate) fn called(&self, name: &str) -> Vec<Descriptor> {
        match self.named(name) {
            found if !found.is_empty() => found,
            _ => {
                let has = |entry: &Descriptor| {
                    entry.annotations.get(annotation::CONTAINERD_NAME).is_some_and(|full| full == name)
                };
                self.descriptors().into_iter().filter(has).collect()
            }
        }
    }

    /// Adds an entry that has no name, unless what it describes is there; tells whether anything
    /// changed.
    pub(crate) fn add(&mut self, entry: &Descriptor) -> bool {
        let is_new = self.descriptors().iter().all(|known| known.digest != entry.digest);
        if is_new {
            self.manifests.push(raw(entry));
        }
        is_new
    }

    /// Puts an entry in the place of all of its name, at the first one's position, or last; tells
    /// whether anything changed.
    pub(crate) fn put(&mut self, name: &str, entry: &Descriptor) -> bool {
        let new = raw(entry);
        let before: Vec<usize> =
            (0..self.manifests.len()).filter(|&at| has_name(&self.manifests[at], name)).collect();
        if let [only] = before[..]
            && read::<Descriptor>(&self.manifests[only]).as_ref() == Some(entry)
        {
            return false;
        }
        self.manifests.retain(|entry| !has_name(entry, name));
        let position = before.first().copied().unwrap_or(self.manifests.len());
        self.manifests.insert(position, new);
        true
    }

    /// Drops all entries of this name; tells whether there were any.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|entry| !has_name(entry, name));
        self.manifests.len() != before
    }

    /// Drops all entries of this digest that have no name; tells whether there were any.
    pub(crate) fn remove_unnamed(&mut self, digest: &Digest) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|entry| {
            !read::<Descriptor>(entry).is_some_and(|entry| {
                entry.digest == *digest && !entry.annotations.contains_key(annotation::REF_NAME)
            })
        });
        self.manifests.len() != before
    }

    /// Writes the index: fields in order, no white space of ours.
    ///
    /// # Errors
    /// [`JsonError::TooLarge`] if nobody could read it again.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        let manifests = serde_json::value::to_raw_value(&self.manifests).map_err(JsonError::Form)?;
        let mut fields: BTreeMap<&str, &RawValue> =
            self.fields.iter().map(|(name, value)| (name.as_str(), &**value)).collect();
        fields.insert("manifests", &manifests);
        let bytes = serde_json::to_vec(&fields).map_err(JsonError::Form)?;
        match bytes.len() as u64 {
            size if size > MAX_MANIFEST_SIZE => Err(JsonError::TooLarge { size }),
            _ => Ok(bytes),
        }
    }
}

fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    let text = String::from_utf8(to_json(value)).expect("JSON is UTF-8");
    RawValue::from_string(text).expect("what was written as JSON is JSON")
}

fn read<T: DeserializeOwned>(entry: &RawValue) -> Option<T> {
    serde_json::from_str(entry.get()).ok()
}

fn has_name(entry: &RawValue, name: &str) -> bool {
    let annotations = read::<Named>(entry).and_then(|entry| entry.annotations);
    annotations
        .is_some_and(|annotations| annotations.get(annotation::REF_NAME).is_some_and(|one| one == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, bytes: &[u8]) -> Descriptor {
        Descriptor::of(MediaType::MANIFEST, bytes).with_annotation(annotation::REF_NAME, name)
    }

    fn text(index: &IndexFile) -> String {
        String::from_utf8(index.to_bytes().unwrap()).unwrap()
    }

    #[test]
    fn the_first_entry_makes_a_valid_index() {
        let mut index = IndexFile::default();
        assert!(index.put("a", &entry("a", b"one")));
        let parsed: crate::oci::Index = from_json(&index.to_bytes().unwrap()).unwrap();
        assert_eq!(parsed, crate::oci::Index::new(vec![entry("a", b"one")]));
        assert!(!index.put("a", &entry("a", b"one")));
    }

    #[test]
    fn what_others_wrote_is_kept_to_the_byte() {
        let foreign = r#"{"mediaType":"x/y", "digest":"blake3:00","size":1.50e2,"future":{"b":1,"a":90071992547409931234}}"#;
        let before = format!(r#"{{"zeta":[ 1.0 ],"manifests":[{foreign}],"schemaVersion":2}}"#);
        let mut index = IndexFile::parse(before.as_bytes()).unwrap();
        assert!(index.descriptors().is_empty());
        index.put("a", &entry("a", b"one"));
        let own = String::from_utf8(to_json(&entry("a", b"one"))).unwrap();
        let after = format!(r#"{{"manifests":[{foreign},{own}],"schemaVersion":2,"zeta":[ 1.0 ]}}"#);
        assert_eq!(text(&index), after);
    }

    #[test]
    fn a_name_keeps_its_position_and_loses_its_doubles() {
        let mut index = IndexFile::default();
        for name in ["a", "b", "c"] {
            index.put(name, &entry(name, name.as_bytes()));
        }
        index.manifests.push(raw(&entry("b", b"double")));
        assert!(index.put("b", &entry("b", b"new")));
        assert_eq!(index.descriptors(), [entry("a", b"a"), entry("b", b"new"), entry("c", b"c")]);
        assert_eq!(index.named("b"), [entry("b", b"new")]);
    }

    #[test]
    fn what_is_there_by_any_name_is_not_added() {
        let mut index = IndexFile::default();
        index.put("a", &entry("a", b"one"));
        assert!(!index.add(&Descriptor::of(MediaType::MANIFEST, b"one")));
        assert!(index.add(&Descriptor::of(MediaType::MANIFEST, b"two")));
        assert_eq!(index.descriptors().len(), 2);
    }

    #[test]
    fn a_full_name_counts_where_no_short_one_does() {
        let mut index = IndexFile::default();
        let full = |entry: Descriptor| entry.with_annotation(annotation::CONTAINERD_NAME, "r.io/a:1");
        index.put("1", &full(entry("1", b"one")));
        assert_eq!(index.called("1"), index.called("r.io/a:1"));
        index.put("r.io/a:1", &entry("r.io/a:1", b"two"));
        assert_eq!(index.called("r.io/a:1"), [entry("r.io/a:1", b"two")]);
        assert!(index.called("2").is_empty());
    }

    #[test]
    fn null_and_missing_lists_are_empty() {
        for text in [r#"{"schemaVersion":2,"manifests":null}"#, "{}"] {
            assert!(IndexFile::parse(text.as_bytes()).unwrap().descriptors().is_empty());
        }
        for text in ["", "[]", r#"{"manifests":1}"#, r#"{"manifests":[}"#] {
            assert!(IndexFile::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
