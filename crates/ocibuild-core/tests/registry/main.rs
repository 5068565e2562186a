//! Registries: a real one where there is one, and a recording one for what a real one doesn't do.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod debian;
mod double;
mod knowledge;
mod lies;
mod pairs;
mod proxy;
mod pull;
mod real;
mod rebase;
mod recorder;
mod referrers;
mod resume;
mod served;
mod tags;
mod transport;
mod upload;
mod ways;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use ocibuild_core::blob::BytesContent;
use ocibuild_core::oci::{Descriptor, MediaType};
use ocibuild_core::reference::{Reference, Repository};
use ocibuild_core::registry::{Credential, Credentials, CredentialsError, RegistryOptions};

/// The same credentials for everyone.
struct Login(Credential);

impl Credentials for Login {
    fn lookup(&self, _: &Repository) -> Result<Option<Credential>, CredentialsError> {
        Ok(Some(self.0.clone()))
    }
}

fn options() -> RegistryOptions {
    let mut options = RegistryOptions::default();
    options.idle_timeout = Duration::from_secs(10);
    options.first_pause = Duration::from_micros(500);
    options
}

fn login(username: &str, password: &str) -> RegistryOptions {
    let mut options = options();
    options.credentials = Arc::new(Login(Credential::password(username, password, "the test")));
    options
}

fn repository(registry: &str, path: &str) -> Repository {
    format!("{registry}/{path}").parse::<Reference>().unwrap().repository().clone()
}

fn layer(bytes: &[u8]) -> (Descriptor, BytesContent) {
    (Descriptor::of(MediaType::LAYER, bytes), BytesContent::new(bytes.to_vec()))
}

/// Bytes that don't repeat, the same in every run.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}
