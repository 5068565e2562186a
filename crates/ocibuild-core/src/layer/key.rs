//! What a layer's keys are made of.
//!
//! The *manifest key* is made before any file of the layer is looked at, of everything the spec
//! says of the layer and of the lockfiles that vouch for its content. The *content key* is made of
//! what the layer turned out to hold.

use std::collections::BTreeSet;

use crate::base::{ListedKind, Listing};
use crate::cache::Material;
use crate::compress::codec_id;
use crate::digest::Digest;
use crate::files::{FileKind, FileTree, resolve};
use crate::key::{Key, KeyWriter};
use crate::layer::answer::learning;
use crate::layer::contents::contents;
use crate::layer::{LayerError, Workshop, ignored, owners, removal};
use crate::oci::{CodecId, Platform};
use crate::plan::{From, PlannedCopy, PlannedLayer, PlannedPath, Split, What};
use crate::spec::{OnBaseSymlink, Trust};

/// Pins everything that affects a digest and isn't named by a key's other fields: metadata rules,
/// the order of entries, where blocks are cut, the form of headers. Frozen with the first release;
/// until then a change of such a rule changes the golden digests.
pub const COMPAT: u64 = 1;

/// The version of the fields of both keys.
const VERSION: u32 = 1;

/// The most that is read of a lockfile, in bytes.
const MAX_MANIFEST: u64 = 256 << 20;

/// A layer's manifest keys, and the lockfiles they are made of.
///
/// Programs are for the host that made them, scripts and data are the same on any. So a layer in
/// which there are programs goes by keys that name the host, and any other by keys that don't. Which
/// of both it is shows when it is made, so both are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManifestKeys {
    /// Keys that name the host, in the order of [`PlannedLayer::platforms`]; none of a layer that
    /// reads nothing of the host.
    pub with_host: Vec<Key>,
    /// Keys that don't, in the same order; none of a layer whose copies let any programs through, as
    /// those aren't looked at.
    pub without_host: Vec<Key>,
    /// The lockfiles, by name and digest.
    pub materials: Vec<Material>,
    /// Of a layer that copies from steps, and else from the host without lockfiles: what those copies
    /// find.
    pub host: Option<Digest>,
    /// The keys that the same layer has by what its steps made, once that is known; those above go by
    /// what the steps are.
    pub realised: Option<Box<ManifestKeys>>,
    /// Whether a place beside the cache answered for something that the layer is made of: then it is
    /// recorded by what steps made, and not by what they are.
    pub is_foreign: bool,
    /// Of each copy what its ignore file says, by digest.
    ignored: Vec<Option<Digest>>,
}

impl ManifestKeys {
    /// Returns the keys, in the order in which they are asked.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        let realised = self.realised.iter().flat_map(|keys| keys.with_host.iter().chain(&keys.without_host));
        self.with_host.iter().chain(&self.without_host).chain(realised)
    }

    /// Returns all keys that the layer is recorded under if it has programs for these machines.
    pub fn recorded<'k>(&'k self, machines: &BTreeSet<String>) -> impl Iterator<Item = &'k Key> {
        let realised = self.realised.as_ref().map_or(&[][..], |keys| keys.of(machines));
        let declared = if self.is_foreign { &[] } else { self.of(machines) };
        declared.iter().chain(realised)
    }

    /// Returns the keys that the layer goes by if it has programs for these machines, in the order of
    /// its platforms.
    #[must_use]
    pub fn of(&self, machines: &BTreeSet<String>) -> &[Key] {
        let names_host = !machines.is_empty() || self.without_host.is_empty();
        if names_host && !self.with_host.is_empty() { &self.with_host } else { &self.without_host }
    }

    /// Makes sure that what of the tree went into the keys is still there, as it was.
    pub(super) fn check(
        &self,
        layer: &PlannedLayer,
        listing: &Listing,
        workshop: Workshop<'_>,
    ) -> Result<(), LayerError> {
        let tree = workshop.tree;
        for (manifest, seen) in layer.manifests.iter().zip(&self.materials) {
            if !material(manifest, tree).is_ok_and(|now| now == *seen) {
                return Err(LayerError::Changed { path: manifest.path.clone(), span: manifest.span });
            }
        }
        for (copy, seen) in layer.copies.iter().zip(&self.ignored) {
            if !ignored(copy, tree).is_ok_and(|now| now == *seen) {
                let path = ignored::name(copy).unwrap_or_default().to_owned();
                return Err(LayerError::Changed { path, span: copy.span });
            }
        }
        if let Some(seen) = self.host
            && host_part(layer, listing, workshop)? != Some(seen)
        {
            let is_of_host = |copy: &&PlannedCopy| copy.from().is_some_and(|from| from.step.is_none());
            let copy = layer.copies.iter().find(is_of_host);
            let path = copy.and_then(PlannedCopy::from).map(|from| from.path.clone()).unwrap_or_default();
            return Err(LayerError::Changed { path, span: copy.and_then(|copy| copy.span) });
        }
        Ok(())
    }
}

/// A step of the plan, as layers that copy from it know it.
#[derive(Debug, Clone)]
pub struct StepKey {
    /// What people are told it is.
    pub label: String,
    /// A key of it, if it has one.
    pub key: Option<Key>,
}

/// What a manifest key depends on beside the layer itself.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The spec's name.
    pub spec: &'a str,
    /// Names the host that made the files: system, architecture, C library.
    pub host: &'a str,
    /// The latest time that a file may keep, in seconds since 1970-01-01T00:00:00Z; none is unbounded.
    pub latest: Option<i64>,
    /// The steps of the plan, in its order.
    pub steps: &'a [StepKey],
}

/// Makes a layer's manifest keys; none for a layer that reads the host without a manifest to
/// vouch for what it reads, that is known by its content alone, or that copies from a step without a key.
///
/// # Errors
/// [`LayerError::Manifest`] if a lockfile can't be read; [`LayerError::Listing`] if a destination
/// can't be followed through the base.
pub fn manifest_keys(
    layer: &PlannedLayer,
    listing: &Listing,
    tree: &dyn FileTree,
    circumstances: Circumstances<'_>,
) -> Result<Option<ManifestKeys>, LayerError> {
    if layer.manifests.is_empty() && layer.reads_host() {
        return Ok(None);
    }
    keys_with(layer, listing, tree, None, circumstances)
}

/// Makes the manifest keys of a layer that copies from steps and from the host, with no lockfile to vouch
/// for what it reads there: they are made of what those copies find, which is looked up and, where nothing
/// is known of it, read. None of any other layer.
///
/// # Errors
/// As [`manifest_keys`], and as a build of the layer would meet them.
pub fn mixed_keys(
    layer: &PlannedLayer,
    listing: &Listing,
    workshop: Workshop<'_>,
) -> Result<Option<ManifestKeys>, LayerError> {
    let host = learning(layer, workshop, |workshop| host_part(layer, listing, workshop))?;
    let Some(host) = host else { return Ok(None) };
    keys_with(layer, listing, workshop.tree, Some(host), workshop.circumstances)
}

/// Digests what those copies of a layer find that don't copy from steps, if there are both and no lockfile
/// vouches for either.
fn host_part(
    layer: &PlannedLayer,
    listing: &Listing,
    workshop: Workshop<'_>,
) -> Result<Option<Digest>, LayerError> {
    let is_mixed = layer.reads_host() && layer.steps().next().is_some();
    if !is_mixed || !layer.manifests.is_empty() || layer.trust == Trust::Content {
        return Ok(None);
    }
    let is_of_host = |copy: &&PlannedCopy| copy.step().is_none();
    let copies = layer.copies.iter().filter(is_of_host).cloned().collect();
    let part = PlannedLayer { copies, remove: Vec::new(), ..layer.clone() };
    contents(&part, listing, workshop).map(|contents| Some(contents.root))
}

fn keys_with(
    layer: &PlannedLayer,
    listing: &Listing,
    tree: &dyn FileTree,
    host_part: Option<Digest>,
    circumstances: Circumstances<'_>,
) -> Result<Option<ManifestKeys>, LayerError> {
    let materials = layer.manifests.iter().map(|manifest| material(manifest, tree));
    let materials = materials.collect::<Result<Vec<Material>, LayerError>>()?;
    let has_key = |step: usize| circumstances.steps.get(step).is_some_and(|step| step.key.is_some());
    if layer.trust == Trust::Content || !layer.steps().all(has_key) {
        return Ok(None);
    }
    let ignored = layer.copies.iter().map(|copy| ignored(copy, tree)).collect::<Result<Vec<_>, _>>()?;
    let keys = |host: Option<&str>| {
        let known = (&materials[..], &ignored[..], host_part.as_ref());
        let key = |platform| manifest_key(layer, listing, (platform, host), known, circumstances);
        layer.platforms.iter().map(key).collect::<Result<Vec<Key>, LayerError>>()
    };
    let host = layer.reads_files().then_some(circumstances.host);
    let with_host = host.map(|host| keys(Some(host))).transpose()?.unwrap_or_default();
    let without_host = if lets_any_program_through(layer) { Vec::new() } else { keys(None)? };
    let (host, realised, is_foreign) = (host_part, None, false);
    Ok(Some(ManifestKeys { with_host, without_host, materials, host, realised, is_foreign, ignored }))
}

fn lets_any_program_through(layer: &PlannedLayer) -> bool {
    layer.copies.iter().any(|copy| matches!(&copy.what, What::From(from) if from.allow_foreign))
}

/// Reads a lockfile.
pub(super) fn material(manifest: &PlannedPath, tree: &dyn FileTree) -> Result<Material, LayerError> {
    let fault = |source| LayerError::Manifest { path: manifest.path.clone(), span: manifest.span, source };
    let path = resolve(tree, manifest.path.as_bytes())?;
    let digest = hash_file(tree, &path).map_err(fault)?;
    Ok(Material::new(manifest.path.clone(), digest))
}

fn manifest_key(
    layer: &PlannedLayer,
    listing: &Listing,
    (platform, host): (&Platform, Option<&str>),
    (materials, ignored, host_part): (&[Material], &[Option<Digest>], Option<&Digest>),
    circumstances: Circumstances<'_>,
) -> Result<Key, LayerError> {
    // Taken apart, so that a field that is added is decided on: what shows in the layer is written,
    // and so is what people say to tell layers apart. Of what is below only what shows counts.
    let PlannedLayer {
        name,
        label: _,
        platforms: _,
        foundation: _,
        compression,
        manifests: _, // By name and content among the materials.
        trust: _,     // Without that in manifests there is no such key.
        extras,
        copies,
        remove,
        split,
        comment: _,
    } = layer;
    let mut key = KeyWriter::new("manifest", VERSION);
    key.number("compat", COMPAT);
    key.field("codec", codec_id(*compression).as_str());
    key.field("spec", circumstances.spec).field("layer", name);
    key.field("platform", platform.to_string());
    key.optional("host", host);
    key.list("manifests", materials.iter().map(|material| material.name.as_str()));
    key.list("manifest contents", materials.iter().map(|material| material.digest.to_string()));
    key.list("extras", extras);
    if *split != Split::Whole {
        key.field("split", split.to_string());
    }
    key.list("remove", remove.iter().map(|removal| &removal.path));
    if copies.iter().any(|copy| copy.preserve.mtime) {
        key.optional("latest time", circumstances.latest.map(i64::to_le_bytes));
    }
    write_removed(&mut key, layer, listing)?;
    if let Some(part) = host_part {
        key.digest("host part", part);
    }
    key.number("copies", copies.len() as u64);
    for (copy, ignored) in copies.iter().zip(ignored) {
        write_copy(&mut key, copy);
        if let Some(step) = copy.step() {
            let step = circumstances.steps.get(step).and_then(|step| step.key);
            key.optional("step", step.as_ref().map(Key::hex));
        }
        key.optional("ignore-file", ignored.as_ref().map(Digest::to_string));
        let owner = owners::owner(copy, listing)?;
        key.optional("owner in numbers", owner.map(|(uid, gid)| format!("{uid}:{gid}")));
        write_mapping(&mut key, copy, listing)?;
    }
    Ok(key.finish())
}

/// Makes the key of everything beside the tree that a layer's bytes are made of: the rules of its
/// copies, and what the base has.
pub(super) fn rules_key(
    layer: &PlannedLayer,
    listing: &Listing,
    latest: Option<i64>,
) -> Result<Key, LayerError> {
    let mut key = KeyWriter::new("rules", VERSION);
    key.field("program", env!("CARGO_PKG_VERSION"));
    key.number("platforms", layer.platforms.len() as u64);
    let none: Vec<Option<Digest>> = layer.copies.iter().map(|_| None).collect();
    for platform in &layer.platforms {
        let circumstances = Circumstances { spec: "", host: "", latest, steps: &[] };
        let rules = manifest_key(layer, listing, (platform, None), (&[], &none, None), circumstances)?;
        key.field("rules", rules.hex());
    }
    key.digest("base", &listing.digest());
    Ok(key.finish())
}

/// Digests the contents of a copy's ignore file, if there is one.
pub(super) fn ignored(copy: &PlannedCopy, tree: &dyn FileTree) -> Result<Option<Digest>, LayerError> {
    let What::From(from) = &copy.what else { return Ok(None) };
    let contents = ignored::contents(&from.ignore, tree).map_err(|fault| fault.at(copy.span))?;
    Ok(contents.map(|bytes| Digest::of(&bytes)))
}

/// What is taken away, with the directories that are written for it.
pub(super) fn write_removed(
    key: &mut KeyWriter,
    layer: &PlannedLayer,
    listing: &Listing,
) -> Result<(), LayerError> {
    let entries = removal::whiteouts(layer, listing)?;
    key.number("removed", entries.len() as u64);
    for entry in entries {
        key.field("entry", &entry.path);
        key.field("as", format!("{:o} {}:{}", entry.mode, entry.uid, entry.gid));
    }
    Ok(())
}

fn write_copy(key: &mut KeyWriter, copy: &PlannedCopy) {
    let PlannedCopy {
        what,
        to,
        into,
        mode,
        dir_mode,
        owner,
        owner_span: _,
        preserve,
        pyc,
        on_base_symlink: _, // With what is at the destination.
        span: _,
    } = copy;
    key.field("to", to).number("into", u64::from(*into));
    key.optional("mode", mode.map(u32::to_le_bytes));
    key.optional("dir-mode", dir_mode.map(u32::to_le_bytes));
    key.optional("owner", owner.as_ref().map(ToString::to_string));
    key.list("preserve", &preserve.names().collect::<Vec<_>>()).field("pyc", pyc.to_string());
    match what {
        What::From(from) => write_from(key, from),
        What::Content(bytes) => {
            key.field("content", bytes);
        }
        What::Symlink(target) => {
            key.field("symlink", target);
        }
        What::Directory => {
            key.field("directory", "");
        }
    }
}

fn write_from(key: &mut KeyWriter, from: &From) {
    let From {
        path,
        literal: _, // Of the path,
        glob: _,    // as is this.
        patterns: [include, exclude],
        selection: _, // Of the patterns.
        ignore: _,    // By what the file says.
        allow_empty,
        allow_foreign,
        step: _,  // By its key.
        whole: _, // Of what no manifest key stands for.
    } = from;
    key.field("from", path).list("include", include).list("exclude", exclude);
    key.number("allow-empty", u64::from(*allow_empty));
    key.number("allow-foreign", u64::from(*allow_foreign));
}

/// What of the base shows in the layer: where the destination leads, what is there and on the way
/// (with the metadata of directories), and all directories and links below; and the same of every
/// place outside that a link below leads to. Files below are left out: without a look at
/// what is copied nothing tells whether one is in the way.
pub(super) fn write_mapping(
    key: &mut KeyWriter,
    copy: &PlannedCopy,
    listing: &Listing,
) -> Result<(), LayerError> {
    match copy.on_base_symlink {
        OnBaseSymlink::Follow => {}
        what => {
            key.field("on-base-symlink", what.to_string());
        }
    }
    if copy.on_base_symlink == OnBaseSymlink::Replace {
        // No link leads anywhere then.
        write_place(key, &copy.to, listing);
        return Ok(());
    }
    let by_name = listing.resolve_parents(&copy.to)?;
    key.field("parents resolved", &by_name);
    write_parents(key, &by_name, listing);
    let mut places = vec![listing.resolve(&copy.to)?];
    let mut next = 0;
    while let Some(place) = places.get(next).cloned() {
        write_place(key, &place, listing);
        add_linked(&mut places, &place, listing);
        next += 1;
    }
    key.number("places", places.len() as u64);
    Ok(())
}

fn write_place(key: &mut KeyWriter, place: &[u8], listing: &Listing) {
    key.field("resolved", place);
    write_parents(key, place, listing);
    let kind = listing.get(place).map(|listed| match listed.kind {
        ListedKind::Directory => "directory",
        _ => "no directory",
    });
    key.optional("kind", kind);
    key.digest("below", &listing.fingerprint(place));
}

fn write_parents(key: &mut KeyWriter, path: &[u8], listing: &Listing) {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends {
        let parent = listing.get(&path[..end]).map(|listed| match listed.kind {
            ListedKind::Directory => format!("{:o} {}:{}", listed.mode, listed.uid, listed.gid),
            ListedKind::Symlink { .. } => "link".to_owned(),
            _ => "no directory".to_owned(),
        });
        key.optional("parent", parent);
    }
}

/// Adds the directories, there or to be made, that links at and below a place lead out of it to.
fn add_linked(places: &mut Vec<Vec<u8>>, place: &[u8], listing: &Listing) {
    for (path, listed) in listing.entries(place) {
        if !matches!(listed.kind, ListedKind::Symlink { .. }) {
            continue;
        }
        // A link in a circle is a fault only to whoever goes there.
        let Ok(target) = listing.resolve(&path) else { continue };
        let may_be_entered = listing.get(&target).is_none_or(|there| there.kind == ListedKind::Directory);
        if may_be_entered && !places.iter().any(|place| is_at_or_below(&target, place)) {
            places.push(target);
        }
    }
}

fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| directory.is_empty() || matches!(rest, [] | [b'/', ..]))
}

/// Makes the key of what a layer holds: of its inventory's lines and everything else that decides
/// its bytes.
#[must_use]
pub fn content_key(inventory: &Digest, codec: &CodecId) -> Key {
    let mut key = KeyWriter::new("content", VERSION);
    key.number("compat", COMPAT).field("codec", codec.as_str()).digest("inventory", inventory);
    key.finish()
}

/// Makes the key of what a split layer holds, by the inventory of all its parts. That of a part is
/// [`content_key`] of what the part holds: however else the layer is split, it is the same blob.
#[must_use]
pub fn split_key(inventory: &Digest, codec: &CodecId, split: Split) -> Key {
    let mut key = KeyWriter::new("split content", VERSION);
    key.number("compat", COMPAT).field("codec", codec.as_str()).digest("inventory", inventory);
    key.field("split", split.to_string());
    key.finish()
}

/// Makes the key under which the last build of a layer leaves its record, whatever it held: that
/// there is one says that content was recorded before, and the same may come again.
#[must_use]
pub fn trace_key(layer: &PlannedLayer, spec: &str) -> Key {
    let mut key = KeyWriter::new("trace", VERSION);
    key.number("compat", COMPAT).field("codec", codec_id(layer.compression).as_str());
    key.field("spec", spec).field("layer", &layer.name);
    let platforms: Vec<String> = layer.platforms.iter().map(Platform::to_string).collect();
    key.list("platforms", &platforms);
    key.finish()
}

fn hash_file(tree: &dyn FileTree, path: &[u8]) -> std::io::Result<Digest> {
    let file = tree.open(path)?;
    let metadata = file.metadata()?;
    if metadata.kind != FileKind::Regular {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if metadata.size > MAX_MANIFEST {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it is larger than any lockfile"));
    }
    let mut bytes = vec![0; metadata.size as usize];
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Digest::of(&bytes))
}
