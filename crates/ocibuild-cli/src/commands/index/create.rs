//! `ocibuild index create`.

use clap::Args;
use ocibuild_core::blob::Memory;
use ocibuild_core::image::{GatherError, Gathering};

use crate::failure::{Failure, Origin};
use crate::image_place::{FoundImage, Place, registries};
use crate::options::Options;
use crate::parse;
use crate::progress::Reporter;
use crate::transfer::{ResultArgs, Transfer};

/// Gather images for several platforms in one index
///
/// The images may lie anywhere, such as where several runners pushed them; what DST lacks of them
/// is copied there, and they keep their digests. Each runs on what its config says, and two for one
/// platform are refused. Of an index all images are taken, with their attestations. The same images
/// in the same order give the same index. Standard output gets its digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// Where the index goes: `registry.example.com/team/app:1`, `DIR[:NAME]` or `oci:DIR[:NAME]`,
    /// `oci-archive:FILE[:NAME]`, or `-` for an archive on standard output
    #[arg(value_name = "DST")]
    destination: String,

    /// The images, in the order that they shall have: references, layouts or archives
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,

    /// Set an annotation of the index; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    annotation: Vec<(String, String)>,

    #[command(flatten)]
    results: ResultArgs,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild index create registry.example.com/app:1 registry.example.com/app:1-amd64 \\
      registry.example.com/app:1-arm64
  ocibuild index create registry.example.com/app:1 amd64.oci arm64.oci \\
      --annotation org.opencontainers.image.version=1";

/// Creates.
///
/// # Errors
/// [`Failure`]; what DST's name meant, it then means still.
pub(crate) fn run(args: &CreateArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let to = Place::of_destination(&args.destination)?;
    if matches!(&to, Place::Registry(reference) if reference.digest().is_some()) {
        let failure = Failure::usage("the digest of an index isn't known before it is made");
        return Err(failure.with_hint("name a tag"));
    }
    let sources: Vec<Place> =
        args.images.iter().map(|image| Place::of_source(image)).collect::<Result<_, _>>()?;
    let named = registries(sources.iter().chain([&to]));
    let mut transfer = Transfer::begin(options, reporter, Some(&args.results), named)?;
    let mut gathering = Gathering::new();
    for (key, value) in &args.annotation {
        gathering.annotate(key, value);
    }
    let mut parts = Vec::new();
    for image in &args.images {
        let found = transfer.find(image)?;
        let added = gathering.add(image, found.source.as_ref(), &found.root);
        parts.push((added.map_err(|error| failure(error, Some(&found)))?, found));
    }
    let (root, bytes) = gathering.finish().map_err(|error| failure(error, None))?;
    let mut destination = transfer.destination(to, None)?;
    let index = Memory::new();
    index.insert(root.media_type.clone(), bytes);
    let is_there = destination.ask(&root, &index).map_err(|error| Failure::place(error, Origin::Registry))?;
    for (entries, found) in parts.iter().filter(|_| !is_there) {
        transfer.copy_parts(entries, found, destination.sink())?;
    }
    transfer.copy_index(&root, &index, destination.sink())?;
    transfer.finish(&root, &index, vec![destination], &args.results)
}

fn failure(error: GatherError, found: Option<&FoundImage>) -> Failure {
    match (error, found) {
        (GatherError::Blob(error), Some(found)) => Failure::place(error, found.origin),
        (error @ GatherError::SamePlatform { .. }, _) => Failure::usage(error.to_string())
            .with_hint("leave one of them out: an index has one image for each platform"),
        (GatherError::Image { source, .. }, Some(found)) => {
            Failure::Image { error: *source, origin: found.origin }
        }
        (error, _) => Failure::usage(error.to_string()),
    }
}
