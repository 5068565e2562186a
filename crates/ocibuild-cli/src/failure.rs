//! Everything that can end a command early. What is said of it, and with which exit code the
//! program ends, is decided in `verdict`.

use std::io;
use std::path::PathBuf;

use ocibuild_core::BuildError;
use ocibuild_core::base::BaseError;
use ocibuild_core::blob::BlobError;
use ocibuild_core::cache::CacheError;
use ocibuild_core::files::FileError;
use ocibuild_core::lock::LockError;
use ocibuild_core::plan::PlanError;
use ocibuild_core::rebase::RebaseError;
use ocibuild_core::registry::CredentialsError;
use ocibuild_core::spec::{Sources, Spec, SpecError};
use ocibuild_serve::ServeError;

/// Who is to blame for a blob that isn't as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Our own cache.
    Cache,
    /// A layout or archive.
    Files,
    /// A registry.
    Registry,
}

/// Images that can't be built, with what is needed to say why.
#[derive(Debug)]
pub(crate) struct BuildFailure {
    /// Why not.
    pub(crate) error: BuildError,
    /// The spec's files, if there are any.
    pub(crate) file: Option<Sources>,
    /// The context of its paths.
    pub(crate) root: PathBuf,
    /// The cache directory.
    pub(crate) cache: PathBuf,
    /// Whether places beside it were to answer for layers.
    pub(crate) asks_caches: bool,
}

/// An image that can't be moved to another base, with what is needed to say why.
#[derive(Debug)]
pub(crate) struct RebaseFailure {
    /// Why not.
    pub(crate) error: RebaseError,
    /// Who is to blame for the blobs of the image, and of the new base.
    pub(crate) origins: [Origin; 2],
    /// Whether the image is for several platforms.
    pub(crate) several: bool,
    /// The cache directory.
    pub(crate) cache: PathBuf,
}

/// A command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, or a variable that belongs to it, is faulty.
    Usage { message: String, hint: Option<String> },
    /// There is no spec file where one is looked for.
    NoSpec,
    /// The spec file that was named can't be read.
    SpecFile { path: PathBuf, source: io::Error },
    /// The spec has faults.
    Spec { error: SpecError, file: Option<Sources> },
    /// Something is wrong with a spec, or with what it names.
    Faulty { error: SpecError, file: Sources, code: u8 },
    /// It was told on standard output what is wrong.
    Told { code: u8 },
    /// The lock can't be understood.
    Lock { path: PathBuf, error: LockError },
    /// The lock can't be read or written.
    LockFile { path: PathBuf, source: io::Error },
    /// An image was asked for that isn't in the spec, though something else of that name may be.
    UnknownImage { name: String, known: Vec<String>, other: Option<&'static str> },
    /// A step was asked for that isn't in the spec.
    UnknownStep { name: String, known: Vec<String>, other: Option<&'static str> },
    /// The cache can't be looked at or tidied up.
    Cache { error: CacheError, directory: PathBuf },
    /// Something in the cache is damaged, which was told already.
    Damaged { count: usize },
    /// The system gives no threads.
    Threads(BuildError),
    /// The root can't be used.
    Root(FileError),
    /// The images can't be built.
    Build(Box<BuildFailure>),
    /// An image can't be moved.
    Rebase(Box<RebaseFailure>),
    /// Images can't be read or written.
    Place { error: BlobError, origin: Origin, cache: Option<PathBuf> },
    /// An image isn't one that can be looked into.
    Image { error: BaseError, origin: Origin },
    /// Two images differ, which was told already.
    Different,
    /// Credentials can't be had.
    Credentials(CredentialsError),
    /// A file of CA certificates can't be read.
    Authority { path: PathBuf, source: io::Error },
    /// A login can't be written.
    Login { path: PathBuf, source: io::Error },
    /// An image breaks rules of the specification.
    Invalid { violations: usize },
    /// Nothing can be written to standard output.
    Stdout(io::Error),
    /// A file that a flag or variable asks for can't be written; `is_built` if the
    /// images are built by then, and where they belong.
    Result { what: &'static str, path: PathBuf, source: io::Error, is_built: bool },
    /// Standard input, or the terminal there, can't be read.
    Terminal(io::Error),
    /// Signals can't be caught.
    Signals(io::Error),
    /// A layout can't be served.
    Serve(ServeError),
    /// The user, or the system, wanted it to end.
    Interrupted,
}

impl Failure {
    /// A faulty command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// Adds what to try next to a faulty command line; other failures have hints of their own.
    #[must_use]
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// A place of blobs that is no cache.
    pub(crate) fn place(error: BlobError, origin: Origin) -> Self {
        Self::Place { error, origin, cache: None }.settled()
    }

    /// A plan that can't be made of a spec.
    pub(crate) fn plan(error: PlanError, file: Option<&Sources>) -> Self {
        match error {
            PlanError::Spec(error) => Self::Spec { error, file: file.cloned() },
            PlanError::UnknownImage { name, known } => Self::UnknownImage { name, known, other: None },
            PlanError::UnknownStep { name, known } => Self::UnknownStep { name, known, other: None },
            other => Self::usage(other.to_string()),
        }
    }

    /// Notes what else the spec has by a name that isn't what it was taken for.
    #[must_use]
    pub(crate) fn named_in(mut self, spec: &Spec) -> Self {
        match &mut self {
            Self::UnknownImage { name, other, .. } | Self::UnknownStep { name, other, .. } => {
                *other = kind_of(spec, name);
            }
            _ => {}
        }
        self
    }

    /// Sees to it that what was cancelled is told as that, wherever it was noticed.
    pub(crate) fn settled(self) -> Self {
        match self {
            Self::Build(failure) if is_cancelled(&failure.error) => Self::Interrupted,
            Self::Rebase(failure) if matches!(failure.error, RebaseError::Cancelled(_)) => Self::Interrupted,
            Self::Place { error: BlobError::Cancelled(_), .. } => Self::Interrupted,
            other => other,
        }
    }
}

fn is_cancelled(error: &BuildError) -> bool {
    matches!(error, BuildError::Cancelled(_) | BuildError::Blob(BlobError::Cancelled(_)))
}

/// What the spec has by this name: an image rather than a step, a step rather than a layer.
pub(crate) fn kind_of(spec: &Spec, name: &str) -> Option<&'static str> {
    let layer = || spec.layers.iter().any(|layer| layer.name.value == name);
    match () {
        () if spec.image(name).is_some() => Some("image"),
        () if spec.step(name).is_some() => Some("step"),
        () if layer() => Some("layer"),
        () => None,
    }
}
