//! What goes wrong: for who starts the server, and for who asks it something.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::StatusCode;
use ocibuild_core::blob::BlobError;
use serde_json::{Value, json};

/// A layout can't be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The directory isn't a layout, or can't be used as one.
    #[error(transparent)]
    Layout(#[from] BlobError),
    /// The address can't be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that the server keeps beside the layout can't be used.
    #[error("cannot {action} `{path}`", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another server has the directory.
    #[error("`{directory}` is being served already", directory = .0.display())]
    Busy(PathBuf),
    /// The system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// An error code of the specification, with the status that goes with it
/// ([error codes](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    /// Not the specification's: what is asked for makes no sense of another kind.
    PaginationInvalid,
    TagInvalid,
    Unknown,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::PaginationInvalid => "PAGINATION_NUMBER_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Why a request isn't done, as the client is told it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    errors: Vec<Value>,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::with_details(code, message, [Value::Null])
    }

    /// One error for each detail.
    pub(crate) fn with_details(
        code: Code,
        message: impl Into<String>,
        details: impl IntoIterator<Item = Value>,
    ) -> Self {
        let message = message.into();
        let error = |detail| match detail {
            Value::Null => json!({ "code": code.text(), "message": message }),
            detail => json!({ "code": code.text(), "message": message, "detail": detail }),
        };
        Self { status: code.status(), errors: details.into_iter().map(error).collect() }
    }

    pub(crate) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut bytes = json!({ "errors": self.errors }).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }
}

/// Whatever the disk says is this side's fault.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        let refusal = Self::new(Code::Unknown, format!("the registry's storage failed: {error}"));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                refusal.status(StatusCode::INSUFFICIENT_STORAGE)
            }
            _ => refusal,
        }
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::File { source, .. } => Self::from(source),
            error => Self::new(Code::Unknown, format!("the registry's storage failed: {error}")),
        }
    }
}
