//! Lists: tags, repositories, referrers
//! ([content discovery](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#content-discovery)).

use hyper::StatusCode;
use ocibuild_core::oci::{Descriptor, Index, MAX_MANIFEST_SIZE, MediaType, to_json};
use serde_json::json;

use super::{Call, Handler, Trouble, digest_of};
use crate::error::{Code, Refusal};
use crate::reply::Reply;
use crate::route::encode;
use crate::storage::Document;

/// The most names in one answer; the rest is behind its `Link`.
const MAX_NAMES: usize = 10_000;

/// What a list of referrers may take, in bytes, so that it is a document that anybody takes.
const MAX_REFERRERS: usize = MAX_MANIFEST_SIZE as usize - (64 << 10);

impl Handler {
    pub(super) fn tags(&self, name: &str, call: &Call) -> Result<Reply, Trouble> {
        if !self.storage.exists(name)? {
            let detail = json!({ "name": name });
            let message = "repository name not known to registry";
            return Err(Refusal::with_details(Code::NameUnknown, message, [detail]).into());
        }
        let names = self.storage.names()?;
        let (tags, next) = page(names.tags(name).map(|(tag, _)| tag.as_str()), call)?;
        let reply = Reply::json(&json!({ "name": name, "tags": tags }));
        Ok(linked(reply, &format!("/v2/{name}/tags/list"), next))
    }

    pub(super) fn catalog(&self, call: &Call) -> Result<Reply, Trouble> {
        let all = self.storage.catalog()?;
        let (repositories, next) = page(all.iter().map(String::as_str), call)?;
        Ok(linked(Reply::json(&json!({ "repositories": repositories })), "/v2/_catalog", next))
    }

    /// What nobody refers to, or isn't there, has an empty list.
    pub(super) fn referrers(&self, name: &str, subject: &str, call: &Call) -> Result<Reply, Trouble> {
        let subject = digest_of(subject)?;
        let wanted = call.query.get("artifactType");
        let last = call.query.get("last");
        let (mut found, mut size, mut next) = (Vec::new(), 0, None);
        for digest in self.storage.manifests(name)? {
            if last.is_some_and(|last| digest.to_string().as_str() <= last) {
                continue;
            }
            let Some(document) = self.storage.document(&digest) else { continue };
            if document.subject.as_ref().is_none_or(|one| one.digest != subject) {
                continue;
            }
            let Some(kind) = self.storage.manifest(name, &digest)? else { continue };
            let descriptor = referrer(&document, kind, digest);
            let is_wanted =
                |kind: &str| descriptor.artifact_type.as_ref().is_some_and(|own| own.as_str() == kind);
            if !wanted.is_none_or(is_wanted) {
                continue;
            }
            size += to_json(&descriptor).len() + 1;
            if size > MAX_REFERRERS && !found.is_empty() {
                next = found.last().map(|last: &Descriptor| last.digest.to_string());
                break;
            }
            found.push(descriptor);
        }
        let reply = Reply::new(StatusCode::OK)
            .header("Content-Type", MediaType::INDEX.as_str())
            .bytes(to_json(&Index::new(found)));
        let path = format!("/v2/{name}/referrers/{subject}");
        let next = next.map(|last| match wanted {
            Some(wanted) => format!("artifactType={}&last={}", encode(wanted), encode(&last)),
            None => format!("last={}", encode(&last)),
        });
        let reply = linked(reply, &path, next);
        Ok(if wanted.is_some() { reply.header("OCI-Filters-Applied", "artifactType") } else { reply })
    }
}

/// An artifact's kind is what it says, else that of its config.
fn referrer(document: &Document, kind: MediaType, digest: ocibuild_core::Digest) -> Descriptor {
    let config = document.config.as_ref().map(|config| config.media_type.clone());
    let mut descriptor = Descriptor::new(kind, digest, document.size);
    descriptor.artifact_type = document.artifact_type.clone().or(config);
    descriptor.annotations = document.annotations.clone().unwrap_or_default();
    descriptor
}

/// Takes the names that `n` and `last` want, and says how to ask for the next.
fn page<'a>(
    names: impl Iterator<Item = &'a str>,
    call: &Call,
) -> Result<(Vec<&'a str>, Option<String>), Refusal> {
    let wanted = match call.query.get("n") {
        None => MAX_NAMES,
        Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().unwrap_or(MAX_NAMES).min(MAX_NAMES)
        }
        Some(text) => {
            let message = format!("`n` is a number of names, not `{text}`");
            return Err(Refusal::new(Code::PaginationInvalid, message));
        }
    };
    let last = call.query.get("last");
    let mut names = names.filter(|name| last.is_none_or(|last| *name > last));
    let page: Vec<&str> = names.by_ref().take(wanted).collect();
    let next = match (page.last(), names.next()) {
        (Some(last), Some(_)) => Some(format!("n={wanted}&last={}", encode(last))),
        _ => None,
    };
    Ok((page, next))
}

fn linked(reply: Reply, path: &str, next: Option<String>) -> Reply {
    match next {
        Some(next) => reply.header("Link", format!("<{path}?{next}>; rel=\"next\"")),
        None => reply,
    }
}
