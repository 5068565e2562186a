//! The images of the table, each made by a function of its name.

use std::fs;
use std::io::{self, Write};

use sha2::{Digest as _, Sha512};

use crate::kit::{Blob, GZIP, INDEX, Kit, MANIFEST, TAR, ZSTD};
use crate::tar::{BLOCK, END, Header, Tar};

/// Makes a case's image.
pub(crate) type Make = fn(Kit);

/// All cases, in the order of the table.
pub(crate) fn cases() -> Vec<(&'static str, Make)> {
    [paths(), whiteouts(), tars(), layers(), sizes(), documents()].concat()
}

/// An image of one layer.
fn one(kit: Kit, tar: Tar) {
    kit.layer(tar).done();
}

/// An image of layers as [`Tar::of`] has them, the lowest first.
fn of(kit: Kit, layers: &[&str]) {
    layers.iter().fold(kit, |kit, lines| kit.layer(Tar::of(lines))).done();
}

fn paths() -> Vec<(&'static str, Make)> {
    vec![
        ("parent", |kit| of(kit, &["f ../../outside/x 1"])),
        ("parent-inside", |kit| of(kit, &["f a/../../../outside/x 1"])),
        ("parent-alone", |kit| of(kit, &["d a/.."])),
        ("absolute", |kit| of(kit, &["f /a 1\nd //b/"])),
        ("absolute-outside", |kit| {
            let path = format!("{}/x", kit.outside.display());
            one(kit, Tar::new().pax(b'x', &[("path", path.as_bytes())]).file(b"x", b"1"));
        }),
        ("through-a-link", |kit| {
            let target = kit.outside.to_str().unwrap().to_owned();
            let tar = Tar::new()
                .pax(b'x', &[("linkpath", target.as_bytes())])
                .add(Header::new(b"out", b'2').link(b"x"));
            one(kit, tar.file(b"out/sentinel", b"1"));
        }),
        ("through-a-relative-link", |kit| of(kit, &["l out ../../outside", "f out/sentinel 1"])),
        ("hard-link-outside", |kit| of(kit, &["h a ../../outside/sentinel"])),
        ("hard-link-through-a-link", |kit| {
            let target = kit.outside.to_str().unwrap().to_owned();
            let tar = Tar::new()
                .pax(b'x', &[("linkpath", target.as_bytes())])
                .add(Header::new(b"out", b'2').link(b"x"));
            one(kit, tar.add(Header::new(b"a", b'1').link(b"out/sentinel")));
        }),
        ("hard-link-absolute", |kit| of(kit, &["f a 1\nh b /a"])),
        ("duplicate-file", |kit| of(kit, &["f a 1\nf a 22"])),
        ("duplicate-spelling", |kit| of(kit, &["d d\nf ./x 1\nd d/\nf x 22"])),
        ("duplicate-kinds", |kit| of(kit, &["d a\nf a/x 1\nf a 22"])),
        ("file-below-a-file", |kit| of(kit, &["f a 1\nf a/b 1"])),
        ("directory-over-file", |kit| of(kit, &["f a 1", "d a\nf a/b 1"])),
        ("file-over-directory", |kit| of(kit, &["d a\nf a/b 1", "f a 1"])),
        ("loop", |kit| of(kit, &["l app loop\nl loop app"])),
        ("loop-elsewhere", |kit| of(kit, &["l x y\nl y x"])),
        ("loop-below", |kit| of(kit, &["l x y\nl y x", "f x/a 1"])),
        ("link-chain", |kit| {
            let lines: Vec<String> =
                (0..41).map(|number| format!("l app{number} app{}", number + 1)).collect();
            of(kit, &[&format!("l app app0\n{}", lines.join("\n"))]);
        }),
        ("link-growth", |kit| {
            // Each leads through the one before, and is a thousand names longer.
            let target = |link: &str, name: &str| format!("{link}{}", format!("/{name}").repeat(1000));
            let tar = [("l0", "x", "a"), ("l1", "l0", "b"), ("l2", "l1", "c")].into_iter().fold(
                Tar::new(),
                |tar, (name, through, below)| {
                    tar.long(b'K', target(through, below).as_bytes())
                        .add(Header::new(name.as_bytes(), b'2').gnu())
                },
            );
            one(kit, tar.file(b"l0/x", b"").file(b"l1/x", b"").file(b"l2/x", b""));
        }),
        ("link-to-nothing", |kit| of(kit, &["l a "])),
        ("long-path", |kit| {
            one(kit, Tar::new().long(b'L', &b"d/".repeat(2500)).add(Header::new(b"x", b'5').gnu()));
        }),
        ("long-name", |kit| one(kit, Tar::new().long(b'L', &[b'x'; 256]).file(b"x", b""))),
        ("longest-name", |kit| one(kit, Tar::new().long(b'L', &[b'x'; 255]).file(b"x", b""))),
        ("deep", |kit| {
            let path = vec!["d"; 2048].join("/");
            one(kit, Tar::new().pax(b'x', &[("path", path.as_bytes())]).file(b"x", b""));
        }),
        ("nul-in-a-header", |kit| one(kit, Tar::new().add(Header::new(b"a\0b", b'0')))),
        ("nul-in-a-record", |kit| one(kit, Tar::new().pax(b'x', &[("path", b"a\0b")]).file(b"a", b""))),
        ("newline", |kit| one(kit, Tar::new().file(b"a\nb", b"1"))),
        ("not-utf-8", |kit| one(kit, Tar::new().file(b"caf\xe9", b"1").dir(b"\xff\xfe"))),
        ("dots", |kit| of(kit, &["f ./././a 1\nf b//c/./d 1\nd ./"])),
        ("root-is-a-file", |kit| of(kit, &["f ./ 1"])),
    ]
}

fn whiteouts() -> Vec<(&'static str, Make)> {
    const LOWER: &str = "d a\nf a/x 1\nf b 1";
    fn over(kit: Kit, upper: &str) {
        of(kit, &[LOWER, upper]);
    }
    vec![
        ("whiteout", |kit| over(kit, "f a/.wh.x ")),
        ("whiteout-after", |kit| over(kit, "f a/x 22\nf a/.wh.x ")),
        ("whiteout-of-nothing", |kit| over(kit, "f .wh.nothing \nf c/.wh.x ")),
        ("whiteout-in-the-first-layer", |kit| of(kit, &["f .wh.a \nf a 1"])),
        ("whiteout-empty", |kit| over(kit, "f a/.wh. ")),
        ("whiteout-dot", |kit| over(kit, "f a/.wh.. ")),
        ("whiteout-parent", |kit| over(kit, "f a/.wh... ")),
        ("whiteout-root", |kit| over(kit, "f .wh... ")),
        ("whiteout-slash", |kit| over(kit, "f .wh.a/x ")),
        ("whiteout-outside", |kit| over(kit, "f ../../outside/.wh.sentinel ")),
        ("whiteout-through-a-link", |kit| of(kit, &["l out ../../outside\nf b 1", "f out/.wh.sentinel "])),
        ("whiteout-directory", |kit| over(kit, "d .wh.a/")),
        ("whiteout-link", |kit| over(kit, "l .wh.a b")),
        ("opaque", |kit| over(kit, "f a/.wh..wh..opq \nf a/y 1")),
        ("opaque-in-the-middle", |kit| over(kit, "f a/y 1\nf a/.wh..wh..opq \nf a/z 1")),
        ("opaque-root", |kit| over(kit, "f .wh..wh..opq \nf c 1")),
        ("opaque-file", |kit| over(kit, "f b/.wh..wh..opq ")),
        ("aufs", |kit| over(kit, "d .wh..wh.plnk\nf .wh..wh.plnk/1.2 1\nf .wh..wh.aufs ")),
        ("aufs-hard-link", |kit| over(kit, "d .wh..wh.plnk\nf .wh..wh.plnk/1.2 1\nh c .wh..wh.plnk/1.2")),
    ]
}

fn tars() -> Vec<(&'static str, Make)> {
    vec![
        ("pax-size-less", |kit| {
            // A file of 1024 bytes by its header, of none by its record: a file lies in the content.
            let inner = Tar::of("f hidden 1").0;
            let tar =
                Tar::new().pax(b'x', &[("size", b"0")]).with(Header::new(b"a", b'0').size(1024), &inner);
            one(kit, tar);
        }),
        ("pax-size-more", |kit| {
            let inner = Tar::of("f hidden 1").0;
            one(kit, Tar::new().pax(b'x', &[("size", b"1024")]).add(Header::new(b"a", b'0')).bytes(&inner));
        }),
        ("pax-size-of-a-hard-link", |kit| {
            let inner = Tar::of("f hidden 1").0;
            let tar = Tar::of("f a 1").pax(b'x', &[("size", b"1024")]);
            one(kit, tar.add(Header::new(b"b", b'1').link(b"a")).bytes(&inner));
        }),
        ("hard-link-with-a-size", |kit| {
            one(kit, Tar::of("f a 1").add(Header::new(b"b", b'1').link(b"a").size(1)).file(b"c", b"1"));
        }),
        ("pax-size-of-a-directory", |kit| {
            one(kit, Tar::new().pax(b'x', &[("size", b"512")]).dir(b"d/").bytes(&[0; BLOCK]));
        }),
        ("pax-size-for-all", |kit| one(kit, Tar::new().pax(b'g', &[("size", b"512")]).file(b"a", b"1"))),
        ("pax-owner-for-all", |kit| one(kit, Tar::new().pax(b'g', &[("uid", b"7")]).file(b"a", b"1"))),
        ("pax-remark-for-all", |kit| one(kit, Tar::new().pax(b'g', &[("comment", b"x")]).file(b"a", b"1"))),
        ("pax-global-between", |kit| {
            let tar = Tar::new().pax(b'x', &[("path", b"b")]).pax(b'g', &[("comment", b"x")]);
            one(kit, tar.file(b"a", b"1"));
        }),
        ("pax-size-negative", |kit| one(kit, Tar::new().pax(b'x', &[("size", b"-1")]).file(b"a", b"1"))),
        ("pax-size-huge", |kit| {
            one(kit, Tar::new().pax(b'x', &[("size", b"18446744073709551616")]).file(b"a", b"1"));
        }),
        ("pax-size-no-number", |kit| one(kit, Tar::new().pax(b'x', &[("size", b"0x10")]).file(b"a", b"1"))),
        ("pax-empty", |kit| one(kit, Tar::new().pax(b'x', &[("path", b"")]).file(b"a", b"1"))),
        ("pax-injection", |kit| {
            let value = b"1\n19 linkpath=/etc/x\n16 path=../evil\n";
            let tar = Tar::new().pax(b'x', &[("SCHILY.xattr.user.x", value), ("comment", b"\n11 path=b\n")]);
            one(kit, tar.file(b"a", b"1"));
        }),
        ("pax-torn", |kit| {
            let body = b"12 path=b";
            one(kit, Tar::new().with(Header::new(b"p", b'x').size(body.len() as u64), body).file(b"a", b"1"));
        }),
        ("pax-twice", |kit| {
            one(kit, Tar::new().pax(b'x', &[("path", b"b")]).pax(b'x', &[("uid", b"1")]).file(b"a", b"1"));
        }),
        ("pax-without-an-entry", |kit| one(kit, Tar::of("f a 1").pax(b'x', &[("path", b"b")]))),
        ("pax-and-gnu-name", |kit| {
            one(kit, Tar::new().long(b'L', b"one").pax(b'x', &[("path", b"two")]).file(b"a", b"1"));
        }),
        ("pax-huge", |kit| {
            one(kit, Tar::new().pax(b'x', &[("comment", &vec![b'x'; 2 << 20])]).file(b"a", b"1"))
        }),
        ("sparse-0.0", |kit| {
            let records: [(&str, &[u8]); 4] = [
                ("GNU.sparse.size", b"1000000"),
                ("GNU.sparse.numblocks", b"1"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"1"),
            ];
            one(kit, Tar::new().pax(b'x', &records).file(b"holes", b"1"));
        }),
        ("sparse-0.1", |kit| {
            let records: [(&str, &[u8]); 4] = [
                ("GNU.sparse.size", b"1000000"),
                ("GNU.sparse.numblocks", b"1"),
                ("GNU.sparse.map", b"0,1"),
                ("GNU.sparse.name", b"holes"),
            ];
            one(kit, Tar::new().pax(b'x', &records).file(b"GNUSparseFile.0/holes", b"1"));
        }),
        ("sparse-1.0", |kit| {
            let records: [(&str, &[u8]); 4] = [
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"holes"),
                ("GNU.sparse.realsize", b"1000000"),
            ];
            let mut content = b"1\n0\n1\n".to_vec();
            content.resize(BLOCK, 0);
            content.push(b'1');
            one(kit, Tar::new().pax(b'x', &records).file(b"GNUSparseFile.0/holes", &content));
        }),
        ("sparse-name-alone", |kit| {
            one(kit, Tar::new().pax(b'x', &[("GNU.sparse.name", b"b")]).file(b"a", b"1"));
        }),
        ("sparse-old", |kit| {
            let header = Header::new(b"holes", b'S').gnu().size(1);
            let number = |number: u64| format!("{number:011o}\0").into_bytes();
            // The map: one byte at 0; then the size with its holes.
            let map = [number(0), number(1)].concat();
            one(kit, Tar::new().with(header.raw(386, &map).raw(483, &number(1_000_000)), b"1"));
        }),
        ("gnu-long-names", |kit| {
            let (name, link) = ([b"n/".to_vec(), vec![b'n'; 200]].concat(), vec![b'l'; 200]);
            one(
                kit,
                Tar::new().long(b'L', &name).long(b'K', &link).add(Header::new(b"x", b'2').gnu().link(b"x")),
            );
        }),
        ("gnu-long-name-with-nul", |kit| one(kit, Tar::new().long(b'L', b"b\0c").file(b"a", b"1"))),
        ("gnu-prefix", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').gnu().raw(345, b"prefix")))),
        ("volume", |kit| one(kit, Tar::new().add(Header::new(b"label", b'V').gnu()).file(b"a", b"1"))),
        ("unknown-type", |kit| one(kit, Tar::new().add(Header::new(b"a", b'Z')).file(b"b", b"1"))),
        ("contiguous", |kit| one(kit, Tar::new().with(Header::new(b"a", b'7').size(1), b"1"))),
        ("v7-directory", |kit| one(kit, Tar::new().add(Header::new(b"d/", 0)).file(b"d/a", b"1"))),
        ("file-with-a-slash", |kit| one(kit, Tar::new().add(Header::new(b"d/", b'0')))),
        ("devices", |kit| {
            let device = |path, flag| Header::new(path, flag).raw(329, b"0000001\0").raw(337, b"0000003\0");
            one(kit, Tar::new().add(device(b"c", b'3')).add(device(b"b", b'4')).add(Header::new(b"p", b'6')));
        }),
        ("checksum", |kit| {
            kit.raw_layer(Tar::of("f a 1").0.into_iter().map(|byte| byte ^ 1).collect()).done()
        }),
        ("lone-zero-block", |kit| one(kit, Tar::of("f a 1").bytes(&[0; BLOCK]).file(b"b", b"1"))),
        ("without-an-end", |kit| kit.raw_layer(Tar::of("f a 1").0).done()),
        ("without-padding", |kit| kit.raw_layer(Tar::of("f a 1").0[..BLOCK + 1].to_vec()).done()),
        ("cut-short", |kit| kit.raw_layer(Tar::of("f a 1234").0[..BLOCK + 3].to_vec()).done()),
        ("trailing-garbage", |kit| {
            kit.raw_layer([Tar::of("f a 1").end(), b"garbage".repeat(99)].concat()).done()
        }),
        ("concatenated", |kit| {
            kit.raw_layer([Tar::of("f a 1").end(), Tar::of("f b 1").end()].concat()).done()
        }),
        ("hard-link", |kit| of(kit, &["f a 1\nh b a\nf a 22"])),
        ("hard-link-before-its-target", |kit| of(kit, &["h b a\nf a 1"])),
        ("hard-link-over-layers", |kit| of(kit, &["f a 1", "h b a"])),
        ("hard-link-to-a-link", |kit| of(kit, &["l a x\nh b a"])),
        ("hard-link-to-a-directory", |kit| of(kit, &["d a\nh b a"])),
        ("hard-link-to-itself", |kit| of(kit, &["f a 1\nh a a"])),
        ("hard-link-over-its-directory", |kit| of(kit, &["d a\nf a/x 1\nh a a/x"])),
        ("mode-bits", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').mode(0o107_755)))),
        ("owner-large", |kit| {
            one(kit, Tar::new().add(Header::new(b"a", b'0').owner(4_294_967_294, 2_097_152)))
        }),
        ("owner-none", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').owner(4_294_967_295, 0)))),
        ("owner-huge", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').owner(0, 1 << 32)))),
        ("owner-negative", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').base256(108, 8, -2)))),
        ("mtime-negative", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').mtime(-86_400)))),
        ("mtime-far", |kit| one(kit, Tar::new().pax(b'x', &[("mtime", b"32503680000.5")]).file(b"a", b""))),
    ]
}

fn layers() -> Vec<(&'static str, Make)> {
    vec![
        ("no-layers", Kit::done),
        ("empty-layer", |kit| kit.raw_layer(Vec::new()).done()),
        ("zeros-layer", |kit| kit.raw_layer(END.to_vec()).done()),
        ("empty-gzip-layer", |kit| {
            let (blob, diff_id) = kit.gzip(|_| Ok(()));
            kit.with_layer(blob, diff_id).done();
        }),
        ("gzip-members", |kit| {
            let tar = Tar::of("f a 1").end();
            let parts = tar.chunks(100).map(|part| {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(part).unwrap();
                encoder.finish().unwrap()
            });
            let blob = kit.blob(GZIP, &parts.collect::<Vec<_>>().concat());
            let diff_id = crate::kit::digest_of(|writer| writer.write_all(&tar));
            kit.with_layer(blob, diff_id).done();
        }),
        ("gzip-called-tar", |kit| {
            let tar = Tar::of("f a 1").end();
            let (blob, diff_id) = kit.gzip(|writer| writer.write_all(&tar));
            kit.with_layer(Blob { media_type: TAR.to_owned(), ..blob }, diff_id).done();
        }),
        ("gzip-garbage-behind", |kit| {
            let tar = Tar::of("f a 1").end();
            let (blob, diff_id) = kit.gzip(|writer| writer.write_all(&tar));
            let bytes = [fs::read(kit.path(&blob.digest)).unwrap(), b"this is garbage".to_vec()].concat();
            let blob = kit.blob(GZIP, &bytes);
            kit.with_layer(blob, diff_id).done();
        }),
        ("gzip-cut-short", |kit| {
            let tar = Tar::of("f a 1").end();
            let (blob, diff_id) = kit.gzip(|writer| writer.write_all(&tar));
            let bytes = fs::read(kit.path(&blob.digest)).unwrap();
            let blob = kit.blob(GZIP, &bytes[..bytes.len() - 4]);
            kit.with_layer(blob, diff_id).done();
        }),
        ("xz-layer", |kit| {
            let blob = kit.blob(GZIP, b"\xfd7zXZ\0\0\x04");
            kit.with_layer(blob, format!("sha256:{}", "0".repeat(64))).done();
        }),
        ("truncated-blob", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let manifest = kit.sound();
            kit.root(&manifest);
            cut_layer(&kit, 0);
        }),
        ("changed-blob", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let manifest = kit.sound();
            kit.root(&manifest);
            cut_layer(&kit, b'x');
        }),
        ("missing-blob", |kit| {
            let blob =
                Blob { media_type: TAR.to_owned(), digest: format!("sha256:{}", "1".repeat(64)), size: 1 };
            let id = blob.digest.clone();
            kit.with_layer(blob, id).done();
        }),
        ("diff-id-of-others", |kit| {
            let blob = kit.blob(TAR, &Tar::of("f a 1").end());
            kit.with_layer(blob, format!("sha256:{}", "2".repeat(64))).done();
        }),
        ("layers-without-diff-ids", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            kit.done_with(
                |config| *config = config.replace(between(config, "diff_ids\":", "}"), "[]"),
                |_| {},
            );
        }),
        ("128-layers", |kit| (0..128).fold(kit, |kit, _| kit.layer(Tar::of("f a 1"))).done()),
        ("127-layers", |kit| {
            (0..127).fold(kit, |kit, number| kit.layer(Tar::of(&format!("f a{number} 1")))).done()
        }),
        ("foreign-layer", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
            kit.done_with(
                |_| {},
                |manifest| {
                    let url = r#"","urls":["http://127.0.0.1:1/layer"],"size""#;
                    *manifest = manifest.replace(TAR, foreign);
                    let at = manifest.rfind("\",\"size\"").unwrap();
                    manifest.replace_range(at..at + 8, url);
                },
            );
        }),
        ("foreign-layer-elsewhere", |kit| {
            let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            let digest = format!("sha256:{}", "3".repeat(64));
            let blob = Blob { media_type: foreign.to_owned(), digest: digest.clone(), size: 9 };
            kit.with_layer(blob, digest).done_with(
                |_| {},
                |manifest| {
                    let at = manifest.rfind("\",\"size\"").unwrap();
                    manifest.replace_range(at..at + 8, r#"","urls":["http://127.0.0.1:1/layer"],"size""#);
                },
            );
        }),
        ("layer-of-another-type", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            kit.done_with(|_| {}, |manifest| *manifest = manifest.replace(TAR, "application/zip"));
        }),
        ("sha512", |kit| {
            let tar = Tar::of("f a 1").end();
            let hex: String = Sha512::digest(&tar).iter().map(|byte| format!("{byte:02x}")).collect();
            let digest = format!("sha512:{hex}");
            fs::create_dir(kit.file("blobs/sha512")).unwrap();
            fs::write(kit.path(&digest), &tar).unwrap();
            let blob = Blob { media_type: TAR.to_owned(), digest: digest.clone(), size: tar.len() as u64 };
            kit.with_layer(blob, digest).done();
        }),
    ]
}

/// Shortens the only layer's blob by a byte, or puts another into it.
fn cut_layer(kit: &Kit, byte: u8) {
    let digest = crate::kit::digest_of(|writer| writer.write_all(&Tar::of("f a 1").end()));
    let mut bytes = fs::read(kit.path(&digest)).unwrap();
    bytes.pop();
    if byte != 0 {
        bytes.push(0);
        bytes[BLOCK] = byte;
    }
    fs::write(kit.path(&digest), bytes).unwrap();
}

/// A file of zeros, in a tar.
fn zeros(writer: &mut dyn Write, size: u64) -> io::Result<()> {
    writer.write_all(&Header::new(b"zeros", b'0').size(size).done())?;
    io::copy(&mut io::Read::take(io::repeat(0), size), writer)?;
    writer.write_all(&END)
}

/// Files in directories of a thousand.
fn many(writer: &mut dyn Write, number: u32) -> io::Result<()> {
    writer.write_all(&Header::new(b"first", b'0').done())?;
    for file in 0..number {
        let path = format!("dir-{:04}/file-{file:07}", file / 1000);
        writer.write_all(&Header::new(path.as_bytes(), b'0').done())?;
    }
    writer.write_all(&END)
}

fn sizes() -> Vec<(&'static str, Make)> {
    vec![
        ("bomb-gzip", |kit| {
            let (blob, diff_id) = kit.gzip(|writer| zeros(writer, 300 << 20));
            kit.with_layer(blob, diff_id).done();
        }),
        ("bomb-zstd", |kit| {
            let (blob, diff_id) = kit.zstd(|writer| zeros(writer, 300 << 20));
            kit.with_layer(blob, diff_id).done();
        }),
        ("bomb-members", |kit| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
            let bytes = encoder.finish().unwrap().repeat(300);
            let blob = kit.blob(GZIP, &bytes);
            kit.with_layer(blob, format!("sha256:{}", "4".repeat(64))).done();
        }),
        ("bomb-nested", |kit| {
            // A bomb in a bomb is a file like others: nobody unpacks what a layer holds.
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
            let bomb = encoder.finish().unwrap().repeat(100);
            let tar = Tar::new().file(b"bomb.gz", &bomb).end();
            let (blob, diff_id) = kit.gzip(|writer| writer.write_all(&tar));
            kit.with_layer(blob, diff_id).done();
        }),
        ("zeros", |kit| {
            let (blob, diff_id) = kit.gzip(|writer| zeros(writer, 64 << 20));
            kit.with_layer(blob, diff_id).done();
        }),
        ("zstd-window-large", |kit| {
            let tar = Tar::of("f a 1").end();
            let blob = kit.stream(ZSTD, |file| {
                let mut encoder = zstd::Encoder::new(file, 1)?;
                encoder.window_log(27)?;
                encoder.write_all(&tar)?;
                encoder.write_all(&vec![0; 1 << 20])?;
                encoder.finish().map(drop)
            });
            kit.with_layer(blob, format!("sha256:{}", "5".repeat(64))).done();
        }),
        ("size-2-60", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').size(1 << 60)))),
        ("size-2-63", |kit| one(kit, Tar::new().add(Header::new(b"a", b'0').size(1 << 63)))),
        ("size-2-60-of-a-record", |kit| one(kit, Tar::new().add(Header::new(b"a", b'x').size(1 << 60)))),
        ("descriptor-2-60", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let size = format!("\"size\":{}", Tar::of("f a 1").end().len());
            kit.done_with(
                |_| {},
                |manifest| *manifest = manifest.replace(&size, "\"size\":1152921504606846976"),
            );
        }),
        ("descriptor-2-63", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let size = format!("\"size\":{}", Tar::of("f a 1").end().len());
            kit.done_with(
                |_| {},
                |manifest| *manifest = manifest.replace(&size, "\"size\":9223372036854775808"),
            );
        }),
        ("descriptor-negative", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let size = format!("\"size\":{}", Tar::of("f a 1").end().len());
            kit.done_with(|_| {}, |manifest| *manifest = manifest.replace(&size, "\"size\":-1"));
        }),
        ("million", |kit| {
            let (blob, diff_id) = kit.gzip(|writer| many(writer, 999_000));
            kit.with_layer(blob, diff_id).done();
        }),
        ("million-over-another-layer", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let (blob, diff_id) = kit.gzip(|writer| many(writer, 999_000));
            kit.with_layer(blob, diff_id).done();
        }),
        ("three-million", |kit| {
            let (blob, diff_id) = kit.zstd(|writer| many(writer, 3_000_000));
            kit.with_layer(blob, diff_id).done();
        }),
    ]
}

/// The text between two others.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let from = text.find(start).unwrap() + start.len();
    &text[from..from + text[from..].find(end).unwrap()]
}

/// Replaces an image's manifest by another text, with a right descriptor.
fn manifest_as(kit: Kit, change: impl FnOnce(&mut String)) {
    kit.layer(Tar::of("f a 1")).done_with(|_| {}, change);
}

fn documents() -> Vec<(&'static str, Make)> {
    const LARGE: u64 = 200 << 20;
    vec![
        ("manifest-200-mib", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let sound = fs::read(kit.path(&kit.sound().digest)).unwrap();
            let blob = kit.stream(MANIFEST, |file| {
                file.write_all(&sound)?;
                io::copy(&mut io::Read::take(io::repeat(b' '), LARGE), file).map(drop)
            });
            kit.root(&blob);
        }),
        ("config-200-mib", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let text = kit.config();
            let blob = kit.stream("application/vnd.oci.image.config.v1+json", |file| {
                file.write_all(text.as_bytes())?;
                io::copy(&mut io::Read::take(io::repeat(b' '), LARGE), file).map(drop)
            });
            let manifest = kit.manifest(&blob);
            kit.root(&kit.blob(MANIFEST, manifest.as_bytes()));
        }),
        ("index-200-mib", |kit| {
            let blob = kit.stream(INDEX, |file| {
                file.write_all(br#"{"schemaVersion":2,"manifests":[]}"#)?;
                io::copy(&mut io::Read::take(io::repeat(b' '), LARGE), file).map(drop)
            });
            kit.root(&blob);
        }),
        ("layout-index-200-mib", |kit| {
            let path = kit.file("index.json");
            manifest_as(kit, |_| {});
            let file = fs::OpenOptions::new().append(true).open(path).unwrap();
            io::copy(&mut io::Read::take(io::repeat(b' '), LARGE), &mut &file).unwrap();
        }),
        ("manifest-larger-than-told", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let sound = kit.sound();
            let file = fs::OpenOptions::new().append(true).open(kit.path(&sound.digest)).unwrap();
            io::copy(&mut io::Read::take(io::repeat(b' '), LARGE), &mut &file).unwrap();
            kit.root(&sound);
        }),
        ("manifest-size-off-by-one", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let sound = kit.sound();
            kit.root(&Blob { size: sound.size + 1, ..sound });
        }),
        ("layers-and-manifests", |kit| {
            manifest_as(kit, |text| *text = text.replacen('{', r#"{"manifests":[],"#, 1));
        }),
        ("manifest-as-index", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let sound = kit.sound();
            kit.root(&Blob { media_type: INDEX.to_owned(), ..sound });
        }),
        ("manifest-of-another-type", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let sound = kit.sound();
            kit.root(&Blob { media_type: "application/json".to_owned(), ..sound });
        }),
        ("config-of-another-type", |kit| {
            manifest_as(kit, |text| *text = text.replacen("image.config.v1", "empty.v1", 1));
        }),
        ("schema-1", |kit| {
            let text = br#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[]}"#;
            let blob = kit.blob("application/vnd.docker.distribution.manifest.v1+prettyjws", text);
            kit.root(&blob);
        }),
        ("schema-version-3", |kit| {
            manifest_as(kit, |text| *text = text.replace("\"schemaVersion\":2", "\"schemaVersion\":3"));
        }),
        ("digest-path", |kit| {
            manifest_as(kit, |text| replace_layer_digest(text, "sha256:../../../outside/sentinel"));
        }),
        ("digest-capitals", |kit| {
            manifest_as(kit, |text| {
                let digest = layer_digest(text).to_uppercase().replace("SHA256", "sha256");
                replace_layer_digest(text, &digest);
            })
        }),
        ("digest-short", |kit| manifest_as(kit, |text| replace_layer_digest(text, "sha256:00"))),
        ("digest-unknown", |kit| {
            manifest_as(kit, |text| replace_layer_digest(text, &format!("md5:{}", "0".repeat(32))));
        }),
        ("duplicate-key", |kit| {
            manifest_as(kit, |text| *text = text.replacen('{', r#"{"layers":[],"#, 1));
        }),
        ("duplicate-key-in-the-config", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            kit.done_with(|text| *text = text.replacen('{', r#"{"os":"windows","#, 1), |_| {});
        }),
        ("deep-json", |kit| {
            let deep = format!("{{\"x\":{}{},", "[".repeat(100_000), "]".repeat(100_000));
            manifest_as(kit, |text| *text = text.replacen('{', &deep, 1));
        }),
        ("config-empty", |kit| {
            let blob = kit.blob("application/vnd.oci.image.config.v1+json", b"");
            let manifest = kit.manifest(&blob);
            kit.root(&kit.blob(MANIFEST, manifest.as_bytes()));
        }),
        ("config-null", |kit| {
            kit.layer(Tar::of("f a 1")).done_with(|text| *text = "null".to_owned(), |_| {});
        }),
        ("json-behind", |kit| manifest_as(kit, |text| text.push_str("{}"))),
        ("index-of-itself", |kit| {
            // A digest can't be known before; this one is another's.
            let text = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{INDEX}","size":230,"digest":"sha256:{}"}}]}}"#,
                "6".repeat(64)
            );
            let blob = Blob {
                media_type: INDEX.to_owned(),
                digest: format!("sha256:{}", "6".repeat(64)),
                size: text.len() as u64,
            };
            fs::write(kit.path(&blob.digest), &text).unwrap();
            kit.root(&blob);
        }),
        ("index-nested", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let root = (0..5).fold(kit.sound(), |below, _| kit.index(&[below.json()]));
            kit.root(&root);
        }),
        ("index-nested-deep", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let root = (0..100).fold(kit.sound(), |below, _| kit.index(&[below.json()]));
            kit.root(&root);
        }),
        ("index-wide", |kit| {
            // Each level names the one below ten times: a million ways to one image.
            let kit = kit.layer(Tar::of("f a 1"));
            let root = (0..6).fold(kit.sound(), |below, _| kit.index(&vec![below.json(); 10]));
            kit.root(&root);
        }),
        ("index-empty", |kit| kit.root(&kit.index(&[]))),
        ("index-attestation", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let other = kit.blob(MANIFEST, b"{}").json();
            let unknown = r#","platform":{"os":"unknown","architecture":"unknown"}}"#;
            let other = other.replace('}', unknown);
            kit.root(&kit.index(&[other, kit.sound().json()]));
        }),
        ("platform-of-another", |kit| {
            let kit = kit.layer(Tar::of("f a 1"));
            let declared = r#","platform":{"os":"linux","architecture":"arm64"}}"#;
            let entry = kit.sound().json().replace('}', declared);
            kit.root(&kit.index(&[entry]));
        }),
        ("layout-index-pipe", |kit| {
            let path = kit.file("index.json");
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }),
    ]
}

/// The digest of a manifest's last layer.
fn layer_digest(text: &str) -> &str {
    between(&text[text.find("\"layers\"").unwrap()..], "\"digest\":\"", "\"")
}

fn replace_layer_digest(text: &mut String, digest: &str) {
    let old = layer_digest(text).to_owned();
    *text = text.replace(&old, digest);
}
