//! What can go wrong with a registry, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use hyper::StatusCode;

use crate::blob::{BlobError, PlaceFault, read_fault};
use crate::digest::Digest;
use crate::event::Cancelled;
use crate::oci::MAX_MANIFEST_SIZE;
use crate::registry::CredentialsError;
use crate::registry::remedy::tls_fault;

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
    #[error("{method} `{url}` was answered {status}{message}{}", wish(*retry_after))]
    Status {
        /// The request's method.
        method: String,
        /// Its address.
        url: String,
        /// The answer's status.
        status: u16,
        /// The registry's own words.
        message: ServerMessage,
        /// How long it wants to be left alone, with 429 and 503.
        retry_after: Option<Duration>,
    },
    /// It failed over and over.
    #[error(transparent)]
    GaveUp(GaveUp),
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
    /// A request can't be made as it was asked for.
    #[error("a request cannot be made: it has {reason}")]
    Request {
        /// What is wrong with it.
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
    /// A blob was being read, and then it wasn't there any more.
    #[error("`{digest}` went away while it was being read")]
    Gone {
        /// The blob.
        digest: Digest,
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

/// What still failed after several tries.
#[derive(Debug)]
#[non_exhaustive]
pub struct GaveUp {
    /// The fault of the last try.
    pub error: Box<RegistryError>,
    /// How many tries there were.
    pub tries: u32,
    /// How long they took, with the pauses between them.
    pub time: Duration,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        // Tenths mean nothing where there are many seconds.
        let digits = usize::from(seconds < 9.95);
        write!(f, "{}, tried {} times over {seconds:.digits$} s", self.error, self.tries)
    }
}

/// What the last try failed for is part of what this says.
impl Error for GaveUp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
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
    /// Returns the fault itself: of the last try, where there were several.
    #[must_use]
    pub fn last_try(&self) -> &Self {
        match self {
            Self::GaveUp(given_up) => given_up.error.last_try(),
            other => other,
        }
    }

    /// Tells what kind of fault it is.
    #[must_use]
    pub fn fault(&self) -> PlaceFault {
        match self.last_try() {
            Self::Unauthorized(_) | Self::Credentials(_) => PlaceFault::Unauthorized,
            Self::Connect { .. } | Self::Broken { .. } | Self::TimedOut { .. } => PlaceFault::Unavailable,
            Self::Thread(_) | Self::Ended => PlaceFault::Unavailable,
            Self::Status { status: 408 | 429 | 500..=599, .. } => PlaceFault::Unavailable,
            error if error.is_lack() => PlaceFault::Lacking,
            _ => PlaceFault::Refused,
        }
    }

    /// Tells whether the same request may well succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => tls_fault(source.as_ref()).is_none(),
            Self::Broken { .. } | Self::TimedOut { .. } => true,
            Self::Status { status, .. } => may_pass(*status),
            _ => false,
        }
    }

    /// Returns the method and the address of the request that it is about.
    pub(super) fn request(&self) -> Option<(String, String)> {
        match self.last_try() {
            Self::Connect { method, url, .. }
            | Self::Broken { method, url, .. }
            | Self::TimedOut { method, url, .. }
            | Self::Status { method, url, .. }
            | Self::BodyLimit { method, url, .. }
            | Self::Answer { method, url, .. } => Some((method.clone(), url.clone())),
            Self::Unauthorized(refusal) => Some((refusal.method.clone(), refusal.url.clone())),
            _ => None,
        }
    }

    /// How long the registry wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Says in a few words what happened.
    pub(super) fn reason(&self) -> String {
        match self.last_try() {
            Self::Status { status, .. } => {
                let name = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
                name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"))
            }
            Self::Connect { source, .. } => connection(source.as_ref(), "no connection could be made"),
            Self::Broken { source, .. } => connection(source.as_ref(), "the connection was closed"),
            Self::TimedOut { after, .. } => format!("nothing moved for {} seconds", after.as_secs()),
            other => other.to_string(),
        }
    }

    /// Tells whether a manifest wasn't taken because something below it isn't there.
    pub(super) fn is_lack(&self) -> bool {
        let is_put = matches!(self, Self::Status { method, .. } if method == "PUT");
        is_put && matches!(self.code(), Some("MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN"))
    }

    /// The code that the registry gives its answer.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Status { message, .. } => message.code.as_deref(),
            _ => None,
        }
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

/// Statuses that a registry, or a proxy before it, gives on a bad day, not because of the request.
/// What it can't do, or has no room for, won't be different in a minute.
pub(super) fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599) && !matches!(status, 501 | 505 | 507 | 511)
}

/// What became of a connection, as far as the system tells.
fn connection(error: &(dyn Error + 'static), otherwise: &str) -> String {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return "the connection was refused".to_owned(),
            Some(io::ErrorKind::ConnectionReset) => return "the connection was reset".to_owned(),
            Some(io::ErrorKind::TimedOut) => return "there was no connection in time".to_owned(),
            _ => next = error.source(),
        }
    }
    otherwise.to_owned()
}

fn wish(retry_after: Option<Duration>) -> String {
    let seconds = retry_after.map(|wish| wish.as_secs()).filter(|seconds| *seconds > 0);
    seconds.map(|seconds| format!(", and wants to be left alone for {seconds} seconds")).unwrap_or_default()
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

    fn connect(source: impl Into<Cause>) -> RegistryError {
        let (method, url) = ("GET".to_owned(), "https://r.io/".to_owned());
        RegistryError::Connect { method, url, source: source.into() }
    }

    #[test]
    fn what_happened_is_said_in_a_few_words() {
        let io = |kind| io::Error::from(kind);
        let (method, url) = ("GET".to_owned(), "https://r.io/".to_owned());
        let broken = |source: io::Error| RegistryError::Broken {
            method: method.clone(),
            url: url.clone(),
            source: source.into(),
        };
        let after = Duration::from_secs(120);
        let still = RegistryError::TimedOut { method: method.clone(), url: url.clone(), after };
        for (error, expected) in [
            (connect(io(io::ErrorKind::ConnectionRefused)), "the connection was refused"),
            (connect(io(io::ErrorKind::TimedOut)), "there was no connection in time"),
            (connect("no such name"), "no connection could be made"),
            (broken(io(io::ErrorKind::ConnectionReset)), "the connection was reset"),
            (broken(io(io::ErrorKind::BrokenPipe)), "the connection was closed"),
            (still, "nothing moved for 120 seconds"),
        ] {
            assert_eq!(error.reason(), expected);
            assert!(error.is_transient(), "{expected}");
        }
    }

    #[test]
    fn a_server_that_cannot_do_tls_will_not_learn_it() {
        for fault in [
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        ] {
            assert!(!connect(io::Error::other(fault)).is_transient());
        }
    }
}
