//! What refers to a manifest, as a registry tells it: by its API, or where it has none by an index
//! under a tag that clients keep
//! ([distribution-spec, listing referrers](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers)).
//!
//! Filters aren't asked for, so what a registry says of having applied some doesn't matter.

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use crate::blob::BlobError;
use crate::copy::{Listing, Referrers, referral};
use crate::digest::Digest;
use crate::oci::{Descriptor, IndexFile, JsonError, MAX_MANIFEST_SIZE, MediaType};
use crate::registry::auth::Access;
use crate::registry::client::Call;
use crate::registry::http::transport::Answer;
use crate::registry::http::url::Url;
use crate::registry::remote::{Remote, media_type};
use crate::registry::{RegistryError, RemoteRepository};

/// A registry that knows what refers to what says so when it is sent a manifest.
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const INDEX: HeaderValue = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");

/// The most pages of one list.
const MAX_PAGES: usize = 1000;
/// The most entries of one list.
const MAX_ENTRIES: usize = 10_000;
/// How often a list is written anew that others write at the same time.
const MAX_ATTEMPTS: u32 = 5;

/// The tag of the list that clients keep.
pub(super) fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm(), &hex[..hex.len().min(64)])
}

impl Remote {
    /// Returns what refers to a manifest, by whichever way the registry has.
    pub(super) async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        let found = match self.known().referrers() {
            Some(false) => None,
            _ => self.referrers_of_api(subject).await?,
        };
        match found {
            Some(found) => Ok(found),
            None => Ok(self.fallback(subject).await?.map(|index| index.descriptors()).unwrap_or_default()),
        }
    }

    /// Nothing, if the registry doesn't know the question.
    async fn referrers_of_api(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let home = self.home().await?;
        let mut url = self.address(&home, "referrers", &subject.to_string())?;
        let mut found = Vec::new();
        for page in 0..MAX_PAGES {
            let asking = self.asking(Access::Pull, &home);
            let call = Call::new(&asking, Method::GET, url).header(header::ACCEPT, INDEX);
            let (mut answer, bytes) = self.document(&call, "a page of referrers").await?;
            match answer.status {
                StatusCode::OK => {}
                // What a registry says that doesn't know of referrers.
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED
                    if page == 0 =>
                {
                    // One that does may say the same of a repository that isn't there.
                    if answer.message().await.code.is_none_or(|code| code != "NAME_UNKNOWN") {
                        self.known().keeps_referrers(false);
                    }
                    return Ok(None);
                }
                _ => return Err(answer.into_error().await),
            }
            if media_type(&answer) != Some(MediaType::INDEX) {
                return if page == 0 { Ok(None) } else { Err(answer.odd("no index of referrers")) };
            }
            found.extend(parse(&answer, &bytes)?.descriptors());
            if found.len() > MAX_ENTRIES {
                return Err(answer.odd(format!("more than {MAX_ENTRIES} referrers")));
            }
            match next_page(&answer, &home)? {
                Some(next) => url = next,
                None => {
                    self.known().keeps_referrers(true);
                    return Ok(Some(found));
                }
            }
        }
        let reason = format!("referrers on more than {MAX_PAGES} pages");
        Err(RegistryError::Answer { method: "GET".to_owned(), url: home.to_string(), reason })
    }

    /// The list that clients keep, if there is one.
    async fn fallback(&self, subject: &Digest) -> Result<Option<IndexFile>, RegistryError> {
        let got = self.get_manifest(&fallback_tag(subject), None, Access::Pull).await?;
        got.map(|(answer, bytes)| parse(&answer, &bytes)).transpose()
    }

    /// Puts a manifest into the list of what refers to its subject, where clients keep that.
    ///
    /// Several may do so at once, and the last one wins: so the list is read again, and written
    /// again if the entry isn't in it any more.
    pub(super) async fn keep_listed(
        &self,
        subject: &Descriptor,
        entry: &Descriptor,
    ) -> Result<(), RegistryError> {
        let tag = fallback_tag(&subject.digest);
        for attempt in 1..=MAX_ATTEMPTS {
            let mut index = self.fallback(&subject.digest).await?.unwrap_or_default();
            if !index.add(entry) {
                return Ok(());
            }
            let bytes = index.to_bytes().map_err(|_| RegistryError::TooLarge {
                digest: subject.digest,
                size: MAX_MANIFEST_SIZE + 1,
            })?;
            let list = Descriptor::of(MediaType::INDEX, &bytes);
            self.put_manifest(&list, &tag, bytes.into()).await?;
            if attempt > 1 {
                self.client().pause(attempt - 1).await?;
            }
        }
        match self.fallback(&subject.digest).await? {
            Some(index) if index.descriptors().iter().any(|one| one.digest == entry.digest) => Ok(()),
            _ => Err(RegistryError::Contended { tag }),
        }
    }

    /// Makes sure that what refers to something is listed as that.
    async fn list(&self, referrer: &Descriptor) -> Result<bool, RegistryError> {
        let Some(bytes) = self.manifest(referrer, Access::Push).await? else { return Ok(false) };
        let Some((subject, entry)) = referral(&referrer.media_type, &bytes) else { return Ok(true) };
        if !self.keeps_lists(&subject.digest).await? {
            self.keep_listed(&subject, &entry).await?;
        }
        Ok(true)
    }

    /// Tells whether the registry lists what refers to what itself: one that answers the question
    /// does. Where it didn't in an earlier run, a list is written even if it does by now: that harms
    /// nothing.
    async fn keeps_lists(&self, subject: &Digest) -> Result<bool, RegistryError> {
        let known = self.known();
        match known.referrers() {
            Some(yes) => Ok(yes),
            None if known.had_no_referrers() => Ok(false),
            None => Ok(self.referrers_of_api(subject).await?.is_some()),
        }
    }
}

fn parse(answer: &Answer, bytes: &[u8]) -> Result<IndexFile, RegistryError> {
    IndexFile::parse(bytes).map_err(|error| match error {
        JsonError::Form(error) => answer.odd(format!("no index of referrers: {error}")),
        error => answer.odd(error.to_string()),
    })
}

/// Returns where a list goes on: at the same registry.
fn next_page(answer: &Answer, home: &Url) -> Result<Option<Url>, RegistryError> {
    let links: Vec<&str> = answer.headers(header::LINK).flat_map(|links| links.split(',')).collect();
    let next = links.iter().find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |parameter: &str| {
            let parameter = parameter.trim().to_ascii_lowercase();
            parameter == "rel=next" || parameter == "rel=\"next\""
        };
        parameters.split(';').any(is_next).then_some(target)
    });
    let Some(next) = next else { return Ok(None) };
    let url = answer.url().join(next).map_err(|reason| answer.odd(format!("{reason} as its next page")))?;
    match url.origin() == home.origin() {
        true => Ok(Some(url)),
        false => Err(answer.odd(format!("a next page elsewhere: `{url}`"))),
    }
}

impl Referrers for RemoteRepository {
    fn referrers(&self, subject: &Descriptor) -> Result<Vec<Descriptor>, BlobError> {
        let (remote, digest) = (self.remote().clone(), subject.digest);
        let result = self.runtime().wait(async move { remote.referrers(&digest).await }, || ());
        self.judge(result, subject)
    }
}

impl Listing for RemoteRepository {
    /// Registries that know of referrers keep the list; else it is the index under the tag that
    /// the specification has for it.
    fn list(&self, referrer: &Descriptor) -> Result<(), BlobError> {
        let (remote, descriptor) = (self.remote().clone(), referrer.clone());
        let result = self.runtime().wait(async move { remote.list(&descriptor).await }, || ());
        self.tagged(result, referrer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_tag_is_a_tag() {
        let digest = Digest::of(b"");
        assert_eq!(fallback_tag(&digest), digest.to_string().replace(':', "-"));
        let long: Digest = format!("sha512:{}", "a".repeat(128)).parse().unwrap();
        assert_eq!(fallback_tag(&long), format!("sha512-{}", "a".repeat(64)));
    }
}
