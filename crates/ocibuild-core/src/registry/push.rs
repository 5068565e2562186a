//! Blobs on their way to a repository.

use std::sync::Arc;

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};

use crate::event::Transfer;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::{Access, Asking};
use crate::registry::client::{Call, location};
use crate::registry::feed::Feed;
use crate::registry::mount::Mount;
use crate::registry::remote::{Remote, confirm, kind, not};
use crate::registry::transport::Payload;
use crate::registry::url::Url;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Remote {
    /// Makes sure that a blob or manifest is there.
    pub(super) async fn push(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
        origin: Option<&Repository>,
    ) -> Result<Transfer, RegistryError> {
        if kind(descriptor) == "manifests" {
            return self.push_manifest(descriptor, feed).await;
        }
        if self.exists(descriptor, Access::Push).await? {
            return Ok(Transfer::Present);
        }
        let mut place = match origin {
            Some(origin) => match self.mount(&descriptor.digest, origin).await? {
                Mount::Done => return Ok(Transfer::Mounted),
                Mount::Begun(place) => Some(place),
                Mount::Refused => None,
            },
            None => None,
        };
        let mut patience = self.client().patience(self.repository().registry()).about(descriptor.digest);
        loop {
            let error = match self.upload(descriptor, feed, place.take()).await {
                Ok(()) => return Ok(Transfer::Sent),
                Err(error) if may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            self.client().bear(&mut patience, error).await?;
            // The answer may be all that was lost.
            if self.exists(descriptor, Access::Push).await? {
                return Ok(Transfer::Sent);
            }
        }
    }

    /// POST for a place, unless there is one; PUT of all bytes
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#post-then-put)).
    async fn upload(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
        place: Option<Url>,
    ) -> Result<(), RegistryError> {
        let home = self.home().await?;
        let asking = self.asking(Access::Push, &home);
        let place = match place {
            Some(place) => place,
            None => self.begin(&asking, &home).await?,
        };
        let url = place.with_query("digest", &descriptor.digest.to_string());
        // There is nothing to send of an empty blob, but something to verify.
        let payload = match descriptor.size {
            0 => Payload::Bytes(feed.whole().await?),
            _ => Payload::Feed(Arc::clone(feed)),
        };
        let call = Call::new(&asking, Method::PUT, url).header(header::CONTENT_TYPE, OCTETS).payload(payload);
        let answer = self.client().send_once(&call).await?;
        confirm(answer, &descriptor.digest).await
    }

    /// Asks for a place to upload to.
    async fn begin(&self, asking: &Asking<'_>, home: &Url) -> Result<Url, RegistryError> {
        let url = self.address(home, "blobs/uploads", "")?;
        let answer = self.client().send(&Call::new(asking, Method::POST, url)).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(not(answer, "an upload's place").await);
        }
        location(&answer)
    }
}

/// An upload can be begun again also if the registry has forgotten it.
fn may_pass(error: &RegistryError) -> bool {
    error.is_transient()
        || matches!(error, RegistryError::Status { status: 404, method, .. } if method == "PUT")
}
