//! Owners by name: they are those of what a layer is written over.

use super::*;

fn base_with_users() -> Listing {
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    let passwd = b"root:x:0:0::/:\nnode:x:1000:1001::/:\n";
    let group = b"root:x:0:\nstaff:x:50:\n";
    for (path, content) in [("etc/passwd", &passwd[..]), ("etc/group", group)] {
        let kind = ListedKind::File { size: content.len() as u64 };
        let listed = Listed { kind, mode: 0o644, uid: 0, gid: 0 };
        builder.insert_with_content(path.as_bytes(), listed, content.to_vec()).unwrap();
    }
    builder.finish()
}

#[track_caller]
fn owned(owner: &str, expected: &str) {
    let layer = layer().content("/x", "").owned_by(owner);
    check_over(&base_with_users(), &sources(), layer, &format!("f x 644 {expected} 0"));
}

#[track_caller]
fn unknown(listing: &Listing, owner: &str, message: &str, names: &[&str]) {
    let layer = layer().content("/x", "").owned_by(owner);
    match gathered_from(&sources(), listing, layer).err() {
        Some(error @ LayerError::UnknownAccount { .. }) => {
            assert_eq!(error.to_string(), message);
            let LayerError::UnknownAccount { known, .. } = error else { unreachable!() };
            assert_eq!(known, names);
        }
        other => panic!("{owner}: {other:?}"),
    }
}

#[test]
fn names_are_looked_up_in_the_base() {
    owned("node:staff", "1000:50");
    owned("node", "1000:1001");
    owned("node:7", "1000:7");
    owned("7:staff", "7:50");
    owned("7:8", "7:8");
    owned("root", "0:0");
}

#[test]
fn names_that_the_base_lacks_are_told_with_those_it_has() {
    let base = base_with_users();
    unknown(&base, "nobody", "the base has no user `nobody`", &["node", "root"]);
    unknown(&base, "node:node", "the base has no group `node`", &["root", "staff"]);
    unknown(&base, "7:node", "the base has no group `node`", &["root", "staff"]);
    unknown(&Listing::empty(), "root", "the base has no user `root`", &[]);
    unknown(&Listing::empty(), "0:root", "the base has no group `root`", &[]);
}

#[test]
fn an_unknown_owner_has_its_place_in_the_spec() {
    let text = "version = 1\n[layers.app]\ncopy = [\n  { content = \"\", to = \"/a\" },\n  { content = \"\", to = \"/b\", owner = \"ghost\" },\n]\n[images.i]\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\nlayers = [\"app\"]\n";
    let spec = Spec::parse(text, &Default::default()).unwrap();
    let layer = plan(&spec, "test", &[], &Nothing).unwrap().layers.remove(0);
    let (tree, listing, cancel) = (sources(), base_with_users(), Cancel::new());
    let sources = draft::Sources {
        tree: &tree,
        listing: &listing,
        skip: &[],
        latest: None,
        stat: None,
        steps: &[],
        cancel: &cancel,
    };
    let span = gather::gather(&layer, sources).err().unwrap().span().unwrap();
    assert_eq!(&text[span.start..span.end], "\"ghost\"");
}
