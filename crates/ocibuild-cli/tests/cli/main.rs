//! The program as its users meet it: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ahead;
mod bench;
mod cache;
mod check;
mod checks;
mod contents;
mod credentials;
mod destinations;
mod documents;
mod errors;
mod extends;
mod help;
mod interrupt;
mod look;
mod manual;
mod mistakes;
mod options;
mod output;
mod picture;
mod places;
mod progress;
mod publish;
mod rebase;
#[path = "../../../ocibuild-core/tests/registry/recorder.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod recorder;
mod reference;
mod registries;
mod results;
mod serve;
mod sight;
mod specs;
mod steps;
