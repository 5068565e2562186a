//! Tar bytes: entries to deterministic PAX bytes, and a bounded reader of anybody's tar.

mod read;
mod write;

pub use read::{Content, Entry, EntryKind, MAX_EXTENSION, MAX_PATH, ReadError, Reader};
pub use write::{RECORD, TRAILER, header_len, pad, padded, write_header, xattr_len};
