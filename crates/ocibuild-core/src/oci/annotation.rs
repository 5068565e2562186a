//! Names of annotations: those the image specification pre-defines, and our own prefix
//! ([image-spec, annotations](https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#pre-defined-annotation-keys)).

/// Annotations that this library owns begin with this.
pub const OWN_PREFIX: &str = "dev.ocibuild.";
/// When the image was made, as an RFC 3339 time.
pub const CREATED: &str = "org.opencontainers.image.created";
/// The name of a reference in a layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The digest of the base image.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// The reference of the base image.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// A person's title of the image.
pub const TITLE: &str = "org.opencontainers.image.title";
/// The version of the packaged software.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The full name of a reference in a layout's index, as containerd's importer reads it.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
