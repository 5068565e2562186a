//! Manifests on their way to a repository, and their tags.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use hyper::Method;
use hyper::body::Bytes;
use hyper::header;

use crate::copy::{children, referral};
use crate::digest::Digest;
use crate::event::Transfer;
use crate::oci::{Descriptor, MediaType};
use crate::registry::auth::Access;
use crate::registry::client::Call;
use crate::registry::feed::Feed;
use crate::registry::referrers::SUBJECT;
use crate::registry::remote::{Remote, check_name, check_size, confirm, value};
use crate::registry::transport::Payload;
use crate::registry::{RegistryError, ServerMessage};

/// How many bytes of pushed manifests are kept for the tags to come.
const MAX_KEPT: usize = 8 << 20;

impl Remote {
    /// Gives a tag to a manifest that is there.
    pub(super) async fn tag(&self, descriptor: &Descriptor, name: &str) -> Result<bool, RegistryError> {
        check_name(name)?;
        let kept = self.kept().get(&descriptor.digest).cloned();
        let bytes = match kept {
            Some(bytes) => bytes,
            None => match self.manifest(descriptor, Access::Push).await? {
                Some(bytes) => bytes,
                None => return Ok(false),
            },
        };
        self.put_manifest(descriptor, name, bytes).await.map(|_| true)
    }

    pub(super) async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
    ) -> Result<Transfer, RegistryError> {
        check_size(descriptor)?;
        let bytes = feed.whole().await?;
        self.keep(descriptor.digest, &bytes);
        let believes = !self.is_doubted(&descriptor.digest);
        if believes && self.exists(descriptor, Access::Push).await? {
            return Ok(Transfer::Present);
        }
        let notes = self.put_manifest(descriptor, &descriptor.digest.to_string(), bytes.clone()).await?;
        if let Some((subject, entry)) = referral(&descriptor.media_type, &bytes).filter(|_| !notes) {
            self.keep_listed(&subject, &entry).await?;
        }
        Ok(Transfer::Sent)
    }

    /// Tells whether the registry notes what the manifest refers to.
    pub(super) async fn put_manifest(
        &self,
        descriptor: &Descriptor,
        name: &str,
        bytes: Bytes,
    ) -> Result<bool, RegistryError> {
        let home = self.home().await?;
        let asking = self.asking(Access::Push, &home);
        let url = self.address(&home, "manifests", name)?;
        let media_type = value(descriptor.media_type.as_str())?;
        let call = Call::new(&asking, Method::PUT, url)
            .header(header::CONTENT_TYPE, media_type)
            .payload(Payload::Bytes(bytes.clone()));
        let mut answer = self.client().send(&call).await?;
        if answer.status.is_client_error() {
            let words = answer.words().await;
            let error = answer.error(ServerMessage::parse(&words));
            if error.is_lack() {
                self.doubt(named_below(&descriptor.media_type, &bytes, &words));
            }
            return Err(error);
        }
        let notes = answer.header(SUBJECT).is_some();
        confirm(answer, &descriptor.digest).await?;
        self.believe(&descriptor.digest);
        Ok(notes)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, digest: Digest, bytes: &Bytes) {
        let mut kept = self.kept();
        if kept.values().map(Bytes::len).sum::<usize>() + bytes.len() > MAX_KEPT {
            kept.clear();
        }
        kept.insert(digest, bytes.clone());
    }
}

/// Returns what a manifest names and an error complains of; all of it, if that names nothing.
fn named_below(media_type: &MediaType, manifest: &[u8], words: &[u8]) -> Vec<Digest> {
    // A manifest that can't be read is refused wherever it is followed.
    let below = children(media_type, manifest).unwrap_or_default();
    let below: Vec<Digest> = below.into_iter().map(|child| child.digest).collect();
    let words = String::from_utf8_lossy(words);
    let named: Vec<Digest> =
        below.iter().copied().filter(|digest| words.contains(&digest.to_string())).collect();
    if named.is_empty() { below } else { named }
}
