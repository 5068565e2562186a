//! A repository as a place of blobs.

use std::future::Future;
use std::sync::Arc;

use crate::blob::{BlobError, BytesContent, Content, Sink, Source, Target};
use crate::event::Transfer;
use crate::oci::Descriptor;
use crate::reference::Repository;
use crate::registry::RegistryError;
use crate::registry::auth::Access;
use crate::registry::download::RemoteContent;
use crate::registry::feed::{Feeding, feed};
use crate::registry::remote::Remote;
use crate::registry::runtime::Runtime;

/// A repository of a registry.
///
/// The verbs of [`Source`], [`Sink`] and [`Target`] block the calling thread, which must not be
/// one of a rayon pool's; those that end in `_async` are for any executor, and stop when they are
/// dropped. Several at once, from several threads, share the registry's connections.
///
/// What is pushed is there once the push returns; that a reader elsewhere sees it at once is the
/// registry's promise to make, not this library's.
#[derive(Clone)]
pub struct RemoteRepository {
    remote: Remote,
    runtime: Arc<Runtime>,
}

impl RemoteRepository {
    pub(super) fn new(remote: Remote, runtime: Arc<Runtime>) -> Self {
        Self { remote, runtime }
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
        let pushing = self.pushing(descriptor, feeding);
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
        let (remote, descriptor) = (self.remote.clone(), descriptor.clone());
        async move { remote.exists(&descriptor, Access::Pull).await }
    }

    /// A manifest comes at once, as it is small; of a blob only that it is there.
    fn fetching(
        &self,
        descriptor: &Descriptor,
    ) -> impl Future<Output = Result<Fetched, RegistryError>> + use<> {
        let (remote, descriptor) = (self.remote.clone(), descriptor.clone());
        async move {
            if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
                let bytes = remote.manifest(&descriptor, Access::Pull).await?;
                return Ok(bytes.map_or(Fetched::Nothing, |bytes| Fetched::Bytes(bytes.to_vec())));
            }
            let exists = remote.exists(&descriptor, Access::Pull).await?;
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
            Fetched::Later => Ok(Box::new(RemoteContent {
                remote: self.remote.clone(),
                runtime: Arc::clone(&self.runtime),
                descriptor: descriptor.clone(),
            })),
        }
    }

    fn pushing(
        &self,
        descriptor: &Descriptor,
        feeding: Feeding,
    ) -> impl Future<Output = Result<Transfer, RegistryError>> + use<> {
        let (remote, descriptor) = (self.remote.clone(), descriptor.clone());
        async move {
            // Whole, so that it is dropped when the job ends, and only then.
            let feeding = feeding;
            remote.push(&descriptor, &feeding.0).await
        }
    }

    fn resolving(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Descriptor>, RegistryError>> + use<> {
        let (remote, name) = (self.remote.clone(), name.to_owned());
        async move { remote.resolve(&name).await }
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
        let result = self.runtime.wait(self.pushing(descriptor, feeding), || feeder.serve(content));
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
