//! What the registry holds: bytes and names in the layout, and beside them which repository has
//! which.
//!
//! `.ocibuild-serve/repositories/NAME/` has an empty file for each blob of a repository
//! (`_blobs/ALGORITHM/HEX`), and one with the media type for each manifest (`_manifests/…`). What is
//! not there is derived from what the repository's tags reach, so a layout that other programs made or
//! changed needs nothing, and losing these files loses no image. What was deleted by its digest,
//! though a tag still reaches it, is noted in `_gone/…`.
//!
//! Bytes are never removed: another repository, or another program, may name them.

mod graph;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use ocibuild_core::Digest;
use ocibuild_core::blob::{BlobError, BytesContent, Sink as _, Target as _};
use ocibuild_core::copy::Listing as _;
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Descriptor, ImageLayout, MediaType};

use crate::names::{Names, is_repository};
use graph::Graph;
pub(crate) use graph::{Document, Form};

const BLOBS: &str = "_blobs";
const MANIFESTS: &str = "_manifests";
const GONE: &str = "_gone";

/// The longest media type that is believed to be one.
const MAX_MEDIA_TYPE: usize = 1 << 10;

/// The layout, and what belongs to whom in it.
#[derive(Debug)]
pub(crate) struct Storage {
    layout: Layout,
    repositories: PathBuf,
    /// The repository of what the layout has under plain names.
    plain: String,
    names: Mutex<Option<(Stamp, Arc<Names>)>>,
    graph: Graph,
    reached: Mutex<HashMap<String, Arc<Reached>>>,
    /// Held while names and what belongs to whom change together.
    changing: Mutex<()>,
}

/// What tells a file from the one that took its place.
type Stamp = (Option<SystemTime>, u64, u64);

/// What the tags of a repository reach.
#[derive(Debug, Default)]
struct Reached {
    /// What this was made of.
    asked: Vec<Descriptor>,
    /// What is named, or refers to that.
    roots: Vec<Descriptor>,
    /// With the media type that a parent or the index gives.
    found: BTreeMap<Digest, MediaType>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Storage {
    pub(crate) fn new(layout: Layout, own: &Path, plain: String) -> Self {
        Self {
            layout,
            repositories: own.join("repositories"),
            plain,
            names: Mutex::default(),
            graph: Graph::default(),
            reached: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    /// Reads the index, if it isn't the one that was read last.
    pub(crate) fn names(&self) -> Result<Arc<Names>, BlobError> {
        let stamp = stamp(&self.layout.directory().join(ImageLayout::INDEX));
        let mut names = lock(&self.names);
        if let (Some(stamp), Some((known, names))) = (&stamp, &*names)
            && stamp == known
        {
            return Ok(Arc::clone(names));
        }
        let read = Arc::new(Names::of(self.layout.descriptors()?, &self.plain));
        *names = stamp.map(|stamp| (stamp, Arc::clone(&read)));
        Ok(read)
    }

    /// Gives the file of a blob that lies in the layout, and its size in bytes.
    pub(crate) fn open(&self, digest: &Digest) -> io::Result<Option<(File, u64)>> {
        match File::open(self.layout.blob_path(digest)) {
            Ok(file) => {
                let metadata = file.metadata()?;
                Ok(metadata.is_file().then_some((file, metadata.len())))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a blob's size, if the repository has it.
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Result<Option<u64>, BlobError> {
        if !self.marker(repository, BLOBS, digest).exists()
            && !self.marker(repository, MANIFESTS, digest).exists()
            && !self.is_derived(repository, digest)?
        {
            return Ok(None);
        }
        let path = self.layout.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::File { action: "read", path, source }),
        }
    }

    /// Tells whether any repository has a blob.
    pub(crate) fn anyone_has(&self, digest: &Digest) -> Result<bool, BlobError> {
        if !self.layout.blob_path(digest).exists() {
            return Ok(false);
        }
        for repository in self.catalog()? {
            if self.blob(&repository, digest)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives a manifest's media type, if the repository has it.
    pub(crate) fn manifest(&self, repository: &str, digest: &Digest) -> Result<Option<MediaType>, BlobError> {
        if !self.layout.blob_path(digest).exists() {
            return Ok(None);
        }
        let path = self.marker(repository, MANIFESTS, digest);
        if let Ok(text) = fs::read_to_string(&path)
            && is_media_type(&text)
        {
            return Ok(Some(MediaType::new(text)));
        }
        let reached = self.reached(repository)?;
        let told = reached.found.get(digest).filter(|_| !self.is_gone(repository, digest, &reached));
        match told {
            Some(kind) if kind.is_manifest() || kind.is_index() => Ok(Some(kind.clone())),
            // An entry of the index is a manifest, whatever its kind.
            Some(kind) if reached.roots.iter().any(|root| root.digest == *digest) => Ok(Some(kind.clone())),
            _ if path.exists() => Ok(self.graph.of(&self.layout, digest).map(|document| document.kind())),
            _ => Ok(None),
        }
    }

    /// Reads what a manifest is about.
    pub(crate) fn document(&self, digest: &Digest) -> Option<Arc<Document>> {
        self.graph.of(&self.layout, digest)
    }

    /// Gives a blob to a repository; its bytes are there.
    pub(crate) fn link_blob(&self, repository: &str, digest: &Digest) -> io::Result<()> {
        self.mark(&self.marker(repository, BLOBS, digest), b"")?;
        remove(&self.marker(repository, GONE, digest)).map(drop)
    }

    /// Makes a file that was written and verified a blob.
    pub(crate) fn adopt(&self, file: &Path, digest: &Digest) -> Result<(), BlobError> {
        self.layout.adopt(file, digest)
    }

    /// Puts a manifest into a repository, and gives it a tag.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        bytes: Vec<u8>,
        kind: MediaType,
        tag: Option<&str>,
    ) -> Result<Descriptor, BlobError> {
        let descriptor = Descriptor::of(kind, &bytes);
        self.layout.push(&descriptor, &BytesContent::new(bytes))?;
        let _changing = lock(&self.changing);
        let path = self.marker(repository, MANIFESTS, &descriptor.digest);
        self.mark(&path, descriptor.media_type.as_str().as_bytes()).map_err(written(&path))?;
        remove(&self.marker(repository, GONE, &descriptor.digest)).map_err(written(&path))?;
        if let Some(tag) = tag {
            let names = self.names()?;
            let before = names.get(repository, tag);
            if before.is_some_and(|named| named.descriptor.digest != descriptor.digest) {
                self.settle(repository)?;
            }
            let raw = before.map_or_else(|| format!("{repository}:{tag}"), |named| named.raw.clone());
            let named = self.layout.tag(&descriptor, &raw);
            *lock(&self.names) = None;
            named?;
        } else if self.document(&descriptor.digest).is_some_and(|document| document.subject.is_some()) {
            // So that it is found by those who read the layout, too.
            let listed = self.layout.list(&descriptor);
            *lock(&self.names) = None;
            listed?;
        }
        Ok(descriptor)
    }

    /// Takes a tag away; tells whether it was there.
    pub(crate) fn delete_tag(&self, repository: &str, tag: &str) -> Result<bool, BlobError> {
        let _changing = lock(&self.changing);
        let names = self.names()?;
        let Some(named) = names.get(repository, tag) else { return Ok(false) };
        self.settle(repository)?;
        let done = self.layout.untag(&named.raw);
        *lock(&self.names) = None;
        done
    }

    /// Takes a manifest and the tags it has away from a repository; tells whether it was there.
    pub(crate) fn delete_manifest(&self, repository: &str, digest: &Digest) -> Result<bool, BlobError> {
        if self.manifest(repository, digest)?.is_none() {
            return Ok(false);
        }
        let _changing = lock(&self.changing);
        self.settle(repository)?;
        for (_, named) in self.names()?.tags(repository) {
            if named.descriptor.digest == *digest {
                self.layout.untag(&named.raw)?;
            }
        }
        *lock(&self.names) = None;
        self.forget(repository, MANIFESTS, digest)?;
        if self.names()?.unnamed.iter().any(|one| one.digest == *digest) && !self.anyone_has(digest)? {
            self.layout.unlist(digest)?;
            *lock(&self.names) = None;
        }
        Ok(true)
    }

    /// Takes a blob away from a repository; tells whether it was there.
    pub(crate) fn delete_blob(&self, repository: &str, digest: &Digest) -> Result<bool, BlobError> {
        let _changing = lock(&self.changing);
        if self.blob(repository, digest)?.is_none() {
            return Ok(false);
        }
        self.forget(repository, BLOBS, digest).map(|()| true)
    }

    fn forget(&self, repository: &str, kind: &str, digest: &Digest) -> Result<(), BlobError> {
        let (path, gone) = (self.marker(repository, kind, digest), self.marker(repository, GONE, digest));
        if self.reached(repository)?.found.contains_key(digest) {
            self.mark(&gone, b"").map_err(written(&gone))?;
        }
        remove(&path).map(drop).map_err(written(&path))
    }

    /// Tells whether there is such a repository.
    pub(crate) fn exists(&self, repository: &str) -> Result<bool, BlobError> {
        let directory = self.repositories.join(repository);
        Ok(directory.join(BLOBS).exists()
            || directory.join(MANIFESTS).exists()
            || !self.reached(repository)?.roots.is_empty())
    }

    /// Gives the names of all repositories, in order.
    pub(crate) fn catalog(&self) -> Result<BTreeSet<String>, BlobError> {
        let names = self.names()?;
        let mut found: BTreeSet<String> = names.repositories().cloned().collect();
        if !self.reached(&self.plain)?.roots.is_empty() {
            found.insert(self.plain.clone());
        }
        let mut todo = vec![String::new()];
        while let Some(parent) = todo.pop() {
            // What can't be read has no repositories that could be asked for.
            let Ok(entries) = fs::read_dir(self.repositories.join(&parent)) else { continue };
            for entry in entries.flatten() {
                let Ok(name) = entry.file_name().into_string() else { continue };
                if name == BLOBS || name == MANIFESTS {
                    found.insert(parent.clone());
                    continue;
                }
                let child = if parent.is_empty() { name } else { format!("{parent}/{name}") };
                if is_repository(&child) {
                    todo.push(child);
                }
            }
        }
        Ok(found)
    }

    /// Gives the digests of all manifests of a repository, in order.
    pub(crate) fn manifests(&self, repository: &str) -> Result<BTreeSet<Digest>, BlobError> {
        let directory = self.repositories.join(repository).join(MANIFESTS).join("sha256");
        let marked = fs::read_dir(directory).into_iter().flatten().flatten();
        let marked =
            marked.filter_map(|entry| format!("sha256:{}", entry.file_name().to_str()?).parse().ok());
        let mut found: BTreeSet<Digest> = marked.collect();
        let reached = self.reached(repository)?;
        let roots: BTreeSet<Digest> = reached.roots.iter().map(|root| root.digest).collect();
        let derived = reached.found.iter().filter(|(digest, kind)| {
            (roots.contains(digest) || kind.is_manifest() || kind.is_index())
                && !self.is_gone(repository, digest, &reached)
        });
        found.extend(derived.map(|(digest, _)| *digest));
        Ok(found)
    }

    fn is_derived(&self, repository: &str, digest: &Digest) -> Result<bool, BlobError> {
        let reached = self.reached(repository)?;
        Ok(reached.found.contains_key(digest) && !self.is_gone(repository, digest, &reached))
    }

    /// What a tag names directly is there, whatever was deleted before it was named.
    fn is_gone(&self, repository: &str, digest: &Digest, reached: &Reached) -> bool {
        let is_tagged = reached.roots.iter().any(|root| root.digest == *digest);
        let unnamed =
            || self.names().is_ok_and(|names| names.unnamed.iter().any(|one| one.digest == *digest));
        self.marker(repository, GONE, digest).exists() && (!is_tagged || unnamed())
    }

    fn reached(&self, repository: &str) -> Result<Arc<Reached>, BlobError> {
        let names = self.names()?;
        let mut roots: Vec<Descriptor> =
            names.tags(repository).map(|(_, named)| named.descriptor.clone()).collect();
        let asked: Vec<Descriptor> = roots.iter().chain(&names.unnamed).cloned().collect();
        if let Some(reached) = lock(&self.reached).get(repository)
            && reached.asked == asked
        {
            return Ok(Arc::clone(reached));
        }
        let subject = |one: &Descriptor| Some(self.document(&one.digest)?.subject.as_ref()?.digest);
        let (referrers, bare): (Vec<&Descriptor>, Vec<&Descriptor>) =
            names.unnamed.iter().partition(|one| subject(one).is_some());
        if repository == self.plain {
            roots.extend(bare.into_iter().cloned());
        }
        let mut found = self.graph.reach(&self.layout, &roots);
        // What refers to an image is where the image is.
        for referrer in referrers {
            if subject(referrer).is_some_and(|subject| found.contains_key(&subject)) {
                found.extend(self.graph.reach(&self.layout, std::slice::from_ref(referrer)));
                roots.push(referrer.clone());
            }
        }
        let reached = Arc::new(Reached { asked, roots, found });
        lock(&self.reached).insert(repository.to_owned(), Arc::clone(&reached));
        Ok(reached)
    }

    /// Notes what a repository has by its tags, before one of them goes.
    fn settle(&self, repository: &str) -> Result<(), BlobError> {
        let reached = self.reached(repository)?;
        for (digest, kind) in &reached.found {
            if self.is_gone(repository, digest, &reached) {
                continue;
            }
            let is_root = reached.roots.iter().any(|root| root.digest == *digest);
            let (name, content) = match is_root || kind.is_manifest() || kind.is_index() {
                true => (MANIFESTS, kind.as_str().as_bytes()),
                false => (BLOBS, &b""[..]),
            };
            let path = self.marker(repository, name, digest);
            if !path.exists() {
                self.mark(&path, content).map_err(written(&path))?;
            }
        }
        Ok(())
    }

    /// Both parts are safe in a path: a name was held against its grammar, a digest is hexadecimal.
    fn marker(&self, repository: &str, kind: &str, digest: &Digest) -> PathBuf {
        self.repositories.join(repository).join(kind).join(digest.algorithm()).join(digest.hex())
    }

    fn mark(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let directory = path.parent().expect("a marker has a parent");
        fs::create_dir_all(directory)?;
        if content.is_empty() {
            return File::create(path).map(drop);
        }
        if fs::read(path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        let mut file = tempfile::Builder::new().prefix(".part-").tempfile_in(&self.repositories)?;
        file.write_all(content)?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        sync(directory)
    }
}

fn is_media_type(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_MEDIA_TYPE && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn written(path: &Path) -> impl Fn(io::Error) -> BlobError {
    move |source| BlobError::File { action: "write", path: path.to_owned(), source }
}

fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len(), metadata.ino()))
}

#[cfg(not(unix))]
fn stamp(_: &Path) -> Option<Stamp> {
    None
}
