//! Trials and benchmarks of ocibuild: what decides a design by measurement is kept here.
//!
//! Nothing here uses the product's crates: the product is measured from outside, as a command.

pub mod error;
pub mod trees;
