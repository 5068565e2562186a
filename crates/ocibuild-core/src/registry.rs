//! Registries, by the OCI distribution specification: where images come from and go to.
//!
//! A [`Registry`] is a client for any number of hosts; [`Registry::repository`] gives one of their
//! repositories as a [`Target`](crate::blob::Target). All requests run on one background thread,
//! started with the first of them; the library reads neither environment nor configuration of the
//! machine for them, except the CA certificates that it trusts.
//!
//! Knows blobs and names, not what an image is made of, nor in which order it is pushed.

mod auth;
mod client;
mod download;
mod error;
mod http;
mod knowledge;
mod memory;
mod mirror;
mod push;
mod referrers;
mod remedy;
mod remote;
mod repository;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Cancel, Observer};
use crate::reference::Repository;

pub use auth::credentials::{Credential, Credentials, CredentialsError, ScopedCredential};
pub use auth::docker_config::DockerConfig;
pub use auth::helper::{HelperError, Helpers};
pub use error::{GaveUp, Refusal, RegistryError, ServerMessage, TlsError};
pub use http::certificates::{Certificates, ClientCertificate, HostCertificates};
pub use http::proxy::{Proxies, Proxy, ProxyError};
pub use http::tally::Counts;
pub use memory::Memory;
pub use mirror::Mirror;
pub use repository::RemoteRepository;

/// How registries are reached.
///
/// Registries are named as in references, with their port where it has one.
#[derive(Clone)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Knows the credentials; by default there are none.
    pub credentials: Arc<dyn Credentials>,
    /// Stops all requests when it is set.
    pub cancel: Cancel,
    /// Hears of every request, of those that are made again, and of what registries warn of; called
    /// on the thread that requests run on.
    pub observer: Arc<dyn Observer>,
    /// Keeps what was found out about registries for later runs; by default nothing is kept.
    pub memory: Arc<dyn Memory>,
    /// Registries whose certificates aren't verified, and which are reached by http if they don't
    /// speak TLS; those on a loopback address are reached by http anyway, unless there are
    /// certificates for them.
    pub insecure: Vec<String>,
    /// Registries to reach by https though they are on a loopback address.
    pub secure: Vec<String>,
    /// CA certificates to trust besides the machine's, as texts in PEM form.
    pub ca: Vec<Vec<u8>>,
    /// Knows the certificates for single hosts; by default there are none.
    pub certificates: Arc<dyn Certificates>,
    /// The proxies that requests go through.
    pub proxies: Proxies,
    /// Places to look for a registry's images first, in this order; they are read from only.
    pub mirrors: Vec<Mirror>,
    /// Hosts of token servers that may have credentials though they are not in the registry's own
    /// domain.
    pub token_hosts: Vec<String>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may stand still; there is no bound on its whole time.
    pub idle_timeout: Duration,
    /// How often a request is made until its failure counts, at least 1; tries count that fail one
    /// after another. A host that was never reached, and a request that stands still, are tried four
    /// times at most, and so is a mirror.
    pub attempts: u32,
    /// How long to wait before a request is made again; each further time it is twice as long, up to
    /// fifty times this. A registry's own wishes (`Retry-After`) are kept up to five minutes.
    pub first_pause: Duration,
    /// How many requests of one host (scheme, name, port) are under way at once, at least 1; uploads
    /// don't count.
    pub requests: usize,
    /// How many uploads to one host are under way at once, at least 1. Each has at most 768 KiB in
    /// memory.
    pub uploads: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            credentials: Arc::new(()),
            cancel: Cancel::new(),
            observer: Arc::new(()),
            memory: Arc::new(()),
            insecure: Vec::new(),
            secure: Vec::new(),
            ca: Vec::new(),
            certificates: Arc::new(()),
            proxies: Proxies::new(),
            mirrors: Vec::new(),
            token_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(120),
            attempts: 10,
            first_pause: Duration::from_millis(200),
            requests: 8,
            uploads: 8,
        }
    }
}

/// Shows no credentials.
impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("insecure", &self.insecure)
            .field("proxies", &self.proxies)
            .field("mirrors", &self.mirrors)
            .field("secure", &self.secure)
            .field("attempts", &self.attempts)
            .field("first_pause", &self.first_pause)
            .field("requests", &self.requests)
            .field("uploads", &self.uploads)
            .finish_non_exhaustive()
    }
}

/// A client for registries; its clones share connections, tokens and the thread.
///
/// For https, the program must have installed a TLS provider
/// (`rustls::crypto::ring::default_provider().install_default()`); without one, such requests fail
/// with [`TlsError::NoProvider`].
#[derive(Clone)]
pub struct Registry {
    client: Arc<client::Client>,
    mirrors: Arc<[Mirror]>,
    runtime: Arc<http::runtime::Runtime>,
}

impl Registry {
    /// Makes a client; nothing is started, read or asked for yet.
    #[must_use]
    pub fn new(options: RegistryOptions) -> Self {
        let mirrors = options.mirrors.clone().into();
        Self { client: Arc::new(client::Client::new(options)), mirrors, runtime: Arc::default() }
    }

    /// Returns what was done so far, for all hosts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.client.counts()
    }

    /// Returns the same client, but for mirrors: what is read comes from the registry itself. For whoever
    /// must know what a tag means there right now.
    #[must_use]
    pub fn without_mirrors(&self) -> Self {
        Self { mirrors: Arc::default(), ..self.clone() }
    }

    /// Returns a repository, without asking whether there is one.
    #[must_use]
    pub fn repository(&self, repository: &Repository) -> RemoteRepository {
        let remote = |repository| remote::Remote::new(Arc::clone(&self.client), repository);
        let mirrors = self.mirrors.iter();
        let mirrors =
            mirrors.filter_map(|mirror| Some((mirror.clone(), remote(mirror.of(repository)?)))).collect();
        let route = mirror::Route { mirrors, own: remote(repository.clone()) };
        RemoteRepository::new(route, Arc::clone(&self.runtime))
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(RegistryOptions::default())
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
