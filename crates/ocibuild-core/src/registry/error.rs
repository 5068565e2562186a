//! What can go wrong with a registry, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::blob::{BlobError, PlaceFault, read_fault};
use crate::digest::Digest;
use crate::event::Cancelled;
use crate::oci::MAX_MANIFEST_SIZE;
use crate::registry::CredentialsError;
use crate::registry::proxy::is_proxy_fault;

type Cause = Box<dyn Error + Send + Sync>;

/// A registry could not do what was asked.
///
/// Addresses are shown without their query, and no variant holds a secret of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connection could be made.
    #[error("cannot connect for {method} `{url}`")]
    Connect {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// A connection broke before the answer was whole.
    #[error("{method} `{url}` broke off")]
    Broken {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// Nothing moved for too long.
    #[error("{method} `{url}` stood still for {} seconds", after.as_secs())]
    TimedOut {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// For how long.
        after: Duration,
    },
    /// The registry answered with an error.
    #[error("{method} `{url}` was answered {status}{message}")]
    Status {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// The answer's status.
        status: u16,
        /// The registry's own words.
        message: ServerMessage,
    },
    /// Not even a small part of a blob is taken.
    #[error("{method} `{url}` with {size} bytes was answered 413{message}")]
    BodyLimit {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// The size of the request's body in bytes.
        size: u64,
        /// The registry's own words.
        message: ServerMessage,
    },
    /// Credentials are missing or not accepted.
    #[error("{0}")]
    Unauthorized(Box<Refusal>),
    /// The registry's answer makes no sense.
    #[error("{method} `{url}` was answered with {reason}")]
    Answer {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A manifest is larger than registries must take.
    #[error("the manifest `{digest}` has {size} bytes, over the limit of {MAX_MANIFEST_SIZE}")]
    TooLarge {
        /// The manifest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Others keep writing the list of what refers to a manifest.
    #[error("the tag `{tag}` is written by others at the same time, over and over")]
    Contended {
        /// The tag.
        tag: String,
    },
    /// A tag means something else, and the registry doesn't let it be changed.
    #[error("the tag `{tag}` may not be changed: it is `{now}` and stays that")]
    Immutable {
        /// The tag.
        tag: String,
        /// What it means.
        now: Digest,
        /// What the registry answered.
        #[source]
        source: Box<RegistryError>,
    },
    /// A name can be neither a tag nor a digest.
    #[error("`{name}` is not a tag")]
    Name {
        /// The name.
        name: String,
    },
    /// A registry's address can't be made from its name.
    #[error("`{registry}` cannot be reached: it makes {reason}")]
    Host {
        /// The registry.
        registry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials can't be looked up.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The bytes to send can't be read, or aren't what they should be.
    #[error("cannot read what is to be sent")]
    Content(#[source] io::Error),
    /// The thread that requests run on can't be started.
    #[error("cannot start a thread for requests")]
    Thread(#[source] io::Error),
    /// The thread that requests run on has ended.
    #[error("the thread for requests has ended")]
    Ended,
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What a registry, or its token server, didn't take.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{method} `{url}` was refused {credential}: {status}{message}")]
#[non_exhaustive]
pub struct Refusal {
    /// The registry, as references name it.
    pub registry: String,
    /// The request's method.
    pub method: String,
    /// Its address.
    pub url: String,
    /// The answer's status.
    pub status: u16,
    /// The server's own words.
    pub message: ServerMessage,
    /// What was presented, as `with …` or `without …`.
    pub credential: String,
}

/// TLS can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The program brings no implementation of the cryptography.
    #[error("the program has no TLS provider")]
    NoProvider,
    /// There is nothing to trust.
    #[error("this machine has no CA certificates")]
    NoRoots,
    /// The caller's CA certificates can't be used.
    #[error("cannot use the given CA certificates: {reason}")]
    BadRoots {
        /// What is wrong with them.
        reason: String,
    },
    /// The certificates for one host can't be used.
    #[error("cannot use the certificates for `{host}`")]
    BadHost {
        /// The host.
        host: String,
        /// What is wrong with them.
        #[source]
        source: Cause,
    },
    /// The provider doesn't do what is needed.
    #[error("cannot set TLS up")]
    Setup(#[source] Cause),
}

impl RegistryError {
    /// Returns what to try next, where there is something to try.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Connect { source, .. } => Some(connect_remedy(source.as_ref())),
            Self::Unauthorized(refusal) if refusal.status == 401 => {
                Some("log in to the registry, and try again")
            }
            Self::Unauthorized(_) => Some("use credentials that may write to this repository"),
            Self::Status { status, message, .. } => status_remedy(*status, message),
            Self::BodyLimit { message, .. } => status_remedy(413, message),
            Self::TimedOut { .. } | Self::Broken { .. } => {
                Some("try again; what is there already is not sent again")
            }
            Self::Immutable { .. } => Some("push under another tag, or have this one deleted first"),
            Self::Tls(error) => error.remedy(),
            Self::Credentials(error) => error.remedy(),
            _ => None,
        }
    }

    /// Tells what kind of fault it is.
    #[must_use]
    pub fn fault(&self) -> PlaceFault {
        match self {
            Self::Unauthorized(_) | Self::Credentials(_) => PlaceFault::Unauthorized,
            Self::Connect { .. } | Self::Broken { .. } | Self::TimedOut { .. } => PlaceFault::Unavailable,
            Self::Thread(_) | Self::Ended => PlaceFault::Unavailable,
            Self::Status { status, .. } if is_transient(*status) => PlaceFault::Unavailable,
            error if error.is_lack() => PlaceFault::Lacking,
            _ => PlaceFault::Refused,
        }
    }

    /// Tells whether the same request may well succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !is_certificate_fault(source.as_ref()),
            Self::Broken { .. } | Self::TimedOut { .. } => true,
            Self::Status { status, .. } => is_transient(*status),
            _ => false,
        }
    }

    /// Tells whether a manifest wasn't taken because something below it isn't there.
    pub(super) fn is_lack(&self) -> bool {
        let Self::Status { method, message, .. } = self else { return false };
        let code = message.code.as_deref().unwrap_or_default();
        method == "PUT" && matches!(code, "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN")
    }

    /// Says which size of a body was too large, where that is what is wrong.
    pub(super) fn of_body(self, size: u64) -> Self {
        match self {
            Self::Status { method, url, message, .. } => Self::BodyLimit { method, url, size, message },
            other => other,
        }
    }

    /// Makes it the fault of a place; bytes that couldn't be read are no fault of the place's.
    pub(super) fn of_place(self, place: String, digest: Option<Digest>) -> BlobError {
        match (self, digest) {
            (Self::Cancelled(cancelled), _) => BlobError::Cancelled(cancelled),
            (Self::Content(source), Some(digest)) => read_fault(digest, source),
            (error, _) => BlobError::Place { place, fault: error.fault(), source: Box::new(error) },
        }
    }
}

impl TlsError {
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NoProvider => Some(
                "install one when the program starts: `rustls::crypto::ring::default_provider().install_default()`",
            ),
            Self::NoRoots => Some("install the package `ca-certificates`, or give a file of CA certificates"),
            Self::BadRoots { .. } => Some("give certificates in PEM form: `-----BEGIN CERTIFICATE-----` …"),
            Self::BadHost { .. } => {
                Some("mend the files in the host's directory of `certs.d`, or take them away")
            }
            Self::Setup(_) => None,
        }
    }
}

/// Statuses that a registry gives on a bad day, not because of the request.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

fn status_remedy(status: u16, message: &ServerMessage) -> Option<&'static str> {
    match (status, message.code.as_deref()) {
        (_, Some("NAME_UNKNOWN")) => Some("create the repository first, or check its name"),
        (_, Some("MANIFEST_BLOB_UNKNOWN")) => {
            Some("push again: the registry lost a blob that it said it had")
        }
        (407, _) => {
            Some("put the proxy's user name and password into its address: `http://USER:PASSWORD@HOST`")
        }
        (413, _) => Some("the registry, or a proxy before it, bounds the size of requests: raise that bound"),
        (429, _) => Some("the registry limits how much may be asked of it: wait, or log in"),
        (500..=599, _) => Some("the registry is out of order: try again later"),
        (404, _) => Some("check the names of registry and repository"),
        _ => None,
    }
}

fn connect_remedy(source: &(dyn Error + 'static)) -> &'static str {
    if is_proxy_fault(source) {
        return "check the proxy's address, and the user and password in it; or except the registry from it";
    }
    if is_certificate_fault(source) {
        return "give the CA certificate that the registry's certificate is signed by";
    }
    "check the registry's name and port, and that it is running"
}

fn is_certificate_fault(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // What an I/O error wraps is shown by `get_ref` only: its `source` skips it.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let wrapped = wrapped.map(|inner| inner as &(dyn Error + 'static));
    wrapped.or_else(|| error.source()).is_some_and(is_certificate_fault)
}

/// A registry's own words about an error, shortened and free of control characters
/// ([distribution-spec, error codes](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerMessage {
    /// The error's code, as in `DENIED`.
    pub code: Option<String>,
    /// What it says besides.
    pub text: Option<String>,
}

impl ServerMessage {
    /// Reads what a registry or a token server sent with an error, whatever form it has.
    pub(super) fn parse(body: &[u8]) -> Self {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let first = &json["errors"][0];
        let text = |value: &serde_json::Value| value.as_str().map(tidy).filter(|text| !text.is_empty());
        if first.is_object() {
            return Self { code: text(&first["code"]), text: text(&first["message"]) };
        }
        if json.is_object() {
            let said = ["error_description", "details", "message"].iter().find_map(|name| text(&json[*name]));
            return Self { code: text(&json["error"]), text: said };
        }
        let plain = String::from_utf8_lossy(body);
        let line = plain.lines().map(tidy).find(|line| !line.is_empty() && !line.starts_with('<'));
        Self { code: None, text: line }
    }
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        match &self.text {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

/// At most 300 characters, none of which steers a terminal.
pub(super) fn tidy(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(300).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_found_in_any_form() {
        let shown = |body: &str| ServerMessage::parse(body.as_bytes()).to_string();
        assert_eq!(shown(r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"}]}"#), " DENIED: no [31m");
        assert_eq!(shown(r#"{"error":"invalid_scope","error_description":"x"}"#), " invalid_scope: x");
        assert_eq!(
            shown(r#"{"details":"incorrect username or password"}"#),
            ": incorrect username or password"
        );
        assert_eq!(shown("<html>\n<p>\nBad Gateway\n"), ": Bad Gateway");
        assert_eq!(shown(""), "");
        assert_eq!(shown(&"x".repeat(5000)).len(), 302);
    }
}
