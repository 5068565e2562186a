//! Specs made by programs and by flags instead of a file.
//!
//! Builders only gather; everything is checked when the spec is made, by the rules of the file.
//! Braces in their values have no meaning.

mod health;
mod image;
mod layer;
mod step;

use super::{Located, Template};

pub use image::ImageSpec;
pub use layer::LayerSpec;
pub use step::StepSpec;

fn literal(text: impl Into<String>) -> Located<Template> {
    Template::literal(text).into()
}

fn strings(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    words.into_iter().map(Into::into).collect()
}
