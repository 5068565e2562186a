//! What becomes of a base's links on the way to where things go.

use super::*;
use crate::spec::OnBaseSymlink;

const BASE: &str =
    "d usr 755\nd usr/lib 750 7\nl lib usr/lib\nd opt 711\nl opt/app /usr/lib\nf file\nl to-file file";

#[track_caller]
fn over(what: OnBaseSymlink, layer: LayerSpec, expected: &str) {
    check_over(&base(BASE), &sources(), layer.on_base_symlink(what), expected);
}

#[track_caller]
fn fails(what: OnBaseSymlink, layer: LayerSpec, message: &str) {
    refused_over(&base(BASE), &sources(), layer.on_base_symlink(what), message);
}

#[test]
fn links_are_followed() {
    let follow = OnBaseSymlink::Follow;
    over(follow, layer().content("/lib/x", ""), "d usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/x 644 0:0 0");
    check_over(
        &base(BASE),
        &sources(),
        layer().directory("/lib/d"),
        "d usr 755 0:0\nd usr/lib 750 7:7\nd usr/lib/d 755 0:0",
    );
    over(follow, layer().content("/lib", ""), "f lib 644 0:0 0");
}

#[test]
fn links_on_the_way_are_an_error_on_request() {
    let error = OnBaseSymlink::Error;
    let message = "`/lib/x` goes through `/lib`, which the base has as a symbolic link to `usr/lib`";
    fails(error, layer().content("/lib/x", ""), message);
    fails(error, layer().symlink("/lib/x", "y"), message);
    fails(error, layer().directory("/lib/x"), message);
    fails(error, layer().copy("src", "/lib/x"), message);
    let into = "`/lib` goes through `/lib`, which the base has as a symbolic link to `usr/lib`";
    fails(error, layer().directory("/lib"), into);
    fails(error, layer().copy("src/a.js", "/lib/"), into);
    // What has the link's own name takes its place.
    over(error, layer().content("/lib", ""), "f lib 644 0:0 0");
    over(error, layer().content("/usr/x", ""), "d usr 755 0:0\nf usr/x 644 0:0 0");
    let tree = MemoryTree::new().file("root/opt/app/a", "a").file("root/usr/b", "b");
    let below = gathered_from(&tree, &base(BASE), layer().copy("root", "/").on_base_symlink(error));
    let message = below.err().expect("a link is on the way").to_string();
    assert_eq!(
        message,
        "`/opt/app` goes through `/opt/app`, which the base has as a symbolic link to `/usr/lib`"
    );
}

#[test]
fn a_directory_takes_the_place_of_links_on_request() {
    let replace = OnBaseSymlink::Replace;
    over(replace, layer().content("/lib/x", ""), "d lib 755 0:0\nf lib/x 644 0:0 0");
    over(replace, layer().directory("/lib"), "d lib 755 0:0");
    over(
        replace,
        layer().copy("src/a.js", "/opt/app/d/").owner(5, 6).dir_mode(0o700),
        "d opt 711 0:0\nd opt/app 755 0:0\nd opt/app/d 700 5:6\nf opt/app/d/a.js 644 5:6 1",
    );
    let tree = MemoryTree::new().file("root/opt/app/a", "a").file("root/usr/lib/b", "b");
    check_over(
        &base(BASE),
        &tree,
        layer().copy("root", "/").on_base_symlink(replace),
        "d opt 711 0:0\nd opt/app 755 0:0\nf opt/app/a 644 0:0 1\nd usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/b 644 0:0 1",
    );
    // A link to a file is a link, a file is none.
    over(replace, layer().content("/to-file/x", ""), "d to-file 755 0:0\nf to-file/x 644 0:0 0");
    fails(
        replace,
        layer().content("/file/x", ""),
        "`/file/x` cannot be written: `/file` is a file of the base",
    );
    fails(
        replace,
        layer().content("/usr/lib", ""),
        "`/usr/lib` is a directory of the base, and a file would take its place",
    );
}

#[test]
fn only_the_copy_that_asks_replaces_links() {
    check_over(
        &base(BASE),
        &sources(),
        layer().content("/lib/x", "").on_base_symlink(OnBaseSymlink::Replace).content("/opt/app/y", ""),
        "d lib 755 0:0\nf lib/x 644 0:0 0\nd usr 755 0:0\nd usr/lib 750 7:7\nf usr/lib/y 644 0:0 0",
    );
}
