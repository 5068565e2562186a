//! The files of a layout: what a directory is, and how files get into it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::{Builder, NamedTempFile};

use crate::files::PART_PREFIX;
use crate::layout::LayoutError;
use crate::oci::{ImageLayout, MAX_MANIFEST_SIZE, from_json, to_json};

/// Begins the names of all temporary files; they lie where what they become will lie.
const TEMPORARY: &str = ".ocibuild-";

/// Why a directory can't be used.
pub(super) enum Fault {
    Layout(LayoutError),
    File { action: &'static str, path: PathBuf, source: io::Error },
}

impl Fault {
    pub(super) fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a directory is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Absent,
    Empty,
    Layout,
}

/// Looks what a directory is.
///
/// Others may be making or taking away a layout meanwhile: what is nearly one is looked at again.
pub(super) fn state(directory: &Path) -> Result<State, Fault> {
    for _ in 0..5 {
        match look(directory)? {
            Look::Is(state) => return Ok(state),
            Look::Holds(found) if found.iter().all(|name| OWN.contains(&name.as_str())) => {
                thread::sleep(Duration::from_millis(10));
            }
            Look::Holds(found) => return Err(foreign(found)),
        }
    }
    match look(directory)? {
        Look::Is(state) => Ok(state),
        Look::Holds(found) => Err(foreign(found)),
    }
}

/// Reads a file of a layout, which may be anybody's: a regular one, of at most `limit` bytes.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let fault = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    // Not opened before that is known: a pipe would keep us for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(fault("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(fault(&format!("it is over the limit of {limit} bytes"))),
        false => Ok(bytes),
    }
}

enum Look {
    Is(State),
    /// It holds these, and there was no marker.
    Holds(Vec<String>),
}

/// What a layout holds.
const OWN: [&str; 3] = [ImageLayout::FILE, ImageLayout::INDEX, ImageLayout::BLOBS];

fn look(directory: &Path) -> Result<Look, Fault> {
    let marker = directory.join(ImageLayout::FILE);
    match read_bounded(&marker, MAX_MANIFEST_SIZE) {
        Ok(bytes) => check_marker(&bytes).map(|()| Look::Is(State::Layout)).map_err(Fault::Layout),
        Err(error) if error.kind() == io::ErrorKind::NotFound => without_marker(directory),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Fault::Layout(LayoutError::NotADirectory))
        }
        Err(error) => Err(Fault::file("read", &marker)(error)),
    }
}

pub(crate) fn check_marker(bytes: &[u8]) -> Result<(), LayoutError> {
    let damaged = |source| LayoutError::Damaged { file: ImageLayout::FILE, source };
    let marker: ImageLayout = from_json(bytes).map_err(damaged)?;
    match marker.image_layout_version {
        version if version == ImageLayout::VERSION => Ok(()),
        version => Err(LayoutError::Version(version)),
    }
}

fn without_marker(directory: &Path) -> Result<Look, Fault> {
    let fault = Fault::file("read", directory);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Is(State::Absent)),
        Err(error) => return Err(fault(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(&fault)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with(TEMPORARY) {
            found.push(name);
        }
    }
    match found.is_empty() {
        true => Ok(Look::Is(State::Empty)),
        false => Ok(Look::Holds(found)),
    }
}

fn foreign(found: Vec<String>) -> Fault {
    Fault::Layout(LayoutError::Foreign { found: some_of(found) })
}

fn some_of(mut names: Vec<String>) -> String {
    const SHOWN: usize = 3;
    names.sort();
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Makes the directory a layout, if it isn't one. Fails with `NotFound` where somebody takes away
/// the directory at the same moment.
pub(super) fn create(directory: &Path) -> Result<(), Fault> {
    let marker = directory.join(ImageLayout::FILE);
    let fault = Fault::file("create", &marker);
    fs::create_dir_all(directory).map_err(Fault::file("create", directory))?;
    let mut file = temporary(directory, ".ocibuild-new-").map_err(&fault)?;
    file.write_all(&to_json(&ImageLayout::default())).map_err(&fault)?;
    file.as_file().sync_data().map_err(&fault)?;
    match file.persist_noclobber(&marker) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
            // File systems of cards and sticks know neither hard links nor a renaming that replaces
            // nothing. A marker that somebody else makes meanwhile has the same bytes.
            error.file.persist(&marker).map(drop).map_err(|error| fault(error.error))
        }
        _ => Ok(()),
    }
}

/// Starts a file that will be renamed into place.
pub(super) fn part(directory: &Path) -> io::Result<NamedTempFile> {
    temporary(directory, PART_PREFIX)
}

/// Unlike a private temporary file, one that becomes output has the mode that the umask wants.
fn temporary(directory: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

/// Puts a file in the place of another, which stays whole until then.
pub(super) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = part(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(directory.join(name)).map_err(|error| error.error)?;
    sync(directory)
}

/// Removes what interrupted sessions left; nobody else may be writing. Somebody may still be about to
/// make the layout that is there by now: who loses a file so looks again.
pub(super) fn remove_parts(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes sure that the names of all blobs are on the disk, as their bytes are already.
pub(super) fn sync_blobs(directory: &Path) -> io::Result<()> {
    let blobs = directory.join(ImageLayout::BLOBS);
    for entry in fs::read_dir(&blobs)? {
        sync(&entry?.path())?;
    }
    Ok(())
}

/// Makes sure that the names in a directory are on the disk.
#[cfg(unix)]
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
pub(super) fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
