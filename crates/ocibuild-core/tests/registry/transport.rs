//! What the transport does about a registry, or a network, that has a bad day.

mod bounds;
mod connections;
mod origins;
mod retries;
mod tokens;

use std::sync::{Arc, Mutex};

use ocibuild_core::blob::{BlobError, Content};
use ocibuild_core::event::Event;
use ocibuild_core::registry::{Registry, RegistryError, RegistryOptions, RemoteRepository};
use ocibuild_serve::{Faults, Recorder, Running, ServeOptions, Server};

use crate::{options, repository};

/// A registry of ours over a directory that goes with it.
struct Bench {
    server: Running,
    recorder: Recorder,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn start(faults: impl Faults + 'static) -> Self {
        let mut options = ServeOptions::default();
        options.faults = Some(Arc::new(faults));
        Self::with(options)
    }

    fn with(mut options: ServeOptions) -> Self {
        let recorder = Recorder::new();
        options.recorder = Some(recorder.clone());
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path().join("api.oci"), options).unwrap();
        Self { server, recorder, _directory: directory }
    }

    fn host(&self) -> String {
        self.server.address().to_string()
    }

    fn connect(&self, registry: &Registry) -> RemoteRepository {
        registry.repository(&repository(&self.host(), "team/app"))
    }
}

/// Everything that was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    /// Options with this as their observer.
    fn options(&self) -> RegistryOptions {
        let (mut options, told) = (options(), self.0.clone());
        options.observer = Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone()));
        options
    }

    fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Why things were tried again.
    fn reasons(&self) -> Vec<String> {
        let reason = |event| match event {
            Event::Retry { reason, .. } => Some(reason),
            _ => None,
        };
        self.events().into_iter().filter_map(reason).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let message = |event| match event {
            Event::Warning(warning) => Some(warning.message),
            _ => None,
        };
        self.events().into_iter().filter_map(message).collect()
    }
}

#[track_caller]
fn fault(error: BlobError) -> RegistryError {
    match error {
        BlobError::Place { source, .. } => *source.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A registry's content that doesn't say where it is from: so it is sent, and not mounted.
struct Unknown(Box<dyn Content>);

impl Content for Unknown {
    fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        self.0.open(offset)
    }
}
