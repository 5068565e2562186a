//! The services of `examples/`: each is built by its steps, run by docker, asked, and edited.
//!
//! One program, so that it is linked once; a file for each example.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by it as tests do")]

mod c;
mod example;
mod go;
mod node;
#[path = "../promises/ocibuild.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod ocibuild;
mod python;
mod rust;
mod service;
