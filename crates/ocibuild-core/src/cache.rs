//! Records: what a key was once answered with, and where such answers are kept.
//!
//! A record names a layer's blobs and does not hold them. Whether a record may be believed is
//! decided by where it was found and with which credentials, by nothing it says itself.

mod blocks;
mod carried;
mod hold;
mod known;
mod last;
mod local;
mod notes;
mod particulars;
mod prune;
mod record;
mod sealed;
mod sink;
mod survey;
#[cfg(test)]
mod tests;
mod trees;
#[cfg(unix)]
mod turn;
mod verify;

use std::io;
use std::path::PathBuf;

use crate::base::BaseError;
use crate::blob::BlobError;
use crate::event::Cancelled;
use crate::key::Key;

pub use blocks::{BlockIndex, BlockIndexes, KnownBlock};
pub use carried::{carried, records_of, uncarried};
pub use hold::Hold;
pub use known::{Extent, KnownFile};
pub use last::{LastBuild, LastBuilds, LayerName, Past};
pub use local::LocalRecords;
pub use notes::RegistryNotes;
pub(crate) use particulars::short;
pub use particulars::{Change, Of, Particulars};
pub use prune::{GRACE, PruneOptions, Pruned, prune};
pub use record::{BuiltLayer, Material, Record};
pub use sealed::{seal, unseal};
pub(crate) use sink::unusable;
pub use sink::{CacheStore, Kept, RecordSink, Stores};
pub use survey::{KnownBlob, KnownRecord, Naming, Survey, find_layers};
#[cfg(unix)]
pub(crate) use turn::{NoTurn, Turn};
pub use verify::{Damage, drop_damaged, verify};

/// Where steps have their private directories, below that of the whole cache.
pub const STEPS_DIRECTORY: [&str; 2] = ["steps", "v1"];

/// Where homes of steps share directories, below [`STEPS_DIRECTORY`].
pub const SHARED_NAME: &str = "shared";

/// Where notes lie on what tools said of themselves, below [`STEPS_DIRECTORY`].
pub const TOOLS_NAME: &str = "tools";

/// Where lies what steps made, below the directory of the whole cache.
pub const OUTPUTS_DIRECTORY: [&str; 2] = ["outputs", "v1"];

/// A place of records could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A file of the cache could not be read or written.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A directory that should be a cache has what no cache has. Nothing in it is touched.
    #[error("`{}` is not a cache that this version knows: it has `{}`", root.display(), entry.display())]
    Foreign {
        /// The directory.
        root: PathBuf,
        /// What it has, below the directory.
        entry: PathBuf,
    },
    /// An image that should answer can't be read.
    #[error("the image `{image}` cannot be read")]
    Image {
        /// What it is called.
        image: String,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// An image or a cache that should answer isn't there, as before the first build that writes it.
    #[error("`{image}` isn't there")]
    NoImage {
        /// What it is called.
        image: String,
    },
    /// A place beside the machine's cache can't be used.
    #[error("cannot use {place}")]
    Place {
        /// The place, for people.
        place: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record isn't what was put there.
    #[error("a record in {place} is damaged")]
    Damaged {
        /// The place, for people.
        place: String,
        /// How it shows.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Some of the records of a place can't be read; the others answer.
    #[error("some records of {place} cannot be read")]
    Records {
        /// The place, for people.
        place: String,
        /// Why not.
        #[source]
        source: Box<BlobError>,
    },
    /// What lies where a cache is to be written is none.
    #[error("{place} is no cache, but {what}")]
    NoCache {
        /// The place, for people.
        place: String,
        /// What lies there.
        what: &'static str,
    },
    /// Others write to a place all the time.
    #[error("others keep writing to {place}")]
    Contended {
        /// The place, for people.
        place: String,
    },
    /// The address of a place has [credentials](crate::spec::has_credentials) in it. It isn't shown.
    #[error("an address has no credentials: the environment has them")]
    Credentials,
    /// There are no places of that kind.
    #[error("there is no kind of cache for `{place}`")]
    UnknownKind {
        /// The place as it was named.
        place: String,
    },
    /// A place of records that is only read.
    #[error("{place} is not written to")]
    ReadOnly {
        /// The place, for people.
        place: String,
    },
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A place where records are kept.
pub trait RecordStore: Send + Sync {
    /// Looks a key up. A record that can't be understood, or is another key's, is none.
    ///
    /// # Errors
    /// [`CacheError`] if the place can't be read.
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError>;

    /// Keeps a record, in place of one under the same key.
    ///
    /// # Errors
    /// [`CacheError`] if the place can't be written to; what was there is there still.
    fn put(&self, record: &Record) -> Result<(), CacheError>;

    /// Notes that the record of a key answered, for whoever removes what is least recently used. A
    /// place may know of no uses; that a use couldn't be noted is no fault.
    fn used(&self, _: &Key) {}

    /// Drops the record of a key, if there is one.
    ///
    /// # Errors
    /// [`CacheError`] if the place can't be written to.
    fn remove(&self, key: &Key) -> Result<(), CacheError>;
}
