//! The promises of the command line, kept with real parts: registries, daemons, file systems.
//!
//! One program, so that it is linked once; a file for each promise.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by it as tests do")]

mod access;
mod config;
mod contents;
mod copies;
#[path = "../../../ocibuild-core/tests/registry/debian.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod debian;
mod faithful_files;
mod file_systems;
mod layouts_and_archives;
mod left_out_and_taken_away;
mod links_of_a_base;
mod ocibuild;
mod picture;
mod pulled_bases;
mod real_application;
mod runs_everywhere;
mod same_digest;
mod serve;
mod split_layers;
mod steps;
