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

/// What keys of this library's own begin with: what the descriptors of layers say in images that it
/// made. Those of a base are not inherited, as they speak of how the base was made.
pub const OWN: &str = "vnd.ocibuild.layer.";
/// The keys that a layer answers, in hexadecimal digits, separated by spaces: the content key, and
/// behind it the manifest key where lockfiles vouch for the layer.
pub const KEY: &str = "vnd.ocibuild.layer.key.v1";
/// The digest of a layer's tar bytes, as the config has it.
pub const DIFF_ID: &str = "vnd.ocibuild.layer.diff-id";
/// Which part of a layer of several blobs it is: `3/17`; a layer of one blob doesn't say so.
pub const PART: &str = "vnd.ocibuild.layer.part";
/// Of a part of a layer of several blobs: the key of what that part alone holds, in hexadecimal digits.
pub const PART_KEY: &str = "vnd.ocibuild.layer.part.key.v1";
/// The machines that programs in a layer are for, by Go's names, separated by spaces, `mach-o` or `pe` for
/// programs of other systems, and `brought` for what packages have for machines that the layer isn't for;
/// a layer without programs doesn't say so.
pub const MACHINES: &str = "vnd.ocibuild.layer.machines";

/// What a manifest says that is a cache: of which version.
pub const CACHE: &str = "vnd.ocibuild.cache.version";
/// The writes that went into a cache, the last one first, by how the digests of their manifests begin:
/// separated by spaces, and not all.
pub const CACHE_WRITES: &str = "vnd.ocibuild.cache.writes";
/// What a layer of a cache says that holds records: how many.
pub const CACHE_RECORDS: &str = "vnd.ocibuild.cache.records";
/// What a layer of a cache says that holds an inventory: the inventory's digest.
pub const CACHE_INVENTORY: &str = "vnd.ocibuild.cache.inventory";

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
