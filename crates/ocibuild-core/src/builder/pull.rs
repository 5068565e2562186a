//! Bases, opened: layouts below the root, and images in registries by what their names mean.
//!
//! What documents a registry's image consists of (indexes, manifests, configs) is kept in the store
//! and looked for there first, so that a base that is pinned or locked is asked for once. Its layers
//! stay where they are, unless they are wanted on disk.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::Deserialize;

use crate::blob::{
    BlobError, BytesContent, Content, FileContent, PlaceFault, Sink as _, Source, Store, Target as _,
    read_whole,
};
use crate::build::{Bases, OpenBase};
use crate::digest::Digest;
use crate::event::{Event, Observer, Warning};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, MediaType};
use crate::plan::BaseName;
use crate::reference::{Reference, Repository};
use crate::registry::{Registry, RemoteRepository};

/// An image can't be had from its registry, or may not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// Nothing says which image a tag means, where a lock must.
    #[error("the lock has no entry for it")]
    NotLocked,
    /// A tag means another image than the lock says.
    #[error("the tag has moved: the lock has `{locked}`, and the registry `{now}`")]
    Moved {
        /// What the tag meant.
        locked: Digest,
        /// What it means.
        now: Digest,
    },
    /// No registry may be asked, and neither digest nor lock says which image a tag means.
    #[error("without asking the registry it isn't known what the tag means")]
    Unknown,
    /// No registry may be asked, and the cache hasn't what is needed.
    #[error("the cache has no `{digest}`, and the registry may not be asked")]
    Offline {
        /// The blob.
        digest: Digest,
    },
    /// The registry hasn't what the name, or the lock, stands for.
    #[error("the registry doesn't have {}", told(.digest.as_ref()))]
    Gone {
        /// The blob; nothing where it is the tag that isn't there.
        digest: Option<Digest>,
    },
}

fn told(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "it".to_owned(), |digest| format!("`{digest}`"))
}

impl PullError {
    fn at(self, reference: &Reference) -> BlobError {
        let fault = match self {
            Self::Offline { .. } | Self::Unknown => PlaceFault::Unavailable,
            _ => PlaceFault::Refused,
        };
        BlobError::Place { place: format!("the image `{reference}`"), fault, source: Box::new(self) }
    }
}

/// How images of registries are come by.
#[derive(Clone, Default)]
pub(super) struct Pulling {
    /// Made when it is first needed, if it isn't given.
    pub(super) registry: OnceLock<Registry>,
    pub(super) lock: Lock,
    pub(super) locked: bool,
    pub(super) offline: bool,
    pub(super) keep_layers: bool,
}

/// Opens the bases of one build.
pub(super) struct Places<'a> {
    pub(super) root: &'a Path,
    pub(super) pulling: &'a Pulling,
    pub(super) store: &'a Store,
    /// Whether documents are kept.
    pub(super) keep: bool,
    pub(super) observer: &'a dyn Observer,
    /// What tags mean in this build.
    known: Mutex<BTreeMap<Reference, OpenBase>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(
        root: &'a Path,
        pulling: &'a Pulling,
        store: &'a Store,
        keep: bool,
        observer: &'a dyn Observer,
    ) -> Self {
        Self { root, pulling, store, keep, observer, known: Mutex::default() }
    }

    fn remote(&self, reference: &Reference) -> Result<OpenBase, BlobError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = known.get(reference) {
            return Ok(open.clone());
        }
        let root = self.root_of(reference)?;
        let open = OpenBase { source: Arc::new(self.source(reference)), root };
        known.insert(reference.clone(), open.clone());
        Ok(open)
    }

    pub(super) fn source(&self, reference: &Reference) -> Pulled {
        let Pulling { offline, keep_layers, .. } = *self.pulling;
        Pulled {
            reference: reference.clone(),
            repository: (!offline).then(|| self.repository(reference)),
            store: self.store.clone(),
            keep: self.keep,
            keep_layers,
            origins: Arc::new([reference.repository().clone()]),
        }
    }

    fn repository(&self, reference: &Reference) -> RemoteRepository {
        self.pulling.registry.get_or_init(Registry::default).repository(reference.repository())
    }

    fn root_of(&self, reference: &Reference) -> Result<Descriptor, BlobError> {
        let Pulling { locked, offline, ref lock, .. } = *self.pulling;
        if let Some(digest) = reference.digest() {
            return self.by_digest(reference, digest);
        }
        let Some(pin) = lock.get(reference) else {
            return match (locked, offline) {
                (true, _) => Err(PullError::NotLocked.at(reference)),
                (_, true) => Err(PullError::Unknown.at(reference)),
                _ => self.by_tag(reference),
            };
        };
        if locked && !offline {
            let now = self.resolve(reference)?.digest;
            if now != pin.root.digest {
                return Err(PullError::Moved { locked: pin.root.digest, now }.at(reference));
            }
        }
        Ok(pin.root.clone())
    }

    fn by_digest(&self, reference: &Reference, digest: &Digest) -> Result<Descriptor, BlobError> {
        match stored(self.store, digest) {
            Some(descriptor) => Ok(descriptor),
            None if self.pulling.offline => Err(PullError::Offline { digest: *digest }.at(reference)),
            None => self.resolve(reference),
        }
    }

    fn by_tag(&self, reference: &Reference) -> Result<Descriptor, BlobError> {
        let root = self.resolve(reference)?;
        let message = format!("the base `{reference}` is whatever has that tag: now `{}`", root.digest);
        let hint = format!(
            "pin it in a lock: `ocibuild lock`, or write it with its digest: `{reference}@{}`",
            root.digest
        );
        self.observer.event(&Event::Warning(Warning::new(message).hint(hint)));
        Ok(root)
    }

    /// Asks the registry what a reference means.
    pub(super) fn resolve(&self, reference: &Reference) -> Result<Descriptor, BlobError> {
        resolve(&self.repository(reference), reference)
    }
}

impl Bases for Places<'_> {
    fn open(&self, base: &BaseName) -> Result<OpenBase, BlobError> {
        match base {
            BaseName::Layout(directory) => {
                let layout = Layout::open(self.root.join(directory))?;
                let root = layout.sole()?;
                Ok(OpenBase { source: Arc::new(layout), root })
            }
            BaseName::Remote(reference) => self.remote(reference),
        }
    }

    fn is_pinned(&self, base: &BaseName) -> bool {
        matches!(base, BaseName::Remote(reference) if self.pulling.lock.get(reference).is_some())
    }
}

/// Describes a manifest or index of which no more is known than its digest, if the store has it.
fn stored(store: &Store, digest: &Digest) -> Option<Descriptor> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Form {
        media_type: Option<MediaType>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let size = std::fs::metadata(store.path(digest)).ok()?.len();
    let descriptor = Descriptor::new(MediaType::MANIFEST, *digest, size);
    let bytes = read_whole(store, &descriptor, MAX_MANIFEST_SIZE).ok()?;
    let form: Form = serde_json::from_slice(&bytes).ok()?;
    let default = if form.manifests.is_some() { MediaType::INDEX } else { MediaType::MANIFEST };
    Some(Descriptor { media_type: form.media_type.unwrap_or(default), ..descriptor })
}

fn resolve(repository: &RemoteRepository, reference: &Reference) -> Result<Descriptor, BlobError> {
    let digest = reference.digest().map(ToString::to_string);
    let name = digest.as_deref().or(reference.tag()).unwrap_or("latest");
    repository.resolve(name).map_err(|fault| match fault {
        BlobError::UnknownName { .. } => {
            PullError::Gone { digest: reference.digest().copied() }.at(reference)
        }
        fault => fault,
    })
}

/// An image of a registry, with the store before it.
#[derive(Clone)]
pub(super) struct Pulled {
    reference: Reference,
    /// None where the registry may not be asked.
    repository: Option<RemoteRepository>,
    store: Store,
    keep: bool,
    keep_layers: bool,
    origins: Arc<[Repository]>,
}

impl Pulled {
    /// Asks the registry what the reference means.
    pub(super) fn resolve(&self) -> Result<Descriptor, BlobError> {
        match &self.repository {
            Some(repository) => resolve(repository, &self.reference),
            None => Err(PullError::Unknown.at(&self.reference)),
        }
    }

    /// Returns those of the blobs that the repository hasn't, as a push to it asks: what was asked here
    /// isn't asked there again.
    pub(super) fn missing(&self, blobs: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        match &self.repository {
            Some(repository) => repository.missing(blobs),
            None => Ok(blobs.to_vec()),
        }
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        match read_whole(&self.store, descriptor, MAX_MANIFEST_SIZE) {
            Ok(bytes) => return Ok(Box::new(BytesContent::new(bytes))),
            // What is damaged would be taken for it if it stayed.
            Err(BlobError::Corrupt { .. }) if self.store.exists(descriptor)? => {
                self.store.remove(&descriptor.digest)?;
            }
            Err(_) => {}
        }
        let repository = self.repository(descriptor)?;
        let bytes =
            read_whole(repository, descriptor, MAX_MANIFEST_SIZE).map_err(|fault| self.gone(fault))?;
        let content = BytesContent::new(bytes);
        if self.keep {
            self.store.push(descriptor, &content)?;
        }
        Ok(Box::new(content))
    }

    fn repository(&self, descriptor: &Descriptor) -> Result<&RemoteRepository, BlobError> {
        let offline = || PullError::Offline { digest: descriptor.digest }.at(&self.reference);
        self.repository.as_ref().ok_or_else(offline)
    }

    fn gone(&self, fault: BlobError) -> BlobError {
        match fault {
            BlobError::Missing { digest, .. } => PullError::Gone { digest: Some(digest) }.at(&self.reference),
            fault => fault,
        }
    }
}

impl Source for Pulled {
    fn place(&self) -> String {
        match &self.repository {
            Some(repository) => Source::place(repository),
            None => Source::place(&self.store),
        }
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let stored = self.store.exists(descriptor)?;
        match &self.repository {
            Some(repository) if !stored => repository.exists(descriptor),
            _ => Ok(stored),
        }
    }

    fn lacking(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let left = self.store.lacking(descriptors)?;
        match &self.repository {
            Some(repository) if !left.is_empty() => repository.lacking(&left),
            _ => Ok(left),
        }
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        if is_document(&descriptor.media_type) {
            return self.document(descriptor);
        }
        let remote = match self.store.exists(descriptor)? {
            true => None,
            false => Some(self.repository(descriptor)?.content(descriptor)),
        };
        Ok(Box::new(Layer {
            descriptor: descriptor.clone(),
            remote,
            store: self.store.clone(),
            keep: self.keep && self.keep_layers,
            origins: Arc::clone(&self.origins),
        }))
    }
}

fn is_document(media_type: &MediaType) -> bool {
    let is_config = [MediaType::CONFIG, MediaType::DOCKER_CONFIG].contains(media_type);
    media_type.is_manifest() || media_type.is_index() || is_config
}

/// A layer of a base.
struct Layer {
    descriptor: Descriptor,
    /// None if the store has it.
    remote: Option<Box<dyn Content>>,
    store: Store,
    keep: bool,
    origins: Arc<[Repository]>,
}

impl Layer {
    /// The bytes where they are; in the store, if they are to be kept there.
    fn with<T>(&self, read: impl FnOnce(&dyn Content) -> io::Result<T>) -> io::Result<T> {
        let remote = match &self.remote {
            Some(remote) if self.keep => {
                self.store.push(&self.descriptor, remote.as_ref()).map_err(into_io)?;
                None
            }
            remote => remote.as_deref(),
        };
        match remote {
            Some(remote) => read(remote).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    io::Error::new(error.kind(), PullError::Gone { digest: Some(self.descriptor.digest) })
                }
                _ => error,
            }),
            None => {
                let path = self.store.path(&self.descriptor.digest);
                read(&FileContent::new(path, self.descriptor.clone()))
            }
        }
    }
}

fn into_io(fault: BlobError) -> io::Error {
    match fault {
        BlobError::Read { source, .. } | BlobError::Corrupt { source, .. } => source,
        fault => io::Error::other(fault),
    }
}

impl Content for Layer {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self.with(|content| content.open(offset))
    }

    fn open_unverified(&self) -> io::Result<Box<dyn Read + Send>> {
        self.with(|content| content.open_unverified())
    }

    fn origins(&self) -> &[Repository] {
        &self.origins
    }
}
