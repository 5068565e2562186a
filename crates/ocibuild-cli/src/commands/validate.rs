//! `ocibuild validate`.

use clap::{Args, ValueEnum};
use ocibuild_core::image::{self, ValidateError, ValidateOptions, Violation};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::image_place::{FoundImage, ImageArgs};
use crate::options::Options;
use crate::progress::Reporter;
use crate::text;
use crate::text::Format;

/// Hold an image against the image specification
///
/// Standard output gets a line for each rule that the image breaks, with the section of the
/// specification; the exit code is then 1. At most a thousand are told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    image: ImageArgs,

    /// How closely it is looked at
    #[arg(long, value_enum, default_value = "layers", value_name = "DEPTH")]
    depth: Depth,

    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

/// The document's form. Fields may be added within a version.
const VERSION: u32 = 1;

/// How closely an image is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Depth {
    /// Indexes, manifests and configs; layers need only be there
    Manifests,
    /// All bytes of all layers, too
    Layers,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild validate app.oci
  ocibuild validate --depth manifests registry.example.com/team/app:1
  ocibuild validate --format json app.oci | jq -r '.violations[].message'

Exit codes: 0 valid; 1 a rule is broken; others as in `ocibuild --help`.";

/// Validates.
///
/// # Errors
/// [`Failure::Invalid`] if a rule is broken; others if the image can't be read.
pub(crate) fn run(args: &ValidateArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let found = args.image.find(options, reporter)?;
    let depth = match args.depth {
        Depth::Manifests => image::Depth::Manifests,
        Depth::Layers => image::Depth::Layers,
    };
    let options = ValidateOptions::default().depth(depth);
    let violations =
        image::validate(found.source.as_ref(), &found.root, &options).map_err(|error| match error {
            ValidateError::Blob(error) => Failure::place(error, found.origin),
            other => Failure::usage(other.to_string()),
        })?;
    text::print(&match args.format {
        Format::Json => format!("{:#}\n", to_json(&found, &violations)),
        Format::Text if violations.is_empty() => format!("{} is valid\n", found.root.digest),
        Format::Text => violations.iter().map(|violation| format!("{violation}\n")).collect(),
    })?;
    if violations.is_empty() {
        return Ok(());
    }
    Err(Failure::Invalid { violations: violations.len() })
}

fn to_json(found: &FoundImage, violations: &[Violation]) -> Value {
    let violation = |violation: &Violation| {
        let section = Some(violation.section).filter(|section| !section.is_empty());
        json!({
            "place": violation.place,
            "message": violation.message,
            "section": section,
            "url": violation.url(),
        })
    };
    json!({
        "version": VERSION,
        "name": found.name,
        "descriptor": found.root,
        "valid": violations.is_empty(),
        "violations": violations.iter().map(violation).collect::<Vec<_>>(),
    })
}
