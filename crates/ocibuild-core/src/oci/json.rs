//! The one writer of JSON, and the bounded reader.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest manifest, index or config that is read, in bytes: what registries must take
/// ([distribution-spec, pushing manifests](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests)).
pub const MAX_MANIFEST_SIZE: u64 = 4 << 20;

/// JSON could not be read as what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// It is larger than anything this library reads.
    #[error("{size} bytes of JSON are over the limit of {MAX_MANIFEST_SIZE}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// It is no JSON, or not of the expected form.
    #[error("unexpected JSON")]
    Form(#[source] serde_json::Error),
}

/// Writes a value in canonical form ([RFC 8785](https://www.rfc-editor.org/rfc/rfc8785)): no white
/// space, keys in order. The same value gives the same bytes in every process.
///
/// # Panics
/// If the type's `Serialize` fails, which no type of this crate's does.
#[must_use]
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    use canon_json::CanonJsonSerialize as _;
    value.to_canon_json_vec().expect("wire types have string keys and no floats")
}

/// Reads a value from at most [`MAX_MANIFEST_SIZE`] bytes. Nesting is bounded by the parser.
///
/// # Errors
/// [`JsonError`] if there are more bytes, or they aren't of the expected form.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    if bytes.len() as u64 > MAX_MANIFEST_SIZE {
        return Err(JsonError::TooLarge { size: bytes.len() as u64 });
    }
    serde_json::from_slice(bytes).map_err(JsonError::Form)
}
