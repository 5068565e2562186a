//! Which files below a root were read, by what `strace` tells of a command and all it started.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::step::trace::line::Call;

/// How many paths are remembered of what was read, and of what was made.
const MAX_PATHS: usize = 50_000;
/// Longer lines are passed over: paths have at most 4 KiB.
pub(super) const MAX_LINE: usize = 64 << 10;

/// Calls that read what a path leads to, or look whether it is there: the argument with the path,
/// and the one before it with the directory it is relative to, where the call has one.
const READING: &[(&str, Place)] = &[
    ("access", Place::at(0)),
    ("execve", Place::at(0)),
    ("execveat", Place::below(0)),
    ("faccessat", Place::below(0)),
    ("faccessat2", Place::below(0)),
    ("fstatat64", Place::below(0)),
    ("getxattr", Place::at(0)),
    ("lgetxattr", Place::at(0)),
    ("link", Place::at(0)),
    ("linkat", Place::below(0)),
    ("listxattr", Place::at(0)),
    ("llistxattr", Place::at(0)),
    ("lstat", Place::at(0)),
    ("lstat64", Place::at(0)),
    ("newfstatat", Place::below(0)),
    ("open", Place::at(0)),
    ("openat", Place::below(0)),
    ("openat2", Place::below(0)),
    ("readlink", Place::at(0)),
    ("readlinkat", Place::below(0)),
    ("rename", Place::at(0)),
    ("renameat", Place::below(0)),
    ("renameat2", Place::below(0)),
    ("stat", Place::at(0)),
    ("stat64", Place::at(0)),
    ("statx", Place::below(0)),
];

/// Calls that make what a path names.
const MAKING: &[(&str, Place)] = &[
    ("creat", Place::at(0)),
    ("link", Place::at(1)),
    ("linkat", Place::below(2)),
    ("mkdir", Place::at(0)),
    ("mkdirat", Place::below(0)),
    ("mknod", Place::at(0)),
    ("mknodat", Place::below(0)),
    ("rename", Place::at(1)),
    ("renameat", Place::below(2)),
    ("renameat2", Place::below(2)),
    ("symlink", Place::at(1)),
    ("symlinkat", Place::below(1)),
];

/// Where a call has a path.
#[derive(Clone, Copy)]
struct Place {
    directory: Option<usize>,
    path: usize,
}

impl Place {
    const fn at(path: usize) -> Self {
        Self { directory: None, path }
    }

    const fn below(directory: usize) -> Self {
        Self { directory: Some(directory), path: directory + 1 }
    }
}

/// Gathers what is read, line by line.
pub(super) struct Reads<'a> {
    /// The root as given, and without links.
    roots: Vec<Vec<u8>>,
    directory: Vec<u8>,
    is_declared: &'a (dyn Fn(&[u8]) -> bool + Sync),
    directories: BTreeMap<u64, Vec<u8>>,
    /// Calls that haven't come to an end, by process.
    begun: BTreeMap<u64, Vec<u8>>,
    read: BTreeSet<Vec<u8>>,
    made: BTreeSet<Vec<u8>>,
    is_complete: bool,
    pub(super) lines: u64,
}

impl<'a> Reads<'a> {
    /// Begins with a command in a directory.
    pub(super) fn new(
        root: &Path,
        directory: &Path,
        is_declared: &'a (dyn Fn(&[u8]) -> bool + Sync),
    ) -> Self {
        let mut roots = vec![root.as_os_str().as_bytes().to_vec()];
        roots.extend(root.canonicalize().map(|root| root.into_os_string().into_encoded_bytes()));
        roots.dedup();
        Self {
            roots,
            directory: directory.as_os_str().as_bytes().to_vec(),
            is_declared,
            directories: BTreeMap::new(),
            begun: BTreeMap::new(),
            read: BTreeSet::new(),
            made: BTreeSet::new(),
            is_complete: true,
            lines: 0,
        }
    }

    /// What was read of files and links that are there still, relative to the root; and whether that
    /// is all.
    pub(super) fn finish(mut self, root: &Path) -> (BTreeSet<Vec<u8>>, bool) {
        self.read.retain(|path| {
            let path = root.join(std::ffi::OsStr::from_bytes(path));
            path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir())
        });
        (self.read, self.is_complete)
    }

    /// Takes a line, which begins with a process number.
    pub(super) fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let Some((process, rest)) = number(line) else { return };
        if rest.starts_with(b"+++") {
            self.directories.remove(&process);
            self.begun.remove(&process);
            return;
        }
        if let Some(begun) = rest.strip_suffix(b"<unfinished ...>") {
            self.begun.insert(process, begun.to_vec());
            return;
        }
        if let Some(resumed) = resumed(rest) {
            let Some(mut begun) = self.begun.remove(&process) else { return };
            begun.extend_from_slice(resumed);
            self.call(process, &begun);
            return;
        }
        self.call(process, rest);
    }

    fn call(&mut self, process: u64, line: &[u8]) {
        let Some(call) = Call::read(line) else { return };
        if !call.is_success() {
            return;
        }
        match call.name {
            b"chdir" => self.enter(process, call.text(0).map(<[u8]>::to_vec)),
            b"fchdir" => self.enter(process, call.descriptor(0)),
            b"clone" | b"clone3" | b"fork" | b"vfork" => self.fork(process, call.number()),
            b"open" | b"openat" | b"openat2" => self.open(process, &call),
            name => self.look(process, name, &call),
        }
    }

    /// What is read is noted before what is made of it.
    fn look(&mut self, process: u64, name: &[u8], call: &Call<'_>) {
        let in_table = |table: &[(&str, Place)]| {
            table.iter().find(|(of, _)| of.as_bytes() == name).map(|(_, place)| *place)
        };
        if let Some(path) = in_table(READING).and_then(|place| self.path(process, call, place)) {
            self.note_read(&path);
        }
        if let Some(path) = in_table(MAKING).and_then(|place| self.path(process, call, place)) {
            self.note_made(&path);
        }
    }

    fn open(&mut self, process: u64, call: &Call<'_>) {
        let place = if call.name == b"open" { Place::at(0) } else { Place::below(0) };
        let Some(path) = self.path(process, call, place) else { return };
        let flags = call.other(place.path + 1);
        let has = |flag: &[u8]| flags.windows(flag.len()).any(|window| window == flag);
        // Who opens to write doesn't read, and what is emptied is made anew.
        if has(b"O_CREAT") || has(b"O_TRUNC") || has(b"O_WRONLY") {
            self.note_made(&path);
        } else {
            self.note_read(&path);
        }
    }

    fn enter(&mut self, process: u64, to: Option<Vec<u8>>) {
        let Some(to) = to else { return };
        let to = join(&self.directory_of(process), &to);
        self.directories.insert(process, to);
    }

    fn fork(&mut self, parent: u64, child: Option<u64>) {
        let Some(child) = child else { return };
        if !self.directories.contains_key(&child) {
            let directory = self.directory_of(parent);
            self.directories.insert(child, directory);
        }
    }

    /// Where a process is. One that is heard of before its parent has come back from making it is
    /// where such a parent is.
    fn directory_of(&mut self, process: u64) -> Vec<u8> {
        if let Some(directory) = self.directories.get(&process) {
            return directory.clone();
        }
        let is_fork =
            |begun: &[u8]| [b"clone", &b"fork"[..], b"vfork"].iter().any(|name| begun.starts_with(name));
        let parent = self.begun.iter().find(|(_, begun)| is_fork(begun)).map(|(parent, _)| *parent);
        let directory =
            parent.and_then(|parent| self.directories.get(&parent)).unwrap_or(&self.directory).clone();
        self.directories.insert(process, directory.clone());
        directory
    }

    /// The absolute path that a call names.
    fn path(&mut self, process: u64, call: &Call<'_>, place: Place) -> Option<Vec<u8>> {
        let path = call.text(place.path)?;
        let described = place.directory.and_then(|at| call.descriptor(at));
        let is_here = place.directory.is_none_or(|at| call.other(at).starts_with(b"AT_FDCWD"));
        match (described, is_here) {
            (Some(directory), is_here) => {
                if is_here {
                    self.directories.insert(process, directory.clone());
                }
                Some(join(&directory, path))
            }
            (None, true) => Some(join(&self.directory_of(process), path)),
            (None, false) => path.starts_with(b"/").then(|| join(b"/", path)),
        }
    }

    fn note_read(&mut self, path: &[u8]) {
        let Some(path) = self.below(path) else { return };
        if self.read.contains(&path) || self.is_made(&path) || (self.is_declared)(&path) {
            return;
        }
        if self.read.len() < MAX_PATHS {
            self.read.insert(path);
        } else {
            self.is_complete = false;
        }
    }

    fn note_made(&mut self, path: &[u8]) {
        let Some(path) = self.below(path) else { return };
        if self.read.contains(&path) || (self.is_declared)(&path) {
            return;
        }
        if self.made.len() < MAX_PATHS {
            self.made.insert(path);
        } else {
            self.is_complete = false;
        }
    }

    /// Whether it, or a directory it is in, was made by the command.
    fn is_made(&self, path: &[u8]) -> bool {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        self.made.contains(path) || ends.into_iter().any(|end| self.made.contains(&path[..end]))
    }

    /// A path relative to the root, if it is below it.
    fn below(&self, path: &[u8]) -> Option<Vec<u8>> {
        let rest = self.roots.iter().find_map(|root| path.strip_prefix(&root[..])?.strip_prefix(b"/"))?;
        (!rest.is_empty()).then(|| rest.to_vec())
    }
}

fn number(line: &[u8]) -> Option<(u64, &[u8])> {
    let end = line.iter().position(|byte| !byte.is_ascii_digit())?;
    let process = str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    Some((process, line[end..].trim_ascii()))
}

/// The rest of a call that began earlier: `<... openat resumed>REST`.
fn resumed(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"<... ")?;
    let end = rest.iter().position(|byte| *byte == b'>')?;
    rest[..end].ends_with(b" resumed").then(|| &rest[end + 1..])
}

/// Joins paths, and takes `.` and `..` out.
fn join(directory: &[u8], path: &[u8]) -> Vec<u8> {
    let directory = if path.starts_with(b"/") { b"" } else { directory };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in directory.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.iter().flat_map(|part| [&b"/"[..], part].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read below `/w` by what `strace` says; `declared` is.
    fn read(lines: &str) -> Vec<String> {
        let is_declared = |path: &[u8]| path == b"declared";
        let mut reads = Reads::new(Path::new("/w"), Path::new("/w/sub"), &is_declared);
        lines.lines().for_each(|line| reads.line(line.trim().as_bytes()));
        reads.read.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
    }

    #[test]
    fn what_is_found_is_read_and_what_is_not_is_not() {
        let lines = r#"
            10 open("a", O_RDONLY) = 3</w/sub/a>
            10 stat("../declared", {st_mode=S_IFREG|0644, ...}) = 0
            10 access("absent", R_OK) = -1 ENOENT (No such file or directory)
            10 openat(AT_FDCWD</w>, "b", O_RDONLY) = 4</w/b>
            10 statx(4</w/x>, "./y//z", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=0}) = 0
            10 readlink("/etc/passwd", "", 12) = 3
            10 stat("/wide", {...}) = 0
            10 nonsense
            nonsense"#;
        assert_eq!(read(lines), ["b", "sub/a", "x/y/z"]);
    }

    #[test]
    fn what_the_command_made_is_its_own() {
        let lines = r#"
            10 openat(AT_FDCWD</w>, "new", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/new>
            10 openat(AT_FDCWD</w>, "new", O_RDONLY) = 3</w/new>
            10 mkdir("made", 0777) = 0
            10 stat("made/in/it", {...}) = 0
            10 openat(AT_FDCWD</w>, "old", O_RDONLY) = 3</w/old>
            10 openat(AT_FDCWD</w>, "old", O_WRONLY|O_TRUNC) = 3</w/old>
            10 rename("there", "moved") = 0
            10 stat("moved", {...}) = 0"#;
        assert_eq!(read(lines), ["old", "there"]);
    }

    #[test]
    fn calls_that_are_interrupted_are_joined() {
        let lines = r#"
            10 chdir("/w/deep") = 0
            10 vfork( <unfinished ...>
            11 openat(AT_FDCWD, "by-child", O_RDONLY <unfinished ...>
            10 <... vfork resumed>) = 11
            11 <... openat resumed>) = 3
            11 chdir("..") = 0
            11 lstat("after", {...}) = 0
            10 lstat("by-parent", {...}) = 0
            11 +++ exited with 0 +++
            12 <... openat resumed>) = 3"#;
        assert_eq!(read(lines), ["after", "deep/by-child", "deep/by-parent"]);
    }
}
