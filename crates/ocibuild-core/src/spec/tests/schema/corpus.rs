//! Sound specs with all keys there are, and what becomes of them when something is changed.

use serde_json::{Map, Value, json};
use toml::de::DeTable;

/// The file that every `extends` finds.
pub(super) const EXTENDED: &str = r#"version = 1
[layers.shared]
copy = [{ content = "", to = "/shared" }]
"#;

/// Sound specs; together they have every key.
pub(super) const SOUND: [&str; 6] = [
    super::sound::EXAMPLE,
    r#"version = 1
name = "team/api"
root = "../.."
[vars]
tag = "dev"
"linux/arm64" = { triple = "aarch64-unknown-linux-gnu", libc = "musl" }
"linux/amd64" = { triple = "x86_64-unknown-linux-gnu" }
[defaults.layers]
max-size = "5MB"
compression = "zstd:3"
key = ["node-22"]
preserve = ["mtime"]
pyc = "drop"
split = 64
trust = "content"
ignore-file = "docker/ignore"
[defaults.copies]
mode = "0640"
dir-mode = "0750"
owner = "1:2"
include = ["**/*"]
exclude = ["**/*.map"]
allow-empty = true
allow-foreign = true
preserve = ["mtime", "hardlinks"]
pyc = "keep"
ignore-file = false
[defaults.images]
max-size = "10GB"
max-layers = 7
static = false
author = "x"
compression = "gzip:2"
labels = { a = "b" }
user = "7"
[checks]
fail-on = "warning"
severity = { secrets = "warning", root-user = "off", elf-not-static = "error", setuid = "note" }
allow = [{ id = "secret-npm-token", path = "/app/**/t?st/*.pem", image = "app", reason = "made up" }, { id = "permissions", reason = "so" }]
[layers.app]
max-size = "1.5MiB"
manifests = ["a/lock", "b-{arch}/lock"]
key = ["a"]
compression = "gzip"
preserve = ["mode", "mtime", "owner", "xattrs", "hardlinks"]
pyc = "keep"
split = "auto"
trust = "manifests"
ignore-file = "x{variant}"
remove = ["/usr/share/doc", "/var/lib/apt/*"]
comment = "by {var.tag}"
copy = [
  { from = "src/**/*.[ch]", to = "/src/", include = ["*.c", "[a-z]?\\*"], owner = "app:1" },
  { from = "{var.triple}/app", to = "/bin/{os}", dir-mode = "700", on-base-symlink = "error", allow-foreign = true, pyc = "drop" },
  { content = "{{}} {arch}", to = "/x", mode = "0444", owner = "root" },
  { symlink = "../x", to = "/y", on-base-symlink = "replace" },
  { directory = "/d/", mode = "1777" },
]
[layers.other]
remove = ["/etc/motd"]
[images.pulled]
base = "registry.example.com:5000/team/node:22@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
[images.app]
base = { builtin = "static@1" }
layers = ["app", "other"]
platforms = ["linux/amd64", "linux/arm/v7"]
tags = ["registry.example.com:5000/team/app:{var.tag}", "app", "team/app:1", "localhost/a__b"]
author = "me"
compression = "none"
inherit = ["env", "user", "author"]
entrypoint = ["/bin/app"]
cmd = []
user = "app:65532"
workdir = "/app/{arch}"
expose = [80, "53/udp", "443"]
volumes = ["/data", "/var/{os}"]
stop-signal = "SIGRTMIN+3"
stop-timeout = "1m30s"
shell = ["/bin/sh", "-c"]
on-build = ["RUN make", "copy . /x"]
[images.app.annotations]
"org.opencontainers.image.created" = "2026-01-31T12:00:00.5+01:00"
plain = "x"
manifest = { a = "b", "org.opencontainers.image.base.digest" = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }
index = { a = "{os}" }
descriptor = { a = "c" }
[images.app.env]
PATH = "/bin"
EMPTY = ""
[images.app.labels]
"com.example.x" = "y"
[images.app.healthcheck]
test = ["CMD-SHELL", "true"]
interval = "30s"
timeout = "500ms"
start-period = "1h"
start-interval = "1m"
retries = 4
[images.second]
base = "scratch"
layers = ["other"]
inherit = false
healthcheck = { test = ["NONE"] }
"#,
    r#"version = 1
extends = "../base.toml"
[layers.own]
compression = "zstd"
copy = [{ from = "b", to = "/b" }]
[images.one]
layers = ["shared", "own"]
annotations = { manifest = "a string of that name" }
"#,
    r#"version = 1
[defaults.images]
base = { layout = "base/{arch}" }
[images.one]
[images.two]
layers = []
platforms = ["linux/arm64", "linux/amd64"]
expose = ["80", 443, "9000/tcp"]
healthcheck = { test = ["CMD", "x"], interval = "1ms", timeout = "1s1ms" }
stop-timeout = "10s"
annotations = { "org.opencontainers.image.created" = "2026-02-28T00:00:00Z" }
tags = ["r.io/a-b/c.d:1"]
user = "0"
"#,
    r#"version = 1
[vars]
tag = "dev"
[steps.a]
run = ["npm", "ci", "{os}", "${arch}", "{ a; }"]
inputs = ["package.json", "package-lock.json"]
outputs = ["a/b"]
cache-dirs = ["~/.npm"]
secrets = [
  { id = "npm", env = "NPM_TOKEN" },
  { id = "ab", file = "/run/x", as = "env", target = "T", optional = true },
  { id = "a", file = "x/y", as = "file" },
]
tools = ["node --version"]
timeout = "5m"
retries = 2
[steps.ab]
needs = ["a"]
run = "tsc --build {var.tag} && awk '{ print ${arch} }'"
inputs = ["tsconfig.json", "src/**", "!src/**/*.test.ts"]
outputs = ["dist", "x-{arch}"]
env = { NODE_ENV = "production", V = "{variant}" }
pass-env = ["CI", { name = "GIT_SHA", unkeyed = true }, { name = "X" }]
workdir = "web"
cache-dirs = ["~/.cache/x", "a/c"]
network = false
sandbox = true
[steps."a.b"]
run = "make"
inputs = []
always = true
in-place = true
network = true
sandbox = false
platforms = ["linux/amd64", "linux/arm64"]
[steps.keep]
run = ["true"]
platforms = "any"
inputs = ["."]
outputs = ["a"]
[steps.drop]
run = ["true"]
needs = ["keep"]
platforms = "any"
in-place = false
[layers.app]
copy = [
  { step = "ab", from = "dist/**/*.js", to = "/a/", exclude = ["*.map"], owner = "a:b", preserve = ["mode"] },
  { step = "a", from = "a/b/c", to = "/b", allow-empty = true },
  { step = "ab", from = "{os}", to = "/c", pyc = "drop" },
]
[images.app]
layers = ["app"]
"#,
    r#"version = 1
[steps.a]
run = "true"
needs = ["dist"]
inputs = ["src"]
outputs = ["a"]
timeout = "1h"
[steps.ab]
run = "true"
needs = ["a"]
inputs = ["lib"]
outputs = ["a.b", "dist"]
[steps.dist]
run = "true"
needs = ["drop", "keep"]
[steps.drop]
run = "true"
inputs = ["src"]
outputs = ["a"]
[steps.keep]
run = "true"
needs = ["drop"]
inputs = ["src"]
outputs = ["ab"]
platforms = "each"
"#,
];

/// A spec full of faults that no schema can find.
pub(super) const FAULTY: &str = r#"version = 1
[vars]
x = "y"
[steps.a]
run = "true"
needs = ["ab", "a"]
outputs = ["a", "a/b", "a/", "c"]
cache-dirs = ["c/d"]
[steps.ab]
run = "true"
needs = ["a"]
inputs = ["x", "x/y", "a/b"]
outputs = ["x", "c"]
env = { X = "" }
pass-env = ["X"]
[steps.any]
run = "true"
needs = ["a", "ab", "drop", "none"]
platforms = "any"
[steps.drop]
run = "true"
outputs = ["a/d"]
in-place = true
[steps.keep]
run = "true"
outputs = ["a"]
in-place = true
[layers.app]
copy = [{ step = "a", from = "d", to = "/" }]
[images.app]
layers = ["app"]
platforms = ["linux/arm64", "linux/arm64/v8"]
stop-timeout = "1s500ms"
healthcheck = { test = ["NONE"], interval = "999us999ns", timeout = "99999999h" }
"#;

/// Strings that are right at one place and wrong at another.
const STRINGS: &[&str] = &[
    "",
    " ",
    "a",
    "A",
    "ab",
    "a b",
    "a/b",
    "/a",
    "/",
    "//",
    "/a/",
    "/a//b",
    "a/",
    "./a",
    "../a",
    "a/../b",
    "/a/../b",
    "/./a",
    "a.b",
    ".",
    "..",
    "/.wh.a",
    "a\\b",
    "a\\*b",
    "C:\\a",
    "C:/a",
    "\\",
    "a/\\",
    "*",
    "/*",
    "**",
    "a**",
    "a/**/b",
    "!a",
    "[",
    "[a",
    "[a]",
    "[]",
    "[^]",
    "[^^]",
    "[a-z]",
    "[-a]",
    "[a-]",
    "[+-]",
    "[+-]]",
    "[a\\]]",
    "[a/b]",
    "a?",
    "\u{0}",
    "a\u{0}",
    "é",
    "{os}",
    "{{",
    "}}",
    "{",
    "}",
    "{os",
    "{foo}",
    "{var.tag}",
    "{var.x y}",
    "/{arch}/",
    "{{os}}",
    "0755",
    "755",
    "0999",
    "17777",
    "07777",
    "0",
    "1",
    "65",
    "1:2",
    "1:",
    ":1",
    "root:1",
    "1:a b",
    "-a",
    "4294967295:1",
    "8080/tcp",
    "65536",
    "00080",
    "80/http",
    "SIGTERM",
    "SIGRTMAX-31",
    "+9",
    "gzip:10",
    "zstd:19",
    "zstd:20",
    "scratch",
    "linux/amd64",
    "linux/x86_64",
    "a@sha256:0",
    "r.io/A:1",
];

const MORE: &[&str] = &[
    "30s",
    "5 s",
    "0s",
    "0ms",
    "999us",
    "1000us",
    "10ns",
    "1h1h",
    "99999999h",
    "1500ms",
    "2s500ms",
    "RUN x",
    "run\tx",
    "RUN",
    "ONBUILD RUN x",
    "r.io:99999/a",
    "r.io:080/a",
    "a_b.c/d",
    "a.b",
    "a--b/c",
    "a___b",
    "[::1]:5000/a",
    "[zz]/a",
    "http://a",
    "keep",
    "drop",
    "mode",
    "env",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "static@1",
    "static@+1",
    "static",
    "manifest",
    "linux/arm64/v8",
    "80/tcp",
    "999us1ns",
    "443",
    "_$",
    "a$",
    "a.b/c",
    "A/b",
    "localhost",
    "a:b:c",
    "a:1/b",
    "AB:1",
    "{{os}",
    "{os}}}",
    "1m",
    "2026-02-28t23:59:60.1z",
    "65535/sctp",
    "~/.npm",
    "~/",
    "~",
    "~a",
    "~//a",
    "$HOME/a",
    "!",
    "!a/*",
    "!/a",
    "!..",
    "!!a",
    "keep",
    "dist",
    "dist/a",
    "any",
    "each",
    "OCIBUILD_STEP",
    "CI",
    "NODE_ENV",
    "node --version | cat",
    "${os}",
    "${{arch}",
    "a{arch}",
    "{ x; }",
    "file",
    "0m0s",
];

/// Keys there are, at one place or another, and some that there aren't.
const KEYS: &[&str] = &[
    "version",
    "name",
    "root",
    "extends",
    "vars",
    "defaults",
    "layers",
    "images",
    "copies",
    "manifests",
    "key",
    "copy",
    "compression",
    "preserve",
    "pyc",
    "split",
    "trust",
    "ignore-file",
    "remove",
    "comment",
    "from",
    "content",
    "symlink",
    "directory",
    "to",
    "mode",
    "dir-mode",
    "owner",
    "on-base-symlink",
    "include",
    "exclude",
    "allow-empty",
    "allow-foreign",
    "base",
    "platforms",
    "tags",
    "annotations",
    "author",
    "inherit",
    "entrypoint",
    "cmd",
    "env",
    "user",
    "workdir",
    "expose",
    "volumes",
    "labels",
    "stop-signal",
    "stop-timeout",
    "shell",
    "on-build",
    "healthcheck",
    "test",
    "interval",
    "retries",
    "builtin",
    "layout",
    "manifest",
    "index",
    "steps",
    "step",
    "run",
    "inputs",
    "outputs",
    "needs",
    "pass-env",
    "cache-dirs",
    "secrets",
    "tools",
    "timeout",
    "retries",
    "always",
    "in-place",
    "network",
    "sandbox",
    "id",
    "as",
    "target",
    "optional",
    "unkeyed",
    "file",
    "cache",
    "tag",
    "linux/arm64",
    "a b",
    "",
    "A=B",
    "\u{7f}",
];

/// A generator of numbers that look random (splitmix64), the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn string(&mut self) -> &'static str {
        let at = self.roll(STRINGS.len() + MORE.len());
        STRINGS.get(at).copied().unwrap_or_else(|| MORE[at - STRINGS.len()])
    }

    /// A value of any type.
    fn value(&mut self) -> Value {
        match self.roll(12) {
            0 => json!(true),
            1 => json!(false),
            2 => json!([-1, 0, 1, 80, 65536, 4294967296_i64][self.roll(6)]),
            3 => json!(1.5),
            4 => json!([]),
            5 => json!({}),
            6 => json!([self.string()]),
            7 => json!({ (self.string()): self.string() }),
            8 => json!([self.string(), self.string()]),
            _ => json!(self.string()),
        }
    }
}

pub(super) fn parsed(text: &str) -> Value {
    super::table_to_json(DeTable::parse(text).unwrap().get_ref())
}

/// The sound specs, parsed.
pub(super) fn sound() -> Vec<Value> {
    SOUND.iter().map(|text| parsed(text)).collect()
}

/// One of the specs with another string somewhere, or with one to three changes of any kind.
pub(super) fn mutant(sound: &[Value], seed: u64) -> Value {
    let mut dice = Dice(seed);
    let mut spec = sound[dice.roll(sound.len())].clone();
    if seed.is_multiple_of(2) {
        let mut strings = Vec::new();
        walk(&mut spec, &mut |value| strings.extend(value.as_str().map(str::to_owned)));
        let (mut chosen, string) = (dice.roll(strings.len()), dice.string());
        walk(&mut spec, &mut |value| {
            if value.is_string() {
                if chosen == 0 {
                    *value = json!(string);
                }
                chosen = chosen.wrapping_sub(1);
            }
        });
        return spec;
    }
    for _ in 0..=dice.roll(3) {
        let mut count = 0;
        walk(&mut spec, &mut |_| count += 1);
        let mut chosen = dice.roll(count);
        let mut done = false;
        walk(&mut spec, &mut |value| {
            if chosen == 0 && !done {
                done = true;
                change(value, &mut dice);
            }
            chosen = chosen.saturating_sub(1);
        });
    }
    spec
}

fn walk(value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Object(object) => object.values_mut().for_each(|inner| walk(inner, visit)),
        Value::Array(items) => items.iter_mut().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
    visit(value);
}

/// Changes a value: mostly what it holds, sometimes what it is.
fn change(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(object) if !object.is_empty() && dice.roll(8) > 0 => change_table(object, dice),
        Value::Array(items) if dice.roll(4) > 0 => match dice.roll(3) {
            0 if !items.is_empty() => drop(items.remove(dice.roll(items.len()))),
            1 if !items.is_empty() => items.push(items[dice.roll(items.len())].clone()),
            _ => items.push(dice.value()),
        },
        Value::String(_) if dice.roll(5) > 0 => *value = json!(dice.string()),
        Value::Bool(flag) if dice.roll(2) > 0 => *flag = !*flag,
        _ => *value = dice.value(),
    }
}

fn change_table(object: &mut Map<String, Value>, dice: &mut Dice) {
    let keys: Vec<String> = object.keys().cloned().collect();
    let key = &keys[dice.roll(keys.len())];
    match dice.roll(5) {
        0 => drop(object.remove(key)),
        1 => {
            // A typo: two letters change places, or one is gone.
            let mut letters: Vec<char> = key.chars().collect();
            let at = dice.roll(letters.len().max(2)) % letters.len().max(1);
            if letters.len() > at + 1 {
                letters.swap(at, at + 1)
            } else {
                letters.pop();
            }
            let value = object.remove(key).unwrap_or_default();
            object.insert(letters.into_iter().collect(), value);
        }
        2 => {
            let value = object.get(key).cloned().unwrap_or_default();
            object.insert(KEYS[dice.roll(KEYS.len())].to_owned(), value);
        }
        _ => drop(object.insert(KEYS[dice.roll(KEYS.len())].to_owned(), dice.value())),
    }
}

/// The spec as TOML, a line for each key at the top.
pub(super) fn to_toml(spec: &Value) -> String {
    let Value::Object(object) = spec else { return format!("version = {}", inline(spec)) };
    object.iter().map(|(key, value)| format!("{} = {}\n", quoted(key), inline(value))).collect()
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A basic string, with everything escaped that has to be.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
