//! What a layer's bytes follow from beside its files, said for people: what its keys are made of, by
//! name.
//!
//! Contents and extras of the key are digests. These keep nothing secret that can be guessed, and need not:
//! contents are in the image, and extras in the key that it carries.

use std::collections::BTreeMap;

use crate::base::Listing;
use crate::cache::{Material, Particulars, short};
use crate::compress::codec_id;
use crate::digest::Digest;
use crate::files::{FileTree, display};
use crate::key::KeyWriter;
use crate::layer::key::{COMPAT, Circumstances, ignored, material, write_mapping, write_removed};
use crate::layer::{LayerError, owners};
use crate::oci::Platform;
use crate::plan::{From, PlannedCopy, PlannedLayer, Split, What};
use crate::spec::{OnBaseSymlink, Trust};

/// Names what a layer's bytes follow from. Lockfiles are read unless what is in them is `known`.
///
/// # Errors
/// As [`manifest_keys`](crate::layer::manifest_keys).
pub fn particulars(
    layer: &PlannedLayer,
    listing: &Listing,
    tree: &dyn FileTree,
    known: &[Material],
    circumstances: Circumstances<'_>,
) -> Result<Particulars, LayerError> {
    // Taken apart, so that a field that is added is decided on.
    let PlannedLayer {
        name: _,
        label: _,
        platforms,
        foundation: _,
        compression,
        manifests,
        trust,
        extras,
        copies,
        remove,
        split,
        comment: _,
    } = layer;
    let mut all = Particulars::default();
    all.say("compat", COMPAT.to_string());
    all.say("compression", compression.to_string());
    all.say("encoder", codec_id(*compression).as_str());
    all.say("platforms", platforms.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "));
    if *split != Split::Whole {
        all.say("split", split.to_string());
    }
    if *trust == Trust::Content {
        all.say("trust", trust.to_string());
    }
    if !manifests.is_empty() && *trust != Trust::Content && layer.reads_files() {
        all.say("host", circumstances.host);
    }
    if !extras.is_empty() {
        all.say("key", Digest::of(extras.join("\0").as_bytes()).to_string());
    }
    if !remove.is_empty() {
        all.say("remove", remove.iter().map(|removal| &*removal.path).collect::<Vec<_>>().join(", "));
        all.say("what the base has of it", removed(layer, listing)?);
    }
    if let Some(latest) = circumstances.latest.filter(|_| copies.iter().any(|copy| copy.preserve.mtime)) {
        all.say("latest time", latest.to_string());
    }
    all.manifests = vouchers(layer, tree, known, circumstances)?;
    let copies = copies.iter().map(|copy| self::copy(copy, listing, tree));
    all.copies = copies.collect::<Result<_, LayerError>>()?;
    Ok(all)
}

/// The lockfiles that vouch for a layer and the steps that it copies from, with what is in them.
fn vouchers(
    layer: &PlannedLayer,
    tree: &dyn FileTree,
    known: &[Material],
    circumstances: Circumstances<'_>,
) -> Result<BTreeMap<String, String>, LayerError> {
    let mut all = BTreeMap::new();
    for manifest in &layer.manifests {
        let digest = match known.iter().find(|known| known.name == manifest.path) {
            Some(known) => known.digest,
            None => material(manifest, tree)?.digest,
        };
        all.insert(manifest.path.clone(), digest.to_string());
    }
    for step in layer.steps().filter_map(|step| circumstances.steps.get(step)) {
        let key = step.key.map_or_else(|| "unknown".to_owned(), |key| key.to_string());
        all.insert(format!("step {}", step.label), key);
    }
    Ok(all)
}

fn removed(layer: &PlannedLayer, listing: &Listing) -> Result<String, LayerError> {
    let mut key = KeyWriter::new("removed", 1);
    write_removed(&mut key, layer, listing)?;
    Ok(format!("sha256:{}", key.finish()))
}

fn copy(
    copy: &PlannedCopy,
    listing: &Listing,
    tree: &dyn FileTree,
) -> Result<BTreeMap<String, String>, LayerError> {
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
        on_base_symlink,
        span: _,
    } = copy;
    let mut said = BTreeMap::new();
    let mut say = |name: &str, value: String| said.insert(name.to_owned(), short(&value));
    match what {
        What::From(from) => say_from(from, &mut say),
        What::Content(bytes) => drop(say("content", Digest::of(bytes).to_string())),
        What::Symlink(target) => drop(say("symlink", display(target))),
        What::Directory => drop(say("directory", String::new())),
    }
    say("to", format!("/{}{}", display(to), if *into && !to.is_empty() { "/" } else { "" }));
    for (name, mode) in [("mode", mode), ("dir-mode", dir_mode)] {
        if let Some(mode) = mode {
            say(name, format!("{mode:04o}"));
        }
    }
    if let Some(owner) = owner {
        say("owner", owner.to_string());
    }
    if let Some((uid, gid)) = owners::owner(copy, listing)?.filter(|_| copy.numeric_owner().is_none()) {
        say("owner in numbers", format!("{uid}:{gid}"));
    }
    let kept: Vec<&str> = preserve.names().collect();
    if !kept.is_empty() {
        say("preserve", kept.join(", "));
    }
    say("pyc", pyc.to_string());
    if *on_base_symlink != OnBaseSymlink::Follow {
        say("on-base-symlink", on_base_symlink.to_string());
    }
    if let Some(digest) = ignored(copy, tree)? {
        say("ignore file", digest.to_string());
    }
    let mut mapping = KeyWriter::new("mapping", 1);
    write_mapping(&mut mapping, copy, listing)?;
    say("what the base has there", format!("sha256:{}", mapping.finish()));
    Ok(said)
}

fn say_from(from: &From, say: &mut dyn FnMut(&str, String) -> Option<String>) {
    let From {
        step: _,  // By its label and key.
        whole: _, // Of no layer of a spec.
        path,
        literal: _, // Of the path,
        glob: _,    // as is this.
        patterns: [include, exclude],
        selection: _, // Of the patterns.
        ignore: _,    // By what the file says.
        allow_empty,
        allow_foreign,
    } = from;
    say("from", path.clone());
    for (name, patterns) in [("include", include), ("exclude", exclude)] {
        if !patterns.is_empty() {
            say(name, patterns.join(", "));
        }
    }
    for (name, is_set) in [("allow-empty", allow_empty), ("allow-foreign", allow_foreign)] {
        if *is_set {
            say(name, "true".to_owned());
        }
    }
}
