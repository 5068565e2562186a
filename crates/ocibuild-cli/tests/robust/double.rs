//! A registry with faults, and how it is looked at afterwards.

use std::sync::Arc;
use std::time::Duration;

use ocibuild_core::blob::{Source as _, Target as _};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::reference::Reference;
use ocibuild_core::registry::{Registry, RegistryOptions, RemoteRepository};
use ocibuild_serve::{Exchange, Faults, Recorder, Running, ServeOptions, Server};

use crate::image::Image;

/// A server over a directory that goes with it.
pub(crate) struct Double {
    pub(crate) server: Running,
    pub(crate) recorder: Recorder,
    directory: tempfile::TempDir,
}

impl Double {
    /// Starts one with options that the function sets.
    pub(crate) fn with(faults: impl Faults + 'static, set: impl FnOnce(&mut ServeOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::new();
        let mut options = ServeOptions::default();
        options.faults = Some(Arc::new(faults));
        options.recorder = Some(recorder.clone());
        set(&mut options);
        let server = Server::start(directory.path().join("double.oci"), options).unwrap();
        Self { server, recorder, directory }
    }

    /// Serves the same to read, without faults.
    pub(crate) fn view(&self) -> Running {
        let mut options = ServeOptions::default();
        options.read_only = true;
        Server::start(self.directory.path().join("double.oci"), options).unwrap()
    }

    pub(crate) fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.server.address())
    }

    /// Bytes that came in uploads.
    pub(crate) fn uploaded(&self) -> u64 {
        let is_upload = |exchange: &&Exchange| exchange.path.contains("/blobs/uploads/");
        self.recorder.exchanges().iter().filter(is_upload).map(|exchange| exchange.received).sum()
    }
}

pub(crate) fn repository(name: &str, options: RegistryOptions) -> RemoteRepository {
    let reference: Reference = name.parse().unwrap();
    Registry::new(options).repository(reference.repository())
}

pub(crate) fn options() -> RegistryOptions {
    let mut options = RegistryOptions::default();
    options.idle_timeout = Duration::from_secs(10);
    options.first_pause = Duration::from_millis(20);
    options
}

/// Demands that a place has an image under a tag, whole, which is to
/// say byte for byte.
pub(crate) fn has(repository: &RemoteRepository, tag: &str, image: &Image) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| format!("{tag}: {error}");
    let root = repository.resolve(tag).map_err(|error| told(&error))?;
    if root.digest != image.root.digest {
        return Err(format!("{tag} names {} instead of {}", root.digest, image.root.digest));
    }
    let violations =
        validate(repository, &root, &ValidateOptions::default()).map_err(|error| told(&error))?;
    if !violations.is_empty() {
        return Err(format!("{tag}: {violations:?}"));
    }
    // All that was read was held against its digest, and these are the image's own.
    let missing = image.data().find(|blob| !repository.exists(blob).unwrap_or(false));
    missing.map_or(Ok(()), |blob| Err(format!("{tag}: no {}", blob.digest)))
}

/// A path without the upload's number, so that uploads of the same are the same.
pub(crate) fn normal(path: &str) -> String {
    let Some((before, after)) = path.split_once("/blobs/uploads/") else { return path.to_owned() };
    let id = after.split('?').next().unwrap_or_default();
    let star = if id.is_empty() { "" } else { "*" };
    format!("{before}/blobs/uploads/{star}{}", &after[id.len()..])
}
