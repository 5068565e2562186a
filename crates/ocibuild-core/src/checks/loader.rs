//! How the loaders of glibc and musl look for libraries, as
//! [ld.so(8)](https://man7.org/linux/man-pages/man8/ld.so.8.html) has it.

use crate::checks::root::{Lookup, Root};
use crate::inspect::Elf;

/// The names of machines in multiarch directories.
const MACHINES: [(u16, &str, &str); 9] = [
    (62, "amd64", "x86_64-linux-gnu"),
    (3, "386", "i386-linux-gnu"),
    (183, "arm64", "aarch64-linux-gnu"),
    (40, "arm", "arm-linux-gnueabihf"),
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

    /// Tells whether an image has it.
    pub(super) fn is_in(self, root: &Root<'_>) -> bool {
        let paths: Vec<String> = match self {
            Self::Musl => MUSL.iter().map(|machine| format!("/lib/ld-musl-{machine}.so.1")).collect(),
            Self::Glibc => {
                let plain = DIRECTORIES.iter().map(|directory| format!("{directory}/libc.so.6"));
                let triples = MACHINES.iter().map(|(.., triple)| triple);
                let own = triples.flat_map(|triple| {
                    ["/lib", "/usr/lib"].map(|above| format!("{above}/{triple}/libc.so.6"))
                });
                plain.chain(own).collect()
            }
        };
        root.first(&paths) != Lookup::Missing
    }
}

/// Where libraries are looked for in the end, beside the machine's own.
const DIRECTORIES: [&str; 10] = [
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/lib32",
    "/usr/lib32",
    "/libx32",
    "/opt/lib",
];

/// The directories a file's libraries are looked for in, in their order: its own, those of who loads
/// it, those of the environment, and everybody's.
pub(super) fn directories(
    elf: &Elf,
    path: &[u8],
    inherited: &[String],
    environment: &[String],
) -> Vec<String> {
    let path = String::from_utf8_lossy(path).into_owned();
    let origin = path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("/{directory}"));
    let mut all = own(elf, &origin);
    all.extend(inherited.iter().cloned());
    all.extend(environment.iter().cloned());
    let triple = MACHINES.iter().find(|(number, ..)| *number == elf.machine).map(|(.., triple)| *triple);
    for above in ["/lib", "/usr/lib", "/usr/local/lib"] {
        all.extend(triple.map(|triple| format!("{above}/{triple}")));
    }
    all.extend(DIRECTORIES.iter().take(if elf.is_64 { 6 } else { 10 }).map(|path| (*path).to_owned()));
    all
}

/// The directories that a file itself names.
pub(super) fn own(elf: &Elf, origin: &str) -> Vec<String> {
    let lib = if elf.is_64 { "lib64" } else { "lib" };
    let expand = |path: &String| {
        let path = path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin);
        [lib, "lib"].map(|lib| path.replace("${LIB}", lib).replace("$LIB", lib))
    };
    let mut all: Vec<String> = elf.search.iter().flat_map(expand).collect();
    all.dedup();
    all
}
