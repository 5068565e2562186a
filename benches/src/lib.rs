//! Trials and benchmarks of ocibuild: what decides a design by measurement is kept here.
//!
//! Nothing here uses the product's crates: the product is measured from outside, as a command. Only the
//! example `step_files` calls its library, for what no command does alone.

pub mod blocks;
pub mod churn;
pub mod counted;
pub mod encode;
pub mod error;
pub mod join;
pub mod measure;
pub mod pipeline;
pub mod random;
pub mod registry;
pub mod states;
pub mod stream;
pub mod trees;
pub mod verify;
pub mod walk;
