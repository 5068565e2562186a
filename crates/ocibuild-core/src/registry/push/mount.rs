//! Blobs brought to a repository with as little as it takes: known to be there, found there, taken
//! over from another repository of the same registry, or sent.

use std::sync::Arc;

use hyper::{Method, StatusCode};

use crate::event::Transfer;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::Access;
use crate::registry::client::Call;
use crate::registry::error::may_pass;
use crate::registry::http::feed::Feed;
use crate::registry::http::transport::Answer;
use crate::registry::knowledge::Mark;
use crate::registry::push::session::Session;
use crate::registry::remote::{Remote, confirm, kind};

/// How many repositories are tried for one blob.
const MAX_TRIES: usize = 2;

/// What came of asking for a mount.
enum Mount {
    Done,
    /// The registry would rather be sent the bytes.
    Begun(Session),
    Refused(Why),
}

enum Why {
    /// Nothing may be read from there.
    Closed,
    /// It isn't there, or it doesn't do that.
    Unable,
    /// It has a bad day.
    Passing,
}

impl Remote {
    /// Makes sure that a blob or manifest is there. `origins` are repositories that should have it.
    ///
    /// Of several who bring one blob to one registry at the same time the others wait for the first:
    /// then it is there, or can be mounted.
    pub(in crate::registry) async fn deliver(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
        origins: &[Repository],
    ) -> Result<Transfer, RegistryError> {
        if kind(descriptor) == "manifests" {
            return self.push_manifest(descriptor, feed).await;
        }
        let known = self.known();
        let _turn = match known.mounts() {
            true => Some(known.turn(&descriptor.digest, self.client().watch()).await?),
            false => None,
        };
        if self.has(descriptor).await? {
            return Ok(Transfer::Present);
        }
        let mount = match self.is_doubted(&descriptor.digest) {
            true => Mount::Refused(Why::Unable),
            false => self.mount_from_any(descriptor, origins).await?,
        };
        let session = match mount {
            Mount::Done => {
                known.note(self.repository(), descriptor, Mark::Held);
                return Ok(Transfer::Mounted);
            }
            Mount::Begun(session) => Some(session),
            Mount::Refused(_) => None,
        };
        self.send(descriptor, feed, session).await?;
        known.note(self.repository(), descriptor, Mark::Held);
        Ok(Transfer::Sent)
    }

    /// Tells whether a blob or manifest is there, and asks only where that isn't known.
    pub(in crate::registry) async fn has(&self, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        if self.is_doubted(&descriptor.digest) {
            return Ok(false);
        }
        let known = self.known();
        if known.holds(self.repository(), descriptor) {
            return Ok(true);
        }
        Ok(!known.lacks(self.repository(), descriptor) && self.exists(descriptor, Access::Push).await?)
    }

    /// Tries the repositories that a blob may be mounted from. The first that it may be sent to
    /// instead ends that.
    async fn mount_from_any(
        &self,
        blob: &Descriptor,
        origins: &[Repository],
    ) -> Result<Mount, RegistryError> {
        let known = self.known();
        for (from, is_sure) in self.neighbours(blob, origins).into_iter().take(MAX_TRIES) {
            // It may have learned better by the first.
            if !known.mounts() {
                break;
            }
            let mount = self.mount(blob, &from).await?;
            match &mount {
                Mount::Done => {
                    known.mounted(true);
                    known.note(&from, blob, Mark::Held);
                    return Ok(mount);
                }
                Mount::Begun(_) => {
                    // What should be there may not be: that is no fault of the registry's.
                    if is_sure {
                        known.mounted(false);
                    }
                    return Ok(mount);
                }
                Mount::Refused(Why::Closed) => known.close(&from, self.repository()),
                Mount::Refused(Why::Unable) => known.mounted(false),
                Mount::Refused(Why::Passing) => {}
            }
        }
        Ok(Mount::Refused(Why::Unable))
    }

    /// The other repositories of the same registry that a blob can be had from, and whether it is
    /// sure to be there: first those, and of these first the ones it comes from.
    fn neighbours(&self, blob: &Descriptor, origins: &[Repository]) -> Vec<(Repository, bool)> {
        let known = self.known();
        let mut found = known.holders(blob);
        for origin in origins {
            if origin.registry() == self.repository().registry()
                && !found.iter().any(|(holder, _)| holder == origin)
            {
                found.push((origin.clone(), false));
            }
        }
        found.retain(|(other, _)| {
            other.path() != self.repository().path() && !known.is_closed(other, self.repository())
        });
        found.sort_by_key(|(other, is_sure)| (!is_sure, !origins.contains(other)));
        found
    }

    /// Has the registry take a blob over from another of its repositories
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository)).
    /// Whatever it answers but that it did: there is another way, so that is no error.
    async fn mount(&self, blob: &Descriptor, from: &Repository) -> Result<Mount, RegistryError> {
        let home = self.home().await?;
        let asking = self.asking(Access::Push, &home).reading(std::slice::from_ref(from));
        let url = self.address(&home, "blobs/uploads", "")?;
        let url = url.with_query("mount", &blob.digest.to_string()).with_query("from", from.path());
        let answer = match self.once_more(&Call::new(&asking, Method::POST, url)).await {
            Ok(answer) => answer,
            Err(error @ RegistryError::Cancelled(_)) => return Err(error),
            // The token server refuses that, too.
            Err(RegistryError::Unauthorized(_)) => return Ok(Mount::Refused(Why::Closed)),
            Err(_) => return Ok(Mount::Refused(Why::Passing)),
        };
        let unable = Mount::Refused(Why::Unable);
        Ok(match answer.status {
            StatusCode::CREATED => confirm(answer, &blob.digest).await.map_or(unable, |()| Mount::Done),
            StatusCode::ACCEPTED => Session::of(&answer).map_or(unable, Mount::Begun),
            // Neither the one nor the other repository: that says nothing of mounts.
            StatusCode::NOT_FOUND => Mount::Refused(Why::Closed),
            status if status.is_client_error() => unable,
            _ => Mount::Refused(Why::Passing),
        })
    }

    /// Sends a request twice at most where the fault seems to pass, as there is another way; but waits
    /// where the registry asks for that, as it would for any.
    async fn once_more(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut patience = self.client().patience();
        let mut is_last = false;
        loop {
            let error = match self.client().send_once(call).await {
                Ok(answer) if may_pass(answer.status.as_u16()) => answer.into_error().await,
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_last && error.retry_after().is_none() {
                return Err(error);
            }
            self.client().again(&mut patience, error).await?;
            is_last = true;
        }
    }
}
