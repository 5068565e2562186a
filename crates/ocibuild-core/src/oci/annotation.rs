//! Names of annotations: those that are written or read
//! ([image-spec, annotations](https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#pre-defined-annotation-keys)).

/// When the image was made, as an RFC 3339 time.
pub const CREATED: &str = "org.opencontainers.image.created";
/// The name of a reference in a layout's index.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The digest of the base image.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// The name of the base image in a registry.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// The full name of a reference in a layout's index, as containerd's importer reads it.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What keys of the specification begin with; no other keys may.
pub const PREFIX: &str = "org.opencontainers.image.";

/// Keys that stand in the specification, after [`PREFIX`]: those of annotations.md, and
/// those that conversion.md has for runtimes.
pub const PREDEFINED: [&str; 22] = [
    "created",
    "authors",
    "url",
    "documentation",
    "source",
    "version",
    "revision",
    "vendor",
    "licenses",
    "ref.name",
    "title",
    "description",
    "base.digest",
    "base.name",
    "os",
    "architecture",
    "variant",
    "os.version",
    "os.features",
    "author",
    "stopSignal",
    "exposedPorts",
];
