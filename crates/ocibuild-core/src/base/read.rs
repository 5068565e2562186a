//! A base's layers to its listing: streamed, verified, bounded.

use std::collections::BTreeSet;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256, Sha512};

use crate::base::builder::limit;
use crate::base::changes::Changes;
use crate::base::listing::{Listed, ListedKind, Listing};
use crate::base::tree;
use crate::base::{Base, BaseError, ListingBuilder, ListingError, ListingLimits};
use crate::blob::{Source, read_fault};
use crate::compress::{DecodeError, DecodeLimits, decoder};
use crate::digest::{DiffId, Digest, Mismatch, to_hex};
use crate::event::Cancel;
use crate::oci::Descriptor;
use crate::tar::{Entry, EntryKind, ReadError, Reader};

/// The largest `/etc/passwd` and `/etc/group` that are kept, in bytes.
const MAX_USERS_FILE: u64 = 1 << 20;
const USERS_FILES: [&[u8]; 2] = [b"etc/passwd", b"etc/group"];

/// Reads all layers of a base; once more, where `/etc/passwd` or `/etc/group` turns out to be
/// another file by a link.
pub(super) fn read(
    source: &dyn Source,
    base: &Base,
    limits: &ListingLimits,
    cancel: &Cancel,
) -> Result<Listing, BaseError> {
    let mut wanted: BTreeSet<Vec<u8>> = USERS_FILES.map(<[u8]>::to_vec).into();
    let (mut listing, linked) = scan(source, base, limits, &wanted, cancel)?;
    let missing: Vec<Vec<u8>> = missing(&listing).into_iter().chain(linked).collect();
    if missing.iter().any(|path| !wanted.contains(path)) {
        wanted.extend(missing);
        (listing, _) = scan(source, base, limits, &wanted, cancel)?;
    }
    Ok(listing)
}

/// Returns the files that stand for those with users and groups, where their content is lacking.
fn missing(listing: &Listing) -> Vec<Vec<u8>> {
    let kept = [&listing.users.passwd, &listing.users.group];
    let lacking = USERS_FILES.iter().zip(kept).filter(|(_, content)| content.is_none());
    let resolved = lacking.filter_map(|(path, _)| listing.resolve(path).ok());
    let is_file =
        |path: &Vec<u8>| matches!(listing.get(path), Some(Listed { kind: ListedKind::File { .. }, .. }));
    resolved.filter(is_file).collect()
}

fn scan(
    source: &dyn Source,
    base: &Base,
    limits: &ListingLimits,
    wanted: &BTreeSet<Vec<u8>>,
    cancel: &Cancel,
) -> Result<(Listing, Vec<Vec<u8>>), BaseError> {
    let mut builder = ListingBuilder::new(limits);
    let mut linked = Vec::new();
    for (descriptor, diff_id) in base.layers.iter().zip(&base.diff_ids) {
        let first = builder.is_fresh();
        let mut layer =
            Layer { first, builder: &mut builder, changes: Changes::new(limits), linked: Vec::new() };
        read_layer(source, descriptor, *diff_id, &limits.decode, cancel, &mut |entry, content| {
            let content = wanted_content(content, &entry, wanted)?;
            layer.entry(entry, content, wanted)
        })?;
        linked.extend(layer.finish(wanted).map_err(|error| layer_fault(descriptor, error))?);
    }
    Ok((builder.finish(), linked))
}

/// Takes an entry of a layer, and its content to be read as far as it is wanted.
pub(crate) type EachEntry<'a> = dyn FnMut(Entry, &mut dyn Read) -> Result<(), ListingError> + 'a;

/// Reads a layer to its last byte, entry by entry, and verifies blob and tar bytes. Returns the
/// number of the latter. What `each` was given is worth something only if this succeeds.
pub(crate) fn read_layer(
    source: &dyn Source,
    descriptor: &Descriptor,
    diff_id: DiffId,
    limits: &DecodeLimits,
    cancel: &Cancel,
    each: &mut EachEntry<'_>,
) -> Result<u64, BaseError> {
    cancel.check()?;
    let content = source.fetch(descriptor)?;
    let bytes = content.open(0).map_err(|source| read_fault(descriptor.digest, source))?;
    let result = read_entries(bytes, diff_id, limits, cancel, each);
    // Whatever a reader that was stopped gave for a reason.
    result.map_err(|error| cancel.check().map_or_else(Into::into, |()| layer_fault(descriptor, error)))
}

fn read_entries(
    bytes: impl Read + Send,
    diff_id: DiffId,
    limits: &DecodeLimits,
    cancel: &Cancel,
    each: &mut EachEntry<'_>,
) -> Result<u64, ListingError> {
    // Few bytes can become many, and many none: both sides of the decoder are watched.
    let bytes = decoder(Watched { inner: bytes, cancel }, limits)?;
    let bytes = Watched { inner: HashingReader::new(bytes, diff_id), cancel };
    let mut reader = Reader::new(bytes);
    while let Some(entry) = reader.next_entry()? {
        each(entry, &mut reader.content())?;
    }
    let hashed = reader.finish()?.inner;
    let (length, actual) = (hashed.length, hashed.value());
    if actual != diff_id {
        return Err(ListingError::DiffId { expected: Box::new(diff_id), actual: Box::new(actual) });
    }
    Ok(length)
}

/// Tells bytes that could not be had, or aren't those that were promised, from what is wrong with
/// what they say.
pub(crate) fn layer_fault(descriptor: &Descriptor, error: ListingError) -> BaseError {
    let digest = descriptor.digest;
    match error {
        ListingError::Tar(ReadError::Read(source)) | ListingError::Decode(DecodeError::Read(source))
            if !is_content_fault(&source) =>
        {
            read_fault(digest, source).into()
        }
        error => BaseError::Layer { digest, source: Box::new(error) },
    }
}

/// Tells whether the right bytes came, and are no sound layer.
pub(crate) fn is_content_fault(error: &io::Error) -> bool {
    let mismatch = error.get_ref().is_some_and(|inner| inner.is::<Mismatch>());
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) && !mismatch
}

/// Reads the content of a file that users and groups are looked up in.
fn wanted_content(
    reader: &mut dyn Read,
    entry: &Entry,
    wanted: &BTreeSet<Vec<u8>>,
) -> Result<Option<Vec<u8>>, ListingError> {
    if entry.kind != EntryKind::Regular || entry.sparse || !wanted.contains(&clean(&entry.path)) {
        return Ok(None);
    }
    limit("the size of a file with users or groups", entry.size, MAX_USERS_FILE)?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content).map_err(ReadError::from)?;
    Ok(Some(content))
}

/// One layer on its way into the listing.
///
/// Whiteouts hide what lower layers hold, wherever in the layer they stand
/// ([image-spec, whiteouts](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts)):
/// they are carried out at once, and the other entries wait for the layer's end; but not those of
/// the first layer, which has nothing below it.
struct Layer<'a> {
    first: bool,
    builder: &'a mut ListingBuilder,
    changes: Changes,
    linked: Vec<Vec<u8>>,
}

/// What a name beginning with `.wh.` asks for.
pub(crate) enum Whiteout {
    /// Nothing: the entry is one like others.
    No,
    /// What has this path in lower layers is hidden.
    Hide(Vec<u8>),
    /// All that lower layers have in this directory is hidden.
    HideAll(Vec<u8>),
    /// Book-keeping of AUFS, which every reader passes over.
    Ignore,
}

impl Layer<'_> {
    fn entry(
        &mut self,
        entry: Entry,
        content: Option<Vec<u8>>,
        wanted: &BTreeSet<Vec<u8>>,
    ) -> Result<(), ListingError> {
        let names = tree::checked_names(&entry.path)?;
        match (whiteout(&names, &entry.path)?, self.first) {
            (Whiteout::No, true) => put(self.builder, &entry, content, wanted, &mut self.linked),
            (Whiteout::No, false) => self.changes.push(&entry, content),
            (Whiteout::Hide(path), false) => self.builder.remove(&path),
            (Whiteout::HideAll(path), false) => self.builder.clear(&path),
            (Whiteout::Hide(_) | Whiteout::HideAll(_) | Whiteout::Ignore, _) => Ok(()),
        }
    }

    fn finish(self, wanted: &BTreeSet<Vec<u8>>) -> Result<Vec<Vec<u8>>, ListingError> {
        let Self { builder, changes, mut linked, .. } = self;
        changes.apply(builder, wanted, &mut linked)?;
        Ok(linked)
    }
}

/// Tells what an entry hides by its name.
pub(crate) fn whiteout(names: &[&[u8]], path: &[u8]) -> Result<Whiteout, ListingError> {
    let Some((name, parents)) = names.split_last() else { return Ok(Whiteout::No) };
    let fault = |reason| ListingError::Path { path: path.to_vec(), reason };
    if parents.iter().any(|name| name.starts_with(b".wh..wh.")) {
        return Ok(Whiteout::Ignore);
    }
    if parents.iter().any(|name| name.starts_with(b".wh.")) {
        return Err(fault("it lies below a whiteout"));
    }
    match name.strip_prefix(b".wh.") {
        None => Ok(Whiteout::No),
        Some(b".wh..opq") => Ok(Whiteout::HideAll(tree::join(parents))),
        Some(hidden) if hidden.starts_with(b".wh.") => Ok(Whiteout::Ignore),
        Some(b"" | b"." | b"..") => Err(fault("it is a whiteout of nothing")),
        Some(hidden) => Ok(Whiteout::Hide(tree::join(&[parents, &[hidden]].concat()))),
    }
}

/// Puts one entry of a layer that is no whiteout. Notes in `linked` which other content is wanted,
/// because a wanted file is a hard link to it.
pub(super) fn put(
    builder: &mut ListingBuilder,
    entry: &Entry,
    content: Option<Vec<u8>>,
    wanted: &BTreeSet<Vec<u8>>,
    linked: &mut Vec<Vec<u8>>,
) -> Result<(), ListingError> {
    let path = &entry.path;
    if let EntryKind::Hardlink { target } = &entry.kind {
        let kept = builder.insert_hard_link(path, target)?;
        if !kept && wanted.contains(&clean(path)) && linked.len() < 16 {
            linked.push(clean(target));
        }
        return Ok(());
    }
    let kind = match &entry.kind {
        EntryKind::Regular => ListedKind::File { size: entry.size },
        EntryKind::Directory => ListedKind::Directory,
        EntryKind::Symlink { target } => ListedKind::Symlink { target },
        EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Fifo => ListedKind::Other,
        _ => return Err(no_place(path)),
    };
    let (uid, gid) = owner(entry)?;
    let listed = Listed { kind, mode: entry.mode, uid, gid };
    match content {
        Some(content) => builder.insert_with_content(path, listed, content),
        None => builder.insert(path, listed),
    }
}

/// Returns an entry's owner and group.
pub(crate) fn owner(entry: &Entry) -> Result<(u32, u32), ListingError> {
    let number = |number: u64| u32::try_from(number).ok().filter(|number| *number != u32::MAX);
    let owner = number(entry.uid).zip(number(entry.gid));
    let reason = "its owner is a number that no user can have";
    owner.ok_or_else(|| ListingError::Path { path: entry.path.clone(), reason })
}

/// An entry of a type that isn't for file systems.
pub(crate) fn no_place(path: &[u8]) -> ListingError {
    ListingError::Path { path: path.to_vec(), reason: "its type has no place in a layer" }
}

/// Returns a path as listings have it.
pub(crate) fn clean(path: &[u8]) -> Vec<u8> {
    tree::join(&tree::names(path).collect::<Vec<_>>())
}

/// Stops giving bytes once the run is cancelled.
struct Watched<'a, R> {
    inner: R,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        self.inner.read(buffer)
    }
}

/// Hashes a layer's tar bytes as they pass, with the algorithm of the digest they should have.
pub(crate) struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    length: u64,
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(inner: R, like: DiffId) -> Self {
        let hasher = match like.0.algorithm() {
            "sha512" => Hasher::Sha512(Sha512::new()),
            _ => Hasher::Sha256(Sha256::new()),
        };
        Self { inner, hasher, length: 0 }
    }

    pub(crate) fn value(self) -> DiffId {
        DiffId(match self.hasher {
            Hasher::Sha256(state) => Digest::from_sha256(state.finalize().into()),
            Hasher::Sha512(state) => {
                let text = format!("sha512:{}", to_hex(&state.finalize()));
                text.parse().expect("that is a digest's form")
            }
        })
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.length += count as u64;
        match &mut self.hasher {
            Hasher::Sha256(state) => state.update(&buffer[..count]),
            Hasher::Sha512(state) => state.update(&buffer[..count]),
        }
        Ok(count)
    }
}
