//! Blobs given and deleted
//! ([pulling blobs](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs)).

use std::io::{Seek as _, SeekFrom};
use std::ops::Range;

use hyper::{Method, StatusCode};
use ocibuild_core::Digest;

use super::{Call, Handler, Trouble, digest_of, sent_digest};
use crate::body::Content;
use crate::error::{Code, Refusal};
use crate::reply::Reply;

impl Handler {
    pub(super) fn get_blob(&self, name: &str, digest: &str, call: &Call) -> Result<Reply, Trouble> {
        let digest = digest_of(digest)?;
        if self.storage.blob(name, &digest)?.is_none() {
            return Err(unknown(&digest).into());
        }
        let Some((mut file, size)) = self.storage.open(&digest)? else { return Err(unknown(&digest).into()) };
        let reply = Reply::new(StatusCode::OK)
            .header("Docker-Content-Digest", digest)
            .header("ETag", etag(&digest))
            .header("Accept-Ranges", "bytes")
            // What a digest names never changes.
            .header("Cache-Control", "max-age=31536000, immutable");
        if is_known(call, &digest) {
            return Ok(Reply { status: StatusCode::NOT_MODIFIED, ..reply });
        }
        let reply = reply.header("Content-Type", "application/octet-stream");
        match wanted(call, &digest, size) {
            Wanted::All => Ok(reply.content(Content::File(file, size))),
            Wanted::Part(range) => {
                file.seek(SeekFrom::Start(range.start))?;
                let told = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                let reply = reply.header("Content-Range", told);
                let reply = Reply { status: StatusCode::PARTIAL_CONTENT, ..reply };
                Ok(reply.content(Content::File(file, range.end - range.start)))
            }
            Wanted::Nowhere => {
                let message = format!("the blob has {size} bytes");
                let refusal = Refusal::new(Code::SizeInvalid, message);
                let reply = Reply::from(refusal.status(StatusCode::RANGE_NOT_SATISFIABLE));
                Err(reply.header("Content-Range", format!("bytes */{size}")).into())
            }
        }
    }

    pub(super) fn delete_blob(&self, name: &str, digest: &str) -> Result<Reply, Trouble> {
        let digest = sent_digest(digest)?;
        match self.storage.delete_blob(name, &digest)? {
            true => Ok(Reply::new(StatusCode::ACCEPTED)),
            false => Err(unknown(&digest).into()),
        }
    }
}

fn unknown(digest: &Digest) -> Refusal {
    let detail = serde_json::json!({ "digest": digest });
    Refusal::with_details(Code::BlobUnknown, "blob unknown to registry", [detail])
}

pub(super) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Tells whether the client has it already
/// ([RFC 9110, 13.1.2](https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2)).
pub(super) fn is_known(call: &Call, digest: &Digest) -> bool {
    let etag = etag(digest);
    let is_it = |tag: &str| matches!(tag.trim(), tag if tag == "*" || tag.trim_start_matches("W/") == etag);
    call.asked.header("if-none-match").is_some_and(|tags| tags.split(',').any(is_it))
}

enum Wanted {
    All,
    Part(Range<u64>),
    Nowhere,
}

/// Reads `Range` ([RFC 9110, 14.2](https://www.rfc-editor.org/rfc/rfc9110#section-14.2)): of several
/// ranges, or what isn't one, nothing has to be known.
fn wanted(call: &Call, digest: &Digest, size: u64) -> Wanted {
    let is_other = |tag: &str| tag.trim() != etag(digest);
    if call.method != Method::GET || call.asked.header("if-range").is_some_and(is_other) {
        return Wanted::All;
    }
    let range = call.asked.header("range").and_then(|range| range.trim().strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Wanted::All;
    };
    let (first, last) = (number(first), number(last));
    let range = match (first, last) {
        (Some(Some(first)), Some(None)) => first..size,
        (Some(Some(first)), Some(Some(last))) if first <= last => first..size.min(last.saturating_add(1)),
        (Some(None), Some(Some(length))) => size.saturating_sub(length)..size,
        _ => return Wanted::All,
    };
    if range.is_empty() { Wanted::Nowhere } else { Wanted::Part(range) }
}

/// A number, nothing, or (`None`) something else.
fn number(text: &str) -> Option<Option<u64>> {
    match text {
        "" => Some(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Some(text.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    }
}
