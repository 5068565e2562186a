//! Blobs on their way to a repository.

use std::sync::Arc;

use crate::event::Transfer;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::Access;
use crate::registry::feed::Feed;
use crate::registry::mount::Mount;
use crate::registry::remote::{Remote, kind};
use crate::registry::upload::{Session, Upload};

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
        let believes = !self.is_doubted(&descriptor.digest);
        if believes && self.exists(descriptor, Access::Push).await? {
            return Ok(Transfer::Present);
        }
        let session = match origin.filter(|_| believes) {
            Some(origin) => match self.mount(&descriptor.digest, origin).await? {
                Mount::Done => return Ok(Transfer::Mounted),
                Mount::Begun(place) => Some(Session::new(place)),
                Mount::Refused => None,
            },
            None => None,
        };
        let home = self.home().await?;
        let asking = self.asking(Access::Push, &home);
        let upload = Upload::new(self, descriptor, feed, &asking).session(session).believes(believes);
        upload.run().await?;
        self.believe(&descriptor.digest);
        Ok(Transfer::Sent)
    }
}
