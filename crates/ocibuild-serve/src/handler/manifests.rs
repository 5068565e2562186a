//! Manifests given, taken and deleted
//! ([pushing manifests](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests)).

use std::io::Read as _;

use hyper::StatusCode;
use ocibuild_core::Digest;
use ocibuild_core::oci::{Descriptor, MAX_MANIFEST_SIZE, MediaType};
use serde_json::json;

use super::blobs::{etag, is_known};
use super::{Call, Handler, Trouble, digest_of, sent_digest};
use crate::error::{Code, Refusal};
use crate::names::is_tag;
use crate::reply::Reply;
use crate::storage::{Document, Form};

/// What a manifest is asked for by.
enum Name<'a> {
    Tag(&'a str),
    Digest(Digest),
}

impl<'a> Name<'a> {
    fn of(text: &'a str) -> Result<Self, Refusal> {
        if text.contains(':') {
            return digest_of(text).map(Self::Digest);
        }
        match is_tag(text) {
            true => Ok(Self::Tag(text)),
            false => Err(Refusal::new(Code::TagInvalid, format!("`{text}` isn't a tag"))),
        }
    }
}

impl Handler {
    pub(super) fn get_manifest(&self, name: &str, reference: &str, call: &Call) -> Result<Reply, Trouble> {
        let (digest, kind) = self.find(name, reference)?;
        let Some((file, size)) = self.storage.open(&digest)? else { return Err(unknown(reference).into()) };
        let reply = Reply::new(StatusCode::OK)
            .header("Content-Type", kind.as_str())
            .header("Docker-Content-Digest", digest)
            .header("ETag", etag(&digest));
        if is_known(call, &digest) {
            return Ok(Reply { status: StatusCode::NOT_MODIFIED, ..reply });
        }
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST_SIZE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            let message = format!("the manifest has {size} bytes, more than {MAX_MANIFEST_SIZE}");
            return Err(Refusal::new(Code::ManifestInvalid, message).into());
        }
        Ok(reply.bytes(bytes))
    }

    fn find(&self, name: &str, reference: &str) -> Result<(Digest, MediaType), Trouble> {
        let found = match Name::of(reference)? {
            Name::Tag(tag) => self.storage.names()?.get(name, tag).map(|named| {
                let Descriptor { digest, media_type, .. } = &named.descriptor;
                (*digest, media_type.clone())
            }),
            Name::Digest(digest) => self.storage.manifest(name, &digest)?.map(|kind| (digest, kind)),
        };
        Ok(found.ok_or_else(|| unknown(reference))?)
    }

    pub(super) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        call: &mut Call,
    ) -> Result<Reply, Trouble> {
        let (tag, expected) = match Name::of(reference)? {
            Name::Tag(tag) => (Some(tag), None),
            Name::Digest(_) => (None, Some(sent_digest(reference)?)),
        };
        let bytes = read(call).await?;
        let digest = Digest::of(&bytes);
        if expected.is_some_and(|expected| expected != digest) {
            let message = "provided digest did not match uploaded content";
            let detail = json!({ "digest": expected, "found": digest });
            return Err(Refusal::with_details(Code::DigestInvalid, message, [detail]).into());
        }
        let document = Document::parse(&bytes).map_err(|error| invalid(&error))?;
        let kind = kind(&document, call.asked.header("content-type"))?;
        self.has_children(name, &document)?;
        let subject = document.subject.map(|subject| subject.digest);
        self.storage.put_manifest(name, bytes, kind, tag)?;
        let reply = Reply::new(StatusCode::CREATED)
            .header("Location", format!("/v2/{name}/manifests/{digest}"))
            .header("Docker-Content-Digest", digest);
        Ok(match subject {
            Some(subject) => reply.header("OCI-Subject", subject),
            None => reply,
        })
    }

    /// Children come before parents; what its licence wants elsewhere needn't come at all.
    fn has_children(&self, name: &str, document: &Document) -> Result<(), Trouble> {
        let mut missing = Vec::new();
        let blobs = document.config.iter().chain(document.layers.iter().flatten());
        for descriptor in blobs.filter(|descriptor| descriptor.urls.is_empty()) {
            match self.storage.blob(name, &descriptor.digest)? {
                None => missing.push(descriptor),
                Some(size) if size == descriptor.size => {}
                Some(size) => {
                    let Descriptor { digest, size: said, .. } = descriptor;
                    let message = format!("`{digest}` is said to have {said} bytes, and has {size}");
                    return Err(Refusal::new(Code::SizeInvalid, message).into());
                }
            }
        }
        for descriptor in document.manifests.iter().flatten().filter(|child| child.urls.is_empty()) {
            let is_there = self.storage.manifest(name, &descriptor.digest)?.is_some()
                || self.storage.blob(name, &descriptor.digest)?.is_some();
            if !is_there {
                missing.push(descriptor);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let details = missing.iter().map(|descriptor| json!({ "digest": descriptor.digest }));
        let message = "the manifest names what is unknown to the repository";
        Err(Refusal::with_details(Code::ManifestBlobUnknown, message, details).into())
    }

    pub(super) fn delete_manifest(&self, name: &str, reference: &str) -> Result<Reply, Trouble> {
        let was_there = match Name::of(reference)? {
            Name::Tag(tag) => self.storage.delete_tag(name, tag)?,
            Name::Digest(digest) => self.storage.delete_manifest(name, &digest)?,
        };
        match was_there {
            true => Ok(Reply::new(StatusCode::ACCEPTED)),
            false => Err(unknown(reference).into()),
        }
    }
}

fn unknown(reference: &str) -> Refusal {
    let detail = json!({ "reference": reference });
    Refusal::with_details(Code::ManifestUnknown, "manifest unknown to registry", [detail])
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(Code::ManifestInvalid, message)
}

/// Reads a manifest whole: it is the one thing that has to be understood.
async fn read(call: &mut Call) -> Result<Vec<u8>, Trouble> {
    let limit = call.limit.unwrap_or(MAX_MANIFEST_SIZE).min(MAX_MANIFEST_SIZE);
    let mut bytes = Vec::new();
    while let Some(more) = call.body.next().await? {
        if (bytes.len() + more.len()) as u64 > limit {
            let message = format!("a manifest of more than {limit} bytes isn't taken");
            let refusal = Refusal::new(Code::ManifestInvalid, message);
            return Err(refusal.status(StatusCode::PAYLOAD_TOO_LARGE).into());
        }
        bytes.extend_from_slice(&more);
    }
    Ok(bytes)
}

/// Settles what a manifest is, by what it says, how it looks, and what the client says.
fn kind(document: &Document, told: Option<&str>) -> Result<MediaType, Refusal> {
    let form = document.form().ok_or_else(|| {
        invalid("it is neither an image manifest (`config` and `layers`) nor an index (`manifests`)")
    })?;
    let told =
        told.map(|text| text.split(';').next().unwrap_or_default().trim()).filter(|text| !text.is_empty());
    let kind = match (told, &document.media_type) {
        (Some(told), Some(own)) if told != own.as_str() => {
            return Err(invalid(&format!(
                "`Content-Type` says `{told}`, `mediaType` says `{}`",
                own.as_str()
            )));
        }
        (Some(told), _) => MediaType::new(told),
        (None, _) => document.kind(),
    };
    match form {
        Form::Manifest if kind.is_manifest() => Ok(kind),
        Form::Index if kind.is_index() => Ok(kind),
        _ => Err(invalid(&format!("it doesn't have the form of `{}`", kind.as_str()))),
    }
}
