//! `ocibuild copy`.

use clap::Args;

use crate::failure::Failure;
use crate::image_place::{Place, registries};
use crate::options::Options;
use crate::progress::Reporter;
use crate::transfer::{PartArgs, ResultArgs, Transfer};

/// Copy an image from one place to another
///
/// Between layouts, archives and registries, as it is: nothing is encoded again, digests stay what
/// they were. What the destination has isn't sent; its name for the image changes last. Standard
/// output gets the digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CopyArgs {
    /// The image: `DIR` or `oci:DIR` (an OCI layout), `FILE`, `oci-archive:FILE` or
    /// `docker-archive:FILE`, `-` for an archive on standard input, each with `:NAME` behind it
    /// where it holds several; or a reference such as `registry.example.com/team/app:1`
    #[arg(value_name = "SRC")]
    source: String,

    /// Where it goes: `DIR[:NAME]` or `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `-` for an archive
    /// on standard output, or a reference; with `@DIGEST` in place of a tag it is given none
    ///
    /// A layout keeps what else is in it. Without a name, the image keeps the one it has.
    #[arg(value_name = "DST")]
    destination: String,

    #[command(flatten)]
    part: PartArgs,

    #[command(flatten)]
    results: ResultArgs,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild copy app.oci registry.example.com/team/app:1
  ocibuild copy registry.example.com/team/app:1 mirror.example.com/app:1 --referrers
  ocibuild copy registry.example.com/team/app:1 oci:images:app --platform linux/arm64
  docker save app:1 | ocibuild copy - registry.example.com/team/app:1";

/// Copies.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: &CopyArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let to = Place::of_destination(&args.destination)?;
    let mut transfer = Transfer::begin(
        options,
        reporter,
        Some(&args.results),
        registries([&Place::of_source(&args.source)?, &to]),
    )?;
    let found = transfer.find(&args.source)?;
    let root = transfer.root(&found, &args.part)?;
    if let Place::Registry(reference) = &to
        && let Some(digest) = reference.digest()
        && *digest != root.digest
    {
        let message = format!("`{}` is `{}`, and can't be called `{reference}`", args.source, root.digest);
        return Err(Failure::usage(message).with_hint("name a tag, or leave the digest out"));
    }
    let mut destinations = vec![transfer.destination(to, Some(&found.place))?];
    transfer.copy(&found, &root, &mut destinations, &args.part)?;
    transfer.finish(&root, found.source.as_ref(), destinations, &args.results)
}
