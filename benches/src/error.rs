//! What can go wrong in a trial.

use std::io;
use std::path::{Path, PathBuf};

/// A trial that couldn't be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory couldn't be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program couldn't be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program's name.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program ended without success.
    #[error("`{command}` ended with {status}")]
    Failed {
        /// The command as it was run.
        command: String,
        /// Its exit status in words.
        status: String,
    },
    /// A file has another size than it had when the tree was walked.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file the trial's small tar writer has no header for.
    #[error("cannot put `{}` into the trial's tar stream: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// An encoder refused its input.
    #[error("encoder {encoder} failed: {reason}")]
    Encode {
        /// The encoder's name and level.
        encoder: String,
        /// What it said.
        reason: String,
    },
    /// An output that a reader doesn't read back as it was written.
    #[error("`{}` is unsound: {reason}", path.display())]
    Unsound {
        /// The output.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Arguments that make no sense.
    #[error("cannot understand {what} `{value}`")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// A stage of the pipeline ended before the others.
    #[error("the {stage} stage of the pipeline ended early")]
    Stage {
        /// The stage that is gone.
        stage: &'static str,
    },
}

/// Adds the action and the path to an input or output error.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { action, path, source }
}
