//! `ocibuild ls`.

mod json;
mod list;
mod tree;
mod view;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::image_files::{self, PlatformArgs};
use crate::image_place::ImageArgs;
use crate::options::Options;
use crate::progress::Reporter;
use crate::text;

/// List the files of an image
///
/// Mode, owner, size in bytes, the layer that a file comes from (1 is the lowest) and its path: what
/// a container of the image would see, or with `--layer` what one layer holds. Directories that no
/// layer has, though something lies in them, are listed with `-` for their layer.
///
/// Layers are read whole and verified; nothing is unpacked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// List this and everything below it; a `/` at the end follows a link
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,

    #[command(flatten)]
    platform: PlatformArgs,

    /// Go no deeper than this many levels below PATH; 1 is what lies in it
    #[arg(long, value_name = "N")]
    depth: Option<usize>,

    /// Draw a tree, each directory with the size of all that is below it
    #[arg(long, conflicts_with_all = ["layer", "shadowed", "digests"])]
    tree: bool,

    /// List what this layer holds, as it is, whiteouts too; 1 is the lowest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    layer: Option<u32>,

    /// List what later layers replace or remove: bytes that are in the image for nothing
    #[arg(long, conflicts_with = "layer")]
    shadowed: bool,

    /// The order
    #[arg(long, value_enum, default_value = "path", value_name = "ORDER")]
    sort: Sort,

    /// Tell the SHA-256 digest of each file's content, too
    #[arg(long)]
    digests: bool,

    /// The form in which it is shown
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By path, directories before what is in them; of a layer, as it has them
    Path,
    /// The largest first
    Size,
}

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people; may change. What would steer a terminal is escaped
    Text,
    /// For programs: one document, in which fields are only ever added. A path that isn't UTF-8
    /// comes as `path-hex`
    Json,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild ls app.oci
  ocibuild ls app.oci /app --depth 1
  ocibuild ls app.oci --tree --depth 2 --sort size
  ocibuild ls app.oci --layer 2
  ocibuild ls app.oci --shadowed --sort size
  ocibuild ls --platform linux/arm64 registry.example.com/team/app:1 /usr/bin/
  ocibuild ls --format json app.oci | jq -r '.entries[] | select(.size > 1000000) | .path'";

/// Lists.
///
/// # Errors
/// [`Failure`] if the image can't be read, or hasn't what is asked for.
pub(crate) fn run(args: &LsArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    if args.tree && args.format == Format::Json {
        return Err(Failure::usage("a tree is for people: leave out `--tree` or `--format json`"));
    }
    let found = args.image.find(options, reporter)?;
    let base = args.platform.open(&found)?;
    view::check_layer(args.layer, base.layers.len())?;
    let contents = image_files::read(&found, &base, None, args.digests, options)?;
    let view = view::View::new(args, contents, |error| image_files::failure(error, &found))?;
    match args.format {
        Format::Json => json::print(&found.name, &base, &view),
        Format::Text if args.tree => text::stream(|stdout| tree::show(&view, stdout)),
        Format::Text if args.shadowed => text::stream(|stdout| list::shadowed(&view, stdout)),
        Format::Text => text::stream(|stdout| list::show(&view, stdout)),
    }
}
