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
    Listing::read(&memory, &base, &ListingLimits::default(), &Cancel::new())
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

#[track_caller]
fn refused(what: &str, layers: &[&str]) {
    let error = read(layers).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        text += &format!(": {source}");
        cause = source.source();
    }
    assert!(text.contains(what), "{what}: {text}");
}

#[test]
fn what_cannot_be_unpacked_inside_a_root_is_refused() {
    refused("`a/../../b` cannot be unpacked: it holds `..`", &["f a/../../b x"]);
    refused("it holds `..`", &["f a x\nh b ../a"]);
    refused("it holds `..`", &["f ../.wh.a"]);
    refused("hard link to what isn't there", &["h b a\nf a x"]);
    refused("hard link to a directory", &["d a\nh b a"]);
    refused("a whiteout of nothing", &["f a/.wh."]);
    refused("a whiteout of nothing", &["f a/.wh..."]);
    refused("below a whiteout", &["f .wh.a/b"]);
    refused("too many symbolic links", &["l a b\nl b a", "f a/x 1"]);
    refused("the root is a directory", &["f . x"]);
    refused("a link whose target is no path", &["l a "]);
    // An absolute path is taken from the root, as everybody does.
    check(&["f /a x"], "f a 1\n");
}

#[test]
fn a_path_that_grows_too_long_behind_links_is_refused() {
    let below = |link: &str, name: &str| ListedKind::Symlink {
        target: format!("{link}{}", format!("/{name}").repeat(1000)).leak().as_bytes(),
    };
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    let mut put =
        |path: &str, kind| builder.insert(path.as_bytes(), Listed { kind, mode: 0, uid: 0, gid: 0 });
    put("one", below("", "a")).unwrap();
    put("two", below("one", "b")).unwrap();
    put("three", below("two", "c")).unwrap();
    put("one/x", ListedKind::Other).unwrap();
    put("two/x", ListedKind::Other).unwrap();
    let error = put("three/x", ListedKind::Other).unwrap_err();
    assert!(error.to_string().contains("longer path than can be"), "{error}");
}

#[test]
fn a_name_that_is_too_long_is_refused_behind_a_link_too() {
    let target = vec![b'x'; 256];
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    let link = Listed { kind: ListedKind::Symlink { target: &target }, mode: 0o777, uid: 0, gid: 0 };
    let file = Listed { kind: ListedKind::File { size: 0 }, ..link };
    builder.insert(b"a", link).unwrap();
    assert!(matches!(builder.insert(b"a/b", file), Err(ListingError::Path { .. })));
    assert!(matches!(builder.insert(&target, file), Err(ListingError::Path { .. })));
    assert!(matches!(builder.insert(&b"d/".repeat(3000), file), Err(ListingError::Path { .. })));
}

#[test]
fn links_stay_inside_the_root_while_unpacking() {
    check(&["l a ../../../..\nl b /\nf a/x 1\nf b/y 1"], "l a ../../../..\nl b /\nf x 1\nf y 1\n");
}

#[test]
fn limits_hold() {
    let memory = Memory::new();
    let lines: Vec<String> = (0..200).map(|number| format!("f d/{number} x")).collect();
    let layer = tar(&lines.join("\n"));
    let base = Base::open(&memory, &image(&memory, &[layer.clone(), layer]), None).unwrap();
    let read = |limits: ListingLimits| {
        let listing = Listing::read(&memory, &base, &limits, &Cancel::new())?;
        let stored = listing.to_bytes();
        // What could be read can be kept and read again, within the same limits.
        assert_eq!(encode::from_bytes(&stored, &limits).unwrap(), listing);
        let fewer = ListingLimits { entries: limits.entries.min(listing.len() as u32) - 1, ..limits };
        assert!(encode::from_bytes(&stored, &fewer).is_err());
        Ok::<usize, BaseError>(listing.len())
    };
    assert_eq!(read(ListingLimits::default()).unwrap(), 201);
    assert_eq!(read(ListingLimits { entries: 201, ..ListingLimits::default() }).unwrap(), 201);
    assert!(read(ListingLimits { entries: 200, ..ListingLimits::default() }).is_err());
    assert!(read(ListingLimits { text: 500, ..ListingLimits::default() }).is_err());
}

#[test]
fn contents_must_be_what_the_config_says() {
    let memory = Memory::new();
    let root = image(&memory, &[tar("f a x")]);
    let mut base = Base::open(&memory, &root, None).unwrap();
    base.diff_ids[0] = DiffId(Digest::of(b"else"));
    let error = Listing::read(&memory, &base, &ListingLimits::default(), &Cancel::new()).unwrap_err();
    let BaseError::Layer { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, ListingError::DiffId { .. }));
    base.layers[0].digest = Digest::of(b"nowhere");
    let missing = Listing::read(&memory, &base, &ListingLimits::default(), &Cancel::new());
    assert!(matches!(missing, Err(BaseError::Blob(BlobError::Missing { .. }))));
}

#[test]
fn sizes_and_targets_of_any_length_are_kept() {
    let (small, large) = (u64::from(u32::MAX), u64::from(u32::MAX) + 1);
    let target = "a/".repeat(2000);
    let file = |size| ListedKind::File { size };
    let link = ListedKind::Symlink { target: target.as_bytes() };
    let all = [("0", file(0)), ("small", file(small)), ("large", file(large)), ("most", file(u64::MAX))];
    let all = [&all[..], &[("link", link), ("other", ListedKind::Other)]].concat();
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    for (path, kind) in &all {
        builder.insert(path.as_bytes(), Listed { kind: *kind, mode: 0o644, uid: 1, gid: 2 }).unwrap();
    }
    // One that is replaced leaves nothing of its size.
    let listed = |size| Listed { kind: file(size), mode: 0o644, uid: 1, gid: 2 };
    builder.insert(b"small", listed(large)).unwrap();
    builder.insert(b"small", listed(small)).unwrap();
    builder.insert_hard_link(b"again", b"large").unwrap();
    let listing = builder.finish();
    let again = Listing::from_bytes(&listing.to_bytes()).unwrap();
    assert_eq!(again, listing);
    for (path, kind) in all.into_iter().chain([("again", file(large))]) {
        assert_eq!(again.get(path.as_bytes()).unwrap().kind, kind, "{path}");
    }
}

#[test]
fn damaged_bytes_are_told_from_bytes_that_cannot_be_had() {
    let memory = Memory::new();
    let base = Base::open(&memory, &image(&memory, &[tar("f a x")]), None).unwrap();
    struct Spoilt(Memory, std::io::ErrorKind);
    impl Source for Spoilt {
        fn place(&self) -> String {
            "there".to_owned()
        }
        fn exists(&self, _: &Descriptor) -> Result<bool, BlobError> {
            Ok(true)
        }
        fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn crate::blob::Content>, BlobError> {
            self.0.fetch(descriptor)?;
            Ok(Box::new(SpoiltContent(descriptor.clone(), self.1)))
        }
    }
    struct SpoiltContent(Descriptor, std::io::ErrorKind);
    impl crate::blob::Content for SpoiltContent {
        fn open(&self, _: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
            if self.1 != std::io::ErrorKind::InvalidData {
                return Err(self.1.into());
            }
            let bytes = std::io::Cursor::new(vec![0; 1024]);
            Ok(Box::new(crate::digest::VerifyingReader::new(bytes, self.0.digest, self.0.size)))
        }
    }
    let corrupt = Spoilt(Memory::new(), std::io::ErrorKind::InvalidData);
    corrupt.0.insert(MediaType::LAYER, tar("f a x"));
    let error = Listing::read(&corrupt, &base, &ListingLimits::default(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, BaseError::Blob(BlobError::Corrupt { .. })), "{error:?}");
    let broken = Spoilt(corrupt.0, std::io::ErrorKind::TimedOut);
    let error = Listing::read(&broken, &base, &ListingLimits::default(), &Cancel::new()).unwrap_err();
    assert!(matches!(error, BaseError::Blob(BlobError::Read { .. })), "{error:?}");
}

#[test]
fn reading_layers_stops_when_cancelled() {
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(64 << 30);
    header.set_cksum();
    let start = zstd::encode_all(&header.as_bytes()[..], 1).unwrap();
    let zeros = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 64 << 20), 1).unwrap();
    let blob = [start, zeros.repeat(1024)].concat();
    let memory = Memory::new();
    let mut base = Base::open(&memory, &image(&memory, &[tar("f a x")]), None).unwrap();
    base.layers[0] = memory.insert(MediaType::LAYER_ZSTD, blob);
    let limits = ListingLimits {
        decode: DecodeLimits { ratio: u64::MAX, ..DecodeLimits::default() },
        ..ListingLimits::default()
    };
    let before = Cancel::new();
    before.cancel();
    let error = Listing::read(&memory, &base, &limits, &before).unwrap_err();
    assert!(matches!(error, BaseError::Cancelled(_)), "{error:?}");
    let meanwhile = Cancel::new();
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            meanwhile.cancel();
        });
        Listing::read(&memory, &base, &limits, &meanwhile).unwrap_err()
    });
    assert!(matches!(error, BaseError::Cancelled(_)), "{error:?}");
}

#[test]
fn users_are_found_behind_links() {
    for layers in [
        &["l etc usr/etc\nf usr/etc/passwd a:x:5:6"][..],
        &["l etc/passwd ../lib/users\nf lib/users a:x:5:6"],
        &["f etc/p a:x:5:6\nh etc/passwd etc/p"],
        &["f etc/passwd old:x:1:1", "f etc/.wh.passwd", "f x a:x:5:6\nl etc/passwd /x"],
        &["f etc/passwd old:x:1:1", "f etc/passwd a:x:5:6"],
    ] {
        let listing = read(layers).unwrap();
        assert_eq!(listing.user("a"), Some((5, 6)), "{layers:?}");
        assert_eq!(listing.user("old"), None);
        assert_eq!(Listing::from_bytes(&listing.to_bytes()).unwrap().user("a"), Some((5, 6)));
    }
    assert_eq!(read(&["f etc/passwd a:x:5:6", "f .wh.etc"]).unwrap().user("a"), None);
}

#[test]
fn a_fingerprint_changes_with_directories_and_links_only() {
    let print = |layers: &[&str], below: &str| read(layers).unwrap().fingerprint(below.as_bytes());
    let one = print(&[DEBIAN], "/usr");
    assert_eq!(one, print(&[DEBIAN, "f usr/bin/x 1\nd srv 711"], "usr/"));
    assert_ne!(one, print(&[DEBIAN, "d usr/bin 700"], "usr"));
    assert_ne!(one, print(&[DEBIAN, "d usr/new"], "usr"));
    assert_ne!(one, print(&[DEBIAN, "l usr/new x"], "usr"));
    assert_ne!(print(&[DEBIAN, "l usr/new x"], "usr"), print(&[DEBIAN, "l usr/new y"], "usr"));
    assert_ne!(one, print(&[DEBIAN], "usr/bin"));
    assert_eq!(print(&[DEBIAN], "nowhere"), Listing::empty().fingerprint(b"x/y"));
    assert_eq!(print(&[DEBIAN], "etc/passwd"), print(&[DEBIAN], "nowhere"));
}

#[test]
fn a_listing_of_nothing_is_a_root() {
    let listing = Listing::empty();
    assert!(listing.is_empty());
    assert_eq!(listing.directory(b"/"), Some(DirectoryMeta { mode: 0o755, uid: 0, gid: 0 }));
    assert_eq!(listing.resolve(b"/a/./b/../c").unwrap(), b"a/c");
    assert_eq!(Listing::from_bytes(&listing.to_bytes()).unwrap(), listing);
}

#[test]
fn a_key_depends_on_the_order_of_layers() {
    let ids = ["a", "b"].map(|text| DiffId(Digest::of(text.as_bytes())));
    assert_ne!(listing_key(&ids), listing_key(&[ids[1], ids[0]]));
    assert_ne!(listing_key(&ids[..1]), listing_key(&[]));
}

mod open {
    use super::*;

    fn index(memory: &Memory, entries: &str) -> Descriptor {
        memory.insert(MediaType::INDEX, format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#).into())
    }

    fn platform_image(memory: &Memory, platform: &str, declared: Option<&str>, extra: &str) -> String {
        let platform: Platform = platform.parse().unwrap();
        let mut config = ImageConfig::new(&platform.os, &platform.architecture);
        config.variant = platform.variant;
        let config = memory.insert(MediaType::CONFIG, to_json(&config));
        let manifest = memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, Vec::new())));
        let platform = declared.map(|text| text.parse::<Platform>().unwrap());
        let manifest = Descriptor { platform, ..manifest };
        let json = String::from_utf8(to_json(&manifest)).unwrap();
        format!("{}{extra}}}", json.strip_suffix('}').unwrap())
    }

    #[test]
    fn an_index_is_searched_for_the_platform() {
        let memory = Memory::new();
        let attestation = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"DIGEST",
            "platform":{"os":"unknown","architecture":"unknown"},
            "annotations":{"vnd.docker.reference.type":"attestation-manifest"}}"#;
        let attestation = attestation.replace("DIGEST", &Digest::of(b"x").to_string());
        let other = attestation.replace("image.manifest.v1+json", "x");
        let nested = index(&memory, &platform_image(&memory, "linux/s390x", None, ""));
        let entries = [
            attestation,
            other,
            platform_image(&memory, "linux/arm/v7", Some("linux/arm/v7"), ""),
            platform_image(&memory, "linux/arm64", Some("linux/arm64/v8"), ""),
            platform_image(&memory, "linux/amd64", Some("linux/amd64"), ""),
            String::from_utf8(to_json(&nested)).unwrap(),
        ];
        let root = index(&memory, &entries.join(","));
        let find = |text: &str| {
            let platform = text.parse::<Platform>().unwrap();
            Base::open(&memory, &root, Some(&platform)).map(|base| base.platform.to_string())
        };
        assert_eq!(find("linux/amd64").unwrap(), "linux/amd64");
        assert_eq!(find("linux/arm64").unwrap(), "linux/arm64/v8");
        assert_eq!(find("linux/arm64/v8").unwrap(), "linux/arm64/v8");
        assert_eq!(find("linux/arm").unwrap(), "linux/arm/v7");
        assert_eq!(find("linux/amd64/v1").unwrap(), "linux/amd64");
        for other in ["linux/amd64/v3", "linux/arm64/v9", "linux/arm/v8"] {
            assert!(find(other).is_err(), "{other}");
        }
        assert_eq!(find("linux/s390x").unwrap(), "linux/s390x");
        assert_eq!(Base::open(&memory, &root, None).unwrap().platform.to_string(), "linux/arm/v7");
        assert_eq!(Base::sole(&memory, &nested).unwrap().platform.to_string(), "linux/s390x");
        let error = Base::sole(&memory, &root).unwrap_err().to_string();
        let all = "images for `linux/arm/v7`, `linux/arm64/v8`, `linux/amd64`, `linux/s390x`";
        assert!(error.ends_with(all), "{error}");
        let error = find("linux/arm/v6").unwrap_err().to_string();
        assert!(error.contains("only for `linux/arm/v7`, `linux/arm64/v8`, `linux/amd64`"), "{error}");
    }

    #[test]
    fn a_config_for_another_platform_is_refused() {
        let memory = Memory::new();
        let root = index(&memory, &platform_image(&memory, "linux/amd64", Some("linux/arm64"), ""));
        let arm = Platform::linux_arm64();
        assert!(matches!(Base::open(&memory, &root, Some(&arm)), Err(BaseError::PlatformMismatch { .. })));
    }

    #[test]
    fn docker_schema_2_is_read_as_what_it_stands_for() {
        let memory = Memory::new();
        let layer = Descriptor::of(MediaType::DOCKER_LAYER, b"x");
        let mut config = ImageConfig::new("linux", "amd64");
        config.rootfs = RootFs::new(vec![DiffId(layer.digest)]);
        let config = memory.insert(MediaType::DOCKER_CONFIG, to_json(&config));
        let mut manifest = Manifest::new(config, vec![layer]);
        manifest.media_type = Some(MediaType::DOCKER_MANIFEST);
        let root = memory.insert(MediaType::DOCKER_MANIFEST, to_json(&manifest));
        let base = Base::open(&memory, &root, None).unwrap();
        assert_eq!(base.layers[0].media_type, MediaType::LAYER_GZIP);
        assert_eq!(base.manifest.config.media_type, MediaType::CONFIG);
        assert_eq!(Digest::of(&base.manifest_bytes), root.digest);
    }

    #[track_caller]
    fn refused(what: &str, media_type: MediaType, bytes: &str) {
        let memory = Memory::new();
        let root = memory.insert(media_type, bytes.into());
        let error = Base::open(&memory, &root, None).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }

    #[test]
    fn what_could_be_two_things_is_refused() {
        let both = r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#;
        refused("at once", MediaType::MANIFEST, both);
        refused("at once", MediaType::INDEX, both);
        refused("no index, but a manifest", MediaType::INDEX, r#"{"schemaVersion":2,"layers":[]}"#);
        refused("no manifest, but an index", MediaType::MANIFEST, r#"{"schemaVersion":2,"manifests":[]}"#);
        refused("another type", MediaType::MANIFEST, r#"{"schemaVersion":2,"mediaType":"a/b"}"#);
        refused("schema 1", MediaType::MANIFEST, r#"{"schemaVersion":1,"fsLayers":[]}"#);
        refused(
            "schema 1",
            MediaType::new("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            "{}",
        );
        refused("not 2", MediaType::INDEX, r#"{"schemaVersion":3}"#);
        refused("stands twice", MediaType::INDEX, r#"{"schemaVersion":2,"a":1,"a":2,"manifests":[]}"#);
        refused("no image", MediaType::INDEX, r#"{"schemaVersion":2,"manifests":[]}"#);
        refused("cannot be read", MediaType::MANIFEST, "{");
        refused("no image manifest or index", MediaType::CONFIG, "{}");
        let path = r#"{"schemaVersion":2,"config":{"mediaType":"a/b","size":1,"digest":"sha256:../../x"},"layers":[]}"#;
        refused("cannot be read", MediaType::MANIFEST, path);
    }

    #[test]
    fn sizes_and_numbers_have_bounds() {
        let memory = Memory::new();
        let huge = Descriptor::new(MediaType::MANIFEST, Digest::of(b"x"), 200 << 20);
        assert!(matches!(Base::open(&memory, &huge, None), Err(BaseError::Blob(BlobError::Corrupt { .. }))));
        let many = image(&memory, &vec![tar("f a x"); 128]);
        assert!(matches!(Base::open(&memory, &many, None), Err(BaseError::TooManyLayers { count: 128, .. })));
        let config = memory.insert(MediaType::CONFIG, to_json(&ImageConfig::new("linux", "amd64")));
        let layer = Descriptor::of(MediaType::LAYER, b"x");
        let uneven = memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, vec![layer])));
        assert!(matches!(Base::open(&memory, &uneven, None), Err(BaseError::LayerCount { .. })));
        // Indexes of indexes end somewhere.
        let mut root = index(&memory, "");
        for _ in 0..40 {
            root = index(&memory, &String::from_utf8(to_json(&root)).unwrap());
        }
        assert!(matches!(Base::open(&memory, &root, None), Err(BaseError::Unusable { .. })));
    }
}

mod properties {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Change {
        Directory(u32),
        File(u64),
        Remove,
        Clear,
    }

    fn path() -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(vec!["a", "b", "a-", "a.c"]), 1..4)
            .prop_map(|names| names.join("/"))
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0..0o1000_u32).prop_map(Change::Directory),
            (0..9_u64).prop_map(Change::File),
            Just(Change::Remove),
            Just(Change::Clear),
        ]
    }

    type Model = BTreeMap<Vec<String>, (bool, u64)>;

    /// The same over whole paths: slow and plain.
    fn apply(model: &mut Model, path: &str, change: &Change) {
        let names: Vec<String> = path.split('/').map(str::to_owned).collect();
        let below = |model: &mut Model, itself: bool| {
            model.retain(|other, _| !(other.starts_with(&names) && (itself || *other != names)));
        };
        let is_directory = |model: &Model, names: &[String]| model.get(names).is_some_and(|(it, _)| *it);
        match change {
            Change::Remove => below(model, true),
            Change::Clear if is_directory(model, &names) => below(model, false),
            Change::Clear => {}
            Change::Directory(_) | Change::File(_) => {
                for length in 1..names.len() {
                    if !is_directory(model, &names[..length]) {
                        model.insert(names[..length].to_vec(), (true, 0o755));
                    }
                }
                let value = match change {
                    Change::Directory(mode) => (true, u64::from(*mode)),
                    Change::File(size) => (false, *size),
                    _ => unreachable!(),
                };
                if !value.0 {
                    below(model, true);
                }
                model.insert(names, value);
            }
        }
    }

    fn listed(kind: ListedKind<'_>, mode: u32) -> Listed<'_> {
        Listed { kind, mode, uid: mode % 3, gid: 0 }
    }

    fn build(changes: &[(String, Change)]) -> Listing {
        let mut builder = ListingBuilder::new(&ListingLimits::default());
        for (path, change) in changes {
            let path = path.as_bytes();
            match change {
                Change::Directory(mode) => builder.insert(path, listed(ListedKind::Directory, *mode)),
                Change::File(size) => builder.insert(path, listed(ListedKind::File { size: *size }, 0o644)),
                Change::Remove => builder.remove(path),
                Change::Clear => builder.clear(path),
            }
            .unwrap();
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn a_listing_is_what_a_plain_model_says(changes in proptest::collection::vec((path(), change()), 0..60)) {
            let mut model = Model::new();
            for (path, change) in &changes {
                apply(&mut model, path, change);
            }
            let listing = build(&changes);
            let shown: Vec<(Vec<String>, (bool, u64))> = listing.entries(b"").skip(1).map(|(path, listed)| {
                let names = String::from_utf8(path).unwrap().split('/').map(str::to_owned).collect();
                (names, match listed.kind {
                    ListedKind::Directory => (true, u64::from(listed.mode)),
                    ListedKind::File { size } => (false, size),
                    _ => unreachable!(),
                })
            }).collect();
            prop_assert_eq!(shown, model.into_iter().collect::<Vec<_>>());
            let bytes = listing.to_bytes();
            let again = Listing::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&again, &listing);
            prop_assert_eq!(again.to_bytes(), bytes);
            for (path, listed) in listing.entries(b"") {
                prop_assert_eq!(again.get(&path), Some(listed));
            }
        }

        /// What is no listing is refused, or is one all the same: it never panics, in no use.
        #[test]
        fn no_bytes_make_it_panic(
            changes in proptest::collection::vec((path(), change()), 0..20),
            spoilt in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let stored = build(&changes).to_bytes();
            let magic = stored.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let mut bytes = zstd::decode_all(&stored[magic..]).unwrap();
            for (index, byte) in spoilt {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let spoilt = [&stored[..magic], &zstd::bulk::compress(&bytes, 1).unwrap()].concat();
            if let Ok(listing) = Listing::from_bytes(&spoilt) {
                for (path, _) in listing.entries(b"").take(10_000) {
                    drop((listing.get(&path), listing.resolve(&path), listing.user("a")));
                }
                let _ = listing.fingerprint(b"");
            }
        }
    }
}
