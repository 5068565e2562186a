//! Config, manifest and index of an image, and what makes them valid.

mod assemble;
mod gather;
mod validate;

pub use assemble::{
    Assembled, Created, MAX_SPLIT_LAYERS, Overlay, OwnLayer, assemble, assemble_index, assemble_over,
};
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
    /// Split layers have too many parts.
    #[error(
        "the image would have {} layers, {base} of them its base's and {} parts of {}: {MAX_SPLIT_LAYERS} are the limit where layers are split",
        base + own,
        split.iter().map(|(_, parts)| parts).sum::<usize>(),
        names(split)
    )]
    TooManyParts {
        /// The base's layers.
        base: usize,
        /// The image's own, parts counted each.
        own: usize,
        /// The names of the layers that are split, and the numbers of their parts.
        split: Vec<(String, usize)>,
    },
}

fn names(split: &[(String, usize)]) -> String {
    let names: Vec<String> = split.iter().map(|(name, _)| format!("`{name}`")).collect();
    names.join(", ")
}
