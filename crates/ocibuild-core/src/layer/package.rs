//! Which package a path belongs to: what is changed together should lie together.
//!
//! A package's name leaves its version out, so that the next version takes the place of this one.

use std::collections::BTreeSet;

use crate::files::Entry;

/// What holds a path together with others, and what of the path lies within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package<'e> {
    /// Names it, with the directory it lies in.
    pub(super) name: Vec<u8>,
    /// The rest of the path; empty for what is the package itself.
    pub(super) rest: &'e [u8],
}

/// What packages of a layer are known by.
pub(super) struct Packages {
    /// Where copies go.
    destinations: Vec<Vec<u8>>,
    /// Directories of Python's packages, whatever they are called.
    python: BTreeSet<Vec<u8>>,
}

impl Packages {
    /// Gets to know the entries of a layer whose copies go to these places.
    pub(super) fn of(entries: &[Entry], mut destinations: Vec<Vec<u8>>) -> Self {
        destinations.sort_by_key(|to| std::cmp::Reverse(to.len()));
        let mut python = BTreeSet::new();
        for entry in entries {
            let (directory, name) = split_last(&entry.path);
            if name.ends_with(b".dist-info") {
                python.insert(directory.to_vec());
            }
        }
        Self { destinations, python }
    }

    /// Returns the package of a path.
    pub(super) fn package<'e>(&self, path: &'e [u8]) -> Package<'e> {
        if let Some((end, kind)) = self.shelf(path) {
            let (shelf, inside) = (&path[..end], &path[end + 1..]);
            return match kind {
                Shelf::Node => node(shelf, inside),
                Shelf::Python => python(shelf, inside),
                Shelf::Vendor => vendor(shelf, inside),
            };
        }
        let (directory, name) = split_last(path);
        if let Some(stem) = name.strip_suffix(b".jar".as_slice()) {
            return named(directory, without_version(stem), b"");
        }
        self.plain(path)
    }

    /// Finds the directory of packages that a path lies in: the innermost, as packages may have
    /// packages. What packages themselves call `vendor` is theirs.
    fn shelf(&self, path: &[u8]) -> Option<(usize, Shelf)> {
        let mut found = None;
        let mut start = 0;
        while let Some(length) = path[start..].iter().position(|byte| *byte == b'/') {
            let end = start + length;
            let kind = match &path[start..end] {
                b"node_modules" => Some(Shelf::Node),
                b"site-packages" | b"dist-packages" => Some(Shelf::Python),
                _ if self.python.contains(&path[..end]) => Some(Shelf::Python),
                b"vendor" if found.is_none() => Some(Shelf::Vendor),
                _ => None,
            };
            if let Some(kind) = kind {
                found = Some((end, kind));
            }
            // What pnpm keeps holds a package with links to all that it needs.
            if matches!(found, Some((at, Shelf::Node)) if is_stored(&path[at + 1..])) {
                break;
            }
            start = end + 1;
        }
        found
    }

    /// The first directory below where a copy goes, or the file there.
    fn plain<'e>(&self, path: &'e [u8]) -> Package<'e> {
        let below =
            |to: &Vec<u8>| to.is_empty() || (path.starts_with(to) && path.get(to.len()) == Some(&b'/'));
        let start = match self.destinations.iter().find(|to| below(to)) {
            Some(to) if to.is_empty() => 0,
            Some(to) => to.len() + 1,
            None => path.len(),
        };
        let end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| start + at);
        Package { name: path[..end].to_vec(), rest: path.get(end + 1..).unwrap_or_default() }
    }
}

/// A kind of directory of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shelf {
    Node,
    Python,
    Vendor,
}

/// Tells whether a path below `node_modules` is of a package in pnpm's store.
fn is_stored(inside: &[u8]) -> bool {
    inside.strip_prefix(b".pnpm/").is_some_and(|stored| !stored.starts_with(b"node_modules/"))
}

/// `NAME`, `@SCOPE/NAME`, `.pnpm/NAME@VERSION`.
fn node<'e>(shelf: &[u8], inside: &'e [u8]) -> Package<'e> {
    if is_stored(inside) {
        let (name, rest) = split_first(&inside[b".pnpm/".len()..]);
        // A scope begins with the same sign.
        let at = name.iter().skip(1).position(|byte| *byte == b'@').map_or(name.len(), |at| at + 1);
        return named(&[shelf, b"/.pnpm"].concat(), &name[..at], rest);
    }
    let (first, rest) = split_first(inside);
    if first.starts_with(b"@") && !rest.is_empty() {
        let (name, rest) = split_first(rest);
        return named(&[shelf, b"/", first].concat(), name, rest);
    }
    named(shelf, first, rest)
}

/// `NAME`, `NAME-VERSION.dist-info`, `NAME.libs`, `NAME.py`, `__pycache__/NAME.cpython-313.pyc`.
fn python<'e>(shelf: &[u8], inside: &'e [u8]) -> Package<'e> {
    let (mut first, mut rest) = split_first(inside);
    if first == b"__pycache__" && !rest.is_empty() {
        (first, rest) = split_first(rest);
    }
    let is_file = rest.is_empty();
    let about = [".dist-info", ".egg-info", ".data", ".egg"];
    let name = if let Some(name) = about.iter().find_map(|end| first.strip_suffix(end.as_bytes())) {
        name.split(|byte| *byte == b'-').next().unwrap_or(name)
    } else if let Some(name) = first.strip_suffix(b".libs".as_slice()) {
        name
    } else if is_file && !first.starts_with(b".") {
        first.split(|byte| *byte == b'.').next().unwrap_or(first)
    } else {
        first
    };
    named(shelf, &normal(name), rest)
}

/// As Python's packaging compares names: in lower case, with any run of `-`, `_` and `.` alike.
fn normal(name: &[u8]) -> Vec<u8> {
    let mut normal: Vec<u8> = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'-' | b'_' | b'.' if normal.last() == Some(&b'_') => {}
            b'-' | b'_' | b'.' => normal.push(b'_'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

/// Go's `HOST/OWNER/NAME`, where a host has owners; Rust's `NAME` or `NAME-VERSION`.
fn vendor<'e>(shelf: &[u8], inside: &'e [u8]) -> Package<'e> {
    let (first, rest) = split_first(inside);
    let crate_name = without_version(first);
    if !first.contains(&b'.') || crate_name != first || rest.is_empty() {
        return named(shelf, crate_name, rest);
    }
    let (second, rest) = split_first(rest);
    let has_owners = [&b"github.com"[..], b"gitlab.com", b"bitbucket.org", b"golang.org", b"codeberg.org"];
    if !has_owners.contains(&first) || rest.is_empty() {
        return named(&[shelf, b"/", first].concat(), second, rest);
    }
    let (third, rest) = split_first(rest);
    named(&[shelf, b"/", first, b"/", second].concat(), third, rest)
}

/// The name before `-` and a digit.
fn without_version(name: &[u8]) -> &[u8] {
    let begins = |pair: &[u8]| pair[0] == b'-' && pair[1].is_ascii_digit();
    name.windows(2).position(begins).filter(|at| *at > 0).map_or(name, |at| &name[..at])
}

fn named<'e>(directory: &[u8], name: &[u8], rest: &'e [u8]) -> Package<'e> {
    Package { name: [directory, b"/", name].concat(), rest }
}

/// Splits a path behind its first name.
pub(super) fn split_first(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::EntryKind;

    fn packages(directories: &[&str], destinations: &[&str]) -> Packages {
        let entry = |path: &&str| Entry {
            path: path.as_bytes().into(),
            kind: EntryKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 1,
            xattrs: None,
        };
        let entries: Vec<Entry> = directories.iter().map(entry).collect();
        Packages::of(&entries, destinations.iter().map(|to| to.as_bytes().to_vec()).collect())
    }

    #[track_caller]
    fn check(packages: &Packages, table: &[(&str, &str, &str)]) {
        for (path, name, rest) in table {
            let package = packages.package(path.as_bytes());
            let found = (String::from_utf8_lossy(&package.name), String::from_utf8_lossy(package.rest));
            assert_eq!(found, ((*name).into(), (*rest).into()), "{path}");
        }
    }

    #[test]
    fn packages_of_node() {
        let table = [
            ("app/node_modules/a/index.js", "app/node_modules/a", "index.js"),
            ("app/node_modules/a", "app/node_modules/a", ""),
            ("app/node_modules/a/vendor/x/y.js", "app/node_modules/a", "vendor/x/y.js"),
            ("app/node_modules/@a/b/lib/c.js", "app/node_modules/@a/b", "lib/c.js"),
            ("app/node_modules/@a/b", "app/node_modules/@a/b", ""),
            ("app/node_modules/@a", "app/node_modules/@a", ""),
            ("node_modules/a/node_modules/@b/c/d", "node_modules/a/node_modules/@b/c", "d"),
            ("node_modules/.bin/tsc", "node_modules/.bin", "tsc"),
            ("node_modules/.package-lock.json", "node_modules/.package-lock.json", ""),
            ("node_modules/.pnpm/a@1.2.3/node_modules/a/x.js", "node_modules/.pnpm/a", "node_modules/a/x.js"),
            ("node_modules/.pnpm/a@1.2.3_b@4/node_modules/b", "node_modules/.pnpm/a", "node_modules/b"),
            ("node_modules/.pnpm/@a+b@1.0.0/node_modules/c", "node_modules/.pnpm/@a+b", "node_modules/c"),
            ("node_modules/.pnpm/node_modules/@a/b", "node_modules/.pnpm/node_modules/@a/b", ""),
            ("node_modules/.pnpm/lock.yaml", "node_modules/.pnpm/lock.yaml", ""),
        ];
        check(&packages(&[], &["app"]), &table);
    }

    #[test]
    fn packages_of_python() {
        let site = "lib/python3.13/site-packages";
        let packages = packages(&["opt/deps/Foo_Bar-1.2.dist-info"], &["opt/deps", ""]);
        for (inside, name, rest) in [
            ("foo_bar/__init__.py", "foo_bar", "__init__.py"),
            ("Foo.Bar-1.2.3.dist-info/RECORD", "foo_bar", "RECORD"),
            ("foo_bar-1.2.3.data/x", "foo_bar", "x"),
            ("foo_bar-1.2.3-py3.13.egg-info", "foo_bar", ""),
            ("foo_bar.libs/libz.so", "foo_bar", "libz.so"),
            ("six.py", "six", ""),
            ("__pycache__/six.cpython-313.pyc", "six", ""),
            ("_cffi_backend.cpython-313-x86_64-linux-gnu.so", "_cffi_backend", ""),
            (".hidden", "_hidden", ""),
        ] {
            let table =
                [site, "opt/deps"].map(|shelf| (format!("{shelf}/{inside}"), format!("{shelf}/{name}")));
            for (path, name) in &table {
                check(&packages, &[(path, name, rest)]);
            }
        }
    }

    #[test]
    fn packages_of_java_go_and_rust() {
        let table = [
            ("app/lib/guava-31.1-jre.jar", "app/lib/guava", ""),
            ("app/lib/commons-io.jar", "app/lib/commons-io", ""),
            ("app/BOOT-INF/lib/spring-core-6.1.0.jar", "app/BOOT-INF/lib/spring-core", ""),
            ("app/lib/-1.jar", "app/lib/-1", ""),
            ("src/vendor/github.com/a/b/c/d.go", "src/vendor/github.com/a/b", "c/d.go"),
            ("src/vendor/golang.org/x/net/http2/h.go", "src/vendor/golang.org/x/net", "http2/h.go"),
            ("src/vendor/gopkg.in/yaml.v3/y.go", "src/vendor/gopkg.in/yaml.v3", "y.go"),
            ("src/vendor/modules.txt", "src/vendor/modules.txt", ""),
            ("src/vendor/serde/src/lib.rs", "src/vendor/serde", "src/lib.rs"),
            ("src/vendor/serde-1.0.2/src/lib.rs", "src/vendor/serde", "src/lib.rs"),
            ("src/vendor/x86-64/a", "src/vendor/x86", "a"),
        ];
        check(&packages(&[], &[]), &table);
    }

    #[test]
    fn all_else_goes_by_the_first_directory_below_a_destination() {
        let packages = packages(&[], &["app", "app/static", "etc/app.conf"]);
        let table = [
            ("app/dist/a/b.js", "app/dist", "a/b.js"),
            ("app/main.js", "app/main.js", ""),
            ("app/static/img/a.png", "app/static/img", "a.png"),
            ("app/staticfile", "app/staticfile", ""),
            ("etc/app.conf", "etc/app.conf", ""),
        ];
        check(&packages, &table);
        check(&self::packages(&[], &[""]), &[("usr/lib/a", "usr", "lib/a"), ("a", "a", "")]);
    }
}
