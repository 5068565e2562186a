//! A store that was named: opened when it is first asked, and given up when it fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ocibuild_core::Digest;
use ocibuild_core::cache::Record;
use ocibuild_core::event::Cancelled;
use ocibuild_core::key::Key;
use opendal_core::{Error, Operator};

use crate::access::Access;
use crate::address::{Kind, ObjectAddress, credentials_of};
use crate::runtime::{Runtime, Stop};
use crate::server::Server;
use crate::service;

/// How long a question may take with all its repetitions, and how long moving a part of a blob.
pub(crate) const QUESTION: Duration = Duration::from_secs(20);
pub(crate) const PART_TIME: Duration = Duration::from_secs(120);

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It can't be reached as it is named, or said no.
    #[error("{0}")]
    Failed(String),
    /// There is no such bucket or container.
    #[error("there is no such bucket or container: make it, or correct the address")]
    Nowhere,
    /// Nobody knows credentials for it.
    #[error("no credentials are known for it: give them by {by}")]
    NoCredentials {
        /// How they are given.
        by: &'static str,
    },
    /// It doesn't let in whoever has these credentials, or not for this.
    #[error("it doesn't let these credentials do that: {reason}; check {by}")]
    Refused {
        /// What it says.
        reason: String,
        /// How they are given.
        by: &'static str,
    },
    /// What it has isn't what was put there.
    #[error("`{path}`: {reason}")]
    Damaged {
        /// The object.
        path: String,
        /// How it shows.
        reason: String,
    },
    /// No thread could be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// An object store as a cache: records, and blobs where it is given some. Its clones share all that
/// is known of it.
///
/// It is opened when it is first asked. What fails then, or later, is told once, and from then on the
/// store answers nothing and takes nothing.
#[derive(Clone)]
pub struct ObjectStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    name: String,
    setup: Box<dyn Fn() -> Result<Operator, Error> + Send + Sync>,
    /// Whom to connect to before anything else.
    server: Option<Server>,
    access: Access,
    opened: OnceLock<Opened>,
    state: Mutex<State>,
}

pub(crate) struct Opened {
    pub(crate) operator: Operator,
    pub(crate) runtime: Runtime,
}

/// What is known of a store.
#[derive(Default)]
pub(crate) struct State {
    /// Why it was given up.
    failure: Option<String>,
    /// That was told.
    is_told: bool,
    /// Records that it has, and whether their blobs are there too.
    pub(crate) records: BTreeMap<Key, (Record, bool)>,
    /// Keys of records that were told to be damaged.
    pub(crate) told: BTreeSet<Key>,
    /// Blobs that records say are there.
    pub(crate) said: BTreeSet<Digest>,
    /// Blobs that are there, by asking or by having been sent.
    pub(crate) present: BTreeSet<Digest>,
    /// Blobs whose bytes turned out to be others.
    pub(crate) damaged: BTreeSet<Digest>,
}

impl State {
    /// The first reason is the one that is told.
    fn give_up(&mut self, fault: &StoreError) {
        if !matches!(fault, StoreError::Cancelled(_)) {
            self.failure.get_or_insert_with(|| fault.to_string());
        }
    }
}

impl ObjectStore {
    /// Names a store. Nothing is asked yet, no thread is started.
    #[must_use]
    pub fn new(address: &ObjectAddress, access: &Access) -> Self {
        let server = match &address.kind {
            Kind::Redis { host, port, is_secure, .. } => Some(Server::new(host, *port, *is_secure, access)),
            _ => None,
        };
        let (own, own_access) = (address.clone(), access.clone());
        let setup = move || service::open(&own, &own_access);
        Self::with(address.to_string(), access.clone(), server, setup)
    }

    pub(crate) fn with(
        name: String,
        access: Access,
        server: Option<Server>,
        setup: impl Fn() -> Result<Operator, Error> + Send + Sync + 'static,
    ) -> Self {
        let (opened, state) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Inner { name, setup: Box::new(setup), server, access, opened, state }))
    }

    pub(crate) fn name(&self) -> String {
        format!("the cache `{}`", self.0.name)
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a fault, unless it is why the store was given up and somebody was told that already: of
    /// several that ask at a time, one is.
    pub(crate) fn untold(&self, fault: StoreError) -> Option<StoreError> {
        let is_own = matches!(fault, StoreError::Cancelled(_) | StoreError::Damaged { .. });
        let was_told = !is_own && std::mem::replace(&mut self.state().is_told, true);
        (!was_told).then_some(fault)
    }

    /// Whether it was given up: what was wrong with it has been told.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }

    /// Does something with the store, which is opened if it isn't yet. Absence is an answer; any other
    /// failure gives the store up.
    pub(crate) fn ask<T, F>(
        &self,
        time: Duration,
        job: impl FnOnce(Operator) -> F,
    ) -> Result<Option<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let opened = self.open()?;
        match opened.runtime.wait(time, job(opened.operator.clone())) {
            Ok(answer) => Ok(Some(answer)),
            Err(stop) if stop.is_absence() => Ok(None),
            Err(stop) => Err(self.fail(stop)),
        }
    }

    /// Does what absence is no answer to, as writing: there is nothing then to write to.
    pub(crate) fn demand<T, F>(
        &self,
        time: Duration,
        job: impl FnOnce(Operator) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let opened = self.open()?;
        opened.runtime.wait(time, job(opened.operator.clone())).map_err(|stop| self.fail(stop))
    }

    pub(crate) fn open(&self) -> Result<&Opened, StoreError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        // Whoever asks beside this waits for the answer, and hears of a failure from nobody else.
        let mut state = self.state();
        if let Some(reason) = &state.failure {
            return Err(StoreError::Failed(reason.clone()));
        }
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        match self.reach() {
            Ok(opened) => Ok(self.opened.get_or_init(|| opened)),
            Err(fault) => {
                state.give_up(&fault);
                Err(fault)
            }
        }
    }

    fn reach(&self) -> Result<Opened, StoreError> {
        let operator = (self.setup)().map_err(|error| self.told(Stop::Failed(error)))?;
        let runtime = Runtime::start(self.access.cancel.clone()).map_err(StoreError::Thread)?;
        if let Some(server) = self.server.clone() {
            runtime.wait(CONNECT, server.connect()).map_err(|stop| self.told(stop))?;
        }
        Ok(Opened { operator, runtime })
    }

    fn told(&self, stop: Stop) -> StoreError {
        match stop {
            Stop::Cancelled(cancelled) => StoreError::Cancelled(cancelled),
            stop if stop.is_nowhere() => StoreError::Nowhere,
            stop if stop.lacks_credentials() => StoreError::NoCredentials { by: credentials_of(&self.name) },
            stop if stop.is_refusal() => {
                StoreError::Refused { reason: stop.to_string(), by: credentials_of(&self.name) }
            }
            stop => StoreError::Failed(stop.to_string()),
        }
    }

    /// Gives the store up, unless it was the run that did.
    pub(crate) fn fail(&self, stop: Stop) -> StoreError {
        let fault = self.told(stop);
        self.state().give_up(&fault);
        fault
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStore").field(&self.0.name).finish()
    }
}
