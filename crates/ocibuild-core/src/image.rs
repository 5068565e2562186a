//! Config, manifest and index of an image, and what makes them valid.

mod assemble;
mod validate;

pub use validate::{
    Depth, ValidateError, ValidateOptions, Violation, check_config, check_index, check_manifest, validate,
};
