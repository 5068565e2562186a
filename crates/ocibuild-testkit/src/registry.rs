//! The registries that `cargo xtask test` starts.
//!
//! Both speak http on the loopback address, keep nothing beyond the run, and allow deletion.
//! Tests share them: a repository named after the test keeps it from meeting another.

use crate::skip::Missing;
use std::env;

/// A registry that asks for basic authentication.
#[derive(Debug, Clone)]
pub struct AuthRegistry {
    /// Host and port, such as `127.0.0.1:5000`.
    pub address: String,
    /// The only user it knows.
    pub user: String,
    /// That user's password.
    pub password: String,
}

/// Gives host and port of a registry that lets everybody read and write.
pub fn registry() -> Result<String, Missing> {
    variable("OCIBUILD_TEST_REGISTRY", "a registry")
}

/// Gives a registry that asks for a user and a password.
pub fn auth_registry() -> Result<AuthRegistry, Missing> {
    let part = "a registry with basic authentication";
    Ok(AuthRegistry {
        address: variable("OCIBUILD_TEST_REGISTRY_AUTH", part)?,
        user: variable("OCIBUILD_TEST_REGISTRY_AUTH_USER", part)?,
        password: variable("OCIBUILD_TEST_REGISTRY_AUTH_PASSWORD", part)?,
    })
}

/// `cargo xtask test` names what it started in variables: a developer may name their own.
pub(crate) fn variable(name: &str, part: &str) -> Result<String, Missing> {
    env::var(name)
        .map_err(|_| Missing::new(format!("{part} (`cargo xtask test` starts one, `{name}` names another)")))
}
