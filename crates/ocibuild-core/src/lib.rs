//! A daemonless OCI image assembler, to be embedded.
//!
//! [`Builder`] does the whole job; the modules are its parts, for whoever needs only some of them.
//! Each module uses only those above it in the ladder of `docs/architecture.md`.
//!
//! The library reads no environment variable, prints nothing, touches no global state, and is
//! synchronous; what needs a network runs on a thread of its own.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod archive;
pub mod base;
pub mod blob;
pub mod build;
mod builder;
pub mod cache;
pub mod checks;
pub mod compress;
pub mod contents;
pub mod copy;
pub mod digest;
pub mod event;
pub mod files;
pub mod image;
pub mod inspect;
pub mod key;
pub mod layer;
pub mod layout;
pub mod lock;
pub mod oci;
mod own;
pub mod pattern;
pub mod plan;
pub mod rebase;
pub mod reference;
#[cfg(feature = "registry")]
pub mod registry;
pub mod shared;
pub mod spec;
pub mod step;
pub mod tar;

pub use build::Built;
#[cfg(feature = "registry")]
pub use builder::PullError;
pub use builder::{BuildError, Builder, Error};
pub use digest::{DiffId, Digest};
pub use event::{Cancel, Event, Observer};
pub use lock::Lock;
pub use oci::{Compression, Descriptor, Platform};
pub use reference::Reference;
#[cfg(feature = "registry")]
pub use registry::Registry;
pub use spec::{ImageSpec, LayerSpec, Spec, StepSpec};
