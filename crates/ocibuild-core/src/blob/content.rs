//! Content at hand: bytes in memory, and a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use crate::blob::Content;
use crate::digest::VerifyingReader;
use crate::oci::Descriptor;

/// Bytes in memory.
#[derive(Debug, Clone)]
pub struct BytesContent(Arc<[u8]>);

impl BytesContent {
    /// Takes the bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }
}

impl Content for BytesContent {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut cursor = io::Cursor::new(Arc::clone(&self.0));
        cursor.set_position(offset);
        Ok(Box::new(cursor))
    }
}

/// A blob in a file; verified when it is read from its start to its end.
#[derive(Debug, Clone)]
pub struct FileContent {
    path: PathBuf,
    descriptor: Descriptor,
}

impl FileContent {
    /// Names the file and what its bytes should be.
    #[must_use]
    pub fn new(path: PathBuf, descriptor: Descriptor) -> Self {
        Self { path, descriptor }
    }
}

impl Content for FileContent {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        if offset == 0 {
            return Ok(Box::new(VerifyingReader::new(file, self.descriptor.digest, self.descriptor.size)));
        }
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn open_unverified(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(&self.path)?))
    }
}
