//! What manifests say of others, remembered: a digest always means the same.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use ocibuild_core::Digest;
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Descriptor, MAX_MANIFEST_SIZE, MediaType, from_json};
use serde::Deserialize;

use super::lock;

/// How many documents are remembered; beyond that all are read anew.
const MAX_REMEMBERED: usize = 20_000;

/// As much of a manifest or an index as a registry has to know.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) media_type: Option<MediaType>,
    pub(crate) artifact_type: Option<MediaType>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Option<Vec<Descriptor>>,
    pub(crate) manifests: Option<Vec<Descriptor>>,
    pub(crate) subject: Option<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    pub(crate) size: u64,
}

/// What a document is by its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Manifest,
    Index,
}

impl Document {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut document: Self = from_json(bytes).map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("{error}{}", source.unwrap_or_default())
        })?;
        document.size = bytes.len() as u64;
        Ok(document)
    }

    pub(crate) fn form(&self) -> Option<Form> {
        match (self.config.is_some() && self.layers.is_some(), self.manifests.is_some()) {
            (true, false) => Some(Form::Manifest),
            (false, true) if self.config.is_none() && self.layers.is_none() => Some(Form::Index),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> MediaType {
        match (&self.media_type, &self.manifests) {
            (Some(kind), _) => kind.clone(),
            (None, Some(_)) => MediaType::INDEX,
            (None, None) => MediaType::MANIFEST,
        }
    }

    fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(self.layers.iter().flatten()).chain(self.manifests.iter().flatten())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Graph {
    known: Mutex<HashMap<Digest, Arc<Document>>>,
}

impl Graph {
    /// Reads a document; there is none where it is gone or damaged.
    pub(super) fn of(&self, layout: &Layout, digest: &Digest) -> Option<Arc<Document>> {
        if let Some(known) = lock(&self.known).get(digest) {
            return Some(Arc::clone(known));
        }
        let mut bytes = Vec::new();
        let file = File::open(layout.blob_path(digest)).ok()?;
        file.take(MAX_MANIFEST_SIZE + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > MAX_MANIFEST_SIZE || Digest::of(&bytes) != *digest {
            return None;
        }
        let document = Arc::new(Document::parse(&bytes).ok()?);
        let mut known = lock(&self.known);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(*digest, Arc::clone(&document));
        Some(document)
    }

    /// Finds all that these reach, with themselves.
    pub(super) fn reach(&self, layout: &Layout, roots: &[Descriptor]) -> BTreeMap<Digest, MediaType> {
        let mut found = BTreeMap::new();
        let mut todo: Vec<(Descriptor, bool)> = roots.iter().map(|root| (root.clone(), true)).collect();
        while let Some((descriptor, is_root)) = todo.pop() {
            let Descriptor { digest, media_type, .. } = descriptor;
            let is_document = is_root || media_type.is_manifest() || media_type.is_index();
            if found.insert(digest, media_type).is_some() || !is_document {
                continue;
            }
            if let Some(document) = self.of(layout, &digest) {
                todo.extend(document.children().map(|child| (child.clone(), false)));
            }
        }
        found
    }
}
