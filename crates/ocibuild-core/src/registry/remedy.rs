//! What to try when a registry can't do what was asked.

use std::error::Error;
use std::io;

use crate::registry::http::proxy::is_proxy_fault;
use crate::registry::http::retry::MAX_WISH;
use crate::registry::{RegistryError, ServerMessage, TlsError};

impl RegistryError {
    /// Returns what to try next, where there is something to try.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self.last_try() {
            Self::Connect { source, .. } => Some(connect_remedy(source.as_ref())),
            Self::Unauthorized(refusal) if refusal.status == 401 => {
                Some("log in to the registry, and try again")
            }
            Self::Unauthorized(refusal) => Some(
                message_remedy(&refusal.message)
                    .unwrap_or("use credentials that may write to this repository"),
            ),
            Self::Status { retry_after: Some(wish), .. } if *wish > MAX_WISH => {
                Some("wait for as long as the registry asks for, or log in: that may give you more")
            }
            Self::Status { status, message, .. } => {
                code_remedy(message).or_else(|| message_remedy(message)).or_else(|| status_remedy(*status))
            }
            Self::BodyLimit { .. } => status_remedy(413),
            Self::TimedOut { .. } | Self::Broken { .. } => {
                Some("try again; what is there already is not sent again")
            }
            Self::Immutable { .. } => {
                Some("push under another tag, or allow this one to be moved in the registry's settings")
            }
            Self::Tls(error) => error.remedy(),
            Self::Credentials(error) => error.remedy(),
            _ => None,
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

/// What a code of the specification asks for
/// ([distribution-spec, error codes](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes)).
fn code_remedy(message: &ServerMessage) -> Option<&'static str> {
    match message.code.as_deref()? {
        "NAME_UNKNOWN" => Some("create the repository first, or check its name"),
        "NAME_INVALID" => {
            Some("check the repository's name: registries may want an owner or project in front of it")
        }
        "MANIFEST_BLOB_UNKNOWN" => Some("push again: the registry lost a blob that it said it had"),
        "BLOB_UPLOAD_UNKNOWN" => {
            Some("push again; if it stays so, the servers behind this address don't share their uploads")
        }
        "DIGEST_INVALID" | "SIZE_INVALID" | "BLOB_UPLOAD_INVALID" => {
            Some("push again; if it stays so, something on the way to the registry changes what is sent")
        }
        "TOOMANYREQUESTS" => Some(LIMITED),
        _ => None,
    }
}

/// What registries say that have no code for it.
fn message_remedy(message: &ServerMessage) -> Option<&'static str> {
    let text = message.text.as_deref().unwrap_or_default().to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["immutable", "cannot be overwritten", "already exists"]) {
        return Some("push under another tag, or allow this one to be moved in the registry's settings");
    }
    if says(&["quota", "storage limit", "upper limit", "no space", "insufficient storage"]) {
        return Some(FULL);
    }
    match message.code.as_deref()? {
        "MANIFEST_INVALID" => {
            Some("check what this registry takes: it refuses manifests of this form, as old ones do")
        }
        "UNSUPPORTED" => Some(UNABLE),
        "DENIED" => Some("use credentials that may write to this repository"),
        _ => None,
    }
}

fn status_remedy(status: u16) -> Option<&'static str> {
    match status {
        404 => Some("check the names of registry and repository"),
        405 | 501 => Some(UNABLE),
        407 => Some("put the proxy's user name and password into its address: `http://USER:PASSWORD@HOST`"),
        413 => Some("the registry, or a proxy before it, bounds the size of requests: raise that bound"),
        429 => Some(LIMITED),
        507 => Some(FULL),
        408 | 500..=599 => Some("the registry is out of order: try again later"),
        _ => None,
    }
}

const LIMITED: &str = "the registry limits how much may be asked of it: wait, or log in";
const FULL: &str = "make room in the registry, or have its limit raised";
const UNABLE: &str =
    "use a registry that does this: this one may be for reading only, or a mirror of another";

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
    matches!(tls_fault(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// What TLS found wrong with the other side, if that is why there is no connection.
pub(super) fn tls_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    // What an I/O error wraps is shown by `get_ref` only: its `source` skips it.
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let wrapped = wrapped.map(|inner| inner as &(dyn Error + 'static));
    wrapped.or_else(|| error.source()).and_then(tls_fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(status: u16, body: &str) -> Option<&'static str> {
        let message = ServerMessage::parse(body.as_bytes());
        let (method, url) = ("PUT".to_owned(), "https://r.io/v2/".to_owned());
        RegistryError::Status { method, url, status, message, retry_after: None }.remedy()
    }

    #[test]
    fn what_registries_say_leads_to_what_to_try() {
        let error =
            |code: &str, text: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{text}"}}]}}"#);
        for (status, code, text, expected) in [
            (404, "NAME_UNKNOWN", "", "create the repository"),
            (400, "NAME_INVALID", "", "owner or project"),
            (404, "MANIFEST_BLOB_UNKNOWN", "", "lost a blob"),
            (404, "BLOB_UPLOAD_UNKNOWN", "", "share their uploads"),
            (400, "DIGEST_INVALID", "", "changes what is sent"),
            (400, "SIZE_INVALID", "", "changes what is sent"),
            (429, "TOOMANYREQUESTS", "", "wait, or log in"),
            (405, "UNSUPPORTED", "", "for reading only"),
            (400, "TAG_INVALID", "The image tag '1' already exists and cannot be overwritten", "another tag"),
            (412, "PRECONDITION", "configured as immutable, cannot be updated", "another tag"),
            (412, "DENIED", "will exceed the configured upper limit of 1.0 GiB", "make room"),
            (400, "DENIED", "no", "credentials that may write"),
            (400, "MANIFEST_INVALID", "media type", "manifests of this form"),
            (507, "", "", "make room"),
            (405, "", "", "for reading only"),
            (502, "", "", "try again later"),
        ] {
            let found = remedy(status, &error(code, text)).unwrap_or_default();
            assert!(found.contains(expected), "{status} {code}: {found}");
        }
        assert_eq!(remedy(400, ""), None);
    }

    #[test]
    fn giving_up_does_not_hide_what_to_try() {
        use crate::registry::GaveUp;
        let (method, url) = ("PUT".to_owned(), "https://r.io/v2/".to_owned());
        let retry_after = Some(std::time::Duration::from_secs(3600));
        let error = RegistryError::Status {
            method,
            url,
            status: 429,
            message: ServerMessage::default(),
            retry_after,
        };
        let shown = error.to_string();
        assert_eq!(
            shown,
            "PUT `https://r.io/v2/` was answered 429, and wants to be left alone for 3600 seconds"
        );
        assert!(error.remedy().unwrap().contains("as long as"));
        let time = std::time::Duration::from_secs(42);
        let error = RegistryError::GaveUp(GaveUp { error: Box::new(error), tries: 10, time });
        assert_eq!(error.to_string(), format!("{shown}, tried 10 times over 42 s"));
        assert!(error.remedy().unwrap().contains("as long as"));
        assert!(std::error::Error::source(&error).is_none());
    }
}
