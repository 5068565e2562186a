//! A place at a registry that takes the bytes of one upload, and what it says of itself.

use std::time::Duration;

use hyper::header::{self, HeaderName};
use hyper::{Method, StatusCode};

use crate::registry::RegistryError;
use crate::registry::auth::Asking;
use crate::registry::client::{Call, location};
use crate::registry::http::transport::Answer;
use crate::registry::http::url::Url;
use crate::registry::remote::{Remote, not};

const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// How long ending a session may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// A place that the registry takes bytes at: the newest `Location`.
pub(super) struct Session {
    pub(super) place: Url,
    /// How many bytes are there.
    pub(super) offset: u64,
    /// The size of the smallest chunk that it wants, but for the last.
    pub(super) least: u64,
}

impl Session {
    /// Reads where an answer wants the bytes.
    pub(super) fn of(answer: &Answer) -> Result<Self, RegistryError> {
        let least = answer.header(CHUNK_MIN_LENGTH).and_then(|text| text.trim().parse().ok());
        Ok(Self { place: location(answer)?, offset: 0, least: least.unwrap_or_default() })
    }

    /// Asks for a place to upload to.
    pub(super) async fn begin(remote: &Remote, asking: &Asking<'_>) -> Result<Self, RegistryError> {
        let url = remote.address(asking.home, "blobs/uploads", "")?;
        let answer = remote.client().send(&Call::new(asking, Method::POST, url)).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(not(answer, "an upload's place").await);
        }
        Self::of(&answer)
    }

    /// Ends it for good, as nobody will go on with it.
    pub(super) async fn end(self, remote: &Remote, asking: &Asking<'_>) {
        remote.client().farewell(&Call::new(asking, Method::DELETE, self.place), FAREWELL).await;
    }
}

/// Where to go on; an answer that doesn't say so leaves it as it was.
pub(super) fn next_place(answer: &Answer) -> Result<Option<Url>, RegistryError> {
    match answer.header(header::LOCATION) {
        Some(_) => location(answer).map(Some),
        None => Ok(None),
    }
}

/// Reads how many bytes are there. `0-0` is said of one byte, and of none by most.
pub(super) fn there(answer: &Answer) -> Option<u64> {
    end_of(answer.header(header::RANGE)?)
}

fn end_of(range: &str) -> Option<u64> {
    let range = range.trim().trim_start_matches("bytes").trim_start_matches([' ', '=']);
    let (first, last) = range.split('/').next()?.split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    match (first.trim(), last) {
        ("0", 0) => Some(0),
        ("0", last) => last.checked_add(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_standing_is_read_in_all_its_forms() {
        for (range, expected) in [
            ("0-0", Some(0)),
            ("0-1", Some(2)),
            ("0-1048575", Some(1 << 20)),
            ("bytes=0-99", Some(100)),
            (" bytes 0-99/* ", Some(100)),
            ("1-99", None),
            ("0-", None),
            ("0", None),
            ("", None),
            ("0--1", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(end_of(range), expected, "{range}");
        }
    }
}
