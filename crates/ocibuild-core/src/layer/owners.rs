//! The owners that copies name, as numbers: names are looked up in what the layer is written over.

use crate::base::Listing;
use crate::layer::LayerError;
use crate::plan::{PlannedCopy, PlannedLayer};
use crate::spec::{Account, Owner};

/// Returns each copy's owner as user and group, in their order.
pub(super) fn owners(layer: &PlannedLayer, listing: &Listing) -> Result<Vec<Option<(u32, u32)>>, LayerError> {
    layer.copies.iter().map(|copy| owner(copy, listing)).collect()
}

/// Returns a copy's owner as user and group.
pub(super) fn owner(copy: &PlannedCopy, listing: &Listing) -> Result<Option<(u32, u32)>, LayerError> {
    let Some(owner) = &copy.owner else { return Ok(None) };
    let unknown = |kind: &'static str, name: &Account| LayerError::UnknownAccount {
        kind,
        name: name.to_string(),
        known: listing.account_names(kind == "group"),
        span: copy.owner_span.or(copy.span),
    };
    let Owner { user, group } = owner;
    let (uid, own) = match user {
        Account::Id(uid) => (*uid, None),
        Account::Name(name) => {
            let (uid, gid) = listing.user(name).ok_or_else(|| unknown("user", user))?;
            (uid, Some(gid))
        }
    };
    let gid = match (group, own) {
        (Some(Account::Id(gid)), _) => *gid,
        (None, Some(gid)) => gid,
        (Some(name), _) => listing.group(&name.to_string()).ok_or_else(|| unknown("group", name))?,
        // The spec's grammar wants a group beside a number.
        (None, None) => uid,
    };
    Ok(Some((uid, gid)))
}
