//! What is taken away from a base.

use super::*;

const BASE: &str = "d etc 755\nf etc/passwd\nd usr 755\nd usr/lib 750 7\nf usr/lib/a.so\nf usr/lib/b.so
    d usr/lib/perl 755\nf usr/lib/perl/x.pm\nd usr/lib/perl/d 755\nf usr/lib/perl/d/y.pm\nl lib usr/lib
    d var 755\nd var/empty 700\nl usr/root /";

#[track_caller]
fn over(layer: LayerSpec, expected: &str) {
    check_over(&base(BASE), &sources(), layer, expected);
}

#[track_caller]
fn fails(layer: LayerSpec, message: &str) -> LayerError {
    let error = gathered_from(&sources(), &base(BASE), layer).err().expect("it can't be removed");
    assert_eq!(error.to_string(), message);
    error
}

#[test]
fn paths_become_whiteouts_in_directories_as_the_base_has_them() {
    over(layer().remove("/etc/passwd"), "d etc 755 0:0\nf etc/.wh.passwd 644 0:0 0");
    over(layer().remove("/usr/lib/perl"), "d usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/.wh.perl 644 0:0 0");
    over(layer().remove("/etc"), "f .wh.etc 644 0:0 0");
    over(layer().remove("/var/empty/"), "d var 755 0:0\nf var/.wh.empty 644 0:0 0");
}

#[test]
fn parents_lead_through_links_and_the_last_name_does_not() {
    over(layer().remove("/lib"), "f .wh.lib 644 0:0 0");
    let so = "d usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/.wh.a.so 644 0:0 0";
    over(layer().remove("/lib/a.so"), so);
    over(layer().remove("/usr/root/lib/[a]*"), so);
}

#[test]
fn globs_take_what_they_match_and_cover_what_lies_below() {
    over(
        layer().remove("/lib/*.so"),
        "d usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/.wh.a.so 644 0:0 0\nf usr/lib/.wh.b.so 644 0:0 0",
    );
    over(
        layer().remove("/**/*.pm").remove("/usr/lib/per?").remove("/usr/lib/perl/d"),
        "d usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/.wh.perl 644 0:0 0",
    );
    over(
        layer().remove("/*"),
        "f .wh.etc 644 0:0 0\nf .wh.lib 644 0:0 0\nf .wh.usr 644 0:0 0\nf .wh.var 644 0:0 0",
    );
}

#[test]
fn the_content_of_a_directory_goes_with_one_whiteout() {
    let opaque = "d usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/.wh..wh..opq 644 0:0 0";
    for pattern in ["/usr/lib/*", "/usr/lib/**", "/lib/*"] {
        over(layer().remove(pattern), opaque);
    }
    over(layer().remove("/usr/lib/*").remove("/usr/lib/a.so").remove("/usr/lib/perl/*"), opaque);
    over(layer().remove("/usr/lib/*").remove("/usr/lib"), "d usr 755 0:0\nf usr/.wh.lib 644 0:0 0");
    // The root can't be opaque.
    over(
        layer().remove("/usr/root/*"),
        "f .wh.etc 644 0:0 0\nf .wh.lib 644 0:0 0\nf .wh.usr 644 0:0 0\nf .wh.var 644 0:0 0",
    );
}

#[test]
fn whiteouts_stand_beside_what_is_written() {
    over(
        layer().remove("/etc/passwd").content("/etc/!first", "").content("/etc/group", ""),
        "d etc 755 0:0\nf etc/.wh.passwd 644 0:0 0\nf etc/!first 644 0:0 0\nf etc/group 644 0:0 0",
    );
    // A directory that is emptied may be written to, and a copy may say what it is.
    over(
        layer().remove("/usr/lib/*").directory("/usr/lib").mode(0o700).content("/usr/lib/a.so", "x"),
        "d usr 755 0:0\nd usr/lib 700 7:7\nf usr/lib/.wh..wh..opq 644 0:0 0\nf usr/lib/a.so 644 0:0 1",
    );
}

#[test]
fn what_is_written_is_not_removed() {
    let message = "`/etc/passwd` is removed and written by one layer";
    fails(layer().remove("/etc/passwd").content("/etc/passwd", "x"), message);
    let below = "`/usr/lib` is removed and written by one layer";
    fails(layer().remove("/usr/lib").content("/lib/x", "x"), below);
    // What goes through a link of the base would land where nothing leads any more.
    let link = "`/lib` is removed and written by one layer";
    fails(layer().remove("/lib").content("/lib/x", "x"), link);
    fails(layer().remove("/lib").copy("bin", "/lib"), link);
    fails(layer().remove("/usr/*").content("/usr/root/x", "x"), "`/usr` is removed and written by one layer");
}

#[test]
fn what_is_not_there_can_t_be_removed() {
    let nothing = |path: &str| format!("`{path}` cannot be removed: the base has nothing of that name");
    let cases = [
        ("/etc/paswd", Some("etc/passwd")),
        ("/lib/perk/x.pm", Some("usr/lib/perl")),
        ("/var/empty/*", None),
        ("/etc/passwd/*", None),
        ("/etcc/*.conf", Some("etc")),
        ("/usr/lib/*.a", None),
        ("/usr/root", None),
    ];
    for (path, expected) in cases {
        if path == "/usr/root" {
            // A link is removed itself.
            over(layer().remove(path), "d usr 755 0:0\nf usr/.wh.root 644 0:0 0");
            continue;
        }
        match fails(layer().remove(path), &nothing(path)) {
            LayerError::NothingToRemove { closest, .. } => assert_eq!(closest.as_deref(), expected, "{path}"),
            other => panic!("{other:?}"),
        }
    }
    refused(&sources(), layer().remove("/etc"), "`/etc` cannot be removed: the base is empty");
}

#[test]
fn names_too_long_for_a_whiteout_are_told() {
    let long = "x".repeat(252);
    let listing = base(&format!("d d 755\nf d/{long}"));
    let message = format!("`/d/{long}` cannot be removed: its name is too long for a whiteout");
    refused_over(&listing, &sources(), layer().remove(format!("/d/{long}")), &message);
    check_over(&listing, &sources(), layer().remove("/d/*"), "d d 755 0:0\nf d/.wh..wh..opq 644 0:0 0");
}

#[test]
fn the_place_in_the_spec_is_told() {
    let text = "version = 1\n[layers.app]\nremove = [\n  \"/etc\",\n  \"/gone\",\n]\n[images.i]\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\nlayers = [\"app\"]\n";
    let spec = Spec::parse(text, &Default::default()).unwrap();
    let layer = plan(&spec, "test", &[], &Nothing).unwrap().layers.remove(0);
    let (tree, listing, cancel) = (sources(), base(BASE), Cancel::new());
    let sources = draft::Sources {
        tree: &tree,
        listing: &listing,
        skip: &[],
        latest: None,
        stat: None,
        steps: &[],
        cancel: &cancel,
    };
    let error = gather::gather(&layer, sources).err().unwrap();
    let span = error.span().unwrap();
    assert_eq!(&text[span.start..span.end], "\"/gone\"");
}
