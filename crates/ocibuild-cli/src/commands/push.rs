//! `ocibuild push`.

use clap::Args;
use ocibuild_core::Reference;

use crate::failure::Failure;
use crate::image_place::{Place, registries};
use crate::options::Options;
use crate::parse;
use crate::progress::Reporter;
use crate::transfer::{PartArgs, ResultArgs, Transfer};

/// Push an image to a registry, under any number of tags
///
/// What the registry has isn't sent, and all tags change last. Standard output gets
/// `registry/repository@sha256:…` by the first tag.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PushArgs {
    /// The image: `DIR` or `oci:DIR` (an OCI layout), `FILE`, `oci-archive:FILE` or
    /// `docker-archive:FILE`, `-` for an archive on standard input, each with `:NAME` behind it
    /// where it holds several
    #[arg(value_name = "SRC")]
    source: String,

    /// What it is called, such as `registry.example.com/team/app:1`; all in one repository or in
    /// several
    #[arg(value_name = "REF", required = true, value_parser = parse::tag)]
    references: Vec<Reference>,

    #[command(flatten)]
    part: PartArgs,

    #[command(flatten)]
    results: ResultArgs,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild push app.oci registry.example.com/team/app:1
  ocibuild push oci:images:1.4.2 registry.example.com/app:1.4.2 registry.example.com/app:latest
  docker save app:1 | ocibuild push - registry.example.com/team/app:1";

/// Pushes.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &PushArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let mut named = registries([&Place::of_source(&args.source)?]);
    named.extend(args.references.iter().map(|reference| reference.repository().registry().to_owned()));
    let mut transfer = Transfer::begin(options, reporter, Some(&args.results), named)?;
    let found = transfer.find(&args.source)?;
    let root = transfer.root(&found, &args.part)?;
    let mut destinations = transfer.repositories(&args.references)?;
    transfer.copy(&found, &root, &mut destinations, &args.part)?;
    transfer.finish(&root, found.source.as_ref(), destinations, &args.results)
}
