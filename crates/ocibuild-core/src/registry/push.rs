//! Blobs on their way to a repository.

use std::sync::Arc;

use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};

use crate::oci::Descriptor;
use crate::registry::RegistryError;
use crate::registry::auth::{Access, Asking};
use crate::registry::client::{Call, location};
use crate::registry::feed::Feed;
use crate::registry::remote::{Remote, confirm, not};
use crate::registry::transport::Payload;
use crate::registry::url::Url;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Remote {
    /// Sends a blob that isn't there; to this place, if the registry gave one already.
    pub(super) async fn send(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
        mut place: Option<Url>,
    ) -> Result<(), RegistryError> {
        let mut attempt = 1;
        loop {
            let error = match self.upload(descriptor, feed, place.take()).await {
                Ok(()) => {
                    self.known().body_taken(descriptor.size);
                    return Ok(());
                }
                Err(error @ RegistryError::Status { status: 413, .. }) => {
                    self.known().body_refused(descriptor.size);
                    return Err(error);
                }
                Err(error) if attempt < self.client().attempts() && may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            self.client().pause(attempt, None).await?;
            attempt += 1;
            // The answer may be all that was lost.
            if self.exists(descriptor, Access::Push).await.map_err(|_| error)? {
                return Ok(());
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
