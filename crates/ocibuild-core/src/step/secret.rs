//! Secrets: found for one run of a step's command, handed to it alone, and taken away after it.
//!
//! Values are in this process's memory while the command runs, in the command's environment if it
//! wants them there, and in files that are never on a disk where the system has a place for that.
//! Nothing here shows one: neither errors nor `Debug`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::event::Cancel;
use crate::files::FileTree;
use crate::own::Locked;
use crate::plan::{PlannedSecret, SecretForm, SecretSource};
use crate::spec::Span;
use crate::step::StepError;
use crate::step::leak::Needles;
use crate::step::mask::{MAX, MaskError, Masker};

/// What names of directories with secrets begin with.
const PREFIX: &str = "ocibuild-secrets-";
/// The file in such a directory that is locked as long as the directory is in use.
const LOCK: &str = "lock";
/// Where files are kept in memory.
#[cfg(target_os = "linux")]
const MEMORY: &str = "/dev/shm";

/// A secret can't be handed to a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It isn't where it is looked for.
    #[error("there is no secret `{id}`: {place} is {}", if *.is_empty { "empty" } else { "not there" })]
    Missing {
        /// What the spec calls it.
        id: String,
        /// Where it was looked for: `the environment variable X`, `the file X`, in backticks.
        place: String,
        /// Whether the place is there, with nothing in it.
        is_empty: bool,
        /// Where the spec has it.
        span: Option<Span>,
    },
    /// Its file can't be read.
    #[error("cannot read the secret `{id}` from `{path}`")]
    Unreadable {
        /// What the spec calls it.
        id: String,
        /// The file.
        path: PathBuf,
        /// Where the spec has it.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It can't be kept out of what the command writes.
    #[error("the secret `{id}` cannot be used")]
    Unmaskable {
        /// What the spec calls it.
        id: String,
        /// Where the spec has it.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: MaskError,
    },
    /// No variable can hold it.
    #[error("the secret `{id}` has a zero byte, which no environment variable can hold")]
    Zero {
        /// What the spec calls it.
        id: String,
        /// Where the spec has it.
        span: Option<Span>,
    },
    /// Its file can't be made for the command.
    #[error("cannot write a file for the secret `{id}` below `{directory}`")]
    Write {
        /// What the spec calls it.
        id: String,
        /// The directory.
        directory: PathBuf,
        /// Where the spec has it.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl SecretError {
    /// Returns where in the spec the secret is, where that is known.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Missing { span, .. }
            | Self::Unreadable { span, .. }
            | Self::Unmaskable { span, .. }
            | Self::Zero { span, .. }
            | Self::Write { span, .. } => *span,
        }
    }

    /// Returns what to do about it, if there is something to do.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("set it, or say `optional = true` if the command can do without it"),
            Self::Zero { .. } => Some("hand it over by `as = \"file\"`"),
            _ => None,
        }
    }
}

/// Where secrets are found and put.
pub(crate) struct Places<'a> {
    /// Variables of the environment, which isn't ours to read.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What paths of files are relative to. `~/` is the caller's home directory, by its variable.
    pub(crate) root: &'a Path,
    /// Where a directory with files is made if the system keeps none in memory; must be there.
    pub(crate) directory: &'a Path,
}

/// The secrets of one run; their files go with this.
#[derive(Default)]
pub(crate) struct Secrets {
    environment: BTreeMap<OsString, OsString>,
    masker: Masker,
    needles: Needles,
    room: Option<Room>,
}

impl Secrets {
    /// Finds the secrets of a step. One that is optional and not there, or empty, is left out.
    ///
    /// # Errors
    /// [`SecretError`] if one isn't there, can't be read, or can't be masked.
    pub(crate) fn gather(planned: &[PlannedSecret], places: &Places<'_>) -> Result<Self, SecretError> {
        let mut found = Vec::new();
        for secret in planned {
            if let Some(value) = find(secret, places)? {
                Masker::check(&value).map_err(|source| unmaskable(secret, source))?;
                found.push((secret, value));
            }
        }
        let mut secrets = Self::default();
        if let [(first, _), ..] = found[..] {
            secrets.masker = Masker::new(found.iter().map(|(_, value)| value))
                .map_err(|source| unmaskable(first, source))?;
            secrets.needles = Needles::new(found.iter().map(|(secret, value)| (&*secret.id, &**value)));
        }
        for (secret, value) in found {
            secrets.add(secret, value, places)?;
        }
        Ok(secrets)
    }

    /// What of the command's environment holds secrets or says where they are.
    pub(crate) fn environment(&self) -> &BTreeMap<OsString, OsString> {
        &self.environment
    }

    /// What hides them in lines, logs and errors.
    pub(crate) fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Looks for them in what the command made.
    ///
    /// # Errors
    /// [`StepError::Leak`] if one is there; others if something can't be read.
    pub(crate) fn search(
        &self,
        made: &dyn FileTree,
        outputs: &[&[u8]],
        cancel: &Cancel,
    ) -> Result<(), StepError> {
        self.needles.search(made, outputs, &self.masker, cancel)
    }

    /// The directory with the files of secrets, if there are any.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.room.as_ref().map(|room| room.directory.path())
    }

    fn add(
        &mut self,
        secret: &PlannedSecret,
        value: Vec<u8>,
        places: &Places<'_>,
    ) -> Result<(), SecretError> {
        let value = match secret.form {
            SecretForm::File => {
                let parent = memory().unwrap_or(places.directory);
                let path = self.write(&secret.id, &value, parent).map_err(|source| SecretError::Write {
                    id: secret.id.clone(),
                    directory: parent.to_owned(),
                    span: secret.span,
                    source,
                })?;
                path.into_os_string()
            }
            _ if value.contains(&0) => {
                return Err(SecretError::Zero { id: secret.id.clone(), span: secret.span });
            }
            _ => OsString::from_vec(without_end(secret, value)),
        };
        self.environment.insert(OsString::from(&secret.target), value);
        Ok(())
    }

    fn write(&mut self, id: &str, value: &[u8], parent: &Path) -> io::Result<PathBuf> {
        let room = match self.room.take() {
            Some(room) => room,
            None => Room::new(parent)?,
        };
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name: String = id.chars().filter(is_plain).take(64).collect();
        // Two may differ only in what was left out.
        let path = room.directory.path().join(format!("{}-{name}", self.environment.len()));
        OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path)?.write_all(value)?;
        self.room = Some(room);
        Ok(path)
    }
}

/// Shows names of variables, and no values.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("variables", &self.environment.keys())
            .field("directory", &self.directory())
            .finish_non_exhaustive()
    }
}

/// Returns the optional secrets of a step that aren't there, by what the spec calls them: its command makes
/// something else without them. Others are there, or it doesn't run.
pub fn absent_secrets<'s>(
    secrets: &'s [PlannedSecret],
    root: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<&'s str> {
    let places = Places { variable, root, directory: root };
    // What can't be read is told when the command is to have it.
    let is_absent = |secret: &&PlannedSecret| secret.is_optional && matches!(find(secret, &places), Ok(None));
    secrets.iter().filter(is_absent).map(|secret| &*secret.id).collect()
}

/// Looks where a secret should be; `None` if it may be missing, and is.
fn find(secret: &PlannedSecret, places: &Places<'_>) -> Result<Option<Vec<u8>>, SecretError> {
    let (value, place) = match &secret.from {
        SecretSource::File(path) => {
            let path = resolve(path, places);
            let value = read(&path).map_err(|source| SecretError::Unreadable {
                id: secret.id.clone(),
                path: path.clone(),
                span: secret.span,
                source,
            })?;
            (value, format!("the file `{}`", path.display()))
        }
        SecretSource::Env(name) => {
            let value = (places.variable)(name).map(OsString::into_vec);
            (value, format!("the environment variable `{name}`"))
        }
    };
    // A continuous integration sets what a fork may not know to nothing.
    let is_empty = value.is_some();
    match value.filter(|value| !value.trim_ascii().is_empty()) {
        Some(value) => Ok(Some(value)),
        None if secret.is_optional => Ok(None),
        None => Err(SecretError::Missing { id: secret.id.clone(), place, is_empty, span: secret.span }),
    }
}

fn resolve(path: &str, places: &Places<'_>) -> PathBuf {
    let home = || (places.variable)("HOME").filter(|home| !home.is_empty());
    match path.strip_prefix("~/").and_then(|rest| Some(Path::new(&home()?).join(rest))) {
        Some(path) => path,
        None => places.root.join(path),
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file?,
    };
    let mut value = Vec::new();
    file.take(MAX as u64 + 1).read_to_end(&mut value)?;
    Ok(Some(value))
}

/// Takes the line break away that ends a file, as it is no part of a token.
fn without_end(secret: &PlannedSecret, mut value: Vec<u8>) -> Vec<u8> {
    if matches!(secret.from, SecretSource::File(_)) && value.ends_with(b"\n") {
        value.pop();
        value.pop_if(|byte| *byte == b'\r');
    }
    value
}

fn unmaskable(secret: &PlannedSecret, source: MaskError) -> SecretError {
    SecretError::Unmaskable { id: secret.id.clone(), span: secret.span, source }
}

/// Where the system keeps files in memory, if it does.
#[cfg(target_os = "linux")]
fn memory() -> Option<&'static Path> {
    const TMPFS: i64 = 0x0102_1994;
    let path = Path::new(MEMORY);
    let found = rustix::fs::statfs(path).ok()?;
    let may_write = || rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    #[allow(clippy::unnecessary_cast, reason = "its type differs between machines")]
    (found.f_type as i64 == TMPFS && may_write()).then_some(path)
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Option<&'static Path> {
    None
}

/// A directory that nobody else may look into, with files of secrets.
///
/// It has a file that is locked as long as this is there. What a killed run leaves isn't locked any
/// more, and is removed by the next run that needs a directory in the same place.
struct Room {
    directory: TempDir,
    _lock: Locked,
}

impl Room {
    fn new(parent: &Path) -> io::Result<Self> {
        remove_stale(parent);
        let only_ours = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix(PREFIX).permissions(only_ours).tempdir_in(parent)?;
        // It gets its name once it is locked, so nobody finds it unlocked in between.
        let (new, lock) = (directory.path().join("new"), directory.path().join(LOCK));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.lock()?;
        fs::rename(new, lock)?;
        Ok(Self { directory, _lock: Locked::new(file) })
    }
}

/// Removes what killed runs of ours left; what can't be removed now is left to the next.
fn remove_stale(parent: &Path) {
    let ours = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_room = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())
            && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == ours);
        if !is_room {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(OsStr::new(LOCK))) else { continue };
        match lock.try_lock() {
            Ok(()) => drop(fs::remove_dir_all(entry.path())),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
