//! Files that extend others, and defaults.

use super::*;

/// Loads from files in memory, named by what follows the last slash.
fn sources(files: &[(&str, &str)]) -> Sources {
    let load = |name: &str| {
        let found = files.iter().find(|(known, _)| *known == name);
        found.map(|(name, text)| SourceFile::new(*name, *text))
    };
    let loader = |_: &SourceFile, path: &str| {
        load(path.trim_start_matches("./")).ok_or_else(|| ValueError::new(format!("cannot read `{path}`")))
    };
    Sources::load(load(files[0].0).unwrap(), &loader)
}

fn read(files: &[(&str, &str)]) -> Result<Spec, String> {
    let sources = sources(files);
    Spec::read(&sources, &BTreeMap::new()).map_err(|error| error.render(&sources))
}

/// Demands that the files mean what the one text means.
#[track_caller]
fn means(files: &[(&str, &str)], text: &str) {
    let found = read(files).unwrap_or_else(|said| panic!("{said}"));
    let expected = parse(text).unwrap_or_else(|error| panic!("{}", error.render(&Sources::of("text", text))));
    assert_eq!(Spec { warnings: Vec::new(), ..found }, Spec { warnings: Vec::new(), ..expected });
}

#[track_caller]
fn told(files: &[(&str, &str)], expected: &str) {
    let said = read(files).expect_err("it passed");
    assert!(said == expected, "expected\n{expected}\nfound\n{said}");
}

const TEAM: &str = r#"version = 1
name = "team"
root = "elsewhere"
[vars]
tag = "dev"
owner = "team"
[vars."linux/arm64"]
triple = "aarch64"
libc = "musl"
[layers.certificates]
copy = [{ from = "ca.pem", to = "/etc/ca.pem" }]
[layers.app]
manifests = ["lock"]
compression = "gzip:9"
copy = [{ from = "dist", to = "/app" }]
[images.app]
layers = ["certificates", "app"]
user = "65532"
expose = [80, 443]
env = { A = "team", B = "team" }
annotations = { a = "team", b = "team" }
healthcheck = { test = ["NONE"], retries = 3 }
"#;

#[test]
fn a_file_is_laid_over_the_one_it_extends() {
    let own = r#"version = 1
extends = "./team.toml"
[vars]
tag = "1"
[vars."linux/arm64"]
triple = "arm"
[layers.app]
copy = [{ from = "out", to = "/app" }]
[layers.extra]
copy = [{ content = "{var.tag}", to = "/extra" }]
[images.app]
layers = ["certificates", "app", "extra"]
expose = [8080]
env = { B = "own", C = "own" }
annotations = { b = "own" }
healthcheck = { test = ["CMD", "x"] }
"#;
    let expected = r#"version = 1
[vars]
tag = "1"
owner = "team"
[vars."linux/arm64"]
triple = "arm"
libc = "musl"
[layers.certificates]
copy = [{ from = "ca.pem", to = "/etc/ca.pem" }]
[layers.app]
manifests = ["lock"]
compression = "gzip:9"
copy = [{ from = "out", to = "/app" }]
[layers.extra]
copy = [{ content = "{var.tag}", to = "/extra" }]
[images.app]
layers = ["certificates", "app", "extra"]
user = "65532"
expose = [8080]
env = { A = "team", B = "own", C = "own" }
annotations = { a = "team", b = "own" }
healthcheck = { test = ["CMD", "x"] }
"#;
    means(&[("own.toml", own), ("team.toml", TEAM)], expected);
}

#[test]
fn a_chain_is_laid_over_from_its_end() {
    let link = |extends: &str, value: &str| {
        format!(
            "version = 1\n{extends}\n[images.a]\nlayers = ['l']\nuser = '{value}'\nenv = {{ {value} = '' }}\n"
        )
    };
    let layer = "[layers.l]\ncopy = [{ content = '', to = '/l' }]\n";
    let files = [
        ("one", link("extends = 'two'", "one")),
        ("two", link("extends = 'three'", "two")),
        ("three", link("", "three") + layer),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let expected = format!("{}{layer}", link("", "one"))
        .replace("env = { one = '' }", "env = { three = '', two = '', one = '' }");
    means(&files, &expected);
}

#[test]
fn a_file_without_images_is_there_to_be_extended() {
    let base = "version = 1\n[layers.l]\ncopy = [{ content = '', to = '/l' }]\n[layers.other]\ncopy = [{ content = '', to = '/o' }]\n";
    let own = "version = 1\nextends = 'base'\n[layers.mine]\ncopy = [{ content = '', to = '/m' }]\n[images.a]\nlayers = ['l']\n";
    let spec = read(&[("own", own), ("base", base)]).unwrap();
    let warnings: Vec<&str> = spec.warnings.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(warnings, ["layer `mine` is in no image"], "those of the extended file are nobody's");
    told(
        &[("base", base)],
        "base:1:1: the spec has no images\n  1 | version = 1\n    | ^\n  hint: add a table such as `[images.app]`\n",
    );
}

#[test]
fn faults_show_the_file_they_are_in() {
    let base = "version = 1\n[layers.app]\ncopy = [{ from = '../x', to = '/x' }]\nmanifest = []\n";
    let middle = "\nversion = 1\nextends = 'base'\n[vars]\nn = 1\n";
    let own = "version = 1\nextends = 'middle'\n[images.a]\nlayers = ['ap']\n";
    told(
        &[("own", own), ("middle", middle), ("base", base)],
        r#"base:3:18: `../x` leads out of the root
  3 | copy = [{ from = '../x', to = '/x' }]
    |                  ^^^^^^
  extended by `middle`, line 3, by `own`, line 2
  hint: set `root` to a directory that holds it, and write the path from there

base:4:1: unknown key `manifest`
  4 | manifest = []
    | ^^^^^^^^
  extended by `middle`, line 3, by `own`, line 2
  hint: did you mean `manifests`?

middle:5:5: `n` should be a string, but is an integer
  5 | n = 1
    |     ^
  extended by `own`, line 2
  hint: write it in quotes: "1"

own:4:11: unknown layer `ap`
  4 | layers = ['ap']
    |           ^^^^
  hint: did you mean `app`?
"#,
    );
}

#[test]
fn faults_of_syntax_show_the_file_they_are_in() {
    let base = "version = 1\n[layers.app\n";
    let own = "version = 1\nextends = 'base'\nnmae = 1\n[images.a]\nlayers = ['app']\n";
    told(
        &[("own", own), ("base", base)],
        "base:2:12: unclosed table, expected `]`\n  2 | [layers.app\n    |            ^\n  extended by `own`, line 2\n\n\
         own:3:1: unknown key `nmae`\n  3 | nmae = 1\n    | ^^^^\n  hint: did you mean `name`?\n",
    );
}

#[test]
fn what_cant_be_extended_is_told_with_all_else() {
    let own = "version = 1\nextends = 'nope'\n[images.a]\nlayers = ['app']\nuser = 'a b'\n";
    told(
        &[("own", own)],
        "own:2:11: cannot read `nope`\n  2 | extends = 'nope'\n    |           ^^^^^^\n\n\
         own:5:8: `a b` is not a user\n  5 | user = 'a b'\n    |        ^^^^^\n  \
         hint: write \"USER\", \"UID\", \"USER:GROUP\" or \"UID:GID\", such as \"65532:65532\"\n",
    );
    let error = parse("version = 1\nextends = 'x'\n[images.a]\nbase = { layout = 'b' }\n").unwrap_err();
    assert_eq!(error.faults[0].message, "a spec that isn't read from a file can't extend one");
    for (value, message) in
        [("1", "`extends` should be a string, but is an integer"), ("''", "`extends` is empty")]
    {
        let text = format!("version = 1\nextends = {value}\n[images.a]\nbase = {{ layout = 'b' }}\n");
        let error = parse(&text).unwrap_err();
        assert_eq!(error.faults.iter().map(|fault| &*fault.message).collect::<Vec<_>>(), [message]);
    }
}

#[test]
fn a_circle_is_shown() {
    let extends =
        |path: &str| format!("version = 1\nextends = '{path}'\n[images.a]\nbase = {{ layout = 'b' }}\n");
    let (a, b, c) = (extends("b"), extends("c"), extends("b"));
    told(
        &[("a", &a), ("b", &b), ("c", &c)],
        "c:2:11: the files extend each other in a circle: `b` extends `c` extends `b`\n  2 | extends = 'b'\n    \
         |           ^^^\n  extended by `b`, line 2, by `a`, line 2\n  \
         hint: move what they share into a file that extends none of them\n",
    );
    told(
        &[("a", &extends("a"))],
        "a:2:11: the files extend each other in a circle: `a` extends `a`\n  2 | extends = 'a'\n    \
         |           ^^^\n  hint: move what they share into a file that extends none of them\n",
    );
}

#[test]
fn eight_files_are_extended_and_no_more() {
    let names: Vec<String> = (0..=9).map(|number| format!("f{number}")).collect();
    let text = |next: Option<&String>| {
        let extends = next.map(|name| format!("extends = '{name}'\n")).unwrap_or_default();
        format!("version = 1\n{extends}[images.a]\nbase = {{ layout = 'b' }}\n")
    };
    let chain = |length: usize| {
        let texts: Vec<String> = (0..length).map(|at| text(names[..length].get(at + 1))).collect();
        let files: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        read(&files)
    };
    assert!(chain(1 + MAX_EXTENDED).is_ok());
    let said = chain(2 + MAX_EXTENDED).unwrap_err();
    assert!(said.starts_with("f8:2:11: more than 8 files extend each other\n"), "{said}");
}

#[test]
fn an_extended_file_for_a_later_version_is_told_alone() {
    let own = "version = 1\nextends = 'base'\nfoo = 1\n";
    let said = read(&[("own", own), ("base", "version = 2\nbar = 1\n")]).unwrap_err();
    assert!(said.starts_with("base:1:11: the spec has version 2") && !said.contains("foo"), "{said}");
    let said = read(&[("own", own), ("base", "")]).unwrap_err();
    assert!(said.starts_with("base:1:1: the version of the spec is missing"), "{said}");
}

#[test]
fn defaults_are_as_if_written_in_each_part() {
    let text = r#"version = 1
[defaults.layers]
compression = "gzip:3"
key = ["a"]
[defaults.copies]
mode = "0640"
dir-mode = "0750"
owner = "1:2"
exclude = ["**/*.map"]
allow-empty = true
[defaults.images]
base = { layout = "b" }
platforms = ["linux/arm64"]
env = { A = "default", B = "default" }
labels = { a = "default" }
user = "7"
[layers.one]
copy = [
  { from = "a", to = "/a" },
  { from = "b", to = "/b", mode = "0600", exclude = [], allow-empty = false },
  { content = "c", to = "/c" },
  { symlink = "d", to = "/d" },
  { directory = "/e" },
  { directory = "/f", mode = "0700" },
]
[layers.two]
compression = "none"
copy = [{ content = "", to = "/two" }]
[images.one]
layers = ["one"]
env = { B = "own" }
[images.two]
layers = ["one", "two"]
base = "scratch"
labels = {}
user = "8"
"#;
    let expected = r#"version = 1
[layers.one]
compression = "gzip:3"
key = ["a"]
copy = [
  { from = "a", to = "/a", mode = "0640", dir-mode = "0750", owner = "1:2", exclude = ["**/*.map"], allow-empty = true },
  { from = "b", to = "/b", mode = "0600", dir-mode = "0750", owner = "1:2" },
  { content = "c", to = "/c", mode = "0640", owner = "1:2" },
  { symlink = "d", to = "/d", owner = "1:2" },
  { directory = "/e", mode = "0750", owner = "1:2" },
  { directory = "/f", mode = "0700", owner = "1:2" },
]
[layers.two]
compression = "none"
key = ["a"]
copy = [{ content = "", to = "/two", mode = "0640", owner = "1:2" }]
[images.one]
layers = ["one"]
base = { layout = "b" }
platforms = ["linux/arm64"]
env = { A = "default", B = "own" }
labels = { a = "default" }
user = "7"
[images.two]
layers = ["one", "two"]
base = "scratch"
platforms = ["linux/arm64"]
env = { A = "default", B = "default" }
labels = { a = "default" }
user = "8"
"#;
    means(&[("own", text)], expected);
}

#[test]
fn defaults_are_extended_like_all_else() {
    let base = "version = 1\n[defaults.copies]\nmode = '0600'\nowner = '1:1'\n[layers.l]\ncopy = [{ from = 'a', to = '/a' }]\n";
    let own = "version = 1\nextends = 'base'\n[defaults.copies]\nowner = '2:2'\n[images.a]\nlayers = ['l']\n";
    let expected = "version = 1\n[layers.l]\ncopy = [{ from = 'a', to = '/a', mode = '0600', owner = '2:2' }]\n[images.a]\nlayers = ['l']\n";
    means(&[("own", own), ("base", base)], expected);
}

/// A copy with this of its own in a layer with that, below these defaults of copies; and what it
/// means.
#[track_caller]
fn gives_way(defaults: &str, layer: &str, copy: &str, meant: &str) {
    let rest = "[images.a]\nlayers = ['l']\n";
    let spec = |layer: &str, copy: &str| {
        let layer = format!("[layers.l]\n{layer}\n");
        format!("version = 1\n{layer}copy = [{{ from = 'a', to = '/a', {copy} }}]\n{rest}")
    };
    let text = format!("{}[defaults.copies]\n{defaults}\n", spec(layer, copy));
    means(&[("own", &text)], &spec(layer, meant));
}

#[test]
fn defaults_give_way_to_what_a_copy_keeps() {
    let set = "owner = '1:2'\nmode = '0640'\ndir-mode = '0750'";
    let (owner, modes) = ("owner = '1:2'", "mode = '0640', dir-mode = '0750'");
    gives_way(set, "", "preserve = ['owner']", &format!("preserve = ['owner'], {modes}"));
    gives_way(set, "", "preserve = ['mode']", &format!("preserve = ['mode'], {owner}"));
    gives_way(set, "", "preserve = ['mtime']", &format!("preserve = ['mtime'], {owner}, {modes}"));
    gives_way(set, "preserve = ['owner']", "", modes);
    gives_way(set, "preserve = ['owner']", "preserve = []", &format!("preserve = [], {owner}, {modes}"));
}

#[test]
fn what_a_copy_sets_counts_before_a_default_of_what_is_kept() {
    let text = "version = 1\n[defaults.copies]\npreserve = ['owner', 'mode']\n[layers.l]\n\
        copy = [{ from = 'a', to = '/a', owner = '3:4', mode = '0600' }]\n[images.a]\nlayers = ['l']\n";
    let rule = read(&[("own", text)]).unwrap().layers.remove(0).copies.remove(0);
    assert!(rule.owner.is_some() && rule.mode.is_some() && rule.policy.preserve.is_some());
}

#[test]
fn defaults_that_set_what_they_keep_are_told_once() {
    let text = "version = 1\n[defaults.copies]\nowner = '1:2'\npreserve = ['owner']\n[layers.l]\n\
        copy = [{ from = 'a', to = '/a' }]\n[images.a]\nlayers = ['l']\n";
    told(
        &[("own", text)],
        "own:3:9: `owner` sets what `preserve` is to keep\n  3 | owner = '1:2'\n    |         ^^^^^\n  \
         hint: leave out one of them: `owner`, or \"owner\" in `preserve`\n",
    );
}

#[test]
fn steps_are_merged_like_layers() {
    let base = "version = 1\n[steps.a]\nrun = 'base'\ninputs = ['x', 'y']\nenv = { A = '1', B = '1' }\n\
                [steps.b]\nrun = 'b'\ninputs = []\n";
    let own = "version = 1\nextends = './base'\n[steps.a]\ninputs = ['z']\nenv = { B = '2' }\n[steps.c]\nrun = 'c'\nneeds = ['b']\n";
    means(
        &[("own", own), ("base", base)],
        "version = 1\n[steps.b]\nrun = 'b'\ninputs = []\n[steps.a]\nrun = 'base'\ninputs = ['z']\n\
         env = { A = '1', B = '2' }\n[steps.c]\nrun = 'c'\nneeds = ['b']\n",
    );
}
