//! Credentials: what they are, and where a registry client asks for them.
//!
//! Nothing here shows a secret: not by `Debug`, not in an error.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use crate::reference::Repository;
use crate::registry::HelperError;
use crate::registry::auth::docker_config::normalise;

/// Knows the credentials of registries.
///
/// It is asked when a registry wants credentials, not before, on a thread that may wait.
pub trait Credentials: Send + Sync {
    /// Looks up what may be presented for a repository; `None` is to go on without.
    ///
    /// # Errors
    /// [`CredentialsError`] if there may be some, but they can't be had.
    fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, CredentialsError>;
}

/// Knows none.
impl Credentials for () {
    fn lookup(&self, _: &Repository) -> Result<Option<Credential>, CredentialsError> {
        Ok(None)
    }
}

/// Asks one after the other; the first that has some counts.
impl Credentials for Vec<std::sync::Arc<dyn Credentials>> {
    fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, CredentialsError> {
        for credentials in self {
            if let Some(found) = credentials.lookup(repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Knows one credential, for one registry or what lies under one path of it.
#[derive(Debug, Clone)]
pub struct ScopedCredential {
    scope: String,
    credential: Credential,
}

impl ScopedCredential {
    /// Makes a credential known for `scope`: a registry with or without a path, such as
    /// `registry.example.com/team`.
    #[must_use]
    pub fn new(scope: &str, credential: Credential) -> Self {
        Self { scope: normalise(scope), credential }
    }
}

impl Credentials for ScopedCredential {
    fn lookup(&self, repository: &Repository) -> Result<Option<Credential>, CredentialsError> {
        let full = format!("{}/{}", normalise(repository.registry()), repository.path());
        let below =
            full.strip_prefix(&self.scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Ok(below.then(|| self.credential.clone()))
    }
}

/// Credentials can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file of credentials is not of the form it should have.
    #[error("cannot understand the credentials in `{}`, line {line}: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file of credentials can't be read.
    #[error("cannot read the credentials in `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The credentials are in the keeping of a helper program, which doesn't give them.
    #[error("`{}` leaves `{registry}` to the helper `docker-credential-{helper}`, which gives no answer", path.display())]
    Helper {
        /// The file that names the helper.
        path: PathBuf,
        /// The registry.
        registry: String,
        /// The helper, as the file names it.
        helper: String,
        /// Why not.
        #[source]
        source: Box<HelperError>,
    },
    /// A token can't be one: it would fit in no header.
    #[error("the token of {origin} is not one: it has characters that tokens don't have")]
    NotAToken {
        /// Where it comes from.
        origin: String,
    },
    /// Something else that knows credentials failed.
    #[error("cannot look up the credentials of `{repository}`")]
    Lookup {
        /// The repository they are for.
        repository: String,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl CredentialsError {
    /// Returns what to try next, where there is something to try.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Syntax { .. } => Some("mend the file, or log in again so that it is written anew"),
            Self::File { .. } => Some("check the file's permissions, or name another"),
            Self::Helper { source, .. } => Some(source.remedy()),
            Self::NotAToken { .. } => Some("check that it is the token alone, without a line break in it"),
            Self::Lookup { .. } => None,
        }
    }
}

/// What is presented to a registry, and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub(super) secret: Secret,
    source: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Secret {
    Password {
        username: String,
        password: String,
    },
    /// A refresh token of OAuth 2, good at the token server only.
    IdentityToken(String),
    /// A token that the registry itself takes.
    Bearer(String),
}

impl Credential {
    pub(super) fn of(secret: Secret, source: String) -> Self {
        Self { secret, source }
    }

    /// A user name and password; `source` says for people where they come from.
    pub fn password(
        username: impl Into<String>,
        password: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        let secret = Secret::Password { username: username.into(), password: password.into() };
        Self { secret, source: source.into() }
    }

    /// An identity token; `source` says for people where it comes from.
    pub fn identity_token(token: impl Into<String>, source: impl Into<String>) -> Self {
        Self { secret: Secret::IdentityToken(token.into()), source: source.into() }
    }

    /// A token that is presented to the registry as it is; `source` says for people where it comes
    /// from.
    pub fn bearer(token: impl Into<String>, source: impl Into<String>) -> Self {
        Self { secret: Secret::Bearer(token.into()), source: source.into() }
    }

    /// Says for people where it comes from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Shows where it comes from, and nothing else.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("source", &self.source).finish_non_exhaustive()
    }
}
