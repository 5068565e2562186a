//! Notes on registries in a directory: `registries/NAME.json`, each written under a temporary name
//! and renamed, with a digest of it. They may be lost, and so needn't be on the disk before they count:
//! nothing is synced. One that is damaged is removed when it is read.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::cache::sealed::{seal, unseal};
use crate::own;

/// The largest note that is read, in bytes.
const MAX_NOTE: u64 = 64 << 10;
/// The longest name of a file without its ending, in bytes.
const MAX_NAME: usize = 200;
/// The directory's name in the cache.
pub(super) const NAME: &str = "registries";
/// What a note is called where it is sealed.
const SEALED: &str = "note";

/// Notes on registries in a cache's directory, which many processes may share: the last one that
/// writes is right. What they say is whoever's who writes them.
#[derive(Debug, Clone)]
pub struct RegistryNotes {
    root: PathBuf,
}

impl RegistryNotes {
    /// Opens the notes in a directory, which is made when the first is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the note on a registry. One that can't be read is none; one that isn't as it was written
    /// is removed.
    #[must_use]
    pub fn get(&self, registry: &str) -> Option<Vec<u8>> {
        let path = self.path(registry)?;
        let bytes = read(&path).ok()?;
        let note = unseal(SEALED, &bytes).map(<[u8]>::to_vec);
        if note.is_none() {
            // Another process may have just written a whole one; that is then found out again.
            let _ = fs::remove_file(path);
        }
        note
    }

    /// Keeps a note, in place of what was noted before.
    ///
    /// # Errors
    /// Whatever writing it meets; what was noted before then is there still.
    pub fn put(&self, registry: &str, bytes: &[u8]) -> io::Result<()> {
        let Some(path) = self.path(registry) else { return Ok(()) };
        own::replace(&self.root, &path, &seal(SEALED, bytes))
    }

    /// Names are of any hosts, and of whatever else somebody calls one: none leads elsewhere.
    fn path(&self, registry: &str) -> Option<PathBuf> {
        let mut name = String::new();
        for byte in registry.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
                b'.' if !name.is_empty() => name.push('.'),
                _ => write!(name, "%{byte:02X}").expect("a string takes anything"),
            }
        }
        let fits = !name.is_empty() && name.len() <= MAX_NAME;
        fits.then(|| self.root.join(NAME).join(format!("{name}.json")))
    }
}

/// Of what is larger the beginning, which is no note.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    own::open_regular(path)?.take(MAX_NOTE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells whether a file is as it was written.
pub(super) fn is_whole(path: &Path) -> io::Result<bool> {
    Ok(unseal(SEALED, &read(path)?).is_some())
}

/// Tells whether a file goes by the name of a note.
pub(super) fn is_note(path: &Path) -> bool {
    let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
    stem.is_some_and(|stem| !stem.is_empty() && !stem.starts_with('.') && stem.len() <= MAX_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_under_its_registrys_name_alone() {
        let directory = tempfile::tempdir().unwrap();
        let notes = RegistryNotes::new(directory.path().join("cache"));
        let names =
            ["r.io", "r.io:5000", "[::1]:5000", "../x", "..", ".hidden", "a/b", "a\0b", "ä.example", "A"];
        assert!(names.iter().all(|name| notes.get(name).is_none()));
        for name in names {
            notes.put(name, name.as_bytes()).unwrap();
            notes.put(name, name.as_bytes()).unwrap();
            assert!(is_note(&notes.path(name).unwrap()), "{name}");
        }
        for name in names {
            assert_eq!(notes.get(name).unwrap(), name.as_bytes());
        }
        let count = |path: &str| fs::read_dir(directory.path().join("cache").join(path)).unwrap().count();
        assert_eq!((count("registries"), count("tmp"), count("")), (names.len(), 0, 2));
    }

    #[test]
    fn what_is_no_note_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let notes = RegistryNotes::new(directory.path());
        notes.put("", b"x").unwrap();
        notes.put(&"x".repeat(500), b"x").unwrap();
        assert!(!directory.path().join(NAME).exists());
        notes.put("large", &vec![b'x'; 1 << 20]).unwrap();
        fs::create_dir(directory.path().join(NAME).join("directory.json")).unwrap();
        for name in ["", "large", "directory"] {
            assert_eq!(notes.get(name), None);
        }
        fs::remove_dir_all(directory.path()).unwrap();
        fs::write(directory.path(), "").unwrap();
        assert!(notes.put("r.io", b"x").is_err());
    }
}
