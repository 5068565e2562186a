//! A layout served as a registry, with its exchanges written down and faults on demand.

use std::sync::Arc;

use ocibuild_core::layout::Layout;
use ocibuild_core::reference::Repository;
use ocibuild_core::registry::{Registry, RegistryOptions, RemoteRepository};
use ocibuild_serve::{Faults, Recorder, Running, ServeOptions, Server};

use crate::{options, repository};

/// A registry that is up, over a directory that goes with it.
pub(crate) struct Served {
    pub(crate) recorder: Recorder,
    pub(crate) host: String,
    directory: tempfile::TempDir,
    _server: Running,
}

impl Served {
    pub(crate) fn start() -> Self {
        Self::with(ServeOptions::default())
    }

    pub(crate) fn failing(faults: impl Faults + 'static) -> Self {
        let mut options = ServeOptions::default();
        options.faults = Some(Arc::new(faults));
        Self::with(options)
    }

    pub(crate) fn with(mut options: ServeOptions) -> Self {
        let (directory, recorder) = (tempfile::tempdir().unwrap(), Recorder::new());
        options.recorder = Some(recorder.clone());
        let server = Server::start(directory.path().join("served.oci"), options).unwrap();
        Self { recorder, host: server.address().to_string(), directory, _server: server }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::open(self.directory.path().join("served.oci")).unwrap()
    }

    pub(crate) fn name(&self, path: &str) -> Repository {
        repository(&self.host, path)
    }

    /// A repository, by a client that knows nothing yet.
    pub(crate) fn repository(&self, path: &str) -> RemoteRepository {
        self.repository_with(path, options())
    }

    pub(crate) fn repository_with(&self, path: &str, options: RegistryOptions) -> RemoteRepository {
        Registry::new(options).repository(&self.name(path))
    }

    /// What was asked, without what is told of tokens; digests are made short.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.recorder.lines();
        lines.into_iter().filter(|line| !line.starts_with("GET /token")).collect()
    }

    /// Bytes that were sent to it as blobs.
    pub(crate) fn received(&self) -> u64 {
        let exchanges = self.recorder.exchanges();
        exchanges.iter().filter(|one| one.path.contains("/blobs/")).map(|one| one.received).sum()
    }
}
