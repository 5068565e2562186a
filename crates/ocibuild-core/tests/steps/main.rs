//! Steps: what runs again after which change, what is reused from where, and what becomes of failures.
//!
//! Runs are counted by what commands leave outside of everything, not by what the engine says of them.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod again;
mod changes;
#[cfg(feature = "registry")]
#[path = "../registry/debian.rs"]
mod debian;
mod elsewhere;
mod failures;
mod features;
mod overlap;
mod places;
mod project;
mod random;
mod read_only;
mod secrets;
mod verified;
