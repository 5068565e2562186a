//! Why a layer can't be built.

use std::fmt;

use crate::base::ListingError;
use crate::blob::BlobError;
use crate::cache::CacheError;
use crate::event::Cancelled;
use crate::files::{FileError, FileKind, display};
use crate::layer::Nearby;
use crate::pattern::IgnoreError;
use crate::spec::Span;

/// A layer can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A copy's source isn't there.
    #[error("`{from}` doesn't exist")]
    Missing {
        /// The source as the spec names it.
        from: String,
        /// What is there instead.
        nearby: Box<Nearby>,
        /// Where the spec names it.
        span: Option<Span>,
    },
    /// A copy selects nothing.
    #[error("`{from}` selects no files")]
    Empty {
        /// The source as the spec names it.
        from: String,
        /// The ignore file, if it left anything out.
        ignored_by: Option<String>,
        /// Where the spec names it.
        span: Option<Span>,
    },
    /// Two copies want different things at one path.
    #[error("{} `/{path}`, {difference}", writers(*.one, *.other))]
    Conflict {
        /// The path in the image.
        path: String,
        /// What they don't agree on, in words that follow a comma.
        difference: String,
        /// The first copy, counted from 1.
        one: usize,
        /// The second.
        other: usize,
        /// Where the spec has the second.
        span: Option<Span>,
    },
    /// A file that no layer can hold.
    #[error("`{path}` is a {}, which no layer can hold", kind_name(*.kind))]
    Unsupported {
        /// The file.
        path: String,
        /// What it is.
        kind: FileKind,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A name that would take away a file instead of adding one.
    #[error("`/{path}` would take files away instead of adding one, as names that begin with `.wh.` do")]
    Whiteout {
        /// The path in the image.
        path: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// What should be a directory is none in the base.
    #[error("`/{path}` cannot be written: `/{obstacle}` is a file of the base")]
    NotDirectory {
        /// The path in the image.
        path: String,
        /// What is in its way.
        obstacle: String,
        /// Where the spec has the copy.
        span: Option<Span>,
    },
    /// A link of the base is on the way, and the copy wants none there.
    #[error("`/{path}` goes through `/{link}`, which the base has as a symbolic link to `{target}`")]
    BaseSymlink {
        /// The path in the image.
        path: String,
        /// The link.
        link: String,
        /// Where it points.
        target: String,
        /// Where the spec has the copy.
        span: Option<Span>,
    },
    /// A single file would take the place of a directory with all that is in it.
    #[error("`/{path}` is a directory of the base, and a file would take its place")]
    OverDirectory {
        /// The path in the image.
        path: String,
        /// Where the spec has the copy.
        span: Option<Span>,
    },
    /// An ignore file that is named isn't there, or can't be read.
    #[error("cannot read the ignore file `{path}`")]
    IgnoreFile {
        /// The file.
        path: String,
        /// Where the spec names it, or the copy that it is for.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A line of an ignore file is no rule.
    #[error("the ignore file `{path}` cannot be used")]
    IgnoreRule {
        /// The file.
        path: String,
        /// Where the spec has the copy that it is for.
        span: Option<Span>,
        /// Which line, and why.
        #[source]
        source: IgnoreError,
    },
    /// What should be taken away isn't there.
    #[error("`{path}` cannot be removed: {}", if *.empty { "the base is empty" } else { "the base has nothing of that name" })]
    NothingToRemove {
        /// The path or glob as the spec has it.
        path: String,
        /// What the base has that is named most like it, without a leading `/`.
        closest: Option<String>,
        /// Whether the base has nothing at all.
        empty: bool,
        /// Where the spec has it.
        span: Option<Span>,
    },
    /// A name so long that no whiteout can say it.
    #[error("`/{path}` cannot be removed: its name is too long for a whiteout")]
    Unremovable {
        /// The path in the base.
        path: String,
        /// Where the spec removes it.
        span: Option<Span>,
    },
    /// A layer takes away what it writes.
    #[error("`/{path}` is removed and written by one layer")]
    RemovedAndWritten {
        /// The path in the image.
        path: String,
        /// Where the spec removes it.
        span: Option<Span>,
    },
    /// A user or group that the base doesn't have.
    #[error("the base has no {kind} `{name}`")]
    UnknownAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The names that it has, in order.
        known: Vec<String>,
        /// Where the spec says it.
        span: Option<Span>,
    },
    /// An extended attribute whose name no archive can hold: readers end a name at its first `=`,
    /// and some at a line's end.
    #[error("`{path}` has an extended attribute `{}`, and no archive can hold one with `=` or a line break in its name", .name.escape_debug())]
    Attribute {
        /// The file.
        path: String,
        /// The attribute.
        name: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A file's extended attributes take more than readers of archives allow.
    #[error(
        "the extended attributes of `{path}` take {size} bytes in an archive, and readers allow {limit}; `{name}` is the largest of them"
    )]
    Attributes {
        /// The file.
        path: String,
        /// Its largest attribute.
        name: String,
        /// What all of them take, in bytes.
        size: u64,
        /// What they may take, in bytes.
        limit: u64,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A program for another machine or system than the image's.
    #[error("`/{path}` is a program for {machine}, and the image is for {platform}")]
    Foreign {
        /// The path in the image.
        path: String,
        /// What it is for.
        machine: String,
        /// The platform of the image.
        platform: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A file changed while the layer was built, each time it was tried.
    #[error("`{path}` keeps changing while it is read")]
    Changed {
        /// The file.
        path: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A lockfile can't be read.
    #[error("cannot read the manifest `{path}`")]
    Manifest {
        /// The lockfile.
        path: String,
        /// Where the spec names it.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An input can't be read, or lies out of reach.
    #[error(transparent)]
    File(InputFault),
    /// A path can't be followed through the base.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The records failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// An input can't be had, and the copy that wants it.
///
/// Says what the fault says, and has its cause.
#[derive(Debug)]
pub struct InputFault {
    /// What went wrong.
    pub fault: FileError,
    /// Where the spec has the copy.
    pub span: Option<Span>,
}

impl fmt::Display for InputFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for InputFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

impl From<FileError> for LayerError {
    fn from(fault: FileError) -> Self {
        Self::File(InputFault { fault, span: None })
    }
}

fn writers(one: usize, other: usize) -> String {
    if one == other {
        return format!("copy {one} writes twice, through a link of the base,");
    }
    format!("copies {one} and {other} both write")
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Fifo => "named pipe",
        FileKind::Socket => "socket",
        FileKind::Device => "device",
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
    }
}

impl LayerError {
    pub(super) fn read(path: &[u8], source: std::io::Error) -> Self {
        Self::walked(FileError::Io { action: "read", path: display(path), source })
    }

    /// A fault of what was there when it was found: if it is no longer, it has changed.
    pub(super) fn walked(fault: FileError) -> Self {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        match fault {
            FileError::Io { path, source, .. }
                if matches!(source.kind(), NotFound | NotADirectory | IsADirectory) =>
            {
                Self::Changed { path, span: None }
            }
            FileError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            fault => fault.into(),
        }
    }

    pub(super) fn changed(path: &[u8]) -> Self {
        Self::Changed { path: display(path), span: None }
    }

    pub(super) fn at(mut self, place: Option<Span>) -> Self {
        if let Self::Missing { span, .. }
        | Self::Empty { span, .. }
        | Self::Unsupported { span, .. }
        | Self::Attribute { span, .. }
        | Self::Attributes { span, .. }
        | Self::Whiteout { span, .. }
        | Self::NotDirectory { span, .. }
        | Self::BaseSymlink { span, .. }
        | Self::OverDirectory { span, .. }
        | Self::IgnoreFile { span, .. }
        | Self::IgnoreRule { span, .. }
        | Self::Foreign { span, .. }
        | Self::Changed { span, .. }
        | Self::File(InputFault { span, .. }) = &mut self
        {
            *span = span.or(place);
        }
        self
    }

    /// Returns where in the spec the fault lies, where that is known.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Missing { span, .. }
            | Self::Empty { span, .. }
            | Self::Conflict { span, .. }
            | Self::Unsupported { span, .. }
            | Self::Attribute { span, .. }
            | Self::Attributes { span, .. }
            | Self::Whiteout { span, .. }
            | Self::NotDirectory { span, .. }
            | Self::BaseSymlink { span, .. }
            | Self::OverDirectory { span, .. }
            | Self::IgnoreFile { span, .. }
            | Self::IgnoreRule { span, .. }
            | Self::NothingToRemove { span, .. }
            | Self::Unremovable { span, .. }
            | Self::RemovedAndWritten { span, .. }
            | Self::UnknownAccount { span, .. }
            | Self::Foreign { span, .. }
            | Self::Changed { span, .. }
            | Self::File(InputFault { span, .. })
            | Self::Manifest { span, .. } => *span,
            _ => None,
        }
    }
}
