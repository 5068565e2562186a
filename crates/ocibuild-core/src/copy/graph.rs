//! What is to be copied: the graph below the roots, as far as the sink lacks it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use serde::Deserialize;

use crate::blob::{BlobError, BytesContent, Content, Sink, Source, read_whole};
use crate::copy::Tally;
use crate::digest::Digest;
use crate::event::Cancel;
use crate::oci::{Descriptor, JsonError, MAX_MANIFEST_SIZE, MediaType, from_json};

/// The deepest nesting of indexes that is followed.
pub(super) const MAX_DEPTH: usize = 8;

/// The most blobs of one copy, manifests included.
const MAX_BLOBS: usize = 100_000;

/// Manifests are kept in memory between reading and sending up to this many bytes; those over it
/// are read again.
const KEPT_BYTES: usize = 16 << 20;

/// A manifest can't be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// What should be an image or an index is something else.
    #[error("`{0}` is neither an image manifest nor an index")]
    NotAnImage(MediaType),
    /// It isn't of the form its media type promises.
    #[error("it is no manifest")]
    Form(#[source] JsonError),
    /// An image's manifest doesn't name its config.
    #[error("the manifest has no `config`")]
    NoConfig,
    /// It can be read as an image and as an index, so that two readers may see two things.
    #[error("it has both `manifests` and `layers` or `config`")]
    Ambiguous,
    /// Indexes hold indexes, too many of them.
    #[error("indexes are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// There is too much.
    #[error("it names more than {MAX_BLOBS} blobs")]
    TooMany,
    /// The same digest is named with two sizes.
    #[error("`{digest}` is said to have {first} bytes and {second} bytes")]
    SizeConflict {
        /// The digest.
        digest: Digest,
        /// The size named first.
        first: u64,
        /// The size named then.
        second: u64,
    },
}

/// The parts of a manifest or an index that name what is below it.
#[derive(Deserialize)]
struct Document {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Returns what a manifest or an index names as its parts, in order: config and layers, or
/// manifests. Anything else has none. The `subject` isn't a part.
///
/// # Errors
/// [`GraphError`] if the bytes are not what the media type says, or can be read both ways.
pub fn children(media_type: &MediaType, bytes: &[u8]) -> Result<Vec<Descriptor>, GraphError> {
    if !is_document(media_type) {
        return Ok(Vec::new());
    }
    let document: Document = from_json(bytes).map_err(GraphError::Form)?;
    let Document { config, layers, manifests } = document;
    if manifests.is_some() && (config.is_some() || layers.is_some()) {
        return Err(GraphError::Ambiguous);
    }
    if media_type.is_index() {
        return if config.is_some() || layers.is_some() {
            Err(GraphError::Ambiguous)
        } else {
            Ok(manifests.unwrap_or_default())
        };
    }
    let mut children = vec![config.ok_or(GraphError::NoConfig)?];
    children.extend(layers.unwrap_or_default());
    Ok(children)
}

pub(super) fn is_document(media_type: &MediaType) -> bool {
    media_type.is_manifest() || media_type.is_index()
}

/// Tells whether a blob stays where it is.
pub(super) fn is_foreign(descriptor: &Descriptor, source: &dyn Source) -> Result<bool, BlobError> {
    let elsewhere = !descriptor.urls.is_empty() && !source.exists(descriptor)?;
    Ok(elsewhere || is_nondistributable(&descriptor.media_type))
}

/// Tells whether a layer of this kind is to be left where its licence wants it.
fn is_nondistributable(media_type: &MediaType) -> bool {
    let text = media_type.as_str();
    text.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || text.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

pub(super) fn corrupt(digest: Digest, error: GraphError) -> BlobError {
    BlobError::Corrupt { digest, source: io::Error::new(io::ErrorKind::InvalidData, error) }
}

/// A blob to send.
pub(super) struct Node {
    pub(super) descriptor: Descriptor,
    bytes: Option<Arc<[u8]>>,
}

impl Node {
    /// Returns the bytes: those read already, or the source's.
    pub(super) fn content(&self, source: &dyn Source) -> Result<Box<dyn Content>, BlobError> {
        match &self.bytes {
            Some(bytes) => Ok(Box::new(BytesContent::new(Arc::clone(bytes)))),
            None => source.fetch(&self.descriptor),
        }
    }
}

/// All that is to be copied.
pub(super) struct Graph {
    /// What to send: the blobs first, then what names nothing but those before.
    pub(super) levels: Vec<Vec<Node>>,
    /// What the sink has.
    pub(super) present: Vec<Descriptor>,
    /// What is left where it is.
    pub(super) foreign: Tally,
}

impl Graph {
    /// Asks the sink for the roots and, for those it lacks, reads what is below them.
    pub(super) fn discover(
        roots: &[Descriptor],
        source: &dyn Source,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Self, BlobError> {
        if let Some(root) = roots.iter().find(|root| !is_document(&root.media_type)) {
            return Err(corrupt(root.digest, GraphError::NotAnImage(root.media_type.clone())));
        }
        let graph = Self { levels: vec![Vec::new()], present: Vec::new(), foreign: Tally::default() };
        let mut walk = Walk { graph, source, sink, cancel, seen: BTreeMap::new(), kept: 0 };
        walk.siblings(roots, 0)?;
        walk.ask_for_blobs()?;
        Ok(walk.graph)
    }
}

/// A blob and a manifest of the same bytes are two things: places keep them apart.
type Key = (Digest, bool);

struct Seen {
    size: u64,
    /// How far above the blobs: a manifest goes after everything that is lower. Not known of a
    /// manifest that wasn't gone into yet.
    height: Option<usize>,
}

struct Walk<'a> {
    graph: Graph,
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
    seen: BTreeMap<Key, Seen>,
    kept: usize,
}

impl Walk<'_> {
    /// Takes in descriptors that stand side by side, and returns how high the highest stands.
    fn siblings(&mut self, descriptors: &[Descriptor], depth: usize) -> Result<usize, BlobError> {
        let mut new_documents = Vec::new();
        for descriptor in descriptors {
            if !self.note(descriptor)? {
                continue;
            }
            match is_document(&descriptor.media_type) {
                true => new_documents.push(plain(descriptor)),
                false => self.blob(descriptor)?,
            }
        }
        self.ask_for_documents(new_documents)?;
        let mut highest = 0;
        for descriptor in descriptors {
            let height = match self.seen.get(&key(descriptor)).and_then(|seen| seen.height) {
                Some(height) => height,
                None => self.document(&plain(descriptor), depth)?,
            };
            highest = highest.max(height);
        }
        Ok(highest)
    }

    /// Notes that a blob was named; tells whether for the first time.
    fn note(&mut self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let Descriptor { digest, size, .. } = *descriptor;
        if let Some(seen) = self.seen.get(&key(descriptor)) {
            if seen.size == size {
                return Ok(false);
            }
            return Err(corrupt(digest, GraphError::SizeConflict { digest, first: seen.size, second: size }));
        }
        if self.seen.len() == MAX_BLOBS {
            return Err(corrupt(digest, GraphError::TooMany));
        }
        let height = (!is_document(&descriptor.media_type)).then_some(0);
        self.seen.insert(key(descriptor), Seen { size, height });
        Ok(true)
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<(), BlobError> {
        if is_foreign(descriptor, self.source)? {
            self.graph.foreign.add(descriptor.size);
        } else {
            self.graph.levels[0].push(Node { descriptor: plain(descriptor), bytes: None });
        }
        Ok(())
    }

    /// Asks for manifests, all in one question; those that are there need not be gone into.
    fn ask_for_documents(&mut self, documents: Vec<Descriptor>) -> Result<(), BlobError> {
        if documents.is_empty() {
            return Ok(());
        }
        let (_, present) = self.ask(documents)?;
        for document in present {
            self.rise(&document, 0);
            self.graph.present.push(document);
        }
        Ok(())
    }

    fn rise(&mut self, document: &Descriptor, height: usize) {
        if let Some(seen) = self.seen.get_mut(&key(document)) {
            seen.height = Some(height);
        }
    }

    /// Parts what the sink lacks from what it has.
    fn ask(&self, descriptors: Vec<Descriptor>) -> Result<(Vec<Descriptor>, Vec<Descriptor>), BlobError> {
        self.cancel.check()?;
        let missing = self.sink.missing(&descriptors)?;
        let missing: BTreeSet<Digest> = missing.iter().map(|one| one.digest).collect();
        Ok(descriptors.into_iter().partition(|one| missing.contains(&one.digest)))
    }

    /// Goes into a manifest that is missing, and returns how high it stands.
    fn document(&mut self, document: &Descriptor, depth: usize) -> Result<usize, BlobError> {
        self.cancel.check()?;
        let digest = document.digest;
        if depth >= MAX_DEPTH {
            return Err(corrupt(digest, GraphError::TooDeep));
        }
        let bytes = read_whole(self.source, document, MAX_MANIFEST_SIZE)?;
        let below = children(&document.media_type, &bytes).map_err(|error| corrupt(digest, error))?;
        let bytes = self.keep(bytes);
        let height = self.siblings(&below, depth + 1)? + 1;
        self.rise(document, height);
        while self.graph.levels.len() <= height {
            self.graph.levels.push(Vec::new());
        }
        self.graph.levels[height].push(Node { descriptor: document.clone(), bytes });
        Ok(height)
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Option<Arc<[u8]>> {
        let fits = self.kept + bytes.len() <= KEPT_BYTES;
        fits.then(|| {
            self.kept += bytes.len();
            bytes.into()
        })
    }

    /// Drops the blobs that the sink has, all in one question.
    fn ask_for_blobs(&mut self) -> Result<(), BlobError> {
        let nodes = std::mem::take(&mut self.graph.levels[0]);
        if nodes.is_empty() {
            return Ok(());
        }
        let (missing, present) = self.ask(nodes.into_iter().map(|node| node.descriptor).collect())?;
        self.graph.present.extend(present);
        self.graph.levels[0] =
            missing.into_iter().map(|descriptor| Node { descriptor, bytes: None }).collect();
        Ok(())
    }
}

fn key(descriptor: &Descriptor) -> Key {
    (descriptor.digest, is_document(&descriptor.media_type))
}

/// Leaves away what only matters to whoever names the blob, of which a hostile manifest may have
/// megabytes.
pub(super) fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size)
}
