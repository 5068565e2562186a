//! Blobs taken over from another repository of the same registry.

use hyper::{Method, StatusCode};

use crate::digest::Digest;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::Access;
use crate::registry::client::{Call, location};
use crate::registry::remote::{Remote, confirm};
use crate::registry::url::Url;

/// What came of asking for a mount.
pub(super) enum Mount {
    Done,
    /// The registry would rather be sent the bytes, to this address.
    Begun(Url),
    Refused,
}

impl Remote {
    /// Returns the repository among these that this one can mount blobs from: another one of the
    /// same registry.
    pub(super) fn neighbour<'r>(&self, origins: &'r [Repository]) -> Option<&'r Repository> {
        let is_near = |other: &&Repository| {
            other.registry() == self.repository().registry() && other.path() != self.repository().path()
        };
        origins.iter().find(is_near)
    }

    /// Has the registry take a blob over from another of its repositories
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository)).
    /// Whatever it answers but that it did: there is another way, so that is no error.
    pub(super) async fn mount(&self, digest: &Digest, from: &Repository) -> Result<Mount, RegistryError> {
        let home = self.home().await?;
        let asking = self.asking(Access::Push, &home).reading(std::slice::from_ref(from));
        let url = self.address(&home, "blobs/uploads", "")?;
        let url = url.with_query("mount", &digest.to_string()).with_query("from", from.path());
        let answer = match self.client().send_once(&Call::new(&asking, Method::POST, url)).await {
            Ok(answer) => answer,
            Err(error @ RegistryError::Cancelled(_)) => return Err(error),
            Err(_) => return Ok(Mount::Refused),
        };
        match answer.status {
            StatusCode::CREATED => Ok(confirm(answer, digest).await.map_or(Mount::Refused, |()| Mount::Done)),
            StatusCode::ACCEPTED => Ok(location(&answer).map_or(Mount::Refused, Mount::Begun)),
            _ => Ok(Mount::Refused),
        }
    }
}
