//! `ocibuild save`.

use std::path::PathBuf;

use clap::Args;
use ocibuild_core::Reference;
use ocibuild_core::archive::ArchiveForm;

use crate::failure::Failure;
use crate::image_place::{Place, registries};
use crate::options::Options;
use crate::parse;
use crate::progress::Reporter;
use crate::transfer::{Destination, PartArgs, ResultArgs, Transfer};

/// Save an image as an archive for `docker load` and `podman load`
///
/// The archive is an OCI layout with docker's `manifest.json` beside it, which `ctr images import`
/// and skopeo take as well. Of an index docker sees the first image only: `--platform` chooses one.
/// Standard output gets the digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SaveArgs {
    /// The image: `DIR` or `oci:DIR` (an OCI layout), `FILE`, `oci-archive:FILE` or
    /// `docker-archive:FILE`, each with `:NAME` behind it where it holds several; or a reference such
    /// as `registry.example.com/team/app:1`
    #[arg(value_name = "SRC")]
    source: String,

    /// The archive; `-` is standard output
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// What docker shall call it, such as `app:1`; repeat it for more [default: the reference that
    /// it comes from]
    #[arg(short, long, value_name = "REFERENCE", value_parser = parse::tag)]
    tag: Vec<Reference>,

    #[command(flatten)]
    part: PartArgs,

    #[command(flatten)]
    results: ResultArgs,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild save registry.example.com/team/app:1 app.tar
  ocibuild save app.oci -t app:1 - | docker load";

/// Saves.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &SaveArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let named = registries([&Place::of_source(&args.source)?]);
    let mut transfer = Transfer::begin(options, reporter, Some(&args.results), named)?;
    let found = transfer.find(&args.source)?;
    let root = transfer.root(&found, &args.part)?;
    let file = (args.file.as_os_str() != "-").then(|| args.file.clone());
    let to = Place::Archive { file, form: ArchiveForm::Oci, name: None };
    let mut destination = transfer.destination(to, Some(&found.place))?;
    if let Destination::Archive { references, .. } = &mut destination
        && !args.tag.is_empty()
    {
        *references = args.tag.clone();
    }
    let mut destinations = vec![destination];
    transfer.copy(&found, &root, &mut destinations, &args.part)?;
    transfer.finish(&root, found.source.as_ref(), destinations, &args.results)
}
