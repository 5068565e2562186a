//! The verbs of the distribution specification, for one repository; run on the requests' thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use crate::digest::Digest;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, MediaType};
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::{Access, Asking};
use crate::registry::client::{Call, Client};
use crate::registry::error::tidy;
use crate::registry::http::transport::Answer;
use crate::registry::http::url::Url;
use crate::registry::knowledge::{Known, Mark};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A repository, as jobs carry it.
#[derive(Clone)]
pub(super) struct Remote {
    client: Arc<Client>,
    repository: Repository,
    /// Manifests that were pushed, for the tags to come.
    pub(super) kept: Arc<Mutex<BTreeMap<Digest, Bytes>>>,
    /// What the registry said it had, and hasn't: of these it isn't believed again until they were
    /// sent.
    doubted: Arc<Mutex<BTreeSet<Digest>>>,
}

impl Remote {
    pub(super) fn new(client: Arc<Client>, repository: Repository) -> Self {
        Self { client, repository, kept: Arc::default(), doubted: Arc::default() }
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// No longer believes that these are there.
    pub(super) fn doubt(&self, digests: impl IntoIterator<Item = Digest>) {
        let known = self.known();
        let mut doubted = self.doubted();
        for digest in digests {
            known.doubt(&self.repository, &digest);
            doubted.insert(digest);
        }
    }

    /// Tells whether the registry was wrong to say that it is there.
    pub(super) fn is_doubted(&self, digest: &Digest) -> bool {
        self.doubted().contains(digest)
    }

    /// Believes again that it is there: it was sent.
    pub(super) fn believe(&self, digest: &Digest) {
        self.doubted().remove(digest);
    }

    fn doubted(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// What is known of the registry.
    pub(super) fn known(&self) -> Arc<Known> {
        self.client.knowledge().of(self.repository.registry())
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
            StatusCode::OK => self.known().note(&self.repository, descriptor, Mark::Held),
            StatusCode::NOT_FOUND => {
                self.known().contradict(&self.repository, descriptor);
                return Ok(false);
            }
            _ => return Err(answer.into_error().await),
        }
        Ok(true)
    }

    /// Asks for all at once, of which nothing is known; the transport bounds how many requests are under way.
    pub(super) async fn missing(
        self,
        descriptors: Vec<Descriptor>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let ask = |descriptor: Descriptor| {
            let remote = self.clone();
            async move { remote.is_there(&descriptor).await }
        };
        lacking(descriptors, ask).await
    }

    /// Asks for what isn't known to be there, and notes what isn't: a push of it then needn't ask.
    async fn is_there(&self, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let is_there = self.has(descriptor).await?;
        if !is_there {
            self.known().note(&self.repository, descriptor, Mark::Lacked);
        }
        Ok(is_there)
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
        self.known().note(&self.repository, descriptor, Mark::Held);
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
        let (answer, bytes) = self.document(&call, "a manifest").await?;
        match answer.status {
            StatusCode::OK => Ok(Some((answer, bytes))),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(answer.into_error().await),
        }
    }

    /// Sends a request for a manifest or a list, and reads it if the answer is one.
    pub(super) async fn document(
        &self,
        call: &Call<'_>,
        what: &str,
    ) -> Result<(Answer, Bytes), RegistryError> {
        let mut patience = self.client.patience();
        loop {
            let mut answer = self.client.send(call).await?;
            if answer.status != StatusCode::OK {
                return Ok((answer, Bytes::new()));
            }
            match answer.bytes(usize::try_from(MAX_MANIFEST_SIZE).unwrap_or(usize::MAX)).await {
                Ok(Some(bytes)) => return Ok((answer, bytes)),
                Ok(None) => return Err(answer.odd(format!("{what} of more than {MAX_MANIFEST_SIZE} bytes"))),
                // It is small enough to be read from its start again.
                Err(error) => self.client.again(&mut patience, error).await?,
            }
        }
    }

    /// Starts to read a blob, from an offset on; bytes before it may have to be skipped.
    pub(super) async fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<Option<(Answer, u64)>, RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(Access::Pull, &home);
        let url = self.address(&home, "blobs", &blob.digest.to_string())?;
        let mut call = Call::new(&asking, Method::GET, url);
        if offset > 0 {
            call = call.header(header::RANGE, value(&format!("bytes={offset}-"))?);
        }
        let answer = self.client.send(&call).await?;
        let skip = match answer.status {
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT if begins_at(&answer, offset) => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(answer.odd("another part of the blob than was asked for"));
            }
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(answer.into_error().await),
        };
        self.known().note(&self.repository, blob, Mark::Held);
        Ok(Some((answer, skip)))
    }

    /// Looks a tag or digest up; `None` if nothing has that name.
    pub(super) async fn resolve(&self, name: &str) -> Result<Option<Descriptor>, RegistryError> {
        check_name(name)?;
        let Some(answer) = self.look_up(name, None, Access::Pull).await? else { return Ok(None) };
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

    /// HEAD of a tag or digest, as manifests of a kind or of any; `None` if nothing has that name.
    pub(super) async fn look_up(
        &self,
        name: &str,
        descriptor: Option<&Descriptor>,
        access: Access,
    ) -> Result<Option<Answer>, RegistryError> {
        let home = self.client.home(&self.repository).await?;
        let asking = self.asking(access, &home);
        let url = self.address(&home, "manifests", name)?;
        let answer = self.client.send(&accept(Call::new(&asking, Method::HEAD, url), descriptor)?).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(answer.into_error().await),
        }
    }

    pub(super) fn asking<'a>(&'a self, access: Access, home: &'a Url) -> Asking<'a> {
        Asking::new(&self.repository, access, home)
    }

    pub(super) fn address(&self, home: &Url, kind: &str, name: &str) -> Result<Url, RegistryError> {
        home.join(&format!("/v2/{}/{kind}/{name}", self.repository.path()))
            .map_err(|reason| RegistryError::Host { registry: self.repository.registry().to_owned(), reason })
    }
}

/// Asks for all at once, and returns what isn't there.
pub(super) async fn lacking<F>(
    descriptors: Vec<Descriptor>,
    ask: impl Fn(Descriptor) -> F,
) -> Result<Vec<Descriptor>, RegistryError>
where
    F: Future<Output = Result<bool, RegistryError>> + Send + 'static,
{
    let mut asked = tokio::task::JoinSet::new();
    for (at, descriptor) in descriptors.iter().cloned().enumerate() {
        let answer = ask(descriptor);
        asked.spawn(async move { (at, answer.await) });
    }
    let mut there = vec![false; descriptors.len()];
    while let Some(answer) = asked.join_next().await {
        let (at, exists) = answer.map_err(|_| RegistryError::Ended)?;
        there[at] = exists?;
    }
    Ok(descriptors.into_iter().zip(there).filter(|(_, there)| !there).map(|(one, _)| one).collect())
}

pub(super) fn kind(descriptor: &Descriptor) -> &'static str {
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

pub(super) fn value(text: &str) -> Result<HeaderValue, RegistryError> {
    HeaderValue::from_str(text).map_err(|_| RegistryError::Name { name: text.to_owned() })
}

/// A tag, or a digest
/// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests)).
pub(super) fn check_name(name: &str) -> Result<(), RegistryError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_tag =
        !name.is_empty() && name.len() <= 128 && !name.starts_with(['.', '-']) && name.chars().all(fits);
    if is_tag || name.parse::<Digest>().is_ok() {
        return Ok(());
    }
    Err(RegistryError::Name { name: name.chars().take(200).collect() })
}

pub(super) fn check_size(descriptor: &Descriptor) -> Result<(), RegistryError> {
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

/// The digest that an answer is about, if it says so.
pub(super) fn told(answer: &Answer) -> Option<Digest> {
    answer.header(CONTENT_DIGEST)?.parse().ok()
}

/// Reads a descriptor from the answer to a HEAD, if all of it is there.
fn described(answer: &Answer, name: &str) -> Option<Descriptor> {
    let digest = told(answer)?;
    let size = answer.header(header::CONTENT_LENGTH)?.parse().ok().filter(|size| *size > 0)?;
    let fits = !name.contains(':') || name == digest.to_string();
    Some(Descriptor::new(media_type(answer)?, digest, size)).filter(|_| fits)
}

fn begins_at(answer: &Answer, offset: u64) -> bool {
    let range = answer.header(header::CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.trim().parse().ok()) == Some(offset)
}

pub(super) async fn confirm(answer: Answer, digest: &Digest) -> Result<(), RegistryError> {
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

pub(super) async fn not(answer: Answer, what: &str) -> RegistryError {
    if answer.status.is_client_error() || answer.status.is_server_error() {
        return answer.into_error().await;
    }
    answer.odd(format!("{} instead of {what}", answer.status.as_u16()))
}
