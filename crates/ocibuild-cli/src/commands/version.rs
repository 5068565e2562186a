//! `ocibuild version`.

use std::env::consts::{ARCH, OS};

use clap::Args;
use ocibuild_core::compress::codec_id;
use ocibuild_core::layer::COMPAT;
use ocibuild_core::oci::Compression;
use ocibuild_core::spec;
use serde_json::json;

use crate::commands::build::METADATA_VERSION;
use crate::failure::Failure;
use crate::progress::json::VERSION as PROGRESS_VERSION;
use crate::text::{self, Format};

/// Tell the version, and all that decides on digests
///
/// Two programs of the same compat and codecs give the same inputs the same digest. A codec is
/// named by its encoder and by the digest of something it compressed, just now.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VersionArgs {
    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild version
  ocibuild version --format json | jq .compat";

/// The compressions, each at the level that it has where none is named.
const COMPRESSIONS: [(&str, Compression); 3] = [
    ("gzip", Compression::Gzip { level: Compression::DEFAULT_GZIP_LEVEL }),
    ("zstd", Compression::Zstd { level: Compression::DEFAULT_ZSTD_LEVEL }),
    ("none", Compression::None),
];

/// Tells the version.
///
/// # Errors
/// [`Failure::Stdout`].
pub(crate) fn run(args: &VersionArgs) -> Result<(), Failure> {
    text::print(&match args.format {
        Format::Text => to_text(),
        Format::Json => format!("{:#}\n", to_json()),
    })
}

fn to_text() -> String {
    let [gzip, zstd, none] = COMPRESSIONS.map(|(_, compression)| codec_id(compression));
    format!(
        "ocibuild {}\n\
         target    {OS} on {ARCH}, {}\n\
         spec      version {}\n\
         compat    {COMPAT}\n\
         progress  version {PROGRESS_VERSION}\n\
         metadata  version {METADATA_VERSION}\n\
         codecs    {}\n          {}\n          {}\n",
        env!("CARGO_PKG_VERSION"),
        environment(),
        spec::VERSION,
        gzip.as_str(),
        zstd.as_str(),
        none.as_str(),
    )
}

fn to_json() -> serde_json::Value {
    let codecs =
        COMPRESSIONS.map(|(name, compression)| (name.to_owned(), json!(codec_id(compression).as_str())));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "target": { "os": OS, "architecture": ARCH, "environment": environment() },
        "spec": spec::VERSION,
        "compat": COMPAT,
        "progress": PROGRESS_VERSION,
        "metadata": METADATA_VERSION,
        "codecs": serde_json::Map::from_iter(codecs),
    })
}

/// The C library that this program is linked with.
fn environment() -> &'static str {
    if cfg!(target_env = "musl") {
        "musl"
    } else if cfg!(target_env = "gnu") {
        "gnu"
    } else {
        "system"
    }
}
