//! `ocibuild pull`.

use clap::Args;
use ocibuild_core::Reference;

use crate::failure::Failure;
use crate::image_place::{Place, registries};
use crate::options::Options;
use crate::progress::Reporter;
use crate::transfer::{PartArgs, ResultArgs, Transfer};

/// Pull an image from a registry
///
/// Into an OCI layout unless another place is named. What is there already isn't fetched. Standard
/// output gets the digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PullArgs {
    /// The image, such as `registry.example.com/team/app:1`
    #[arg(value_name = "REF", value_parser = reference)]
    reference: Reference,

    /// Where it goes: `DIR[:NAME]` or `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, or `-` for an
    /// archive on standard output [default: the layout NAME.oci, by the end of the repository's name]
    #[arg(value_name = "DST")]
    destination: Option<String>,

    #[command(flatten)]
    part: PartArgs,

    #[command(flatten)]
    results: ResultArgs,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild pull registry.example.com/team/app:1
  ocibuild pull registry.example.com/team/app:1 oci:images:app --platform linux/amd64
  ocibuild pull registry.example.com/team/app:1 - | docker load";

fn reference(text: &str) -> Result<Reference, String> {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    text.parse()
        .map(Reference::or_latest)
        .map_err(|error| format!("{error}\n  hint: `ocibuild copy` takes images from layouts and archives"))
}

/// Pulls.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &PullArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let to = match &args.destination {
        Some(text) => Place::of_destination(text)?,
        None => {
            let name = args.reference.repository().path().rsplit('/').next().unwrap_or_default();
            Place::Layout { directory: format!("{name}.oci").into(), name: None }
        }
    };
    let named = registries([&Place::Registry(args.reference.clone()), &to]);
    let mut transfer = Transfer::begin(options, reporter, Some(&args.results), named)?;
    let found = transfer.find(&format!("docker://{}", args.reference))?;
    let root = transfer.root(&found, &args.part)?;
    let mut destinations = vec![transfer.destination(to, Some(&found.place))?];
    transfer.copy(&found, &root, &mut destinations, &args.part)?;
    transfer.finish(&root, found.source.as_ref(), destinations, &args.results)
}
