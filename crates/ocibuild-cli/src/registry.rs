//! Registries, reached with the user's credentials.

use std::fs;
use std::io;
use std::sync::Arc;

use ocibuild_core::Cancel;
use ocibuild_core::registry::{Credentials, DockerConfig, Registry, RegistryOptions};

use crate::environment;
use crate::failure::Failure;

/// Makes a client for registries, with the credentials of docker's config file; `insecure` are
/// those to reach by http.
///
/// # Errors
/// [`Failure`] if there is such a file and it can't be used.
pub(crate) fn open(insecure: &[String], cancel: &Cancel) -> Result<Registry, Failure> {
    // Fails only if there is a provider already, which is then as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = RegistryOptions::default();
    options.credentials = credentials()?;
    options.cancel = cancel.clone();
    options.insecure = insecure.to_vec();
    Ok(Registry::new(options))
}

fn credentials() -> Result<Arc<dyn Credentials>, Failure> {
    let Some(path) = environment::docker_config() else { return Ok(Arc::new(())) };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Arc::new(DockerConfig::parse(&text, &path).map_err(Failure::Credentials)?)),
        Err(error) if is_absent(&error) => Ok(Arc::new(())),
        Err(source) => Err(Failure::CredentialsFile { path, source }),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
