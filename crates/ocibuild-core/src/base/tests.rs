use crate::base::*;
use crate::blob::Memory;
use crate::digest::Digest;
use crate::oci::{RootFs, to_json};

/// A tar from lines: `d path mode uid`, `f path content`, `l path target`, `h path target`.
fn tar(lines: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in lines.lines() {
        let mut words = line.split_whitespace();
        let (kind, path) = (words.next().unwrap(), words.next().unwrap());
        let word = words.next().unwrap_or_default();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(0);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        let mut content: &[u8] = b"";
        match kind {
            "d" => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(u32::from_str_radix(word, 8).unwrap_or(0o755));
                header.set_uid(words.next().map_or(0, |uid| uid.parse().unwrap()));
            }
            "f" => {
                content = word.as_bytes();
                header.set_size(content.len() as u64);
            }
            "l" | "h" => {
                let links = [tar::EntryType::Symlink, tar::EntryType::Link];
                header.set_entry_type(links[usize::from(kind == "h")]);
                header.set_link_name_literal(word).unwrap();
            }
            "c" => header.set_entry_type(tar::EntryType::Char),
            _ => panic!("{line}"),
        }
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An image of these layers in memory.
fn image(memory: &Memory, layers: &[Vec<u8>]) -> Descriptor {
    let diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
    let blobs = layers.iter().map(|layer| memory.insert(MediaType::LAYER, layer.clone())).collect();
    let mut config = ImageConfig::new("linux", "amd64");
    config.rootfs = RootFs::new(diff_ids);
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, blobs)))
}

fn read(layers: &[&str]) -> Result<Listing, BaseError> {
    let memory = Memory::new();
    let layers: Vec<Vec<u8>> = layers.iter().map(|layer| tar(layer)).collect();
    let base = Base::open(&memory, &image(&memory, &layers), None)?;
    Listing::read(&memory, &base, &ListingLimits::default())
}

/// One line an entry, as `tar` above takes them, without contents.
fn show(listing: &Listing) -> String {
    let mut text = String::new();
    for (path, listed) in listing.entries(b"").skip(1) {
        let path = path.escape_ascii();
        let line = match listed.kind {
            ListedKind::Directory => format!("d {path} {:o}", listed.mode),
            ListedKind::File { size } => format!("f {path} {size}"),
            ListedKind::Symlink { target } => format!("l {path} {}", target.escape_ascii()),
            ListedKind::Other => format!("o {path}"),
        };
        text += &format!("{line}\n");
    }
    text
}

#[track_caller]
fn check(layers: &[&str], expected: &str) {
    let listing = read(layers).unwrap();
    assert_eq!(show(&listing), expected);
    assert_eq!(Listing::from_bytes(&listing.to_bytes()).unwrap(), listing);
}

const DEBIAN: &str = "d ./\nl ./lib usr/lib\nl ./bin usr/bin\nd ./usr/\nd ./usr/bin\nd ./usr/lib 755 7\n\
    d ./tmp/ 1777\nd ./var\nl ./var/run /run\nd ./run\nd ./etc\nf ./etc/passwd root:x:0:0:::\n\
    f ./etc/group root:x:0:\nl ./etc/alternatives ../../../usr/lib\nl ./loop loop2\nl ./loop2 loop";

#[test]
fn what_is_put_below_a_link_lands_behind_it() {
    let listing = read(&[DEBIAN]).unwrap();
    for (path, resolved, parents) in [
        ("/lib/x", "usr/lib/x", "usr/lib/x"),
        ("/lib", "usr/lib", "lib"),
        ("lib/", "usr/lib", "lib"),
        ("./lib/a/../b", "usr/lib/b", "usr/lib/b"),
        ("/var/run/app.pid", "run/app.pid", "run/app.pid"),
        ("/etc/alternatives/new/x", "usr/lib/new/x", "usr/lib/new/x"),
        ("/../../usr", "usr", "usr"),
        ("/missing/../x", "x", "x"),
        ("/etc/passwd/x", "etc/passwd/x", "etc/passwd/x"),
        ("/", "", ""),
    ] {
        let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
        assert_eq!(text(listing.resolve(path.as_bytes()).unwrap()), resolved, "{path}");
        assert_eq!(text(listing.resolve_parents(path.as_bytes()).unwrap()), parents, "{path}");
    }
    assert_eq!(listing.directory(b"/tmp"), Some(DirectoryMeta { mode: 0o1777, uid: 0, gid: 0 }));
    assert_eq!(listing.directory(b"/usr/lib").unwrap().uid, 7);
    assert_eq!(listing.directory(b"/lib"), None);
    assert!(matches!(listing.resolve(b"/loop/x"), Err(ListingError::Loop { .. })));
    assert!(listing.resolve_parents(b"/loop").is_ok());
    assert_eq!(listing.user("root"), Some((0, 0)));
}

#[test]
fn upper_layers_change_lower_ones_as_unpacking_would() {
    let lower = "d a\nd a/b 700\nf a/b/c 1\nf a/f 1\nd e\nf e/x 1\nl lib e";
    check(&[lower], "d a 755\nd a/b 700\nf a/b/c 1\nf a/f 1\nd e 755\nf e/x 1\nl lib e\n");
    for (upper, expected) in [
        ("f a/.wh.b", "d a 755\nf a/f 1\nd e 755\nf e/x 1\nl lib e\n"),
        // Whiteouts hide what is below, not what is beside them, in whatever order they stand.
        (
            "d a/b 711\nf a/b/new 22\nf a/.wh.b",
            "d a 755\nd a/b 711\nf a/b/new 2\nf a/f 1\nd e 755\nf e/x 1\nl lib e\n",
        ),
        ("f a/b/n 1\nf a/.wh..wh..opq", "d a 755\nd a/b 755\nf a/b/n 1\nd e 755\nf e/x 1\nl lib e\n"),
        ("f .wh..wh..opq\nf n 1", "f n 1\n"),
        ("f a now-a-file\nd lib", "f a 10\nd e 755\nf e/x 1\nd lib 755\n"),
        (
            "d a/f\nf a/f/x 1",
            "d a 755\nd a/b 700\nf a/b/c 1\nd a/f 755\nf a/f/x 1\nd e 755\nf e/x 1\nl lib e\n",
        ),
        ("f lib/y 1\nf lib/.wh.x", "d a 755\nd a/b 700\nf a/b/c 1\nf a/f 1\nd e 755\nf e/y 1\nl lib e\n"),
        ("f .wh.a\nf .wh.e\nf .wh.lib\nf .wh..wh.plnk", ""),
        ("f .wh.a\nh x e/x\nh y lib\nf .wh.e\nf .wh.lib\nf .wh.nothing", ""),
    ] {
        let result = read(&[lower, upper]);
        if upper.contains("h x e/x") {
            // The target is hidden by then.
            assert!(result.is_err());
            continue;
        }
        check(&[lower, upper], expected);
    }
    check(&[lower, "f a 1", "d a"], "d a 755\nd e 755\nf e/x 1\nl lib e\n");
    check(
        &[lower, "f .wh.a", "f a/z 1", "h zz a/z"],
        "d a 755\nf a/z 1\nd e 755\nf e/x 1\nl lib e\nf zz 1\n",
    );
}
