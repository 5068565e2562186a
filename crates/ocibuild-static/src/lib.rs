//! The built-in base `static@1`: the few files that a static program expects around it.
//!
//! [`files`] gives them as a plain list. This crate doesn't know of layers, archives or images, reads
//! no file and asks nothing of its machine: the list is the same everywhere.
//!
//! # What is in it
//!
//! - `/etc/passwd` and `/etc/group`: `root` (0), `nobody` (65534) and `nonroot` (65532), none with a
//!   login shell;
//! - `/etc/nsswitch.conf`: local files first, then DNS;
//! - `/etc/os-release`: `ID=ocibuild-static`, and the version of the base as `VERSION_ID`;
//! - `/etc/ssl/certs/ca-certificates.crt`: the roots that Mozilla trusts for TLS servers, as PEM, and
//!   `/etc/ssl/cert.pem`, a symlink to it for programs that look there;
//! - `/usr/share/zoneinfo`: each zone and each alias of the IANA time zone database as a TZif file of
//!   its own, in the "slim" form and from the "rearguard" data, and the database's version in
//!   `+VERSION`. The tables beside the zones (`zone.tab`, `tzdata.zi`, …) are not there;
//! - `/home/nonroot` and `/root`, closed to others, and `/tmp`, open to all.
//!
//! The certificates carry the licence CDLA-Permissive-2.0 (the bundle says so itself); the time zone
//! database is in the public domain. A PEM file can't hold the limits that Mozilla sets for some of
//! its roots, such as a last date of issue.
//!
//! # Versions
//!
//! A version stands for fixed bytes: `static@1` has one digest, today and in every later release that
//! still offers it. Certificates and time zones age, though, and both come from crates of data, pinned
//! exactly, of which a program can hold one release only. Newer data is therefore a new version: the
//! release that moves a pin offers `static@2`, and [`files`] answers `None` for 1 from then on. Who
//! needs the old bytes keeps the old release, or the image.

mod certificates;
mod system;
mod zoneinfo;

use std::borrow::Cow;
use std::collections::HashSet;

/// The versions that [`files`] knows, in ascending order.
pub const VERSIONS: &[u32] = &[1];

/// A file of the base, with all the metadata that it has.
///
/// There are no times and no extended attributes: what writes the files decides on those.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct File {
    /// The absolute path, without a trailing slash or a repeated one: `/etc/passwd`. It is ASCII.
    pub path: String,
    /// The permission bits with setuid, setgid and sticky, and nothing else: `0o1777`.
    pub mode: u32,
    /// The numeric owner.
    pub uid: u32,
    /// The numeric group.
    pub gid: u32,
    /// What the file is, and its content.
    pub kind: Kind,
}

/// The kinds of files of a base. There are no others, so that whoever writes them leaves none out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory. Its files are entries of their own.
    Directory,
    /// A regular file and its bytes.
    Regular(Cow<'static, [u8]>),
    /// A symbolic link and its target, just as it is to be written.
    Symlink(String),
}

/// Lists the files of version `version` of the base, or `None` where this release doesn't have it.
///
/// The list is complete and in order: by the bytes of the paths, component by component, so that a
/// directory stands before its files and a subtree is contiguous. No path occurs twice, and each
/// directory below the root is an entry; the root itself is not. The same version always gives the
/// same list.
///
/// The list is made on each call: some 600 short files that borrow their bytes from the program, and
/// 175 KiB of certificates that are encoded anew.
pub fn files(version: u32) -> Option<Vec<File>> {
    if !VERSIONS.contains(&version) {
        return None;
    }
    let mut files = system::files(version);
    files.extend(certificates::files());
    files.extend(zoneinfo::files());
    add_missing_parents(&mut files);
    files.sort_unstable_by(|a, b| a.path.split('/').cmp(b.path.split('/')));
    Some(files)
}

/// Adds the directories that nobody declared, as 0755 and root's.
fn add_missing_parents(files: &mut Vec<File>) {
    let mut known: HashSet<String> = files.iter().map(|file| file.path.clone()).collect();
    let mut added = Vec::new();
    for file in files.iter() {
        let mut path = file.path.as_str();
        while let Some((parent, _)) = path.rsplit_once('/')
            && !parent.is_empty()
            && known.insert(parent.to_owned())
        {
            added.push(File::directory(parent, 0o755));
            path = parent;
        }
    }
    files.append(&mut added);
}

impl File {
    fn root(path: impl Into<String>, mode: u32, kind: Kind) -> File {
        File { path: path.into(), mode, uid: 0, gid: 0, kind }
    }

    fn directory(path: impl Into<String>, mode: u32) -> File {
        File::root(path, mode, Kind::Directory)
    }

    fn regular(path: impl Into<String>, content: impl Into<Cow<'static, [u8]>>) -> File {
        File::root(path, 0o644, Kind::Regular(content.into()))
    }

    /// Linux shows every symlink with mode 0777, and so do we.
    fn symlink(path: impl Into<String>, target: impl Into<String>) -> File {
        File::root(path, 0o777, Kind::Symlink(target.into()))
    }

    fn owned_by(self, id: u32) -> File {
        File { uid: id, gid: id, ..self }
    }
}
