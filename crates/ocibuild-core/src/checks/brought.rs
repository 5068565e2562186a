//! What packages bring for machines: one that has none for the image's was installed for another.

use std::collections::BTreeMap;

use crate::inspect::{Elf, Inspected};

/// What machines are called in names of packages and their files.
const NAMES: [&str; 26] = [
    "x86_64",
    "x86-64",
    "aarch64",
    "powerpc64le",
    "loongarch64",
    "mips64el",
    "riscv64",
    "ppc64le",
    "ppc64",
    "loong64",
    "s390x",
    "arm64",
    "amd64",
    "armv5",
    "armv6",
    "armv7",
    "armv8",
    "armhf",
    "armel",
    "win32",
    "ia32",
    "i386",
    "i686",
    "x64",
    "x86",
    "arm",
];

/// What is between the names of machines and says no more of which package it is.
const SYSTEMS: [&str; 10] =
    ["linux", "darwin", "freebsd", "android", "windows", "openharmony", "musl", "gnu", "glibc", "eabihf"];

/// The programs of packages, by what these are called but for machines.
#[derive(Default)]
pub(super) struct Brought<'a> {
    packages: BTreeMap<String, Package<'a>>,
}

#[derive(Default)]
struct Package<'a> {
    has_own: bool,
    foreign: Option<(usize, &'a Inspected, &'a Elf)>,
}

impl<'a> Brought<'a> {
    /// Adds a program in a layer.
    pub(super) fn add(&mut self, layer: usize, file: &'a Inspected, elf: &'a Elf, is_foreign: bool) {
        let package = self.packages.entry(package(&file.path)).or_default();
        match is_foreign {
            true => package.foreign = package.foreign.or(Some((layer, file, elf))),
            false => package.has_own = true,
        }
    }

    /// Returns the first program of each package that has none for the image's machine.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (usize, &'a Inspected, &'a Elf)> {
        self.packages.values().filter(|package| !package.has_own).filter_map(|package| package.foreign)
    }
}

/// Names the package that a file belongs to, without the machines that are in its name: packages for one
/// machine each are one as well.
fn package(path: &str) -> String {
    let names: Vec<&str> = path.split('/').collect();
    let at = names.iter().rposition(|name| crate::inspect::is_foreign(name.as_bytes())).unwrap_or_default();
    let is_scoped = names.get(at + 1).is_some_and(|name| name.starts_with('@'));
    let end = (at + 2 + usize::from(is_scoped)).min(names.len());
    let mut name = names[..end].join("/");
    for machine in NAMES.iter().chain(&SYSTEMS) {
        name = name.replace(machine, "");
    }
    name.replace(['-', '_'], "")
}

#[cfg(test)]
mod tests {
    use super::package;

    #[test]
    fn packages_for_machines_are_one() {
        let same = |one: &str, other: &str| assert_eq!(package(one), package(other));
        same(
            "app/node_modules/@esbuild/linux-x64/bin/esbuild",
            "app/node_modules/@esbuild/linux-arm64/bin/esbuild",
        );
        same(
            "node_modules/bcrypt/prebuilds/linux-x64/a.node",
            "node_modules/bcrypt/prebuilds/linux-arm/a.node",
        );
        same(
            "node_modules/@rollup/rollup-linux-x64-gnu/a.node",
            "node_modules/@rollup/rollup-linux-arm64-musl/a.node",
        );
        same(
            "lib/site-packages/_x.cpython-311-x86_64-linux-gnu.so",
            "lib/site-packages/_x.cpython-311-aarch64-linux-gnu.so",
        );
        assert_ne!(package("node_modules/bcrypt/a.node"), package("node_modules/argon2/a.node"));
        assert_ne!(package("node_modules/a/node_modules/b/x"), package("node_modules/b/x"));
    }
}
