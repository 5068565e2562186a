//! Blobs on their way to a repository.

mod manifests;
mod mount;
mod publish;
mod session;
mod upload;

use std::sync::Arc;

use crate::oci::Descriptor;
use crate::registry::RegistryError;
use crate::registry::auth::Access;
use crate::registry::http::feed::Feed;
use crate::registry::push::session::Session;
use crate::registry::push::upload::Upload;
use crate::registry::remote::Remote;

impl Remote {
    /// Sends a blob that isn't there; in this session, if the registry began one already.
    async fn send(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
        session: Option<Session>,
    ) -> Result<(), RegistryError> {
        let home = self.home().await?;
        let asking = self.asking(Access::Push, &home);
        let believes = !self.is_doubted(&descriptor.digest);
        let upload = Upload::new(self, descriptor, feed, &asking).session(session);
        upload.believes(believes).run().await?;
        self.believe(&descriptor.digest);
        Ok(())
    }
}
