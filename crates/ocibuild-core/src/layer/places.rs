//! Where things go that meet symbolic links of the base on their way.

use crate::base::{ListedKind, Listing};
use crate::files::display;
use crate::layer::LayerError;
use crate::layer::draft::is_obstacle;
use crate::plan::PlannedCopy;
use crate::spec::OnBaseSymlink;

/// The place of a single thing: it takes the place of what has its name, so links count up to its
/// directory.
pub(super) fn named(copy: &PlannedCopy, listing: &Listing, path: &[u8]) -> Result<Vec<u8>, LayerError> {
    match copy.on_base_symlink {
        OnBaseSymlink::Follow => Ok(listing.resolve_parents(path)?),
        OnBaseSymlink::Error => without_links(copy, listing, path, false),
        OnBaseSymlink::Replace => Ok(path.to_vec()),
    }
}

/// The place of a directory. One that isn't there is made; a file behind a link would be lost by
/// that.
pub(super) fn directory(copy: &PlannedCopy, listing: &Listing, path: &[u8]) -> Result<Vec<u8>, LayerError> {
    let resolved = match copy.on_base_symlink {
        OnBaseSymlink::Follow => listing.resolve(path)?,
        OnBaseSymlink::Error => return without_links(copy, listing, path, true),
        OnBaseSymlink::Replace => return Ok(path.to_vec()),
    };
    if resolved != path && is_obstacle(listing, &resolved) {
        let (path, obstacle) = (display(path), display(&resolved));
        return Err(LayerError::NotDirectory { path, obstacle, span: None });
    }
    Ok(resolved)
}

/// Where a copy's destination leads, whether or not anything can be put there.
pub(super) fn destination(copy: &PlannedCopy, listing: &Listing) -> Vec<u8> {
    match copy.on_base_symlink {
        OnBaseSymlink::Follow => listing.resolve(&copy.to).unwrap_or_else(|_| copy.to.clone()),
        OnBaseSymlink::Error | OnBaseSymlink::Replace => copy.to.clone(),
    }
}

fn without_links(
    copy: &PlannedCopy,
    listing: &Listing,
    path: &[u8],
    last: bool,
) -> Result<Vec<u8>, LayerError> {
    let Some((link, target)) = listing.first_link(path, last) else { return Ok(path.to_vec()) };
    let (path, link, target) = (display(path), display(&link), display(target));
    Err(LayerError::BaseSymlink { path, link, target, span: copy.span })
}

/// Tells whether what the base has at a path may not become a directory that a copy only implies.
pub(super) fn is_in_the_way(copy: &PlannedCopy, listing: &Listing, path: &[u8]) -> bool {
    is_obstacle(listing, path) && !(copy.on_base_symlink == OnBaseSymlink::Replace && is_link(listing, path))
}

fn is_link(listing: &Listing, path: &[u8]) -> bool {
    listing.get(path).is_some_and(|listed| matches!(listed.kind, ListedKind::Symlink { .. }))
}

/// Tells whether paths below a destination may meet a link of the base.
pub(super) fn has_links(listing: &Listing, to: &[u8]) -> bool {
    !listing.is_empty()
        && listing.entries(to).any(|(_, listed)| matches!(listed.kind, ListedKind::Symlink { .. }))
}
