//! The verbs of the distribution specification, for one repository; run on the requests' thread.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use crate::copy::referral;
use crate::digest::Digest;
use crate::event::Transfer;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, MediaType};
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::{Access, Asking};
use crate::registry::client::{Call, Client, location};
use crate::registry::error::tidy;
use crate::registry::feed::Feed;
use crate::registry::referrers::SUBJECT;
use crate::registry::transport::{Answer, Payload};
use crate::registry::url::Url;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// How many bytes of pushed manifests are kept for the tags to come.
const MAX_KEPT: usize = 8 << 20;

/// A repository, as jobs carry it.
#[derive(Clone)]
pub(super) struct Remote {
    client: Arc<Client>,
    repository: Repository,
    kept: Arc<Mutex<BTreeMap<Digest, Bytes>>>,
}

/// What came of asking for a mount.
enum Mount {
    Done,
    /// The registry would rather be sent the bytes, to this address.
    Begun(Url),
    Refused,
}

impl Remote {
    pub(super) fn new(client: Arc<Client>, repository: Repository) -> Self {
        Self { client, repository, kept: Arc::default() }
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Asks whether the registry lets us in, whatever we may do there.
    pub(super) async fn enter(&self) -> Result<(), RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(Access::Enter, &home);
        let url = home.join("/v2/");
        let url = url.map_err(|reason| RegistryError::Host {
            registry: self.repository.registry().to_owned(),
            reason,
        })?;
        let answer = self.client.send(&Call::new(&asking, Method::GET, url)).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.into_error().await) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the address that the registry is reached at.
    pub(super) async fn home(&self) -> Result<Url, RegistryError> {
        self.client.home(&self.repository).await
    }

    /// HEAD of a blob or manifest.
    pub(super) async fn exists(
        &self,
        descriptor: &Descriptor,
        access: Access,
    ) -> Result<bool, RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(access, &home);
        let url = self.address(&home, kind(descriptor), &descriptor.digest.to_string())?;
        let call = accept(Call::new(&asking, Method::HEAD, url), Some(descriptor))?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(answer.into_error().await),
        }
    }

    /// Asks for all at once; the transport bounds how many requests are under way.
    pub(super) async fn missing(
        self,
        descriptors: Vec<Descriptor>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let mut asked = tokio::task::JoinSet::new();
        for (at, descriptor) in descriptors.iter().cloned().enumerate() {
            let remote = self.clone();
            asked.spawn(async move { (at, remote.exists(&descriptor, Access::Push).await) });
        }
        let mut there = vec![false; descriptors.len()];
        while let Some(answer) = asked.join_next().await {
            let (at, exists) = answer.map_err(|_| RegistryError::Ended)?;
            there[at] = exists?;
        }
        Ok(descriptors.into_iter().zip(there).filter(|(_, there)| !there).map(|(one, _)| one).collect())
    }

    /// GET of a manifest by digest, verified; `None` if it isn't there.
    pub(super) async fn manifest(
        &self,
        descriptor: &Descriptor,
        access: Access,
    ) -> Result<Option<Bytes>, RegistryError> {
        let digest = descriptor.digest;
        check_size(descriptor)?;
        let got = self.get_manifest(&digest.to_string(), Some(descriptor), access).await?;
        let Some((answer, bytes)) = got else { return Ok(None) };
        if bytes.len() as u64 != descriptor.size || !is(&bytes, &digest) {
            return Err(answer.odd(format!("bytes that are not those of `{digest}`")));
        }
        Ok(Some(bytes))
    }

    pub(super) async fn get_manifest(
        &self,
        name: &str,
        descriptor: Option<&Descriptor>,
        access: Access,
    ) -> Result<Option<(Answer, Bytes)>, RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(access, &home);
        let url = self.address(&home, "manifests", name)?;
        let call = accept(Call::new(&asking, Method::GET, url), descriptor)?;
        let mut answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(answer.into_error().await),
        }
        let bytes = answer.bytes(usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX)).await?;
        match bytes {
            Some(bytes) => Ok(Some((answer, bytes))),
            None => Err(answer.odd(format!("a manifest of more than {MAX_MANIFEST_SIZE} bytes"))),
        }
    }

    /// Starts to read a blob, from an offset on; bytes before it may have to be skipped.
    pub(super) async fn open(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<Option<(Answer, u64)>, RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(Access::Pull, &home);
        let url = self.address(&home, "blobs", &digest.to_string())?;
        let mut call = Call::new(&asking, Method::GET, url);
        if offset > 0 {
            call = call.header(header::RANGE, value(&format!("bytes={offset}-"))?);
        }
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => Ok(Some((answer, offset))),
            StatusCode::PARTIAL_CONTENT if begins_at(&answer, offset) => Ok(Some((answer, 0))),
            StatusCode::PARTIAL_CONTENT => Err(answer.odd("another part of the blob than was asked for")),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(answer.into_error().await),
        }
    }

    /// Looks a tag or digest up; `None` if nothing has that name.
    pub(super) async fn resolve(&self, name: &str) -> Result<Option<Descriptor>, RegistryError> {
        check_name(name)?;
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(Access::Pull, &home);
        let url = self.address(&home, "manifests", name)?;
        let answer = self.client.send(&accept(Call::new(&asking, Method::HEAD, url), None)?).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(answer.into_error().await),
        }
        if let Some(descriptor) = described(&answer, name) {
            return Ok(Some(descriptor));
        }
        // Some registries tell less of a manifest than the specification asks for.
        let got = self.get_manifest(name, None, Access::Pull).await?;
        let Some((answer, bytes)) = got else { return Ok(None) };
        let media_type = media_type(&answer).ok_or_else(|| answer.odd("no `Content-Type`"))?;
        let digest = name.parse().ok().filter(|digest| is(&bytes, digest));
        match digest.or_else(|| (!name.contains(':')).then(|| Digest::of(&bytes))) {
            Some(digest) => Ok(Some(Descriptor::new(media_type, digest, bytes.len() as u64))),
            None => Err(answer.odd(format!("bytes that are not those of `{name}`"))),
        }
    }

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
        let mut attempt = 1;
        loop {
            let error = match self.upload(descriptor, feed, place.take()).await {
                Ok(()) => return Ok(Transfer::Sent),
                Err(error) if attempt < self.client.attempts() && may_pass(&error) => error,
                Err(error) => return Err(error),
            };
            self.client.pause(attempt, None).await?;
            attempt += 1;
            // The answer may be all that was lost.
            if self.exists(descriptor, Access::Push).await.map_err(|_| error)? {
                return Ok(Transfer::Sent);
            }
        }
    }

    /// Returns the repository among these that this one can mount blobs from: another one of the
    /// same registry.
    pub(super) fn neighbour<'r>(&self, origins: &'r [Repository]) -> Option<&'r Repository> {
        let is_near = |other: &&Repository| {
            other.registry() == self.repository.registry() && other.path() != self.repository.path()
        };
        origins.iter().find(is_near)
    }

    /// Has the registry take a blob over from another of its repositories
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#mounting-a-blob-from-another-repository)).
    /// Whatever it answers but that it did: there is another way, so that is no error.
    async fn mount(&self, digest: &Digest, from: &Repository) -> Result<Mount, RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(Access::Push, &home).reading(std::slice::from_ref(from));
        let url = self.address(&home, "blobs/uploads", "")?;
        let url = url.with_query("mount", &digest.to_string()).with_query("from", from.path());
        let answer = match self.client.send_once(&Call::new(&asking, Method::POST, url)).await {
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

    /// POST for a place, unless there is one; PUT of all bytes
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#post-then-put)).
    async fn upload(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
        place: Option<Url>,
    ) -> Result<(), RegistryError> {
        let home = self.client.home(&self.repository).await?;
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
        let answer = self.client.send_once(&call).await?;
        confirm(answer, &descriptor.digest).await
    }

    /// Asks for a place to upload to.
    async fn begin(&self, asking: &Asking<'_>, home: &Url) -> Result<Url, RegistryError> {
        let url = self.address(home, "blobs/uploads", "")?;
        let answer = self.client.send(&Call::new(asking, Method::POST, url)).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(not(answer, "an upload's place").await);
        }
        location(&answer)
    }

    async fn push_manifest(
        &self,
        descriptor: &Descriptor,
        feed: &Arc<Feed>,
    ) -> Result<Transfer, RegistryError> {
        check_size(descriptor)?;
        let bytes = feed.whole().await?;
        self.keep(descriptor.digest, &bytes);
        if self.exists(descriptor, Access::Push).await? {
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
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(Access::Push, &home);
        let url = self.address(&home, "manifests", name)?;
        let media_type = value(descriptor.media_type.as_str())?;
        let call = Call::new(&asking, Method::PUT, url)
            .header(header::CONTENT_TYPE, media_type)
            .payload(Payload::Bytes(bytes));
        let answer = self.client.send(&call).await?;
        let notes = answer.header(SUBJECT).is_some();
        confirm(answer, &descriptor.digest).await.map(|()| notes)
    }

    pub(super) fn asking<'a>(&'a self, access: Access, home: &'a Url) -> Asking<'a> {
        Asking::new(&self.repository, access, home)
    }

    pub(super) fn address(&self, home: &Url, kind: &str, name: &str) -> Result<Url, RegistryError> {
        home.join(&format!("/v2/{}/{kind}/{name}", self.repository.path()))
            .map_err(|reason| RegistryError::Host { registry: self.repository.registry().to_owned(), reason })
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

fn kind(descriptor: &Descriptor) -> &'static str {
    let media_type = &descriptor.media_type;
    if media_type.is_manifest() || media_type.is_index() { "manifests" } else { "blobs" }
}

/// A registry answers with the form of a manifest that the header allows.
fn accept<'a>(call: Call<'a>, descriptor: Option<&Descriptor>) -> Result<Call<'a>, RegistryError> {
    let known = [MediaType::INDEX, MediaType::MANIFEST, MediaType::DOCKER_LIST, MediaType::DOCKER_MANIFEST];
    let text = match descriptor {
        Some(descriptor) if kind(descriptor) == "blobs" => return Ok(call),
        Some(descriptor) => descriptor.media_type.to_string(),
        None => known.map(|media_type| media_type.to_string()).join(", "),
    };
    Ok(call.header(header::ACCEPT, value(&text)?))
}

fn value(text: &str) -> Result<HeaderValue, RegistryError> {
    HeaderValue::from_str(text).map_err(|_| RegistryError::Name { name: text.to_owned() })
}

/// A tag, or a digest
/// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests)).
fn check_name(name: &str) -> Result<(), RegistryError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_tag =
        !name.is_empty() && name.len() <= 128 && !name.starts_with(['.', '-']) && name.chars().all(fits);
    if is_tag || name.parse::<Digest>().is_ok() {
        return Ok(());
    }
    Err(RegistryError::Name { name: name.chars().take(200).collect() })
}

fn check_size(descriptor: &Descriptor) -> Result<(), RegistryError> {
    let Descriptor { digest, size, .. } = *descriptor;
    if size > MAX_MANIFEST_SIZE { Err(RegistryError::TooLarge { digest, size }) } else { Ok(()) }
}

fn is(bytes: &[u8], digest: &Digest) -> bool {
    let mut reader = crate::digest::VerifyingReader::new(bytes, *digest, bytes.len() as u64);
    std::io::copy(&mut reader, &mut std::io::sink()).is_ok()
}

pub(super) fn media_type(answer: &Answer) -> Option<MediaType> {
    let text = answer.header(header::CONTENT_TYPE)?.split(';').next()?.trim();
    Some(MediaType::new(text)).filter(|_| !text.is_empty())
}

/// Reads a descriptor from the answer to a HEAD, if all of it is there.
fn described(answer: &Answer, name: &str) -> Option<Descriptor> {
    let digest: Digest = answer.header(CONTENT_DIGEST)?.parse().ok()?;
    let size = answer.header(header::CONTENT_LENGTH)?.parse().ok().filter(|size| *size > 0)?;
    let fits = !name.contains(':') || name == digest.to_string();
    Some(Descriptor::new(media_type(answer)?, digest, size)).filter(|_| fits)
}

fn begins_at(answer: &Answer, offset: u64) -> bool {
    let range = answer.header(header::CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.trim().parse().ok()) == Some(offset)
}

async fn confirm(answer: Answer, digest: &Digest) -> Result<(), RegistryError> {
    if !matches!(answer.status, StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT) {
        return Err(not(answer, "a confirmation").await);
    }
    match answer.header(CONTENT_DIGEST) {
        // A registry may name what it got by another algorithm.
        Some(other)
            if other.starts_with("sha256:")
                && digest.algorithm() == "sha256"
                && other != digest.to_string() =>
        {
            Err(answer.odd(format!("the digest `{}`, after being sent `{digest}`", tidy(other))))
        }
        _ => Ok(()),
    }
}

async fn not(answer: Answer, what: &str) -> RegistryError {
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return answer.into_error().await;
    }
    answer.odd(format!("{} instead of {what}", answer.status.as_u16()))
}

/// An upload can be begun again also if the registry has forgotten it.
fn may_pass(error: &RegistryError) -> bool {
    error.is_transient()
        || matches!(error, RegistryError::Status { status: 404, method, .. } if method == "PUT")
}
