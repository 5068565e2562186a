//! How the loaders of glibc and musl look for libraries: glibc's as
//! [ld.so(8)](https://man7.org/linux/man-pages/man8/ld.so.8.html) has it, musl's as
//! [its differences from glibc](https://wiki.musl-libc.org/functional-differences-from-glibc.html) do.

use std::collections::BTreeSet;

use crate::checks::root::{Lookup, Root};
use crate::inspect::Elf;

/// The names of machines in multiarch directories.
const MACHINES: [(u16, &str, &str); 10] = [
    (62, "amd64", "x86_64-linux-gnu"),
    (3, "386", "i386-linux-gnu"),
    (183, "arm64", "aarch64-linux-gnu"),
    (40, "arm", "arm-linux-gnueabihf"),
    (40, "arm", "arm-linux-gnueabi"),
    (22, "s390x", "s390x-linux-gnu"),
    (21, "ppc64le", "powerpc64le-linux-gnu"),
    (243, "riscv64", "riscv64-linux-gnu"),
    (258, "loong64", "loongarch64-linux-gnu"),
    (8, "mips64le", "mips64el-linux-gnuabi64"),
];

/// Go's name of a machine, where it has one that nothing else has.
pub(super) fn machine(elf: &Elf) -> Option<&'static str> {
    MACHINES.iter().find(|(number, ..)| *number == elf.machine).map(|(_, name, _)| *name)
}

/// musl's names of machines.
const MUSL: [&str; 9] =
    ["x86_64", "aarch64", "i386", "armhf", "arm", "s390x", "powerpc64le", "riscv64", "loongarch64"];

/// The C libraries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Libc {
    Glibc,
    Musl,
}

impl Libc {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
        }
    }

    /// Which one a loader is of, by its path.
    pub(super) fn of_loader(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or_default();
        match name {
            _ if name.starts_with("ld-musl-") => Some(Self::Musl),
            _ if name.starts_with("ld-linux") || matches!(name, "ld64.so.1" | "ld64.so.2" | "ld.so.1") => {
                Some(Self::Glibc)
            }
            _ => None,
        }
    }

    /// Which one a library needs, by the names of what it needs.
    pub(super) fn of_needed(elf: &Elf) -> Option<Self> {
        let has = |find: fn(&str) -> bool| elf.needed.iter().any(|name| find(name));
        match () {
            () if has(|name| name.starts_with("libc.musl-") || name == "libc.so") => Some(Self::Musl),
            () if has(|name| name == "libc.so.6" || name.starts_with("ld-linux")) => Some(Self::Glibc),
            () => None,
        }
    }

    /// Looks for it in an image.
    pub(super) fn find(self, root: &Root<'_>) -> Lookup {
        let paths: Vec<String> = match self {
            Self::Musl => MUSL.iter().map(|machine| format!("/lib/ld-musl-{machine}.so.1")).collect(),
            Self::Glibc => {
                let own = MACHINES.iter().flat_map(|(.., triple)| of_triple(triple));
                own.chain(PLAIN.map(str::to_owned))
                    .map(|directory| format!("{directory}/libc.so.6"))
                    .collect()
            }
        };
        root.first(&paths)
    }
}

/// Where libraries are looked for that belong to no machine.
const PLAIN: [&str; 4] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
/// The same, of programs of 32 bits beside those of 64.
const PLAIN_32: [&str; 4] = ["/lib", "/usr/lib", "/lib32", "/usr/lib32"];
/// Where musl looks, if no `/etc/ld-musl-….path` says otherwise.
const OF_MUSL: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];
/// Where glibc looks, if its own libraries are in `lib64`.
const OF_64: [&str; 2] = ["/lib64", "/usr/lib64"];

fn of_triple(triple: &str) -> [String; 2] {
    ["/lib", "/usr/lib"].map(|above| format!("{above}/{triple}"))
}

/// A loader, as far as it is known how it looks for libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Loader {
    /// glibc's. It looks where it was made to, which where its own libraries are tells.
    Glibc(Kin),
    /// musl's.
    Musl,
    /// Another: whatever some loader finds is taken to be found.
    Unknown,
}

/// Whose glibc it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    /// Debian's, and of those like it: in directories of each machine.
    Machines,
    /// Of those with `lib64`.
    Lib64,
    /// It isn't known.
    Any,
}

impl Kin {
    /// Tells it by where `libc.so.6` is.
    pub(super) fn of(libc: &[u8]) -> Self {
        let directory = libc.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |end| &libc[..end]);
        let name = directory.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        match directory {
            b"lib64" | b"usr/lib64" => Self::Lib64,
            _ if MACHINES.iter().any(|(.., triple)| triple.as_bytes() == name) => Self::Machines,
            _ => Self::Any,
        }
    }
}

/// No path is longer, in bytes.
const MAX_PATH: usize = 4096;

/// A program or library that was loaded.
pub(super) struct Loaded<'a> {
    /// Its path, without a leading `/`, as it was looked for.
    pub(super) path: Vec<u8>,
    pub(super) elf: &'a Elf,
    /// Who loaded it: its place among those loaded.
    pub(super) by: Option<usize>,
}

impl Loader {
    /// The directories that libraries are looked for in which one of the loaded needs, in their order.
    pub(super) fn directories(
        &self,
        loaded: &[Loaded<'_>],
        at: usize,
        environment: &[String],
    ) -> Vec<String> {
        let one = &loaded[at];
        let own = |one: &Loaded<'_>| self.own(one);
        let chain = || std::iter::successors(Some(one), |one| one.by.map(|by| &loaded[by]));
        let environment = environment.iter().cloned();
        let is_new = !one.elf.search.is_empty() && !one.elf.is_rpath;
        let mut all: Vec<String> = match self {
            // What is found by RUNPATH finds nothing by the RPATH of others.
            Self::Glibc(_) if is_new => environment.chain(own(one)).collect(),
            Self::Glibc(_) => {
                chain().filter(|one| one.elf.is_rpath).flat_map(own).chain(environment).collect()
            }
            Self::Musl => environment.chain(chain().flat_map(own)).collect(),
            Self::Unknown => chain().flat_map(own).chain(environment).collect(),
        };
        all.extend(self.everybodys(one.elf));
        // Libraries of one package all name the same ones.
        let mut seen = BTreeSet::new();
        all.retain(|path| seen.insert(path.clone()));
        all
    }

    /// What it costs to name these directories.
    pub(super) fn effort(loaded: &[Loaded<'_>], at: usize) -> usize {
        let chain = std::iter::successors(Some(&loaded[at]), |one| one.by.map(|by| &loaded[by]));
        chain.map(|one| 1 + one.elf.search.len()).sum()
    }

    /// The directories that are looked in for everybody.
    fn everybodys(&self, elf: &Elf) -> Vec<String> {
        let triples = MACHINES.iter().filter(|(number, ..)| *number == elf.machine);
        let triples = triples.flat_map(|(.., triple)| of_triple(triple));
        let owned = |all: &[&str]| all.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        let plain = owned(if elf.is_64 { &PLAIN } else { &PLAIN_32 });
        match self {
            Self::Glibc(Kin::Machines) if elf.is_64 => triples.chain(owned(&PLAIN[..2])).collect(),
            Self::Glibc(Kin::Lib64) if elf.is_64 => owned(&OF_64),
            Self::Glibc(_) => triples.chain(plain).collect(),
            Self::Musl => owned(&OF_MUSL),
            Self::Unknown => triples.chain(plain).chain(owned(&OF_MUSL)).collect(),
        }
    }

    /// The directories that a file itself names.
    fn own(&self, one: &Loaded<'_>) -> Vec<String> {
        let path = String::from_utf8_lossy(&one.path);
        let origin = path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("/{directory}"));
        let expanded = |path: &String| path.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin);
        let is_path = |path: &&String| path.matches("ORIGIN").count() * origin.len() <= MAX_PATH;
        let mut all: Vec<String> = one.elf.search.iter().filter(is_path).map(expanded).collect();
        if *self == Self::Musl {
            // It knows no other word, and then follows none of the paths.
            let is_known = all.iter().all(|path| !path.contains('$'));
            return if is_known { all } else { Vec::new() };
        }
        let triples = MACHINES.iter().filter(|(number, ..)| *number == one.elf.machine);
        let libs: Vec<String> = ["lib64", "lib", "lib32"]
            .map(str::to_owned)
            .into_iter()
            .chain(triples.map(|(.., triple)| format!("lib/{triple}")))
            .collect();
        let libs = |path: String| match path.contains("LIB") {
            true => libs.iter().map(|lib| path.replace("${LIB}", lib).replace("$LIB", lib)).collect(),
            false => vec![path],
        };
        all = all.into_iter().flat_map(libs).collect();
        all.dedup();
        all
    }

    /// Tells whether a library is there before anything is looked for: a loader itself is, and musl's is
    /// its C library under whatever name.
    pub(super) fn has(&self, name: &str) -> bool {
        const OWN: [&str; 7] = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
        let is_loader = ["ld-linux", "ld-musl-", "ld64.so.", "ld.so.", "linux-vdso", "linux-gate"]
            .iter()
            .any(|begin| name.starts_with(begin));
        let is_own = |name: &str| OWN.iter().any(|own| name.starts_with(own));
        let is_musl = !matches!(self, Self::Glibc(_));
        is_loader || (is_musl && name.strip_prefix("lib").is_some_and(is_own))
    }
}

/// The paths of glibc's loaders, at which on musl something may stand in for it.
pub(super) fn of_glibc() -> Vec<String> {
    let names = ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "ld-linux-armhf.so.3", "ld-linux.so.2"];
    let of = |name: &str| ["/lib64", "/lib"].map(|directory| format!("{directory}/{name}"));
    names.into_iter().flat_map(of).collect()
}

/// The files that say where musl's loader looks.
pub(super) fn path_files() -> Vec<String> {
    MUSL.iter().map(|machine| format!("/etc/ld-musl-{machine}.path")).collect()
}
