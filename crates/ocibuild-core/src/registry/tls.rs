//! TLS for registries: which cryptography, and which authorities are trusted.
//!
//! The cryptography is the program's to choose and install; a library that did so in passing
//! would choose for everything else in the process. The authorities are the machine's, read from
//! the usual files rather than found by the environment, and those the caller adds.

use std::fs;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::registry::TlsError;

/// Where systems keep what they trust: Debian and its kin, Fedora and its kin, `OpenSUSE`,
/// Alpine and macOS. The first that is there counts.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes the configuration of connections; `extra` are certificates in PEM form.
pub(super) fn configure(extra: &[Vec<u8>]) -> Result<ClientConfig, TlsError> {
    let provider = CryptoProvider::get_default().ok_or(TlsError::NoProvider)?;
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.into()))?
        .with_root_certificates(roots(extra)?)
        .with_no_client_auth();
    Ok(config)
}

fn roots(extra: &[Vec<u8>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(bundle) = BUNDLES.iter().find_map(|path| fs::read(path).ok()) {
        // A system's bundle may hold certificates too odd to be used: the others count.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
    }
    for pem in extra {
        add(&mut store, pem)?;
    }
    if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
}

/// What the caller names must be usable, all of it.
fn add(store: &mut RootCertStore, pem: &[u8]) -> Result<(), TlsError> {
    let bad = |reason: String| TlsError::BadRoots { reason };
    let before = store.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        store.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if store.len() == before { Err(bad("there is none in them".to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_certificates_are_refused() {
        for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = roots(&[pem.into()]).unwrap_err();
            assert!(matches!(error, TlsError::BadRoots { .. }), "{pem}: {error}");
        }
    }
}
