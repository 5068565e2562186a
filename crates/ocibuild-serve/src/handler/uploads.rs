//! Blobs taken: in one piece or in chunks, or from another repository
//! ([pushing blobs](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs)).

use std::sync::Arc;

use hyper::StatusCode;
use ocibuild_core::Digest;

use super::{Call, Handler, Trouble, sent_digest};
use crate::error::{Code, Refusal};
use crate::names::is_repository;
use crate::reply::Reply;
use crate::uploads::{Claim, Stopped, Upload};

impl Handler {
    /// Begins an upload, and ends it with a `digest`; or mounts.
    pub(super) async fn begin_upload(&self, name: &str, call: &mut Call) -> Result<Reply, Trouble> {
        if let Some(digest) = call.query.get("digest") {
            let digest = sent_digest(digest)?;
            let claim = self.uploads.begin(name)?.claim();
            // Nobody else knows of this upload, so nobody goes on with it.
            let _ending = self.uploads.ending(&claim.upload);
            self.take(&claim, None, call).await?;
            return self.complete(name, &claim, &digest);
        }
        if let Some(digest) = call.query.get("mount")
            && let Some(digest) = digest.parse().ok()
            && self.can_mount(&digest, call.query.get("from"))?
        {
            self.storage.link_blob(name, &digest)?;
            return Ok(created(name, &digest));
        }
        let upload = self.uploads.begin(name)?;
        let reply = self.standing(StatusCode::ACCEPTED, &upload);
        Ok(match self.options.chunk_min_length {
            Some(length) => reply.header("OCI-Chunk-Min-Length", length),
            None => reply,
        })
    }

    /// A mount of what can't be mounted is no fault: it becomes an upload.
    fn can_mount(&self, digest: &Digest, from: Option<&str>) -> Result<bool, Trouble> {
        if digest.algorithm() != "sha256" {
            return Ok(false);
        }
        match from {
            Some(from) => Ok(is_repository(from) && self.storage.blob(from, digest)?.is_some()),
            None => Ok(self.storage.anyone_has(digest)?),
        }
    }

    pub(super) fn upload_status(&self, name: &str, id: &str) -> Result<Reply, Trouble> {
        let upload = self.upload(name, id)?;
        Ok(self.standing(StatusCode::NO_CONTENT, &upload))
    }

    pub(super) fn cancel_upload(&self, name: &str, id: &str) -> Result<Reply, Trouble> {
        self.uploads.end(&*self.upload(name, id)?);
        Ok(Reply::new(StatusCode::NO_CONTENT))
    }

    pub(super) async fn add_to_upload(
        &self,
        name: &str,
        id: &str,
        call: &mut Call,
    ) -> Result<Reply, Trouble> {
        let claim = self.upload(name, id)?.claim();
        let expected = self.expected(&claim, call)?;
        self.take(&claim, expected, call).await?;
        Ok(self.standing(StatusCode::ACCEPTED, &claim.upload))
    }

    pub(super) async fn end_upload(&self, name: &str, id: &str, call: &mut Call) -> Result<Reply, Trouble> {
        let upload = self.upload(name, id)?;
        let Some(digest) = call.query.get("digest") else {
            let message = "an upload is ended with the `digest` of what came";
            return Err(Refusal::new(Code::DigestInvalid, message).into());
        };
        let digest = sent_digest(digest)?;
        let claim = upload.claim();
        let expected = self.expected(&claim, call)?;
        self.take(&claim, expected, call).await?;
        let done = self.complete(name, &claim, &digest);
        let is_over = match &done {
            Ok(_) => true,
            Err(Trouble::Refused(reply)) => reply.status == StatusCode::BAD_REQUEST,
            Err(Trouble::Broken) => false,
        };
        if is_over {
            self.uploads.end(&upload);
        }
        done
    }

    fn upload(&self, name: &str, id: &str) -> Result<Arc<Upload>, Refusal> {
        let unknown = || Refusal::new(Code::BlobUploadUnknown, "blob upload unknown to registry");
        self.uploads.find(name, id)?.ok_or_else(unknown)
    }

    /// Reads how many bytes are to come, where that is said, and holds their place against what came.
    fn expected(&self, claim: &Claim, call: &Call) -> Result<Option<u64>, Trouble> {
        let length = call.asked.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let Some(range) = call.asked.header("content-range") else { return Ok(length) };
        let Some((first, last)) = chunk(range) else { return Err(self.out_of_order(claim)) };
        if first != claim.start {
            return Err(self.out_of_order(claim));
        }
        let expected = last - first + 1;
        match length {
            Some(length) if length != expected => {
                let message = format!("`Content-Range` says {expected} bytes, `Content-Length` {length}");
                Err(Refusal::new(Code::SizeInvalid, message).into())
            }
            _ => Ok(Some(expected)),
        }
    }

    fn out_of_order(&self, claim: &Claim) -> Trouble {
        let message = format!("the next chunk begins at byte {}", claim.start);
        let refusal = Refusal::new(Code::BlobUploadInvalid, message);
        let told = self.standing(StatusCode::RANGE_NOT_SATISFIABLE, &claim.upload);
        let mut reply = Reply::from(refusal.status(StatusCode::RANGE_NOT_SATISFIABLE));
        reply.headers.extend(told.headers);
        reply.into()
    }

    /// Takes a body, and keeps what came of it if the connection breaks.
    async fn take(&self, claim: &Claim, expected: Option<u64>, call: &mut Call) -> Result<(), Trouble> {
        let length = call.asked.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let too_large = |limit: u64| {
            let message = format!("a body of more than {limit} bytes isn't taken");
            Refusal::new(Code::SizeInvalid, message).status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        if let (Some(limit), Some(length)) = (call.limit, length)
            && length > limit
        {
            return Err(too_large(limit).into());
        }
        let mut taken = 0;
        while let Some(bytes) = call.body.next().await? {
            taken += bytes.len() as u64;
            if let Some(limit) = call.limit.filter(|limit| taken > *limit) {
                return Err(too_large(limit).into());
            }
            if expected.is_some_and(|expected| taken > expected) {
                return Err(Refusal::new(Code::SizeInvalid, "more bytes come than were said").into());
            }
            claim.write(&bytes).map_err(stopped)?;
        }
        match expected {
            Some(expected) if taken < expected => {
                Err(Refusal::new(Code::SizeInvalid, "fewer bytes came than were said").into())
            }
            _ => Ok(()),
        }
    }

    fn complete(&self, name: &str, claim: &Claim, digest: &Digest) -> Result<Reply, Trouble> {
        let file = claim.finish(digest).map_err(stopped)?.map_err(|found| {
            let detail = serde_json::json!({ "digest": digest, "found": found });
            let message = "provided digest did not match uploaded content";
            Refusal::with_details(Code::DigestInvalid, message, [detail])
        })?;
        self.storage.adopt(&file, digest)?;
        self.storage.link_blob(name, digest)?;
        Ok(created(name, digest))
    }

    /// Says how far an upload is. With nothing there `Range` says the same as with one byte, as
    /// clients know it from other registries.
    fn standing(&self, status: StatusCode, upload: &Upload) -> Reply {
        let Upload { repository, id, .. } = upload;
        Reply::new(status)
            .header("Location", format!("/v2/{repository}/blobs/uploads/{id}"))
            .header("Range", format!("0-{}", upload.size().saturating_sub(1)))
            .header("Docker-Upload-UUID", id)
    }
}

/// Reads `Content-Range: FIRST-LAST`; also as HTTP has it, `bytes FIRST-LAST/*`.
fn chunk(text: &str) -> Option<(u64, u64)> {
    let text = text.trim().trim_start_matches("bytes").trim_start_matches([' ', '=']);
    let (first, last) = text.split('/').next()?.split_once('-')?;
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

fn stopped(stopped: Stopped) -> Trouble {
    match stopped {
        Stopped::File(error) => error.into(),
        Stopped::Superseded => {
            let message = "another request goes on with this upload, or has ended it";
            Refusal::new(Code::BlobUploadInvalid, message).status(StatusCode::CONFLICT).into()
        }
    }
}

fn created(name: &str, digest: &Digest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .header("Location", format!("/v2/{name}/blobs/{digest}"))
        .header("Docker-Content-Digest", digest)
}
