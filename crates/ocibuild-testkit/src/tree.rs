//! Small file trees, made from text or call by call, and the listing of any tree for comparison.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A file tree in a temporary directory, removed when dropped.
///
/// Paths are relative to it, and missing parents are made. Modes are 0644 for files and 0755 for
/// directories unless given, whatever the umask.
#[derive(Debug)]
pub struct TempTree {
    home: TempDir,
}

impl Default for TempTree {
    fn default() -> Self {
        Self::new()
    }
}

impl TempTree {
    /// Makes an empty tree.
    #[track_caller]
    pub fn new() -> Self {
        Self::at(TempDir::with_prefix("tree-").expect("a temporary directory can be made"))
    }

    /// Makes an empty tree [in memory](crate::in_memory()), where there is room.
    #[track_caller]
    pub fn in_memory() -> Self {
        Self::at(crate::in_memory())
    }

    fn at(home: TempDir) -> Self {
        set_mode(home.path(), 0o755);
        Self { home }
    }

    /// Makes a tree from its description: one entry a line, space around it doesn't matter.
    ///
    /// ```text
    /// bin/ 0700                      a directory; the mode is optional everywhere
    /// bin/run 0755 = #!/bin/sh\n     a file and its content, up to the end of the line
    /// empty                          an empty file
    /// latest -> bin/run              a symbolic link
    /// # a comment
    /// ```
    ///
    /// In paths, targets and contents, `\n`, `\t`, `\\`, `\s` (a space) and `\xHH` (any byte)
    /// stand for what can't be written there.
    #[track_caller]
    pub fn from_text(description: &str) -> Self {
        let tree = Self::new();
        for line in description.lines().map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                tree.make(line);
            }
        }
        tree
    }

    /// Adds a file.
    #[track_caller]
    pub fn file(self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    /// Adds a file with a mode such as `0o755`.
    #[track_caller]
    pub fn file_with_mode(self, path: impl AsRef<Path>, content: impl AsRef<[u8]>, mode: u32) -> Self {
        self.write(&path, content);
        self.chmod(path, mode);
        self
    }

    /// Adds a directory.
    #[track_caller]
    pub fn directory(self, path: impl AsRef<Path>) -> Self {
        self.make_directory(&self.join(path));
        self
    }

    /// Adds a directory with a mode such as `0o1777`.
    #[track_caller]
    pub fn directory_with_mode(self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.make_directory(&self.join(&path));
        self.chmod(path, mode);
        self
    }

    /// Adds a symbolic link; its target may be anything.
    #[track_caller]
    pub fn symlink(self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        let link = self.join_with_parents(path);
        demand(symlink(target, &link), "link", &link);
        self
    }

    /// Adds a second name for the file at `existing`.
    #[track_caller]
    pub fn hard_link(self, path: impl AsRef<Path>, existing: impl AsRef<Path>) -> Self {
        let link = self.join_with_parents(path);
        demand(fs::hard_link(self.join(existing), &link), "link", &link);
        self
    }

    /// The tree's directory.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// The absolute path of something in the tree.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(path)
    }

    /// Writes a file anew, with mode 0644 if it wasn't there.
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let file = self.join_with_parents(path);
        let is_new = file.symlink_metadata().is_err();
        demand(fs::write(&file, content), "write", &file);
        if is_new {
            set_mode(&file, 0o644);
        }
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let file = self.join(path);
        demand(fs::read(&file), "read", &file)
    }

    /// Removes a file, a link, or a directory with all that is in it.
    #[track_caller]
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = self.join(path);
        let metadata = demand(path.symlink_metadata(), "find", &path);
        let removed = if metadata.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        demand(removed, "remove", &path);
    }

    /// Sets the mode of a file or directory.
    #[track_caller]
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) {
        set_mode(&self.join(path), mode);
    }

    /// Sets when a file or directory was last modified, in seconds since 1970.
    #[track_caller]
    pub fn set_modified(&self, path: impl AsRef<Path>, seconds: u64) {
        let path = self.join(path);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let set = File::open(&path).and_then(|file| file.set_times(FileTimes::new().set_modified(time)));
        demand(set, "set the time of", &path);
    }

    /// Makes the entry that one line of a description stands for.
    #[track_caller]
    fn make(&self, line: &str) {
        let (head, content) = match line.split_once(" =") {
            Some((head, content)) => (head, content.strip_prefix(' ').unwrap_or(content)),
            None => (line, ""),
        };
        if let Some((path, target)) = head.split_once(" -> ") {
            let link = self.join_with_parents(unescape(path.trim()));
            demand(symlink(unescape(target.trim()), &link), "link", &link);
            return;
        }
        let (path, mode) = path_and_mode(head);
        if path.ends_with('/') {
            self.make_directory(&self.join(unescape(path)));
        } else {
            self.write(unescape(path), unescape(content).into_vec());
        }
        if let Some(mode) = mode {
            self.chmod(unescape(path), mode);
        }
    }

    #[track_caller]
    fn join_with_parents(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.join(path);
        if let Some(parent) = path.parent() {
            self.make_directory(parent);
        }
        path
    }

    #[track_caller]
    fn make_directory(&self, directory: &Path) {
        if directory.is_dir() {
            return;
        }
        if let Some(parent) = directory.parent() {
            self.make_directory(parent);
        }
        demand(fs::create_dir(directory), "make", directory);
        set_mode(directory, 0o755);
    }
}

#[track_caller]
fn path_and_mode(head: &str) -> (&str, Option<u32>) {
    let mut words = head.split_whitespace();
    let path = words.next().unwrap_or_default();
    let mode = words.next().map(|mode| match u32::from_str_radix(mode, 8) {
        Ok(mode) => mode,
        Err(_) => panic!("`{mode}` isn't an octal mode in `{head}`"),
    });
    assert!(words.next().is_none(), "`{head}` isn't `PATH [MODE]` (a space is `\\s`)");
    (path, mode)
}

#[track_caller]
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (plain, used) = if byte == b'\\' { escape(tail, text) } else { (byte, 0) };
        bytes.push(plain);
        rest = &tail[used..];
    }
    OsString::from_vec(bytes)
}

/// Gives the byte that an escape stands for, and how many bytes follow its backslash.
#[track_caller]
fn escape(tail: &[u8], text: &str) -> (u8, usize) {
    let hex = tail.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
    match (tail.first(), hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
        (Some(b'n'), _) => (b'\n', 1),
        (Some(b't'), _) => (b'\t', 1),
        (Some(b's'), _) => (b' ', 1),
        (Some(b'\\'), _) => (b'\\', 1),
        (Some(b'x'), Some(byte)) => (byte, 3),
        _ => panic!("an unknown escape in `{text}`"),
    }
}

#[track_caller]
fn set_mode(path: &Path, mode: u32) {
    demand(fs::set_permissions(path, Permissions::from_mode(mode)), "set the mode of", path);
}

#[track_caller]
fn demand<T>(result: std::io::Result<T>, verb: &str, path: &Path) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("can't {verb} `{}`: {error}", path.display()),
    }
}

/// One entry of a tree, as far as an image can carry it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// What it is, and what it holds.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// When it was last modified, in seconds since 1970.
    pub modified: i64,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file, by the length and a (not cryptographic) hash of its content.
    File {
        /// In bytes.
        length: u64,
        /// Equal for equal contents, within one build of this crate.
        hash: u64,
    },
    /// A symbolic link.
    Symlink {
        /// As it is written in the link.
        target: PathBuf,
    },
    /// A device, socket or fifo, by the type bits of its mode.
    Special(u32),
}

/// Lists everything below `directory` by its path from there; symbolic links aren't followed.
#[track_caller]
pub fn entries(directory: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(parent) = waiting.pop() {
        for child in demand(fs::read_dir(&parent), "list", &parent) {
            let path = demand(child, "list", &parent).path();
            let entry = entry(&path);
            let relative = path.strip_prefix(directory).unwrap_or(&path).to_owned();
            if entry.kind == Kind::Directory {
                waiting.push(path);
            }
            found.insert(relative, entry);
        }
    }
    found
}

#[track_caller]
fn entry(path: &Path) -> Entry {
    let metadata = demand(path.symlink_metadata(), "read", path);
    Entry {
        kind: kind(path, &metadata),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: metadata.mtime(),
    }
}

#[track_caller]
fn kind(path: &Path, metadata: &Metadata) -> Kind {
    if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_symlink() {
        Kind::Symlink { target: demand(fs::read_link(path), "read", path) }
    } else if metadata.is_file() {
        let mut hasher = DefaultHasher::new();
        demand(fs::read(path), "read", path).hash(&mut hasher);
        Kind::File { length: metadata.len(), hash: hasher.finish() }
    } else {
        Kind::Special(metadata.mode() & !0o7777)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn description_and_calls_make_the_same_tree() {
        let text = TempTree::from_text(
            r"
            # everything that a line can say
            bin/ 0700
            bin/run 0755 = #!/bin/sh\n
            bin/a\sb\xff = x\\y = z -> a
            deep/er/empty
            latest -> bin/run
            ",
        );
        let name = OsString::from_vec(b"bin/a b\xff".to_vec());
        let calls = TempTree::new()
            .directory_with_mode("bin", 0o700)
            .file_with_mode("bin/run", "#!/bin/sh\n", 0o755)
            .file(name, r"x\y = z -> a")
            .file("deep/er/empty", "")
            .symlink("latest", "bin/run");
        let without_time = |tree: &TempTree| {
            let mut entries = entries(tree.path());
            entries.values_mut().for_each(|entry| entry.modified = 0);
            entries
        };
        assert_eq!(without_time(&text), without_time(&calls));
        assert_eq!(entries(text.path()).len(), 7);
    }

    #[test]
    fn tree_can_be_changed() {
        let tree = TempTree::from_text("a = 1\n d/b = 2");
        tree.write("a", "3");
        tree.remove("d");
        tree.set_modified("a", 1);
        assert_eq!(tree.read("a"), b"3");
        assert_eq!(entries(tree.path())[Path::new("a")].modified, 1);
        assert_eq!(entries(tree.path()).len(), 1);
    }
}
