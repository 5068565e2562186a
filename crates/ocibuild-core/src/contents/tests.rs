use crate::base::{Base, BaseError, Listing, ListingLimits};
use crate::blob::Memory;
use crate::contents::*;
use crate::digest::{DiffId, Digest};
use crate::event::Cancel;
use crate::oci::{ImageConfig, Manifest, MediaType, RootFs, to_json};

/// A tar from lines: `d path mode uid`, `f path content`, `l path target`, `h path target`,
/// `c path`, `p path`.
fn tar(lines: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let (kind, path) = (words.next().unwrap(), words.next().unwrap());
        let word = words.next().unwrap_or_default();
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(words.next().map_or(0, |uid| uid.parse().unwrap()));
        header.set_gid(7);
        header.set_mtime(1);
        header.set_size(0);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        let mut content: &[u8] = b"";
        match kind {
            "d" => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(u32::from_str_radix(word, 8).unwrap_or(0o755));
            }
            "f" => {
                content = word.as_bytes();
                header.set_size(content.len() as u64);
            }
            "x" => builder
                .append_pax_extensions([("SCHILY.xattr.user.b", &b"\xff"[..]), ("SCHILY.xattr.user.a", b"")])
                .unwrap(),
            "l" | "h" => {
                let links = [tar::EntryType::Symlink, tar::EntryType::Link];
                header.set_entry_type(links[usize::from(kind == "h")]);
                header.set_link_name_literal(word).unwrap();
            }
            "c" => {
                header.set_entry_type(tar::EntryType::Char);
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            }
            "p" => header.set_entry_type(tar::EntryType::Fifo),
            _ => panic!("{line}"),
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Puts an image of these layers into memory, every second one compressed.
fn image(memory: &Memory, layers: &[&str]) -> Base {
    let (mut blobs, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, layer) in layers.iter().enumerate() {
        let bytes = tar(layer);
        diff_ids.push(DiffId(Digest::of(&bytes)));
        blobs.push(match number % 2 {
            0 => memory.insert(MediaType::LAYER, bytes),
            _ => memory.insert(MediaType::LAYER_ZSTD, zstd::bulk::compress(&bytes, 3).unwrap()),
        });
    }
    let mut config = ImageConfig::new("linux", "amd64");
    config.rootfs = RootFs::new(diff_ids);
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    let root = memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, blobs)));
    Base::open(memory, &root, None).unwrap()
}

fn read(layers: &[&str]) -> Result<Contents, BaseError> {
    let memory = Memory::new();
    let base = image(&memory, layers);
    Contents::read(&memory, &base, &ContentsOptions::default().digests(true).threads(3), &Cancel::new())
}

fn text(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

fn describe(kind: &ItemKind<'_>) -> String {
    match kind {
        ItemKind::File { size, .. } => format!("file {size}"),
        ItemKind::Directory => "directory".to_owned(),
        ItemKind::Symlink { target } => format!("-> {}", text(target)),
        ItemKind::HardLink { target } => format!("= {}", text(target)),
        ItemKind::CharDevice { major, minor } => format!("char {major}:{minor}"),
        ItemKind::BlockDevice { major, minor } => format!("block {major}:{minor}"),
        ItemKind::Fifo => "fifo".to_owned(),
        ItemKind::Whiteout => "whiteout".to_owned(),
        ItemKind::OpaqueDirectory => "opaque".to_owned(),
    }
}

/// `layer path what` for each path of the merged view.
fn show(merged: &Merged) -> Vec<String> {
    let line = |visible: Visible<'_>| {
        let layer = visible.place.map_or("-".to_owned(), |place| (place.layer + 1).to_string());
        let link = visible.link.map(|link| format!(" = {}", text(link))).unwrap_or_default();
        format!("{layer} {} {}{link}", text(&visible.path), describe(&visible.item.kind))
    };
    merged.below(b"").skip(1).map(line).collect()
}

/// `layer path bytes < layer path` for each item that can't be seen.
fn shadows(merged: &Merged) -> Vec<String> {
    let place = |place: Place| format!("{} {}", place.layer + 1, text(merged.item(place).path));
    let line =
        |shadowed: &Shadowed| format!("{} {} < {}", place(shadowed.item), shadowed.bytes, place(shadowed.by));
    merged.shadowed().iter().map(line).collect()
}

const LOWER: &str = "d a 700\nf ./a/b one\nf a/c two\nd d\nf d/x 12345\nl lib d\nh d/h a/c";

#[test]
fn items_are_told_as_they_stand_in_their_layer() {
    let upper =
        "d / 755 9\nx f 1\nc null\np pipe\nf a/.wh.b\nf d/.wh..wh..opq\nf .wh..wh.plnk\nf a/c 3\nf a/c 4";
    let contents = read(&[LOWER, upper]).unwrap();
    let layer = &contents.layers[1];
    let lines: Vec<String> =
        layer.items().map(|item| format!("{} {}", text(item.path), describe(&item.kind))).collect();
    assert_eq!(
        lines,
        [
            " directory",
            "f file 0",
            "null char 1:3",
            "pipe fifo",
            "a/b whiteout",
            "d opaque",
            "a/c file 1",
            "a/c file 1"
        ]
    );
    assert_eq!(layer.tar_size, tar(upper).len() as u64);
    let xattrs: Vec<_> = layer.item(1).xattrs.iter().collect();
    assert_eq!(xattrs, [(&b"user.a"[..], &b""[..]), (b"user.b", b"\xff")]);
    assert!(layer.item(2).xattrs.is_empty());
    let Item { mode, uid, gid, mtime, .. } = layer.item(0);
    assert_eq!((mode, uid, gid, mtime), (0o755, 9, 7, 1));
    let ItemKind::File { digest, .. } = layer.item(6).kind else { panic!() };
    assert_eq!(digest, Some(Digest::of(b"3")));
}

#[test]
fn the_merged_view_tells_where_everything_comes_from() {
    let merged = read(&[LOWER]).unwrap().merged().unwrap();
    let lower = [
        "1 a directory",
        "1 a/b file 3",
        "1 a/c file 3",
        "1 d directory",
        "1 d/h file 3 = a/c",
        "1 d/x file 5",
        "1 lib -> d",
    ];
    assert_eq!(show(&merged), lower);
    assert!(shadows(&merged).is_empty());
    for (upper, expected, hidden) in [
        // A directory over a directory is its own metadata, and nothing is lost by it.
        ("d a 711", vec!["2 a directory", "1 a/b file 3"], vec![]),
        ("f a/b 1", vec!["2 a/b file 1"], vec!["1 a/b 3 < 2 a/b"]),
        // Through a link of the lower layer; a hard link keeps content alive.
        (
            "f lib/x 1\nf a/.wh.c",
            vec!["2 d/x file 1", "1 d/h file 3 = a/c"],
            vec!["1 a/c 0 < 2 a/c", "1 d/x 5 < 2 lib/x"],
        ),
        ("f .wh.d\nf d/n 1", vec!["- d directory", "2 d/n file 1"], vec!["1 d/x 5 < 2 d", "1 d/h 0 < 2 d"]),
        (
            "d d 700\nf d/.wh..wh..opq\nf d/n 1",
            vec!["2 d directory", "2 d/n file 1"],
            vec!["1 d/x 5 < 2 d", "1 d/h 0 < 2 d"],
        ),
        (
            "f .wh..wh..opq",
            vec![],
            vec!["1 a/b 3 < 2 ", "1 a/c 3 < 2 ", "1 d/x 5 < 2 ", "1 lib 0 < 2 ", "1 d/h 0 < 2 "],
        ),
        ("f d now-a-file", vec!["2 d file 10"], vec!["1 d/x 5 < 2 d", "1 d/h 0 < 2 d"]),
        ("f a/b/below 1", vec!["- a/b directory", "2 a/b/below file 1"], vec!["1 a/b 3 < 2 a/b/below"]),
        ("f n 1\nf n 22\nh m n", vec!["2 m file 2 = n", "2 n file 2"], vec!["2 n 1 < 2 n"]),
    ] {
        let merged = read(&[LOWER, upper]).unwrap().merged().unwrap();
        let shown = show(&merged);
        assert!(expected.iter().all(|line| shown.contains(&(*line).to_owned())), "{upper}: {shown:?}");
        assert_eq!(shadows(&merged), hidden, "{upper}");
    }
}

/// The first that hides an item is told, not who takes the remains away.
#[test]
fn what_was_hidden_stays_hidden_by_the_first() {
    let merged = read(&[LOWER, "f a/.wh.b", "f .wh.a", "d a\nf a/b 1"]).unwrap().merged().unwrap();
    assert_eq!(shadows(&merged), ["1 a/b 3 < 2 a/b", "1 a/c 0 < 3 a"]);
    assert!(show(&merged).contains(&"4 a/b file 1".to_owned()));
    assert_eq!(merged.get(b"/a/b/").unwrap().place, Some(Place { layer: 3, item: 1 }));
    assert_eq!(merged.get(b"a/c"), None);
}

#[test]
fn the_merged_view_has_the_paths_that_a_base_has() {
    let layers =
        [LOWER, "f lib/x 1\nf a/.wh.b\nd deep/er 700 5\nf deep/.wh..wh..opq", "h d/new lib/x\nf .wh.a"];
    let memory = Memory::new();
    let base = image(&memory, &layers);
    let limits = ListingLimits::default();
    let listing = Listing::read(&memory, &base, &limits, &Cancel::new()).unwrap();
    let merged = read(&layers).unwrap().merged().unwrap();
    assert!(merged.listing().entries(b"").eq(listing.entries(b"")));
}

#[test]
fn layers_that_are_known_or_there_twice_are_read_once() {
    let memory = Memory::new();
    let one = image(&memory, &[LOWER, "f x 1", LOWER]);
    let options = ContentsOptions::default();
    let contents = Contents::read(&memory, &one, &options, &Cancel::new()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&contents.layers[0].items, &contents.layers[2].items));
    // The second image's blobs are elsewhere but for one.
    let elsewhere = Memory::new();
    let other = image(&elsewhere, &[LOWER, "f x 1", "f y 2"]);
    let little = Memory::new();
    little.insert(MediaType::LAYER, tar("f y 2"));
    assert!(Contents::read(&little, &other, &options, &Cancel::new()).is_err());
    let known = Contents::read_knowing(&little, &other, &contents, &options, &Cancel::new()).unwrap();
    assert_eq!(known.layers[1].len(), 1);
    // What wasn't hashed is of no use where digests are wanted.
    let hashed = options.clone().digests(true);
    assert!(Contents::read_knowing(&little, &other, &contents, &hashed, &Cancel::new()).is_err());
}

#[test]
fn what_is_wrong_is_told_and_limits_hold() {
    let fault = |layers: &[&str]| {
        let result = read(layers).and_then(|contents| contents.merged().map(drop));
        let error = result.unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    assert!(fault(&["f ../x 1"]).contains("holds `..`"));
    assert!(fault(&["h x y"]).contains("hard link to what isn't there"));
    assert!(fault(&["h x d/../y"]).contains("holds `..`"));
    assert!(fault(&["f .wh. 1"]).contains("whiteout of nothing"));
    let memory = Memory::new();
    let base = image(&memory, &[LOWER, "f x 1"]);
    let cancel = Cancel::new();
    let read = |options: &ContentsOptions| Contents::read(&memory, &base, options, &cancel);
    let mut few = ContentsOptions::default();
    few.limits.entries = 8;
    assert!(read(&few).is_ok());
    few.limits.entries = 7;
    assert!(matches!(read(&few), Err(BaseError::Layer { .. })));
    let mut little = ContentsOptions::default();
    little.limits.text = 20;
    assert!(matches!(read(&little), Err(BaseError::Layer { .. })));
    let mut other = base.clone();
    other.diff_ids[1] = DiffId(Digest::of(b"other"));
    let result = Contents::read(&memory, &other, &ContentsOptions::default(), &cancel);
    assert!(matches!(result, Err(BaseError::Layer { digest, .. }) if digest == base.layers[1].digest));
    cancel.cancel();
    assert!(matches!(read(&ContentsOptions::default()), Err(BaseError::Cancelled(_))));
}

#[test]
fn two_images_are_compared_path_by_path() {
    let before = "d a 700\nf a/b one\nf a/c two\nf a.b 1\nl l x\nc n\nf kind 1\nd gone\nf gone/x 1";
    let after = "d a 755\nf a/b One\nf a/c two 5\nf a.b 1\nl l y\nc n\nd kind\nd new\nf new/x 1";
    let memory = Memory::new();
    let options = ContentsOptions::default().digests(true);
    let read = |base: &Base, known: &Contents| {
        let contents = Contents::read_knowing(&memory, base, known, &options, &Cancel::new()).unwrap();
        contents.merged().unwrap()
    };
    let common = "f shared 1\nf rewritten 1\nf linked 1";
    let one = read(&image(&memory, &[common, before]), &Contents { layers: Vec::new() });
    let two = image(&memory, &[common, after, "f rewritten 1\nd a\nf .wh.linked\nf linked 2"]);
    let two = read(&two, one.contents());
    let show = |difference: Difference<'_>| {
        let path = text(difference.path());
        match (difference.before, difference.after) {
            (None, _) => format!("+ {path}"),
            (_, None) => format!("- {path}"),
            (Some(before), Some(after)) => {
                let layers = [before.place, after.place].map(|place| place.unwrap().layer + 1);
                format!("{path} {layers:?} {:?}", difference.aspects)
            }
        }
    };
    let shown: Vec<String> = one.differences(&two).map(show).collect();
    assert_eq!(
        shown,
        [
            "a [2, 3] [Mode]",
            "a/b [2, 2] [Content]",
            "a/c [2, 2] [Owner]",
            "- gone",
            "- gone/x",
            "kind [2, 2] [Kind, Mode]",
            "l [2, 2] [Target]",
            "linked [1, 3] [Content]",
            "+ new",
            "+ new/x",
        ]
    );
    assert_eq!(one.differences(&one).count(), 0);
}
