//! `ocibuild diff`.

mod config;
mod files;
mod json;
mod layers;
mod page;

use clap::{Args, ValueEnum};
use ocibuild_core::Cancel;
use ocibuild_core::base::Base;
use ocibuild_core::contents::{Aspect, Merged};

use crate::failure::Failure;
use crate::image_files::{self, PlatformArgs};
use crate::image_place::{self, FoundImage, Place, registries};
use crate::options::Options;
use crate::progress::Reporter;
use crate::registry::Registries;
use crate::text;

/// Show how two images differ
///
/// In their files, as containers would see them, path by path with the layers they come from; in
/// their configs, field by field; and in their layers. Layers that both images have are read once.
///
/// Signs: `+` only B has it, `-` only A has it, `~` both have it and it differs, `=` it is the same.
///
/// How layers are compressed and what manifests say beside config and layers doesn't count as a
/// difference.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DiffArgs {
    /// The first image: a layout, `DIR` or `oci:DIR`, with `:NAME` behind it where it holds several;
    /// or one in a registry
    #[arg(value_name = "A")]
    before: String,

    /// The second image
    #[arg(value_name = "B")]
    after: String,

    #[command(flatten)]
    platform: PlatformArgs,

    /// Don't compare this of files; may be given several times
    #[arg(long, value_enum, value_name = "WHAT")]
    ignore: Vec<Ignored>,

    /// The form in which it is shown
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

/// What may be left out of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ignored {
    /// Times of modification
    Mtime,
    /// Permission bits
    Mode,
    /// Owners and groups
    Owner,
    /// Extended attributes
    Xattrs,
}

impl Ignored {
    fn aspect(self) -> Aspect {
        match self {
            Self::Mtime => Aspect::Mtime,
            Self::Mode => Aspect::Mode,
            Self::Owner => Aspect::Owner,
            Self::Xattrs => Aspect::Xattrs,
        }
    }
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
  ocibuild diff old.oci new.oci
  ocibuild diff registry.example.com/team/app:1.4.1 app.oci
  ocibuild diff --ignore mtime --platform linux/arm64 oci:images:1 oci:images:2
  ocibuild diff --format json old.oci new.oci | jq .summary

Exit codes: 0 no difference; 1 the images differ; others as in `ocibuild --help`.";

/// One of the two images.
struct Side {
    found: FoundImage,
    base: Base,
}

/// All that was found out.
struct Comparison {
    before: Side,
    after: Side,
    layers: Vec<layers::Pair>,
    config: Vec<config::Change>,
    /// The files of both; nothing if the images are one and the same.
    files: Option<(Merged, Merged)>,
    ignored: Vec<Aspect>,
}

/// Compares.
///
/// # Errors
/// [`Failure::Different`] if the images differ; others if one can't be read.
pub(crate) fn run(args: &DiffArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let places = [Place::of_source(&args.before)?, Place::of_source(&args.after)?];
    let registries = Registries::new(options, reporter, registries(&places), Cancel::new());
    let before = image_place::find(&args.before, &registries)?;
    let after = image_place::find(&args.after, &registries)?;
    // What has one digest is the same for all its platforms: none has to be named.
    let is_one = before.root.digest == after.root.digest && before.root.media_type.is_index();
    if is_one && args.platform.platform.is_none() {
        return text::stream(|stdout| match args.format {
            Format::Text => page::write_same(&before, &after, stdout),
            Format::Json => json::write_same(&before, &after, stdout),
        });
    }
    let comparison = Comparison::new(args, before, after, options)?;
    let summary = files::summary(&comparison);
    match args.format {
        Format::Text => text::stream(|stdout| page::write(&comparison, &summary, stdout))?,
        Format::Json => text::stream(|stdout| json::write(&comparison, &summary, stdout))?,
    }
    if summary.is_same() { Ok(()) } else { Err(Failure::Different) }
}

impl Comparison {
    fn new(
        args: &DiffArgs,
        before: FoundImage,
        after: FoundImage,
        options: &Options,
    ) -> Result<Self, Failure> {
        let open = |found: FoundImage| {
            let base = args.platform.open(&found)?;
            Ok(Side { found, base })
        };
        let (before, after) = (open(before)?, open(after)?);
        Ok(Self {
            files: read(&before, &after, options)?,
            layers: layers::pair(&before.base, &after.base),
            config: config::changes(&before.base.config_bytes, &after.base.config_bytes),
            ignored: args.ignore.iter().map(|ignored| ignored.aspect()).collect(),
            before,
            after,
        })
    }
}

/// Reads the files of both, if they can differ: the same layers hold the same files.
fn read(before: &Side, after: &Side, options: &Options) -> Result<Option<(Merged, Merged)>, Failure> {
    if before.base.diff_ids == after.base.diff_ids {
        return Ok(None);
    }
    let one = image_files::read(&before.found, &before.base, None, true, options)?;
    let other = image_files::read(&after.found, &after.base, Some(&one), true, options)?;
    let fault = |side: &Side, error| image_files::failure(error, &side.found);
    Ok(Some((
        one.merged().map_err(|error| fault(before, error))?,
        other.merged().map_err(|error| fault(after, error))?,
    )))
}
