//! A repository as a place of blobs.

use std::future::Future;
use std::sync::Arc;

use crate::blob::{BlobError, BytesContent, Content, Sink, Source, Target};
use crate::event::Transfer;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::download::RemoteContent;
use crate::registry::http::feed::{Feeding, feed};
use crate::registry::http::runtime::Runtime;
use crate::registry::mirror::Route;
use crate::registry::remote::{Remote, lacking};

/// A repository of a registry.
///
/// The verbs of [`Source`], [`Sink`] and [`Target`] block the calling thread, which must not be
/// one of a rayon pool's; those that end in `_async` are for any executor, and stop when they are
/// dropped. Several at once, from several threads, share the registry's connections.
///
/// Where there are mirrors of the registry, what is read comes from them if they have it; what is
/// pushed, and asked for by [`Sink::missing`], never does.
///
/// What is pushed is there once the push returns; that a reader elsewhere sees it at once is the
/// registry's promise to make, not this library's.
#[derive(Clone)]
pub struct RemoteRepository {
    remote: Remote,
    route: Route,
    runtime: Arc<Runtime>,
}

impl RemoteRepository {
    pub(super) fn new(route: Route, runtime: Arc<Runtime>) -> Self {
        Self { remote: route.own.clone(), route, runtime }
    }

    /// Asks whether the registry lets us in with the credentials there are for this repository.
    /// Success doesn't mean that the repository exists, nor that it may be read or written.
    ///
    /// # Errors
    /// [`BlobError::Place`] if it doesn't, or can't be reached.
    pub fn check_access(&self) -> Result<(), BlobError> {
        let remote = self.remote.clone();
        let result = self.runtime.wait(async move { remote.enter().await }, || ());
        result.map_err(|error| error.of_place(self.name(), None))
    }

    /// Returns which repository it is.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        self.remote.repository()
    }

    /// Does what [`Source::exists`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn exists_async(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let result = self.runtime.run(self.existing(descriptor)).await;
        self.judge(result, descriptor)
    }

    /// Does what [`Source::fetch`] does. Reading the content blocks.
    ///
    /// # Errors
    /// As there.
    pub async fn fetch_async(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let result = self.runtime.run(self.fetching(descriptor)).await;
        self.fetched(result, descriptor)
    }

    /// Does what [`Sink::missing`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn missing_async(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let result = self.runtime.run(self.remote.clone().missing(descriptors.to_vec())).await;
        result.map_err(|error| error.of_place(self.name(), None))
    }

    /// Does what [`Sink::push`] does. The content is read on a thread that may block.
    ///
    /// # Errors
    /// As there.
    pub async fn push_async(
        &self,
        descriptor: &Descriptor,
        content: Arc<dyn Content>,
    ) -> Result<Transfer, BlobError> {
        let (feeding, feeder) = feed(descriptor);
        let pushing = self.pushing(descriptor, feeding, content.origins());
        let job = async move {
            tokio::task::spawn_blocking(move || feeder.serve(&*content));
            pushing.await
        };
        let result = self.runtime.run(job).await;
        self.judge(result, descriptor)
    }

    /// Does what [`Target::resolve`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn resolve_async(&self, name: &str) -> Result<Descriptor, BlobError> {
        let result = self.runtime.run(self.resolving(name)).await;
        self.resolved(result, name)
    }

    /// Does what [`Target::tag`] does.
    ///
    /// # Errors
    /// As there.
    pub async fn tag_async(&self, descriptor: &Descriptor, name: &str) -> Result<(), BlobError> {
        let result = self.runtime.run(self.tagging(descriptor, name)).await;
        self.tagged(result, descriptor)
    }

    /// Returns a blob's bytes, to be read when wanted, without asking whether it is there: opening
    /// them then fails with [`NotFound`](std::io::ErrorKind::NotFound).
    #[must_use]
    pub fn content(&self, descriptor: &Descriptor) -> Box<dyn Content> {
        Box::new(RemoteContent {
            route: self.route.clone(),
            runtime: Arc::clone(&self.runtime),
            descriptor: descriptor.clone(),
        })
    }

    fn name(&self) -> String {
        format!("the repository `{}`", self.remote.repository())
    }

    pub(super) fn remote(&self) -> &Remote {
        &self.remote
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn judge<T>(
        &self,
        result: Result<T, RegistryError>,
        descriptor: &Descriptor,
    ) -> Result<T, BlobError> {
        result.map_err(|error| error.of_place(self.name(), Some(descriptor.digest)))
    }

    fn missing_here(&self, descriptor: &Descriptor) -> BlobError {
        BlobError::Missing { digest: descriptor.digest, place: self.name() }
    }

    fn existing(&self, descriptor: &Descriptor) -> impl Future<Output = Result<bool, RegistryError>> + use<> {
        let (route, descriptor) = (self.route.clone(), descriptor.clone());
        async move { route.exists(&descriptor).await }
    }

    /// A manifest comes at once, as it is small; of a blob only that it is there.
    fn fetching(
        &self,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Fetched, RegistryError>> + use<> {
        let (route, descriptor) = (self.route.clone(), descriptor.clone());
        async move {
            if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
                let bytes = route.manifest(&descriptor).await?;
                return Ok(bytes.map_or(Fetched::Nothing, |bytes| Fetched::Bytes(bytes.to_vec())));
            }
            let exists = route.exists(&descriptor).await?;
            Ok(if exists { Fetched::Later } else { Fetched::Nothing })
        }
    }

    fn fetched(
        &self,
        result: Result<Fetched, RegistryError>,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn Content>, BlobError> {
        match self.judge(result, descriptor)? {
            Fetched::Nothing => Err(self.missing_here(descriptor)),
            Fetched::Bytes(bytes) => Ok(Box::new(BytesContent::new(bytes))),
            Fetched::Later => Ok(self.content(descriptor)),
        }
    }

    fn pushing(
        &self,
        descriptor: &Descriptor,
        feeding: Feeding,
        origins: &[Repository],
    ) -> impl Future<Output = Result<Transfer, RegistryError>> + use<> {
        let (remote, descriptor) = (self.remote.clone(), descriptor.clone());
        let origins = origins.to_vec();
        async move {
            // Whole, so that it is dropped when the job ends, and only then.
            let feeding = feeding;
            remote.deliver(&descriptor, &feeding.0, &origins).await
        }
    }

    fn resolving(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Descriptor>, RegistryError>> + use<> {
        let (route, name) = (self.route.clone(), name.to_owned());
        async move { route.resolve(&name).await }
    }

    fn resolved(
        &self,
        result: Result<Option<Descriptor>, RegistryError>,
        name: &str,
    ) -> Result<Descriptor, BlobError> {
        let found = result.map_err(|error| error.of_place(self.name(), None))?;
        found.ok_or_else(|| BlobError::UnknownName { name: name.to_owned(), place: self.name() })
    }

    fn tagging(
        &self,
        descriptor: &Descriptor,
        name: &str,
    ) -> impl Future<Output = Result<bool, RegistryError>> + use<> {
        let (remote, descriptor, name) = (self.remote.clone(), descriptor.clone(), name.to_owned());
        async move { remote.tag(&descriptor, &name).await }
    }

    pub(super) fn tagged(
        &self,
        result: Result<bool, RegistryError>,
        descriptor: &Descriptor,
    ) -> Result<(), BlobError> {
        if self.judge(result, descriptor)? { Ok(()) } else { Err(self.missing_here(descriptor)) }
    }
}

enum Fetched {
    Nothing,
    Bytes(Vec<u8>),
    Later,
}

impl Source for RemoteRepository {
    fn place(&self) -> String {
        self.name()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let result = self.runtime.wait(self.existing(descriptor), || ());
        self.judge(result, descriptor)
    }

    fn lacking(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let (route, descriptors) = (self.route.clone(), descriptors.to_vec());
        let asking = async move {
            lacking(descriptors, |descriptor| {
                let route = route.clone();
                async move { route.exists(&descriptor).await }
            })
            .await
        };
        let result = self.runtime.wait(asking, || ());
        result.map_err(|error| error.of_place(self.name(), None))
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let result = self.runtime.wait(self.fetching(descriptor), || ());
        self.fetched(result, descriptor)
    }
}

impl Sink for RemoteRepository {
    fn place(&self) -> String {
        self.name()
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let result = self.runtime.wait(self.remote.clone().missing(descriptors.to_vec()), || ());
        result.map_err(|error| error.of_place(self.name(), None))
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        let (feeding, feeder) = feed(descriptor);
        let result = {
            let pushing = self.pushing(descriptor, feeding, content.origins());
            self.runtime.wait(pushing, || feeder.serve(content))
        };
        self.judge(result, descriptor)
    }
}

impl Target for RemoteRepository {
    fn resolve(&self, name: &str) -> Result<Descriptor, BlobError> {
        let result = self.runtime.wait(self.resolving(name), || ());
        self.resolved(result, name)
    }

    fn tag(&self, descriptor: &Descriptor, name: &str) -> Result<(), BlobError> {
        let result = self.runtime.wait(self.tagging(descriptor, name), || ());
        self.tagged(result, descriptor)
    }
}
