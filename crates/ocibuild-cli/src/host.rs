//! Which host files are made on, as far as it shows in them.

use std::env::consts::{ARCH, OS};
use std::path::Path;

/// Names system, architecture and C library: part of the keys of layers whose files are made here,
/// as what a package manager installs on one host may not run on another.
pub(crate) fn name() -> String {
    format!("{OS}-{ARCH}-{}", libc())
}

/// The C library of the host, not the one this program is linked with: a static program runs on
/// both kinds. A host with both loaders is taken for one of the first.
fn libc() -> &'static str {
    let is_there = |directory: &str, prefix: &str| {
        let mut entries = Path::new(directory).read_dir().into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()))
    };
    // glibc's loader lies in `/lib64` on x86-64, s390x and others, in `/lib` on Arm.
    if is_there("/lib64", "ld-linux") || is_there("/lib64", "ld64") || is_there("/lib", "ld-linux") {
        "glibc"
    } else if is_there("/lib", "ld-musl-") {
        "musl"
    } else {
        "unknown"
    }
}
