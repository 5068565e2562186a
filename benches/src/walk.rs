//! Lists a tree in the order its tar stream has. Reads no file.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rayon::prelude::*;

use crate::error::{Error, io_error};

/// One file, directory or symbolic link of a tree.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path below the tree's root, raw bytes, without a leading or trailing slash.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is, and what its header says besides its path.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes when it was listed.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link and its target's raw bytes.
    Link(Vec<u8>),
}

/// Lists the tree below `root`: component-wise byte order, a directory before what it holds.
///
/// Runs in the current rayon pool.
///
/// # Errors
/// If something can't be listed, or is neither file, directory nor link.
pub fn walk(root: &Path) -> Result<Vec<Entry>, Error> {
    directory(root, &[])
}

fn directory(path: &Path, prefix: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut names: Vec<(OsString, fs::FileType)> = Vec::new();
    for found in fs::read_dir(path).map_err(io_error("list", path))? {
        let found = found.map_err(io_error("list", path))?;
        names.push((found.file_name(), found.file_type().map_err(io_error("stat", path))?));
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let listed: Vec<Vec<Entry>> = names
        .par_iter()
        .map(|(name, kind)| one(path, prefix, name.as_bytes(), *kind))
        .collect::<Result<_, _>>()?;
    Ok(listed.into_iter().flatten().collect())
}

fn one(parent: &Path, prefix: &[u8], name: &[u8], kind: fs::FileType) -> Result<Vec<Entry>, Error> {
    let source = parent.join(OsString::from_vec(name.to_vec()));
    let mut path = Vec::with_capacity(prefix.len() + 1 + name.len());
    path.extend_from_slice(prefix);
    if !prefix.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    if kind.is_dir() {
        let mut listed = vec![Entry { path: path.clone(), kind: Kind::Directory }];
        listed.append(&mut directory(&source, &path)?);
        return Ok(listed);
    }
    let kind = if kind.is_symlink() {
        let target = fs::read_link(&source).map_err(io_error("read the link", &source))?;
        Kind::Link(target.into_os_string().into_vec())
    } else if kind.is_file() {
        let metadata = fs::symlink_metadata(&source).map_err(io_error("stat", &source))?;
        Kind::File { size: metadata.len(), executable: metadata.permissions().mode() & 0o100 != 0 }
    } else {
        return Err(Error::Unsupported { path: source, reason: "it is no file, directory or link" });
    };
    Ok(vec![Entry { path, kind }])
}
