//! A tree in memory: for embedders that make files, and for tests.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::files::{FileId, FileKind, FileTree, Metadata, OpenFile, Timestamp};

/// A tree of files in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

#[derive(Debug, Clone)]
struct Node {
    metadata: Metadata,
    bytes: Arc<[u8]>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl MemoryTree {
    /// Makes an empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with mode 0644; missing parents appear.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>) -> Self {
        self.node(path.as_ref(), FileKind::Regular, 0o644, bytes.into())
    }

    /// Adds a file with mode 0755; missing parents appear.
    #[must_use]
    pub fn program(self, path: impl AsRef<[u8]>, bytes: impl Into<Vec<u8>>) -> Self {
        self.node(path.as_ref(), FileKind::Regular, 0o755, bytes.into())
    }

    /// Adds a directory; missing parents appear.
    #[must_use]
    pub fn directory(self, path: impl AsRef<[u8]>) -> Self {
        self.node(path.as_ref(), FileKind::Directory, 0o755, Vec::new())
    }

    /// Adds a symbolic link; missing parents appear.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.node(path.as_ref(), FileKind::Symlink, 0o777, target.as_ref().to_vec())
    }

    /// Adds something of any kind and mode; missing parents appear.
    #[must_use]
    pub fn node(mut self, path: &[u8], kind: FileKind, mode: u32, bytes: Vec<u8>) -> Self {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            self.insert(&path[..at], FileKind::Directory, 0o755, Vec::new(), false);
        }
        self.insert(path, kind, mode, bytes, true);
        self
    }

    /// Gives something that is in the tree an extended attribute; without it, nothing happens.
    #[must_use]
    pub fn xattr(mut self, path: impl AsRef<[u8]>, name: &str, value: impl Into<Vec<u8>>) -> Self {
        if let Some(node) = self.nodes.get_mut(path.as_ref()) {
            node.xattrs.push((name.as_bytes().to_vec(), value.into()));
        }
        self
    }

    /// Gives something that is in the tree another owner and time; without it, nothing happens.
    #[must_use]
    pub fn stamp(mut self, path: impl AsRef<[u8]>, (uid, gid): (u32, u32), mtime: Timestamp) -> Self {
        if let Some(node) = self.nodes.get_mut(path.as_ref()) {
            node.metadata = Metadata { uid, gid, mtime, ..node.metadata };
        }
        self
    }

    /// Adds another name of a file that is in the tree; without it, nothing happens.
    #[must_use]
    pub fn hard_link(mut self, path: impl AsRef<[u8]>, existing: impl AsRef<[u8]>) -> Self {
        let Some(id) = self.nodes.get(existing.as_ref()).map(|node| node.metadata.id) else { return self };
        self = self.file(path.as_ref(), "");
        let file = self.nodes[existing.as_ref()].clone();
        self.nodes.insert(path.as_ref().to_vec(), file);
        let names = self.nodes.values().filter(|node| node.metadata.id == id).count() as u64;
        self.nodes.values_mut().filter(|node| node.metadata.id == id).for_each(|node| {
            node.metadata.links = names;
        });
        self
    }

    fn insert(&mut self, path: &[u8], kind: FileKind, mode: u32, bytes: Vec<u8>, replace: bool) {
        if !replace && self.nodes.contains_key(path) {
            return;
        }
        let id = FileId { device: 0, inode: self.nodes.len() as u64 + 1 };
        let size = bytes.len() as u64;
        let metadata = Metadata { kind, mode, size, id, ..root() };
        self.nodes.insert(path.to_vec(), Node { metadata, bytes: bytes.into(), xattrs: Vec::new() });
    }

    fn find(&self, path: &[u8]) -> io::Result<&Node> {
        self.nodes.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn root() -> Metadata {
    Metadata {
        kind: FileKind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        id: FileId::default(),
        links: 1,
        mtime: Timestamp::default(),
        ctime: Timestamp::default(),
    }
}

impl FileTree for MemoryTree {
    fn metadata(&self, path: &[u8]) -> io::Result<Metadata> {
        if path.is_empty() {
            return Ok(root());
        }
        self.find(path).map(|node| node.metadata)
    }

    fn read_dir(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Metadata)>> {
        if self.metadata(path)?.kind != FileKind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let below =
            self.nodes.iter().filter_map(|(full, node)| Some((full.strip_prefix(&prefix[..])?, node)));
        let children = below.filter(|(name, _)| !name.is_empty() && !name.contains(&b'/'));
        Ok(children.map(|(name, node)| (name.to_vec(), node.metadata)).collect())
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let node = self.find(path)?;
        match node.metadata.kind {
            FileKind::Symlink => Ok(node.bytes.to_vec()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn xattrs(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if path.is_empty() {
            return Ok(Vec::new());
        }
        self.find(path).map(|node| node.xattrs.clone())
    }

    fn open(&self, path: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        let node = self.find(path)?;
        Ok(Box::new(MemoryFile(node.clone())))
    }
}

struct MemoryFile(Node);

impl OpenFile for MemoryFile {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(self.0.metadata)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = usize::try_from(offset).ok().and_then(|at| self.0.bytes.get(at..)).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}
