use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::*;
use crate::files::FileTree as _;
use crate::key::KeyWriter;
use crate::tar::ReadError;

/// A tar by somebody else's writer, so that it may hold anything.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &[u8], kind: tar::EntryType, target: &[u8], mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Directory, b"", mode, b"")
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Regular, b"", 0o644, content)
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Symlink, target.as_bytes(), 0o777, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), tar::EntryType::Link, target.as_bytes(), 0o644, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn extract(&self, tar: &[u8]) -> Result<OutputTree, StepError> {
        let size = tar.len() as u64;
        self.extract_blob(&zstd::encode_all(tar, 1).unwrap(), size)
    }

    fn extract_blob(&self, blob: &[u8], size: u64) -> Result<OutputTree, StepError> {
        let key = KeyWriter::new("x", 1).finish();
        OutputTrees::new(&self.0.path().join("cache")).extract(&key, blob, size, &Cancel::new())
    }

    /// What lies where trees do; nothing else has been made.
    fn names(&self) -> Vec<PathBuf> {
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 1);
        let trees = self.0.path().join("cache/outputs/v1");
        fs::read_dir(trees).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn what_was_captured_is_there_again() {
    let large: Vec<u8> = (0..600_000u32).map(|number| number.to_le_bytes()[1]).collect();
    let tar = Tar::new()
        .directory("dist/", 0o555)
        .file("dist/.hidden", b"")
        .entry(b"dist/a\xff", tar::EntryType::Regular, b"", 0o4755, b"odd")
        .file("dist/large", &large)
        .symlink("dist/link", "../../etc/passwd")
        .link("dist/name", "dist/large")
        .file("implied/deep/file", b"file")
        .directory("none/", 0o700)
        .bytes();
    let room = Room::new();
    let tree = room.extract(&tar).unwrap();
    let files = tree.tree();
    let seen = |path: &[u8]| files.metadata(path).unwrap();
    let modes =
        [&b"dist"[..], b"dist/a\xff", b"implied", b"implied/deep/file", b"none"].map(|path| seen(path).mode);
    assert_eq!(modes, [0o555, 0o4755, 0o755, 0o644, 0o700]);
    assert_eq!(fs::read(tree.path().join("dist/large")).unwrap(), large);
    assert_eq!(files.read_link(b"dist/link").unwrap(), b"../../etc/passwd");
    assert_eq!(seen(b"dist/name").id, seen(b"dist/large").id);
    for path in [&b"dist"[..], b"dist/link", b"dist/large", b"dist/.hidden", b"none", b"implied"] {
        assert_eq!((seen(path).mtime.seconds, seen(path).mtime.nanoseconds), (1, 0), "{}", display(path));
    }
    assert_eq!(room.names().len(), 1);
    let inode = tree.path().metadata().unwrap().ino();
    // It is found the next time, without a look at the blob.
    assert_eq!(room.extract_blob(b"", 0).unwrap().path().metadata().unwrap().ino(), inode);
}

#[test]
fn many_files_in_any_compression_are_all_there() {
    let tar =
        (0..2000).fold(Tar::new(), |tar, at| tar.file(&format!("d/{}/{at}", at % 7), &vec![at as u8; 3000]));
    let tar = tar.bytes();
    let size = tar.len() as u64;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    for blob in [tar.clone(), gzip.finish().unwrap(), zstd::encode_all(&tar[..], 3).unwrap()] {
        let room = Room::new();
        let tree = room.extract_blob(&blob, size).unwrap();
        for at in 0..2000 {
            let content = fs::read(tree.path().join(format!("d/{}/{at}", at % 7))).unwrap();
            assert_eq!(content, vec![at as u8; 3000]);
        }
    }
}

#[test]
fn what_no_capture_has_is_refused_and_nothing_is_left() {
    let file = tar::EntryType::Regular;
    let hostile = [
        Tar::new().entry(b"../out", file, b"", 0o644, b"x"),
        Tar::new().entry(b"/out", file, b"", 0o644, b"x"),
        Tar::new().entry(b"a/../../out", file, b"", 0o644, b"x"),
        Tar::new().entry(b"./a", file, b"", 0o644, b"x"),
        Tar::new().entry(b"a//b", file, b"", 0o644, b"x"),
        Tar::new().directory("../", 0o755),
        Tar::new().directory("/", 0o755),
        Tar::new().symlink("a", "../..").file("a/out", b"x"),
        Tar::new().symlink("a", "../..").directory("a/", 0o755).file("a/out", b"x"),
        Tar::new().symlink("a", "../..").directory("a/b/", 0o755),
        Tar::new().directory("a/", 0o755).symlink("a", "../.."),
        Tar::new().file("a", b"x").file("a", b"y"),
        Tar::new().file("a", b"x").file("a/b", b"y"),
        Tar::new().link("a", "b").file("b", b"x"),
        Tar::new().link("a", "/etc/passwd"),
        Tar::new().link("a", "../../../lock"),
        Tar::new().symlink("a", "/etc/passwd").link("b", "a"),
        Tar::new().directory("a/", 0o755).link("b", "a"),
        Tar::new().entry(b"a", tar::EntryType::Fifo, b"", 0o644, b""),
        Tar::new().entry(b"a", tar::EntryType::Char, b"", 0o644, b""),
    ];
    for (at, tar) in hostile.into_iter().enumerate() {
        let room = Room::new();
        // After files enough that some are written already.
        let before = (0..300).fold(Tar::new(), |tar, at| tar.file(&format!("before/{at}"), b"x")).bytes();
        let tar = [&before[..before.len() - 1024], &tar.bytes()].concat();
        let fault = room.extract(&tar).unwrap_err();
        assert!(matches!(fault, StepError::Unfit { .. }), "{at}: {fault:?}");
        assert!(room.names().is_empty(), "{at}");
    }
}

#[test]
fn what_cannot_be_read_to_its_end_is_nothing() {
    let tar = Tar::new().directory("d/", 0o500).file("d/a", &[7; 5000]).file("d/b", &[8; 500_000]).bytes();
    let size = tar.len() as u64;
    let blob = zstd::encode_all(&tar[..], 1).unwrap();
    let refused = |blob: &[u8], size| {
        let room = Room::new();
        let fault = room.extract_blob(blob, size).unwrap_err();
        assert!(room.names().is_empty());
        fault
    };
    let read = |fault: &StepError| matches!(fault, StepError::Unpack(UnpackError::Tar(ReadError::Read(_))));
    let content = |fault: &StepError| matches!(fault, StepError::Unpack(UnpackError::Read(_)));
    for cut in [blob.len() - 1, blob.len() / 2, 20] {
        let fault = refused(&blob[..cut], size);
        assert!(read(&fault) || content(&fault), "{fault:?}");
    }
    let cut = refused(&tar[..tar.len() - 200_000], size);
    assert!(read(&cut) || content(&cut), "{cut:?}");
    // More than was said.
    let more = refused(&blob, 100_000);
    assert!(read(&more) || content(&more), "{more:?}");
    assert!(matches!(refused(b"no tar at all", 512), StepError::Unpack(_)));
    assert!(matches!(refused(b"BZh91", 512), StepError::Unpack(UnpackError::Decode(_))));
}

/// Says at its end that what was read was wrong, as what verifies a blob does.
struct Verifying<'a>(&'a [u8]);

impl Read for Verifying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the digest is another")),
            count => Ok(count),
        }
    }
}

#[test]
fn only_a_blob_that_was_verified_makes_a_tree() {
    let tar = Tar::new().file("a", b"x").bytes();
    for blob in [tar.clone(), zstd::encode_all(&tar[..], 1).unwrap()] {
        let room = Room::new();
        let key = KeyWriter::new("x", 1).finish();
        let trees = OutputTrees::new(&room.0.path().join("cache"));
        let size = tar.len() as u64;
        let result = trees.extract(&key, Verifying(&blob), size, &Cancel::new());
        assert!(matches!(result, Err(StepError::Unpack(_))));
        assert!(room.names().is_empty());
        let cancel = Cancel::new();
        cancel.cancel();
        let stopped = trees.extract(&key, &blob[..], size, &cancel);
        assert!(matches!(stopped, Err(StepError::Cancelled(_))));
        assert!(room.names().is_empty());
        assert!(trees.extract(&key, &blob[..], size, &Cancel::new()).is_ok());
    }
}
