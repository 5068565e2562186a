//! A daemonless OCI image assembler.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod archive;
pub mod base;
pub mod blob;
pub mod build;
pub mod cache;
pub mod compress;
pub mod copy;
pub mod digest;
pub mod event;
pub mod files;
pub mod image;
pub mod key;
pub mod layer;
pub mod layout;
pub mod oci;
pub mod pattern;
pub mod plan;
pub mod reference;
#[cfg(feature = "registry")]
pub mod registry;
pub mod spec;
pub mod tar;
