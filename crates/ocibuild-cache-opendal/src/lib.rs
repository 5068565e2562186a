//! Object stores as shared caches: Amazon's S3 and what speaks like it, Google Cloud Storage, Azure
//! Blob Storage, Redis, and the cache of GitHub Actions, all by [OpenDAL](https://opendal.apache.org).
//!
//! An [`ObjectStore`] keeps records, and where that is asked for the blobs they name:
//!
//! ```text
//! PREFIX/v1/records/ab/abcd….json    a record, with the digest of its bytes
//! PREFIX/v1/blobs/sha256/HEX         a blob
//! PREFIX/v1/blobs/sha256/HEX.0000    a part of a blob, in a store that takes each object at once
//! ```
//!
//! What comes from a store is hashed before it counts, and whatever is wrong with it is a miss: an
//! object that isn't there, one that is damaged, a store that can't be reached. A store that failed
//! once isn't asked again. Its own credentials decide who may write to it, and so who may say what
//! layers are made of.
//!
//! The crate's functions block; requests run on one thread of its own. It reads no environment where
//! [`Access::machine`] isn't set, but for that of GitHub Actions, which the service's client reads.

mod access;
mod address;
mod blobs;
mod http;
mod records;
mod runtime;
mod server;
mod service;
mod sink;
mod store;
#[cfg(test)]
mod tests;

/// How many questions are asked at a time, and how many small blobs sent: what takes long is the way
/// there and back.
const AT_ONCE: usize = 16;

/// The largest blob that counts as small, in bytes.
const SMALL: u64 = 512 << 10;

/// How many others are sent at a time: what takes long is their bytes, which share a line, and each has
/// but so much time. Of each up to four parts are in memory: one that is sent and its copy in the request,
/// and the two after it.
const LARGE_AT_ONCE: usize = 2;

pub use access::{Access, VARIABLES};
pub use address::{AddressError, ObjectAddress, is_address};
pub use sink::ObjectStores;
pub use store::{ObjectStore, StoreError};
