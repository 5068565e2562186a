//! What a layer takes away from its base: whiteouts
//! ([layer.md](https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts)).

use std::cmp::Ordering;

use crate::base::{DirectoryMeta, ListedKind, Listing};
use crate::files::{DEFAULT_MTIME, Entry, EntryKind, FileSource, display};
use crate::layer::LayerError;
use crate::layer::draft::WHITEOUT;
use crate::layer::gather::below;
use crate::pattern::Pattern;
use crate::plan::{PlannedLayer, PlannedRemoval};

/// Hides all that a directory holds below this layer.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// As long as a name can be on Linux file systems.
const MAX_NAME: usize = 255;

/// Something that is taken away.
struct Removed<'a> {
    path: Vec<u8>,
    /// Whether it is the directory's content, and not itself.
    content_only: bool,
    by: &'a PlannedRemoval,
}

/// Returns the whiteouts of a layer and the directories they lie in, as the base has them, in the
/// order of the layer.
///
/// # Errors
/// [`LayerError::NothingToRemove`], [`LayerError::Unremovable`], [`LayerError::Listing`].
pub(super) fn whiteouts(layer: &PlannedLayer, listing: &Listing) -> Result<Vec<Entry>, LayerError> {
    let mut entries = Vec::new();
    for removed in removed(layer, listing)? {
        let (directory, name) = match &removed {
            Removed { path, content_only: true, .. } => (path.as_slice(), OPAQUE.to_vec()),
            Removed { path, .. } => {
                let (directory, name) = split(path);
                (directory, [WHITEOUT, name].concat())
            }
        };
        if name.len() > MAX_NAME {
            return Err(LayerError::Unremovable { path: display(&removed.path), span: removed.by.span });
        }
        add_directories(directory, listing, &mut entries);
        let kind = EntryKind::File { source: FileSource::Bytes([].into()), size: 0 };
        entries.push(entry(below(directory, &name), kind, DirectoryMeta { mode: 0o644, uid: 0, gid: 0 }));
    }
    entries.sort_by(|one, other| compare(&one.path, &other.path));
    entries.dedup_by(|one, other| one.path == other.path);
    Ok(entries)
}

/// Returns the paths that a layer takes away, and whether of each only what lies below goes; none of a
/// layer that can't be made.
#[must_use]
pub fn removed_paths(layer: &PlannedLayer, listing: &Listing) -> Vec<(Vec<u8>, bool)> {
    let removed = removed(layer, listing).unwrap_or_default();
    removed.into_iter().map(|removed| (removed.path, removed.content_only)).collect()
}

/// Adds a layer's whiteouts to its other entries.
///
/// They come before all else in their directory, as the specification advises: an unpacker that
/// goes by the order then can't take away what the layer itself brings. A directory that copies
/// have something to say of stays as they want it.
///
/// # Errors
/// Those of [`whiteouts`]; [`LayerError::RemovedAndWritten`].
pub(super) fn add(
    mut entries: Vec<Entry>,
    layer: &PlannedLayer,
    listing: &Listing,
) -> Result<Vec<Entry>, LayerError> {
    if layer.remove.is_empty() {
        return Ok(entries);
    }
    for removed in removed(layer, listing)? {
        let is_written =
            |path: &[u8]| entries.binary_search_by(|entry| Entry::compare_paths(&entry.path, path)).is_ok();
        let is_at = !removed.content_only && is_written(&removed.path);
        if is_at || layer.copies.iter().any(|copy| leads_through(&copy.to, &removed, listing)) {
            let path = display(&removed.path);
            return Err(LayerError::RemovedAndWritten { path, span: removed.by.span });
        }
    }
    entries.extend(whiteouts(layer, listing)?);
    // Stable: of a directory that is in both, the copies' comes first, and stays.
    entries.sort_by(|one, other| compare(&one.path, &other.path));
    entries.dedup_by(|later, earlier| later.path == earlier.path);
    Ok(entries)
}

/// Tells whether a destination goes by a link that is taken away: what is copied there would land
/// where nothing leads any more.
fn leads_through(to: &[u8], removed: &Removed<'_>, listing: &Listing) -> bool {
    let ends = to.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut prefixes = ends.chain([to.len()]).map(|end| &to[..end]);
    prefixes.any(|path| {
        let goes = is_below(path, &removed.path) || (!removed.content_only && path == removed.path);
        goes && listing.get(path).is_some_and(|listed| matches!(listed.kind, ListedKind::Symlink { .. }))
    })
}

/// Finds what the rules match, in order, each once, without what lies in something that goes as
/// a whole.
fn removed<'a>(layer: &'a PlannedLayer, listing: &Listing) -> Result<Vec<Removed<'a>>, LayerError> {
    let mut all = Vec::new();
    for removal in &layer.remove {
        let found = find(removal, listing)?;
        if found.is_empty() {
            let closest = closest(&removal.pattern.literal_prefix(), listing)?;
            return Err(LayerError::NothingToRemove {
                path: removal.path.clone(),
                closest: closest.map(|path| display(&path)),
                empty: listing.is_empty(),
                span: removal.span,
            });
        }
        all.extend(found);
    }
    all.sort_by(|one, other| {
        Entry::compare_paths(&one.path, &other.path).then(one.content_only.cmp(&other.content_only))
    });
    let mut kept: Vec<Removed<'a>> = Vec::with_capacity(all.len());
    for one in all {
        let goes_along = |last: &Removed<'_>| one.path == last.path || is_below(&one.path, &last.path);
        if !kept.last().is_some_and(goes_along) {
            kept.push(one);
        }
    }
    Ok(kept)
}

fn find<'a>(removal: &'a PlannedRemoval, listing: &Listing) -> Result<Vec<Removed<'a>>, LayerError> {
    let one = |path, content_only| Removed { path, content_only, by: removal };
    if let Some(path) = removal.pattern.as_literal() {
        let path = listing.resolve_parents(&path)?;
        // The root, where a name leads back to it, is nothing to take away.
        let is_there = !path.is_empty() && listing.get(&path).is_some();
        return Ok(if is_there { vec![one(path, false)] } else { Vec::new() });
    }
    let prefix = removal.pattern.literal_prefix();
    let directory = listing.resolve(&prefix)?;
    let has_content = listing.directory(&directory).is_some() && listing.entries(&directory).nth(1).is_some();
    // The root of a file system that is put together of layers can't be opaque to those below.
    if is_whole_directory(&removal.path) && !directory.is_empty() {
        return Ok(if has_content { vec![one(directory, true)] } else { Vec::new() });
    }
    let matches = listing.entries(&directory).skip(1).filter_map(|(path, _)| {
        let name = path[directory.len()..].strip_prefix(b"/").unwrap_or(&path[directory.len()..]);
        removal.pattern.matches(&below(&prefix, name)).then(|| one(path, false))
    });
    Ok(matches.collect())
}

/// Tells whether a glob stands for all that is in one directory.
fn is_whole_directory(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let directory = path.strip_suffix("/**").or_else(|| path.strip_suffix("/*"));
    let pattern = directory.map(Pattern::parse);
    matches!(pattern, Some(Ok(pattern)) if !pattern.is_glob())
}

/// Returns the path that exists and differs least from one that doesn't: in the first name that
/// isn't there.
fn closest(path: &[u8], listing: &Listing) -> Result<Option<Vec<u8>>, LayerError> {
    let path = listing.resolve_parents(path)?;
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut prefixes = ends.chain([path.len()]).map(|end| &path[..end]);
    let Some(missing) = prefixes.find(|path| listing.get(path).is_none()) else { return Ok(None) };
    let (directory, name) = split(missing);
    let names: Vec<Vec<u8>> = listing
        .entries(directory)
        .skip(1)
        .map(|(path, _)| path)
        .filter(|path| split(path).0 == directory)
        .collect();
    let texts = names.iter().filter_map(|path| std::str::from_utf8(split(path).1).ok());
    let name = String::from_utf8_lossy(name);
    Ok(crate::spec::closest(&name, texts).map(|name| below(directory, name.as_bytes())))
}

/// Adds a directory and its parents, as the base has them.
fn add_directories(path: &[u8], listing: &Listing, entries: &mut Vec<Entry>) {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        if let Some(directory) = listing.directory(&path[..end]).filter(|_| end > 0) {
            entries.push(entry(path[..end].to_vec(), EntryKind::Directory, directory));
        }
    }
}

fn entry(path: Vec<u8>, kind: EntryKind, metadata: DirectoryMeta) -> Entry {
    let DirectoryMeta { mode, uid, gid } = metadata;
    Entry { path: path.into(), kind, mode, uid, gid, mtime: DEFAULT_MTIME, xattrs: None }
}

/// Splits a path into its directory and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

/// As [`Entry::compare_paths`], but whiteouts come first in their directory.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let name = one[..same].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    match (one[name..].starts_with(WHITEOUT), other[name..].starts_with(WHITEOUT)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => Entry::compare_paths(one, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_come_first_in_their_directory() {
        let mut paths = ["a/.wh.x", "a", "a/!", "a/.wh..wh..opq", "a/.w", "a.b", "!", ".wh.z", "a/!/.wh.y"];
        paths.sort_by(|one, other| compare(one.as_bytes(), other.as_bytes()));
        assert_eq!(
            paths,
            [".wh.z", "!", "a", "a/.wh..wh..opq", "a/.wh.x", "a/!", "a/!/.wh.y", "a/.w", "a.b"]
        );
    }

    #[test]
    fn a_glob_for_a_whole_directory_is_known() {
        for path in ["/a/*", "/a/b/**", "/a\\*/*", "/a/**/"] {
            assert!(is_whole_directory(path), "{path}");
        }
        for path in ["/a", "/*", "/**", "/a/*/*", "/a/\\*", "/a/b*", "/**/a/*"] {
            assert!(!is_whole_directory(path), "{path}");
        }
    }
}
