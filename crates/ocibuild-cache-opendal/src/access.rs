//! What a store is reached with: credentials, and the way to it.

use std::collections::BTreeMap;
use std::fmt;

use ocibuild_core::{Cancel, Registry};

/// The variables that say how stores are reached, by the names that the services' own tools know.
pub const VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_EC2_METADATA_DISABLED",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RESULTS_URL",
    "ACTIONS_CACHE_URL",
];

/// What a store is reached with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Access {
    /// Values of [`VARIABLES`], wherever they are from; an empty one is none.
    pub variables: BTreeMap<String, String>,
    /// Whether credentials may be looked for where the services' own tools do when none are given:
    /// the process's environment, files in the home directory, the cloud that the machine runs in.
    pub machine: bool,
    /// Makes the requests to stores that speak http: with its proxies, authorities and time-outs.
    pub requests: Registry,
    /// Stops what is under way.
    pub cancel: Cancel,
}

impl Access {
    /// Reaches stores by the requests of a client, without credentials.
    #[must_use]
    pub fn new(requests: Registry) -> Self {
        Self { variables: BTreeMap::new(), machine: false, requests, cancel: Cancel::new() }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        debug_assert!(VARIABLES.contains(&name), "`{name}` is not declared");
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first of several variables that has a value.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.variable(name))
    }
}

/// Shows no credentials.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.variables.keys().collect();
        f.debug_struct("Access")
            .field("variables", &names)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
