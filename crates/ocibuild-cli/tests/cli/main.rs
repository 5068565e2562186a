//! The program as its users meet it: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod destinations;
mod errors;
mod help;
mod interrupt;
mod look;
mod mistakes;
mod options;
mod output;
mod progress;
mod registries;
mod specs;
