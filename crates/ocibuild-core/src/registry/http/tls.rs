//! TLS for registries: which cryptography, and which authorities are trusted.
//!
//! The cryptography is the program's to choose and install; a library that did so in passing
//! would choose for everything else in the process. The authorities are the machine's, read from
//! the usual files rather than found by the environment, and those the caller adds for all hosts or
//! for one.

use std::fs;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::registry::{ClientCertificate, HostCertificates, TlsError};

/// Where systems keep what they trust: Debian and its kin, Fedora and its kin, `OpenSUSE`,
/// Alpine and macOS. The first that is there counts.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes the configuration of connections to a host; `everywhere` are CA certificates in PEM form.
/// Without `verify` any certificate is taken for the host's.
pub(crate) fn configure(
    everywhere: &[Vec<u8>],
    host: &str,
    own: &HostCertificates,
    verify: bool,
) -> Result<ClientConfig, TlsError> {
    let provider = CryptoProvider::get_default().ok_or(TlsError::NoProvider)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.into()))?;
    let builder = match verify {
        true => {
            let mut store = RootCertStore::empty();
            for pem in &own.ca {
                add(&mut store, pem).map_err(|reason| bad_host(host, reason))?;
            }
            builder.with_root_certificates(roots(store, everywhere)?)
        }
        false => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(Arc::clone(provider))))
        }
    };
    match &own.client {
        Some(client) => {
            let (chain, key) = identity(client).map_err(|reason| bad_host(host, reason))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| bad_host(host, error.to_string()))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn bad_host(host: &str, reason: String) -> TlsError {
    TlsError::BadHost { host: host.to_owned(), source: reason.into() }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(client: &ClientCertificate) -> Result<Identity, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&client.chain).collect();
    let chain = chain.map_err(|error| format!("the client's certificate: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in the client's".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&client.key)
        .map_err(|_| "there is no private key that can be read beside the client's certificate".to_owned())?;
    Ok((chain, key))
}

/// Takes any certificate, for hosts that the user calls insecure; who answers is at least the one who
/// has the certificate's key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn roots(mut store: RootCertStore, extra: &[Vec<u8>]) -> Result<RootCertStore, TlsError> {
    if let Some(bundle) = BUNDLES.iter().find_map(|path| fs::read(path).ok()) {
        // A system's bundle may hold certificates too odd to be used: the others count.
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&bundle).flatten());
    }
    for pem in extra {
        add(&mut store, pem).map_err(|reason| TlsError::BadRoots { reason })?;
    }
    if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
}

/// What the caller names must be usable, all of it.
fn add(store: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let before = store.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        store.add(certificate).map_err(|error| error.to_string())?;
    }
    if store.len() == before { Err("there is none in them".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_certificates_are_refused() {
        for pem in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = roots(RootCertStore::empty(), &[pem.into()]).unwrap_err();
            assert!(matches!(error, TlsError::BadRoots { .. }), "{pem}: {error}");
        }
    }
}
