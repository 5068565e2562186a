//! A listing as bytes, to be kept as a blob: versioned, compressed, and read with suspicion.
//!
//! After a line that names the format, zstd over: the owners, then every node in the order of the
//! listing (number of its entries, name, kind and owner, what the kind adds), then the contents
//! of `/etc/passwd` and `/etc/group`.

use std::io::{self, Write as _};

use crate::base::listing::{Kind, ListedKind, Listing, Node, Owner};
use crate::base::users::Users;
use crate::base::window::Window;
use crate::base::{ListingError, ListingLimits, tree, varint};
use crate::compress::{DecodeLimits, decoder};

const MAGIC: &[u8] = b"ocibuild listing 1\n";
const LEVEL: i32 = 3;
/// Bytes that are gathered before they are compressed.
const CHUNK: usize = 64 << 10;
/// The most bytes of anything but contents: of an entry's name and target, and some numbers.
const MOST: usize = tree::MAX_NAME + tree::MAX_PATH + 64;
/// The most bytes of one content: all that are kept.
const MOST_CONTENT: usize = 17 << 20;

/// More than this is never decompressed: the text of a listing is limited, and what comes with
/// each entry is small.
fn limits(limits: &ListingLimits) -> DecodeLimits {
    let bytes = u64::from(limits.text) + 40 * u64::from(limits.entries) + (4 << 20);
    DecodeLimits { bytes, ratio: u64::MAX, ..DecodeLimits::default() }
}

pub(super) fn to_bytes(listing: &Listing) -> Vec<u8> {
    write(listing).expect("zstd compresses any bytes in memory")
}

fn write(listing: &Listing) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(MAGIC.to_vec(), LEVEL)?;
    let mut bytes = Vec::new();
    varint::push(&mut bytes, listing.owners.len() as u64);
    for Owner { mode, uid, gid } in &listing.owners {
        for number in [mode, uid, gid] {
            varint::push(&mut bytes, (*number).into());
        }
    }
    varint::push(&mut bytes, listing.nodes.len() as u64);
    for node in 0..listing.nodes.len() as u32 {
        push_node(&mut bytes, listing, node);
        if bytes.len() > CHUNK {
            encoder.write_all(&bytes)?;
            bytes.clear();
        }
    }
    for content in [&listing.users.passwd, &listing.users.group] {
        bytes.push(u8::from(content.is_some()));
        varint::push_bytes(&mut bytes, content.as_deref().unwrap_or_default());
    }
    encoder.write_all(&bytes)?;
    encoder.finish()
}

fn push_node(bytes: &mut Vec<u8>, listing: &Listing, number: u32) {
    let Node { kind, .. } = listing.nodes[number as usize];
    varint::push(bytes, listing.children(number).len() as u64);
    varint::push_bytes(bytes, listing.name(number));
    let code = if kind.kind() == Kind::LARGE_FILE { Kind::FILE } else { kind.kind() };
    varint::push(bytes, u64::from(code) << 32 | kind.owner() as u64);
    match listing.listed(number).kind {
        ListedKind::File { size } => varint::push(bytes, size),
        ListedKind::Symlink { target } => varint::push_bytes(bytes, target),
        ListedKind::Directory | ListedKind::Other => {}
    }
}

pub(super) fn from_bytes(bytes: &[u8], bounds: &ListingLimits) -> Result<Listing, ListingError> {
    let compressed = bytes.strip_prefix(MAGIC).ok_or(ListingError::Damaged)?;
    let reader = decoder(compressed, &limits(bounds))?;
    let mut stored = Window::new(reader);
    let listing = take_listing(&mut stored, bounds).ok_or(ListingError::Damaged)?;
    if stored.is_at_end() { Ok(listing) } else { Err(ListingError::Damaged) }
}

fn take_listing(stored: &mut Window<impl io::Read>, limits: &ListingLimits) -> Option<Listing> {
    let owners = take_owners(stored)?;
    let count = stored.take(MOST, varint::take_u32)?;
    // The root is nobody's entry.
    if count.checked_sub(1)? > limits.entries {
        return None;
    }
    let mut listing = Listing { nodes: Vec::new(), text: Vec::new(), owners, users: Users::default() };
    // Entries of a directory follow those of all directories before it; the root is nobody's.
    let mut first = 1_u32;
    while listing.nodes.len() < count as usize {
        let children = stored.take(MOST, |bytes| take_node(bytes, &mut listing, first))?;
        first = first.checked_add(children).filter(|next| *next <= count)?;
        // All nodes before this one's entries are there already, or it stands behind itself.
        if first as usize <= listing.nodes.len() && listing.nodes.len() < count as usize {
            return None;
        }
    }
    let passwd = stored.take(MOST_CONTENT, take_content)?;
    let group = stored.take(MOST_CONTENT, take_content)?;
    listing.users = Users { passwd, group };
    (first == count && is_sorted(&listing)).then_some(listing)
}

fn take_owners(stored: &mut Window<impl io::Read>) -> Option<Vec<Owner>> {
    let count = stored.take(MOST, varint::take)?;
    if count == 0 || count > Kind::MAX_OWNERS {
        return None;
    }
    // Nothing is reserved for what is only claimed to be there.
    let mut owners = Vec::new();
    for _ in 0..count {
        owners.push(stored.take(MOST, |bytes| {
            let mode = varint::take_u32(bytes).filter(|mode| *mode <= 0o7777)?;
            Some(Owner { mode, uid: varint::take_u32(bytes)?, gid: varint::take_u32(bytes)? })
        })?);
    }
    Some(owners)
}

/// Takes one node; returns the number of its entries.
fn take_node(bytes: &mut &[u8], listing: &mut Listing, first: u32) -> Option<u32> {
    let children = varint::take_u32(bytes)?;
    let name = varint::take_bytes(bytes)?;
    let is_root = listing.nodes.is_empty();
    let is_name =
        !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && name.len() <= tree::MAX_NAME;
    let kind = varint::take(bytes)?;
    let (kind, owner) = ((kind >> 32) as u32, kind as u32);
    let is_directory = kind == Kind::DIRECTORY;
    let sound = (if is_root { name.is_empty() && is_directory } else { is_name })
        && (is_directory || children == 0)
        && (owner as usize) < listing.owners.len()
        && (Kind::DIRECTORY..=Kind::OTHER).contains(&kind);
    if !sound {
        return None;
    }
    let offset = u32::try_from(listing.text.len()).ok()?;
    listing.text.push(name.len() as u8);
    listing.text.extend_from_slice(name);
    let (kind, value) = take_value(bytes, kind, &mut listing.text)?;
    listing.nodes.push(Node { name: offset, first, kind: Kind::new(kind, owner), value });
    Some(children)
}

/// Takes what the kind adds. Returns the kind that it is in memory, and the node's value.
fn take_value(bytes: &mut &[u8], kind: u32, text: &mut Vec<u8>) -> Option<(u32, u32)> {
    let offset = u32::try_from(text.len()).ok()?;
    match kind {
        Kind::FILE => {
            let size = varint::take(bytes)?;
            if let Ok(size) = u32::try_from(size) {
                return Some((kind, size));
            }
            text.extend_from_slice(&size.to_le_bytes());
            Some((Kind::LARGE_FILE, offset))
        }
        Kind::LINK => {
            let target = varint::take_bytes(bytes).filter(|target| target.len() <= tree::MAX_PATH)?;
            text.extend_from_slice(&u16::try_from(target.len()).ok()?.to_le_bytes());
            text.extend_from_slice(target);
            Some((kind, offset))
        }
        _ => Some((kind, 0)),
    }
}

fn take_content(bytes: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let (present, rest) = bytes.split_first()?;
    *bytes = rest;
    let content = varint::take_bytes(bytes)?;
    Some((*present == 1).then(|| content.to_vec()))
}

/// Tells whether the names in every directory go up, as looking them up relies on.
fn is_sorted(listing: &Listing) -> bool {
    (0..listing.nodes.len() as u32).all(|node| {
        let mut names = listing.children(node).map(|child| listing.name(child));
        let Some(first) = names.next() else { return true };
        names.try_fold(first, |last, name| (last < name).then_some(name)).is_some()
    })
}
