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
use crate::registry::http::feed::Feed;
use crate::registry::http::transport::Payload;
use crate::registry::knowledge::Mark;
use crate::registry::referrers::SUBJECT;
use crate::registry::remote::{Remote, check_name, check_size, confirm, kind, media_type, told, value};
use crate::registry::{RegistryError, ServerMessage};

/// How many bytes of pushed manifests are kept for the tags to come.
const MAX_KEPT: usize = 8 << 20;

impl Remote {
    /// Gives a tag to a manifest that is there. Where the tag may not be changed, it is enough that
    /// it means the manifest.
    pub(in crate::registry) async fn tag(
        &self,
        descriptor: &Descriptor,
        name: &str,
    ) -> Result<bool, RegistryError> {
        check_name(name)?;
        let kept = self.kept().get(&descriptor.digest).cloned();
        let bytes = match kept {
            Some(bytes) => bytes,
            None => match self.manifest(descriptor, Access::Push).await? {
                Some(bytes) => bytes,
                None => return Ok(false),
            },
        };
        match self.put_manifest(descriptor, name, bytes).await {
            Ok(_) => Ok(true),
            Err(refused) if may_be_immutable(&refused) => match self.meaning(descriptor, name).await {
                Ok(Some(now)) if now == descriptor.digest => Ok(true),
                Ok(Some(now)) if says_immutable(&refused) || self.known().writes(self.repository()) => {
                    let (tag, source) = (name.to_owned(), Box::new(refused));
                    Err(RegistryError::Immutable { tag, now, source })
                }
                _ => Err(refused),
            },
            Err(error) => {
                // What it names isn't there: so it can't be, either.
                if error.is_lack() {
                    self.doubt([descriptor.digest]);
                }
                Err(error)
            }
        }
    }

    /// Returns those of the tags that don't mean a manifest yet. From the first of them on, none is
    /// asked for any more: the others most likely don't either, and giving a tag costs one request
    /// whatever it means.
    pub(super) async fn untagged(
        &self,
        descriptor: &Descriptor,
        names: Vec<String>,
    ) -> Result<Vec<String>, RegistryError> {
        for (at, name) in names.iter().enumerate() {
            check_name(name)?;
            let meaning = match self.meaning(descriptor, name).await {
                // It is asked to spare requests, and so nothing hangs on what it refuses to tell.
                Err(error) if is_refusal(&error) => None,
                meaning => meaning?,
            };
            if meaning != Some(descriptor.digest) {
                if at == 0 && self.known().holds(self.repository(), descriptor) {
                    // It may have been deleted with its tag, and more with it.
                    self.exists(descriptor, Access::Push).await?;
                }
                return Ok(names[at..].to_vec());
            }
            self.known().note(self.repository(), descriptor, Mark::Held);
        }
        Ok(Vec::new())
    }

    /// GET of a manifest: what it names as blobs is there, as it is. Returns the manifests that it
    /// names.
    pub(super) async fn recall(&self, name: &str) -> Result<Vec<Descriptor>, RegistryError> {
        check_name(name)?;
        let (answer, bytes) = match self.get_manifest(name, None, Access::Push).await {
            Ok(Some(got)) => got,
            Ok(None) => return Ok(Vec::new()),
            Err(error) if is_refusal(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // What isn't understood tells nothing.
        let below = media_type(&answer).and_then(|media_type| children(&media_type, &bytes).ok());
        let (documents, blobs): (Vec<_>, Vec<_>) =
            below.unwrap_or_default().into_iter().partition(|child| kind(child) == "manifests");
        blobs.iter().for_each(|blob| self.known().note(self.repository(), blob, Mark::Held));
        Ok(documents)
    }

    /// HEAD of a tag, as a manifest of the same kind: the digest that it stands for, as far as the
    /// registry tells.
    async fn meaning(&self, descriptor: &Descriptor, name: &str) -> Result<Option<Digest>, RegistryError> {
        Ok(self.look_up(name, Some(descriptor), Access::Push).await?.and_then(|answer| told(&answer)))
    }

    /// Sends a manifest by its digest, where it isn't there; it goes by its tags later.
    pub(super) async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
    ) -> Result<Transfer, RegistryError> {
        check_size(descriptor)?;
        let bytes = feed.whole().await?;
        self.keep(descriptor.digest, &bytes);
        if self.has(descriptor).await? {
            return Ok(Transfer::Present);
        }
        let notes = self.put_manifest(descriptor, &descriptor.digest.to_string(), bytes.clone()).await?;
        self.known().note(self.repository(), descriptor, Mark::Held);
        if let Some((subject, entry)) = referral(&descriptor.media_type, &bytes) {
            match notes {
                true => self.known().keeps_referrers(true),
                // That it doesn't say so doesn't mean that it doesn't tell when it is asked.
                false => self.keep_listed(&subject, &entry).await?,
            }
        }
        Ok(Transfer::Sent)
    }

    /// Tells whether the registry notes what the manifest refers to.
    pub(in crate::registry) async fn put_manifest(
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
        self.known().wrote(self.repository());
        self.believe(&descriptor.digest);
        Ok(notes)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a manifest's bytes for the tags to come.
    pub(super) fn keep(&self, digest: Digest, bytes: &Bytes) {
        let mut kept = self.kept();
        if kept.values().map(Bytes::len).sum::<usize>() + bytes.len() > MAX_KEPT {
            kept.clear();
        }
        kept.insert(digest, bytes.clone());
    }
}

/// Tells whether the registry won't tell, which is another thing than that it can't for the moment, or
/// wants to be left alone.
fn is_refusal(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Status { status: 400..=499, .. }) && !error.is_transient()
}

/// Refusals that a tag which may not be changed is behind, with some registries.
fn may_be_immutable(error: &RegistryError) -> bool {
    match error {
        // With some that is a 400, too.
        error if error.is_lack() => false,
        RegistryError::Status { status, .. } => {
            matches!(status, 400..=499) && !matches!(status, 404 | 408 | 413 | 429)
        }
        RegistryError::Unauthorized(_) => true,
        _ => false,
    }
}

/// Refusals that name that as the reason; of others it isn't sure.
fn says_immutable(error: &RegistryError) -> bool {
    let message = match error {
        RegistryError::Status { status: 405 | 409 | 412, .. } => return true,
        RegistryError::Status { message, .. } => message,
        RegistryError::Unauthorized(refusal) => &refusal.message,
        _ => return false,
    };
    let words = format!("{message}").to_ascii_lowercase();
    ["immutable", "overwrit", "already exists", "alreadyexists", "tag_invalid"]
        .iter()
        .any(|word| words.contains(word))
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
