//! Input files: trees of them on disk and in memory, and the walk that finds them.
//!
//! A [`FileTree`] is rooted: paths are bytes relative to its root, without a leading `/`, and
//! nothing outside the root can be reached through it, whatever links lie within. Knows nothing of
//! images: where files go and with which metadata is decided further down.
//!
//! The walk is our own and not `walkdir`'s, because it looks at directories in parallel, works on
//! trees in memory as well, and opens everything beneath the root's handle.

#[cfg(unix)]
mod beneath;
#[cfg(unix)]
mod disk;
mod entry;
mod memory;
mod mounted;
#[cfg(unix)]
mod remove;
mod resolve;
mod stat_cache;
mod touch;
mod tree;
mod walk;
mod xattrs;

#[cfg(unix)]
pub(crate) use beneath::{directory_beneath, each_name, metadata, open_beneath, open_directory, split};
#[cfg(unix)]
pub use disk::DiskTree;
pub use entry::{DEFAULT_MTIME, Entry, EntryKind, FileSource};
pub use memory::MemoryTree;
pub use mounted::MountedTree;
#[cfg(unix)]
pub(crate) use remove::{empty, remove_at, remove_tree};
pub use resolve::resolve;
pub use stat_cache::{Learned, STAT_DIRECTORY, StatCache};
pub(crate) use touch::note_use;
pub use tree::{FileError, FileId, FileKind, FileTree, Metadata, OpenFile, Timestamp, display};
pub use walk::{Child, Found, PART_PREFIX, WalkOptions, Walked, WalkedDirectory, walk};
pub use xattrs::{CAPABILITY, Xattrs};
