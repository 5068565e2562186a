//! Certificates for single hosts: whom to trust there, and who we are.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// Knows the certificates that are for one host.
///
/// It is asked once for each host that is reached by https, on the thread of all requests.
pub trait Certificates: Send + Sync {
    /// Looks up what is for a host, named as in a reference: with its port where it isn't 443.
    ///
    /// # Errors
    /// Why there is something and it can't be had; the message names it.
    fn lookup(&self, host: &str) -> io::Result<HostCertificates>;
}

/// Knows none.
impl Certificates for () {
    fn lookup(&self, _: &str) -> io::Result<HostCertificates> {
        Ok(HostCertificates::default())
    }
}

/// Knows those of the hosts that are in it.
impl Certificates for BTreeMap<String, HostCertificates> {
    fn lookup(&self, host: &str) -> io::Result<HostCertificates> {
        Ok(self.get(host).cloned().unwrap_or_default())
    }
}

/// The certificates for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostCertificates {
    /// CA certificates to trust there besides those that are trusted everywhere, as texts in PEM
    /// form.
    pub ca: Vec<Vec<u8>>,
    /// Who we are, where the host asks for that.
    pub client: Option<ClientCertificate>,
}

impl HostCertificates {
    /// Tells whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ca.is_empty() && self.client.is_none()
    }
}

/// A client's certificate and its key, as texts in PEM form.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its authority.
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl ClientCertificate {
    /// Puts a certificate and its key together.
    pub fn new(chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { chain: chain.into(), key: key.into() }
    }
}

/// Shows nothing of the key.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}
