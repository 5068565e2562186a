//! Reads outputs back with readers that aren't ours.

use std::fs::File;
use std::io::{Read, copy, sink};
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::error::{Error, io_error};

/// Runs `gzip -t`.
///
/// # Errors
/// If gzip can't be started or finds the file unsound.
pub fn gzip_test(path: &Path) -> Result<(), Error> {
    test("gzip", &["-t", "--force"], path)
}

fn test(program: &str, arguments: &[&str], path: &Path) -> Result<(), Error> {
    let outcome = Command::new(program).args(arguments).arg(path).output();
    let outcome = outcome.map_err(|source| Error::Start { program: program.to_owned(), source })?;
    if outcome.status.success() && outcome.stderr.is_empty() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
    Err(Error::Unsound { path: path.to_path_buf(), reason })
}

/// Runs `zstd -t`.
///
/// # Errors
/// If zstd can't be started or finds the file unsound.
pub fn zstd_test(path: &Path) -> Result<(), Error> {
    test("zstd", &["-t", "-q", "--force"], path)
}

/// Reads the first gzip member and compares its content's SHA-256 with `diff_id`; what follows the
/// member is an error.
///
/// # Errors
/// If the file can't be read as one gzip member, or holds something else.
pub fn first_member(path: &Path, diff_id: &[u8; 32]) -> Result<(), Error> {
    let unsound = |reason: &str| Err(Error::Unsound { path: path.to_path_buf(), reason: reason.to_owned() });
    // A decoder over a buffered reader leaves what follows the member in that reader.
    let mut input =
        std::io::BufReader::with_capacity(1 << 16, File::open(path).map_err(io_error("open", path))?);
    let mut decoder = flate2::bufread::GzDecoder::new(&mut input);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = decoder.read(&mut buffer).map_err(io_error("decompress", path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    if <[u8; 32]>::from(hasher.finalize()) != *diff_id {
        return unsound("its first member holds other bytes than were written");
    }
    if copy(&mut input, &mut sink()).map_err(io_error("read", path))? != 0 {
        return unsound("something follows the first member");
    }
    Ok(())
}

/// Says how many bytes a reader sees that stops after the first member.
///
/// # Errors
/// If the file can't be read as gzip.
pub fn bytes_of_first_member(path: &Path) -> Result<u64, Error> {
    let mut decoder = GzDecoder::new(File::open(path).map_err(io_error("open", path))?);
    copy(&mut decoder, &mut sink()).map_err(io_error("decompress", path))
}
