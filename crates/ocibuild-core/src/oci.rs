//! The wire types of the OCI image specification, and the one writer of their JSON.
//!
//! Written for building: every field has a fixed place, maps are ordered, and what is read and
//! not understood is kept ([`ImageConfig`] carries unknown keys along). A foreign manifest or
//! config that is only passed on is never decoded and encoded again: its raw bytes travel.

pub mod annotation;
mod compression;
mod config;
mod descriptor;
mod index_file;
mod json;
mod layout;
mod manifest;
mod media_type;
mod platform;
mod time;

pub use compression::{CodecId, Compression, CompressionError};
pub use config::{Config, Empty, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub(crate) use index_file::IndexFile;
pub use json::{JsonError, MAX_MANIFEST_SIZE, from_json, to_json};
pub use layout::ImageLayout;
pub use manifest::{Index, Manifest};
pub use media_type::MediaType;
pub use platform::{Platform, PlatformError};
pub use time::is_time;
