//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use ocibuild_core::files::PART_PREFIX;

/// Where a path leads.
enum Place {
    /// To a file that is there or not, which another takes the place of.
    File(PathBuf),
    /// To a device or a pipe, which is written to.
    Stream,
}

/// Follows links, so that it is the file that is replaced and not a link to it.
fn find(path: &Path) -> io::Result<Place> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if metadata.is_file() => Ok(Place::File(path.canonicalize()?)),
        Ok(_) => Ok(Place::Stream),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            // A link to what isn't there yet.
            Ok(target) => Ok(Place::File(path.parent().unwrap_or(Path::new("")).join(target))),
            Err(_) => Ok(Place::File(path.to_owned())),
        },
        Err(error) => Err(error),
    }
}

/// Makes sure that a file can be written in a place, and leaves nothing there.
///
/// # Errors
/// Why it can't.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    // A device or a pipe isn't opened: that might be noticed at its other end.
    let Place::File(path) = find(path)? else { return Ok(()) };
    // Directories on the way are made in the nearest that is there.
    for directory in std::path::absolute(path)?.ancestors().skip(1) {
        match fs::metadata(directory) {
            Ok(metadata) if !metadata.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            Ok(_) => return tempfile::tempfile_in(directory).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a file, and makes the directories on the way to it. Whoever looks sees what was there
/// before, or all of it.
///
/// # Errors
/// Why it can't be written; what was there before is there still.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Unlike a private temporary file, it has the mode that the umask wants.
    write_with(path, bytes, 0o666, 0o777)
}

/// Writes a file as [`write()`] does, so that nobody else can read it.
///
/// # Errors
/// As there.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, bytes, 0o600, 0o700)
}

#[cfg_attr(not(unix), allow(unused_variables, reason = "there are no modes"))]
fn write_with(path: &Path, bytes: &[u8], mode: u32, directory_mode: u32) -> io::Result<()> {
    let path = match find(path)? {
        Place::Stream => return File::options().write(true).open(path)?.write_all(bytes),
        Place::File(path) => path,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut directories = fs::DirBuilder::new();
    directories.recursive(true);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART_PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        builder.permissions(fs::Permissions::from_mode(mode));
        directories.mode(directory_mode);
    }
    directories.create(directory)?;
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Makes sure that lines can be added to a file, which may not be there yet.
///
/// # Errors
/// Why they can't.
pub(crate) fn check_append(path: &Path) -> io::Result<()> {
    match find(path)? {
        Place::File(path) if path.exists() => File::options().append(true).open(path).map(drop),
        Place::File(_) => check(path),
        Place::Stream => Ok(()),
    }
}

/// Adds lines to a file, in one write. They begin on a line of their own, however the last writer
/// left it.
///
/// # Errors
/// Why they can't be added.
pub(crate) fn append(path: &Path, lines: &str) -> io::Result<()> {
    let lead = if ends_within_line(path)? { "\n" } else { "" };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = File::options().append(true).create(true).open(path)?;
    file.write_all(format!("{lead}{lines}").as_bytes())
}

fn ends_within_line(path: &Path) -> io::Result<bool> {
    if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Writes a path so that two of one place are equal: absolute, with links followed so far as there
/// is something, and without `.` and `..`.
pub(crate) fn normalised(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let known = path.ancestors().find_map(|there| Some((there, there.canonicalize().ok()?)));
    let (there, mut result) = known.unwrap_or((Path::new(""), PathBuf::new()));
    for component in path.strip_prefix(there).unwrap_or(&path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(result.pop()),
            other => result.push(other),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_a_link_to_it_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a/b/file"), directory.path().join("link"));
        check(&file).unwrap();
        assert!(!directory.path().join("a").exists(), "a check leaves nothing");
        write(&file, b"one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(link.is_symlink());
        assert!(check(directory.path()).is_err() && write(directory.path(), b"").is_err());
        assert!(check(&file.join("below")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_private_also_behind_a_link_to_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::os::unix::fs::symlink("file", &link).unwrap();
        write_private(&link, b"one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert!(link.is_symlink() && mode(&file) == 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(mode(&file), 0o600);
        write_private(&directory.path().join("a/b"), b"").unwrap();
        assert_eq!(mode(&directory.path().join("a")), 0o700);
    }

    #[test]
    fn lines_are_added_as_lines() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lines");
        check_append(&file).unwrap();
        for lines in ["a=1\nb=2\n", "c=3", "d=4\n"] {
            append(&file, lines).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "a=1\nb=2\nc=3\nd=4\n");
        assert!(check_append(directory.path()).is_err());
    }
}
