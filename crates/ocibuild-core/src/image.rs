//! Config, manifest and index of an image, and what makes them valid.

mod assemble;
mod validate;
