//! Why a plan can't be built.

use crate::base::{BaseError, ListingError};
use crate::blob::BlobError;
use crate::build::StepFailures;
use crate::build::verify;
use crate::cache::CacheError;
use crate::checks::Finding;
use crate::event::Cancelled;
use crate::files::FileError;
use crate::image::ImageError;
use crate::inspect::Severity;
use crate::layer::{DirectoryOwner, FileChanges, InputFault, LayerError};
use crate::plan::PlannedLayer;
use crate::spec::Span;

/// A plan can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A layer can't be built.
    #[error("layer `{layer}`")]
    Layer {
        /// Its label.
        layer: String,
        /// Why not.
        #[source]
        source: Box<LayerError>,
    },
    /// A base can't be used.
    #[error("base `{base}`")]
    Base {
        /// The base as the spec names it.
        base: String,
        /// Where it does.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// What a base holds can't be found out.
    #[error("base `{base}`")]
    Listing {
        /// The base as the spec names it.
        base: String,
        /// Why not.
        #[source]
        source: Box<ListingError>,
    },
    /// Two layers of an image want different metadata for one directory.
    #[error(
        "layers `{one}` and `{other}` disagree on the directory `/{path}`: {} and {}",
        owner(.first), owner(.second)
    )]
    Disagreement {
        /// The first layer.
        one: String,
        /// The second.
        other: String,
        /// The directory in the image.
        path: String,
        /// Mode, user and group in the first.
        first: DirectoryOwner,
        /// And in the second.
        second: DirectoryOwner,
    },
    /// Two layers of an image want different extended attributes for one directory.
    #[error("layers `{one}` and `{other}` disagree on the directory `/{path}`: on its attribute `{name}`")]
    Attributes {
        /// The first layer.
        one: String,
        /// The second.
        other: String,
        /// The directory in the image.
        path: String,
        /// The first attribute that only one of them has, or with another value.
        name: String,
    },
    /// Two layers of an image want different things at one path: a directory, and something else.
    #[error("layers `{one}` and `{other}` disagree on `/{path}`: it is a directory in one of them only")]
    Kinds {
        /// The first layer.
        one: String,
        /// The second.
        other: String,
        /// The path in the image.
        path: String,
    },
    /// A layer takes away what a layer of the same image below it writes.
    #[error("layer `{other}` removes `/{path}`, which layer `{one}` below it writes")]
    TakenAway {
        /// The lower layer.
        one: String,
        /// The layer that takes away.
        other: String,
        /// What is lost, in the image.
        path: String,
    },
    /// The files make another layer than what was recorded.
    #[error("{}", verify::told(.layer, .place.as_deref(), *.has_manifests, .files))]
    Unlike {
        /// The layer's label.
        layer: String,
        /// Where it was recorded; none is the cache.
        place: Option<String>,
        /// Whether lockfiles vouched for it.
        has_manifests: bool,
        /// How what was recorded differs from what the files make; nothing differs where only the
        /// bytes of the blobs do.
        files: Box<FileChanges>,
    },
    /// What was found in the images is a reason not to publish them.
    #[error("{}", unsound(.findings))]
    Unsound {
        /// All that was found, also what is no reason.
        findings: Vec<Finding>,
    },
    /// An image can't be put together.
    #[error("image `{image}`")]
    Image {
        /// Its name.
        image: String,
        /// Why not.
        #[source]
        source: ImageError,
    },
    /// Steps can't be run, or failed.
    #[error(transparent)]
    Steps(Box<StepFailures>),
    /// The plan has steps, and nothing is known of where they would run.
    #[error("there is no place to run steps in")]
    NoWorkplace,
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The records failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The system gives no threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn unsound(findings: &[Finding]) -> String {
    let told = findings.iter().filter(|finding| finding.allowed.is_none());
    match told.filter(|finding| finding.severity >= Severity::Warning).count() {
        1 => "the checks found something".to_owned(),
        count => format!("the checks found {count} things"),
    }
}

fn owner((mode, uid, gid): &DirectoryOwner) -> String {
    format!("{mode:04o} {uid}:{gid}")
}

impl BuildError {
    /// Returns where in the spec the fault lies, where that is known.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Layer { source, .. } => source.span(),
            Self::Base { span, .. } => *span,
            Self::Steps(failures) => failures.failed.first().and_then(|one| one.span),
            _ => None,
        }
    }
}

pub(super) fn layer_fault(layer: &PlannedLayer, fault: LayerError) -> BuildError {
    match fault {
        LayerError::Cancelled(cancelled)
        | LayerError::File(InputFault { fault: FileError::Cancelled(cancelled), .. })
        | LayerError::Blob(BlobError::Cancelled(cancelled)) => BuildError::Cancelled(cancelled),
        source => BuildError::Layer { layer: layer.label.clone(), source: Box::new(source) },
    }
}
