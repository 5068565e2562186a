//! What a record says.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{DiffId, Digest};
use crate::inspect::Packed;
use crate::key::Key;
use crate::oci::{Descriptor, MediaType};

/// A layer that was built: its blob's descriptor, and the digest of its uncompressed bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BuiltLayer {
    /// The blob. What else a record that is read says of it than its kind, digest and size is nobody's
    /// to say: it would change the image that the record answers for.
    #[serde(deserialize_with = "plain")]
    pub descriptor: Descriptor,
    /// The digest of its tar bytes.
    pub diff_id: DiffId,
    /// Of one of several parts of a split layer: the key of what the part alone holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Key>,
}

fn plain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Descriptor, D::Error> {
    Descriptor::deserialize(deserializer).map(|descriptor| descriptor.plain())
}

impl BuiltLayer {
    /// Puts the two together.
    #[must_use]
    pub fn new(descriptor: Descriptor, diff_id: DiffId) -> Self {
        Self { descriptor, diff_id, part: None }
    }
}

/// Something that went into a layer and that its key is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Material {
    /// Its path below the root.
    pub name: String,
    /// The digest of its content.
    pub digest: Digest,
}

impl Material {
    /// Names a material.
    #[must_use]
    pub fn new(name: String, digest: Digest) -> Self {
        Self { name, digest }
    }
}

/// What a key was answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// The key it answers.
    pub key: Key,
    /// The key of what the layers hold, whatever key the record answers. None for a base's listing,
    /// and in records from before there was this field: those answer nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Key>,
    /// The blobs, bottom first: one, or several where a layer is split.
    pub layers: Vec<BuiltLayer>,
    /// The manifests that the key is made of.
    pub materials: Vec<Material>,
    /// The list of what the layers hold. None where the layers alone are known, as in an image that
    /// answered: then neither entries nor the length of the tar bytes are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Descriptor>,
    /// The machines that programs among the files are for, by Go's names, `mach-o` or `pe` for programs of
    /// other systems, and `brought` for what packages have for machines that the layer isn't for.
    pub machines: BTreeSet<String>,
    /// The number of entries; 0 without an inventory.
    pub entries: u64,
    /// The length of the tar bytes; 0 where it is not known.
    pub tar_size: u64,
    /// What was found in the layers' files; none where nobody looked, or there was too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection: Option<Packed>,
    /// Whether this is what the last build of a layer came to: its key says which layer, and nothing of
    /// what it holds, so it answers for none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_trace: bool,
}

impl Record {
    /// The version that is written; another is not understood.
    pub const VERSION: u32 = 1;

    /// Returns it as what the last build of a layer came to, under the layer's
    /// [`trace_key`](crate::layer::trace_key).
    #[must_use]
    pub fn traced(&self, key: Key) -> Self {
        Self { is_trace: true, materials: Vec::new(), ..self.under(key) }
    }

    /// Returns the same answer under another key.
    #[must_use]
    pub fn under(&self, key: Key) -> Self {
        Self { key, ..self.clone() }
    }

    /// Returns the record of a part alone, if it is one of a layer of several.
    pub(crate) fn part(&self, layer: &BuiltLayer) -> Option<Self> {
        let key = layer.part?;
        Some(Self {
            content: Some(key),
            layers: vec![BuiltLayer { part: None, ..layer.clone() }],
            materials: Vec::new(),
            inventory: None,
            entries: 0,
            tar_size: 0,
            inspection: None,
            is_trace: false,
            ..self.under(key)
        })
    }

    /// Returns it as places know it that have no blobs: without its inventory, which is one, and what is
    /// known from that. What stands inside the record stays.
    #[must_use]
    pub fn without_inventory(&self) -> Self {
        if self.inventory.as_ref().is_some_and(|inventory| inventory.data.is_some()) {
            return self.clone();
        }
        Self { inventory: None, entries: 0, tar_size: 0, ..self.clone() }
    }

    /// Tells whether a place that has this record has no need of `other`: whether it answers the same
    /// by it, and, if it has the blobs as well, knows what they hold.
    #[must_use]
    pub fn says_all_of(&self, other: &Self, with_blobs: bool) -> bool {
        let digest = |record: &Self| record.inventory.as_ref().map(|inventory| inventory.digest);
        let is_inspected = |record: &Self| record.inspection.as_ref().is_some_and(Packed::is_current);
        if other.is_listing() {
            return self.is_listing() && digest(self) == digest(other);
        }
        let knows = (!with_blobs || other.inventory.is_none() || self.inventory.is_some())
            && (!is_inspected(other) || is_inspected(self));
        // Which lockfiles went into it is known to who made it, and to none who was answered.
        knows
            && (self.content, &self.layers, &self.machines) == (other.content, &other.layers, &other.machines)
    }

    /// Tells whether this is what a key may be answered with.
    pub(super) fn answers(&self, key: &Key) -> bool {
        self.version == Self::VERSION && self.key == *key
    }

    /// Tells whether it stands for the listing of a base, whose layers are the base's.
    #[must_use]
    pub fn is_listing(&self) -> bool {
        self.inventory.as_ref().is_some_and(|inventory| inventory.media_type == MediaType::LISTING)
    }

    /// Tells whether it says what layers hold where checks ask, and names no layer.
    #[must_use]
    pub fn is_lookup(&self) -> bool {
        self.inventory.as_ref().is_some_and(|inventory| inventory.media_type == MediaType::LOOKUP)
    }

    /// Returns the blobs that a cache keeps for it: the layers and their inventory, or of a base the
    /// listing alone, unless that stands in the record itself.
    pub fn kept(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = if self.is_listing() { &[] } else { &self.layers[..] };
        let inventory = self.inventory.as_ref().filter(|inventory| inventory.data.is_none());
        layers.iter().map(|layer| &layer.descriptor).chain(inventory)
    }

    /// Returns the length of all blobs in bytes.
    #[must_use]
    pub fn blob_size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.descriptor.size).sum()
    }
}
