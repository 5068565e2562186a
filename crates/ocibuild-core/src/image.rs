//! Config, manifest and index of an image, and what makes them valid.

mod assemble;
mod gather;
mod validate;

pub use assemble::{Assembled, Created, Overlay, OwnLayer, assemble, assemble_index, assemble_over};
pub(crate) use assemble::{CREATED_BY, complete_history};
pub use gather::{GatherError, Gathering};
pub use validate::{
    Depth, ValidateError, ValidateOptions, Violation, check_config, check_index, check_manifest, validate,
};

/// An image can't be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It would have more layers than can be run.
    #[error(
        "the image would have {} layers, {base} of them its base's: more than {} cannot be run",
        base + own,
        crate::base::MAX_LAYERS
    )]
    TooManyLayers {
        /// The base's layers.
        base: usize,
        /// The image's own.
        own: usize,
    },
}
