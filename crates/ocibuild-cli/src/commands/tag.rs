//! `ocibuild tag`.

use clap::Args;
use ocibuild_core::Reference;
use ocibuild_core::blob::{BlobError, Target as _};
use ocibuild_core::copy::CopyOptions;
use ocibuild_core::layout::Layout;
use ocibuild_core::registry::RemoteRepository;

use crate::failure::{Failure, Origin};
use crate::image_place::{FoundImage, Place, registries};
use crate::options::Options;
use crate::progress::Reporter;
use crate::text;
use crate::transfer::Transfer;

/// Give an image more names where it is
///
/// In a registry these are tags of the same repository, and no layer moves; in a layout they are
/// names in its index. A name that means something else already is taken from that. Standard output
/// gets the digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TagArgs {
    /// The image: `registry.example.com/team/app:1`, also by `@DIGEST`, or `oci:DIR[:NAME]`
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The new tags, such as `1.4` or `latest`; in a layout full names as well
    #[arg(value_name = "TAG", required = true)]
    tags: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild tag registry.example.com/team/app:1.4.2 1.4 1 latest
  ocibuild tag registry.example.com/team/app@sha256:… stable
  ocibuild tag oci:images:1.4.2 latest";

/// Tags.
///
/// # Errors
/// [`Failure`]; tags that weren't moved yet mean what they meant before.
pub(crate) fn run(args: &TagArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let place = Place::of_source(&args.image)?;
    let transfer = Transfer::begin(options, reporter, None, registries([&place]))?;
    match place {
        Place::Archive { .. } => {
            let failure = Failure::usage("an archive can't be changed");
            Err(failure
                .with_hint("copy the image under another name: `ocibuild copy SRC oci-archive:FILE:NAME`"))
        }
        Place::Layout { directory, .. } => {
            let found = transfer.find(&args.image)?;
            let layout = Layout::open(directory).map_err(|error| Failure::place(error, Origin::Files))?;
            let tagged = args.tags.iter().try_for_each(|tag| layout.tag(&found.root, tag));
            tagged.map_err(|error| Failure::place(error, found.origin))?;
            text::print(&format!("{}\n", found.root.digest))
        }
        Place::Registry(reference) => {
            let tags = args.tags.iter().map(|tag| tag_of(&reference, tag)).collect::<Result<Vec<_>, _>>()?;
            let found = transfer.find(&args.image)?;
            give(&found, &transfer.repository(&reference)?, &tags)
                .map_err(|error| Failure::place(error, found.origin))?;
            text::print(&format!("{}\n", reference.at(found.root.digest)))
        }
    }
}

/// Gives the tags that don't mean the image already.
fn give(found: &FoundImage, repository: &RemoteRepository, tags: &[String]) -> Result<(), BlobError> {
    let source = found.source.as_ref();
    let left = repository.untagged(&found.root, tags, source)?;
    repository.tag_all(&found.root, &left, source, &CopyOptions::new()).map(drop)
}

/// The tag that is meant: alone, or behind the name of the repository.
fn tag_of(image: &Reference, text: &str) -> Result<String, Failure> {
    let repository = image.repository();
    let alone = format!("{repository}:{text}").parse::<Reference>();
    if let Ok(Some(tag)) =
        alone.map(|reference| reference.tag().filter(|tag| *tag == text).map(str::to_owned))
    {
        return Ok(tag);
    }
    match text.parse::<Reference>() {
        Ok(other)
            if other.repository() == repository && other.digest().is_none() && other.tag().is_some() =>
        {
            Ok(other.tag().unwrap_or_default().to_owned())
        }
        Ok(other) if text.contains('/') && other.repository() != repository => {
            let message = format!("`{text}` is in another repository than `{image}`");
            Err(Failure::usage(message).with_hint(format!("`ocibuild copy {image} {text}` brings it there")))
        }
        _ => {
            let failure = Failure::usage(format!("`{text}` can't be a tag"));
            Err(failure.with_hint("a tag has letters, digits, `_`, `.` and `-`, at most 128 of them"))
        }
    }
}
