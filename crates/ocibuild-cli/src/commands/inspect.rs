//! `ocibuild inspect`.

mod human;
mod image;
mod picture;

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::failure::Failure;
use crate::image_place::ImageArgs;
use crate::options::Options;
use crate::progress::Reporter;
use crate::text::{self, Format};

use image::Inspection;

/// Show what an image is made of
///
/// Its platforms, and of each the config, the layers with their sizes, and how they came to be.
/// Layers themselves are not read, but for `--html`: the size of their tar, and the keys by which the
/// cache finds them, are shown of those that were built with this cache.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// The form in which it is shown
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,

    /// Draw it as a page for a browser, and write that to this file; `-` is standard output
    ///
    /// Layers by their sizes, a tree map of the files, what later layers hide, and the config, of
    /// each platform. The page is one file and asks no network for anything; an image's page is the
    /// same whenever it is drawn. All layers are read for it, and nothing is unpacked.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "format")]
    html: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild inspect app.oci
  ocibuild inspect oci:images:1.4.2
  ocibuild inspect --html app.html app.oci
  ocibuild inspect --format json registry.example.com/team/app:1 | jq .images[0].config.config.Env";

/// Inspects.
///
/// # Errors
/// [`Failure`] if the image can't be read.
pub(crate) fn run(args: &InspectArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let place = args.html.as_deref().map(picture::Place::new);
    if let Some(place) = &place {
        place.check()?;
    }
    let found = args.image.find(options, reporter)?;
    let mut inspection = Inspection::read(&found).map_err(|error| Failure::place(error, found.origin))?;
    if let Some(place) = &place {
        return picture::draw(&inspection, &found, place, options, reporter);
    }
    if let Ok(cache) = options.cache_directory() {
        inspection.ask(&cache);
    }
    text::print(&match args.format {
        Format::Text => human::show(&inspection),
        Format::Json => format!("{:#}\n", inspection.to_json()),
    })
}
