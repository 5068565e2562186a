//! Why a step can't be run, or what it made not be kept.

use std::io;
use std::path::{Path, PathBuf};

use crate::compress::DecodeError;
use crate::event::Cancelled;
use crate::files::{FileError, display};
use crate::tar::ReadError;

/// A step can't be run, or what it made can't be kept or brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// A file or directory of a step's own couldn't be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An input or an output of a need can't be read.
    #[error("cannot read `{path}`")]
    Input {
        /// Its path where the step sees it.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An input changed since its digest was taken.
    #[error("`{path}` changed while it was copied to the step's directory")]
    Changed {
        /// Its path where the step sees it.
        path: String,
    },
    /// Two inputs or outputs of needs want to be at one place, and differ.
    #[error("two different things are wanted at `{path}`")]
    Overlap {
        /// The place.
        path: String,
    },
    /// A path that isn't one below a step's directory.
    #[error("`{path}` is no path below the step's directory")]
    Path {
        /// The path.
        path: String,
    },
    /// An output isn't there after the command ended.
    #[error("the command didn't make `{path}`")]
    NotMade {
        /// The output.
        path: String,
    },
    /// A secret is in what the command made.
    #[error("the command put the secret `{id}` into `{path}`")]
    Leak {
        /// Which secret.
        id: String,
        /// Where it is; stars stand for secrets in names.
        path: String,
    },
    /// What a cache has of a step's outputs has an entry that no capture has.
    #[error("what the cache has of the step's outputs cannot be unpacked: `{path}` {reason}")]
    Unfit {
        /// The entry.
        path: String,
        /// What is wrong with it, in words that follow its name.
        reason: &'static str,
    },
    /// What a cache has of a step's outputs can't be read.
    #[error("what the cache has of the step's outputs cannot be unpacked")]
    Unpack(#[source] UnpackError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl StepError {
    /// Tells whether what a cache has is at fault, and not where it was to be put.
    pub(crate) fn is_of_the_blob(&self) -> bool {
        matches!(self, Self::Unfit { .. } | Self::Unpack(_))
    }
}

/// Why a blob can't be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// It can't be decompressed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is no tar that can be read.
    #[error(transparent)]
    Tar(#[from] ReadError),
    /// Its bytes can't be had.
    #[error("its bytes cannot be read")]
    Read(#[from] io::Error),
}

impl StepError {
    /// Makes a fault of a file of the step's own, of one in a directory by a path of bytes.
    pub(crate) fn own<'a>(
        action: &'static str,
        directory: &'a Path,
        path: &'a [u8],
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File { action, path: joined(directory, path), source }
    }

    /// Makes a fault of what goes wrong in a directory.
    pub(crate) fn within(directory: &Path, fault: FileError) -> Self {
        match fault {
            FileError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            FileError::Io { action, path, source } => {
                Self::File { action, path: directory.join(path), source }
            }
            other => {
                Self::File { action: "read", path: directory.to_owned(), source: io::Error::other(other) }
            }
        }
    }

    /// Makes a fault of an input.
    pub(crate) fn input(path: &[u8], source: io::Error) -> Self {
        Self::Input { path: display(path), source }
    }
}

/// A path of bytes below a directory; the empty one is the directory.
pub(crate) fn joined(directory: &Path, path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    if path.is_empty() { directory.to_owned() } else { directory.join(std::ffi::OsStr::from_bytes(path)) }
}
