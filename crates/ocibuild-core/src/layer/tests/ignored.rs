//! Ignore files and compiled Python: what is left out of a copy that its patterns take.

use super::*;

fn tree(ignore: &str) -> MemoryTree {
    MemoryTree::new()
        .file(".dockerignore", ignore)
        .file("src/a.js", "a")
        .file("src/a.map", "a")
        .file("src/lib/b.js", "b")
        .file("src/lib/b.map", "b")
        .file("node_modules/m/index.js", "m")
        .file("node_modules/m/node_modules/n/index.js", "n")
}

#[track_caller]
fn files(tree: &MemoryTree, layer: LayerSpec, expected: &str) {
    let entries = gathered_from(tree, &Listing::empty(), layer).unwrap().entries;
    let files = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    let paths: Vec<String> = files.map(|entry| entry.path.escape_ascii().to_string()).collect();
    assert_eq!(paths.join(" "), expected);
}

#[test]
fn ignored_files_below_a_source_are_left_out() {
    let maps = tree("**/*.map\n.dockerignore\nnode_modules\n");
    files(&maps, layer().copy(".", "/"), "src/a.js src/lib/b.js");
    files(&maps, layer().copy("src", "/"), "a.js lib/b.js");
    files(&maps, layer().copy("src/*", "/app/"), "app/a.js app/lib/b.js");
    files(&maps, layer().copy("./src/", "/").include("lib"), "lib/b.js");
    // Directories that hold nothing else are left out with it, unless something comes back.
    let back = tree("src/lib\n!src/lib/*.js\n*.map");
    check(
        &back,
        layer().copy("src", "/"),
        "f a.js 644 0:0 1\nf a.map 644 0:0 1\nd lib 755 0:0\nf lib/b.js 644 0:0 1",
    );
}

#[test]
fn what_a_copy_names_itself_is_not_ignored() {
    let modules = tree("**/node_modules\nsrc\n**/*.map\n");
    let both = "m/index.js m/node_modules/n/index.js";
    files(&modules, layer().copy("node_modules", "/"), both);
    files(&modules, layer().copy("node_modules/*", "/"), both);
    files(&modules, layer().copy("src/a.map", "/"), "a.map");
    files(&modules, layer().copy("src/lib", "/"), "b.js");
    // Another copy knows nothing of that.
    files(
        &modules,
        layer().copy("src/lib", "/").copy(".", "/").exclude(".dockerignore").allow_empty(),
        "b.js",
    );
}

#[test]
fn a_file_that_lists_what_is_wanted_is_kept_to_below_what_is_named() {
    for wanted in ["*\n!src/lib\n", "**\n!src/lib\n", "src\n!src/lib/**\n"] {
        files(&tree(wanted), layer().copy("src", "/"), "lib/b.js lib/b.map");
        files(&tree(wanted), layer().copy("src/lib", "/"), "b.js b.map");
        files(&tree(wanted), layer().copy("src/a.js", "/"), "a.js");
        files(&tree(wanted), layer().copy("node_modules/m/index.js", "/"), "index.js");
    }
    files(&tree("*\n!src/**/*.js\n"), layer().copy("src", "/"), "a.js lib/b.js");
}

#[test]
fn ignore_files_are_named_or_switched_off() {
    let tree = tree("**\n").file("only.ignore", "**/*.map\n!src/a.map\n");
    files(&tree, layer().copy("src", "/").ignore_file(Some("only.ignore")), "a.js a.map lib/b.js");
    files(&tree, layer().copy("src", "/").ignore_file(None), "a.js a.map lib/b.js lib/b.map");
    let missing = layer().copy("src/a.js", "/").ignore_file(Some("gone"));
    refused(&tree, missing, "cannot read the ignore file `gone`");
    refused(&tree, layer().copy("src", "/").ignore_file(Some("src")), "cannot read the ignore file `src`");
    let faulty = MemoryTree::new().file(".dockerignore", "a\n[").file("a", "");
    refused(&faulty, layer().copy("a", "/"), "the ignore file `.dockerignore` cannot be used");
    check(&faulty, layer().content("/x", ""), "f x 644 0:0 0");
}

#[test]
fn a_source_that_is_ignored_as_a_whole_names_the_culprit() {
    let culprit =
        |tree: &MemoryTree, layer: LayerSpec| match gathered_from(tree, &Listing::empty(), layer).err() {
            Some(LayerError::Empty { ignored_by, .. }) => ignored_by,
            other => panic!("{other:?}"),
        };
    let all = tree("**");
    assert_eq!(culprit(&all, layer().copy(".", "/")).as_deref(), Some(".dockerignore"));
    let scripts = layer().copy(".", "/").include("**/*.js");
    assert_eq!(culprit(&tree("*"), scripts).as_deref(), Some(".dockerignore"));
    let named = tree("").file("x", "src/*");
    let copy = layer().copy("src/*.js", "/").ignore_file(Some("x"));
    assert_eq!(culprit(&named, copy).as_deref(), Some("x"));
    assert_eq!(culprit(&all, layer().copy("src", "/").ignore_file(None).include("x")), None);
    check(&all, layer().copy(".", "/").allow_empty(), "");
}

#[test]
fn compiled_python_is_dropped_where_that_is_asked_for() {
    let tree = MemoryTree::new()
        .file("p/m.py", "")
        .file("p/old.pyc", "")
        .file("p/__pycache__/m.pyc", "")
        .file("p/d/__pycache__/x/y", "")
        .file("p/e/__pycache__", "a file");
    let copy = || layer().copy("p", "/");
    files(&tree, copy().pyc(Pyc::Drop), "e/__pycache__ m.py old.pyc");
    files(&tree, copy(), "__pycache__/m.pyc d/__pycache__/x/y e/__pycache__ m.py old.pyc");
    // What is named is taken.
    files(&tree, layer().copy("p/__pycache__", "/").pyc(Pyc::Drop), "m.pyc");
    files(&tree, layer().copy("p/**/y", "/").pyc(Pyc::Drop).allow_empty(), "");
}
