//! Any layers merged to a base's listing, and any bytes taken for a stored one.

use std::io::{self, Write};

use ocibuild_core::base::{Base, BaseError, Listed, ListedKind, Listing, ListingError, ListingLimits};
use ocibuild_core::blob::Memory;
use ocibuild_core::digest::{DiffId, Digest};
use ocibuild_core::oci::{Descriptor, ImageConfig, Manifest, MediaType, RootFs, to_json};
use ocibuild_core::{Cancel, files};

/// What an input begins with that is a stored listing, uncompressed behind this line.
pub const STORED: &[u8] = b"ocibuild listing 1\n";

/// Entries that are taken, few enough for the fuzzer to run into it.
const ENTRIES: u32 = 200;

/// Layers, a line an entry: `d PATH`, `f PATH\tCONTENT`, `l PATH\tTARGET`, `h PATH\tTARGET`,
/// `o PATH`, and `-` before the next layer. Or, with [`STORED`], a stored listing.
///
/// Whatever they are, there is an error, or a listing within the limits that is a tree, whose
/// paths resolve within its root, and that is the same after it was stored.
pub fn check(data: &[u8]) {
    if let Some(stored) = data.strip_prefix(STORED) {
        drop(Listing::from_bytes(data));
        if let Ok(listing) = Listing::from_bytes(&compress(stored).expect("memory can be written")) {
            check_listing(&listing);
        }
        return;
    }
    let layers: Vec<Vec<u8>> = layers(data);
    let (one, other) = (read(&layers), read(&layers));
    match (one, other) {
        (Ok(one), Ok(other)) => {
            assert!(one.len() <= ENTRIES as usize, "over the limit");
            assert!(one.to_bytes() == other.to_bytes(), "the same layers give other bytes");
            check_listing(&one);
        }
        (Err(one), Err(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (one, other) => panic!("{one:?} but {other:?}"),
    }
}

fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(STORED.to_vec(), 1)?;
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn layers(data: &[u8]) -> Vec<Vec<u8>> {
    let mut layers = vec![Vec::new()];
    for line in data.split(|byte| *byte == b'\n') {
        match line {
            [b'-', ..] if layers.len() < 6 => layers.push(Vec::new()),
            [kind, b' ', rest @ ..] => {
                let layer = layers.last_mut().expect("there is one");
                let tab = rest.iter().position(|byte| *byte == b'\t');
                let (path, word) = rest.split_at(tab.unwrap_or(rest.len()));
                push(layer, *kind, path, word.get(1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    layers
}

/// Appends an entry to a tar; long names by GNU's extension.
fn push(layer: &mut Vec<u8>, kind: u8, path: &[u8], word: &[u8]) {
    let (flag, link, content) = match kind {
        b'd' => (b'5', &b""[..], &b""[..]),
        b'l' => (b'2', word, &b""[..]),
        b'h' => (b'1', word, &b""[..]),
        b'o' => (b'6', &b""[..], &b""[..]),
        _ => (b'0', &b""[..], word),
    };
    for (flag, name) in [(b'L', path), (b'K', link)] {
        if name.len() > 100 {
            block(layer, flag, b"", b"", name);
        }
    }
    block(layer, flag, path, link, content);
}

fn block(layer: &mut Vec<u8>, flag: u8, path: &[u8], link: &[u8], content: &[u8]) {
    let mut block = [0; 512];
    block[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
    block[100..108].copy_from_slice(b"0000755\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[156] = flag;
    block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
    block[257..265].copy_from_slice(b"ustar\x0000");
    crate::tar::repair(&mut block);
    layer.extend(block);
    layer.extend_from_slice(content);
    ocibuild_core::tar::pad(layer);
}

fn read(layers: &[Vec<u8>]) -> Result<Listing, BaseError> {
    let memory = Memory::new();
    let base = Base::open(&memory, &image(&memory, layers), None).expect("the image is sound");
    let mut limits = ListingLimits::default();
    (limits.entries, limits.text) = (ENTRIES, 1 << 14);
    Listing::read(&memory, &base, &limits, &Cancel::new())
}

fn image(memory: &Memory, layers: &[Vec<u8>]) -> Descriptor {
    let diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
    let blobs = layers.iter().map(|layer| memory.insert(MediaType::LAYER, layer.clone())).collect();
    let mut config = ImageConfig::new("linux", "amd64");
    config.rootfs = RootFs::new(diff_ids);
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, blobs)))
}

fn check_listing(listing: &Listing) {
    let entries: Vec<(Vec<u8>, Listed<'_>)> = listing.entries(b"").collect();
    assert_eq!(entries.len(), listing.len() + 1, "not all entries are in the tree");
    let mut last: Option<&[u8]> = None;
    for (path, listed) in &entries {
        let in_order = last.is_none_or(|last| files::Entry::compare_paths(last, path).is_lt());
        assert!(in_order, "entries out of order");
        last = Some(path);
        assert_eq!(listing.get(path), Some(*listed));
        assert!(listed.mode <= 0o7777);
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..at]);
        assert!(listing.directory(parent).is_some(), "an entry without a directory");
        check_resolved(listing, path);
        check_resolved(listing, &[path, &b"/../x/./y"[..]].concat());
        if let ListedKind::Symlink { target } = listed.kind {
            check_resolved(listing, target);
        }
    }
    let bytes = listing.to_bytes();
    let back = Listing::from_bytes(&bytes).expect("what was stored is read");
    assert!(back == *listing, "it was stored as another");
    assert!(back.to_bytes() == bytes, "it is stored otherwise the second time");
    assert_eq!(back.fingerprint(b""), listing.fingerprint(b""));
}

/// A path ends within the root, and behind all links.
fn check_resolved(listing: &Listing, path: &[u8]) {
    for resolved in [listing.resolve(path), listing.resolve_parents(path)] {
        match resolved {
            Ok(resolved) => {
                let mut names = resolved.split(|byte| *byte == b'/');
                let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
                assert!(resolved.is_empty() || names.all(is_name), "{}", resolved.escape_ascii());
            }
            Err(error) => assert!(matches!(error, ListingError::Loop { .. }), "{error}"),
        }
    }
    if let Ok(resolved) = listing.resolve(path) {
        let again = listing.resolve(&resolved).expect("no link is left");
        assert!(again == resolved, "{} isn't where it ends", resolved.escape_ascii());
        let is_link = listing.get(&resolved).is_some_and(|at| matches!(at.kind, ListedKind::Symlink { .. }));
        assert!(!is_link, "a link is left");
    }
}
