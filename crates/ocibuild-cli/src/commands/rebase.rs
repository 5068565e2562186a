//! `ocibuild rebase`.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use ocibuild_core::blob::BlobError;
use ocibuild_core::build::OpenBase;
use ocibuild_core::copy::{CopyOptions, Referrers, Tally};
use ocibuild_core::rebase::{Named, Rebase};
use ocibuild_core::{Builder, Built, Cancel, Reference, Registry};
use serde_json::json;

use crate::destination::Destinations;
use crate::failure::{Failure, Origin, RebaseFailure};
use crate::image_place::{self, FoundImage, Place};
use crate::options::Options;
use crate::parse::{self, Output};
use crate::progress::Reporter;
use crate::progress::json::seconds;
use crate::registry::Registries;
use crate::signals::Stop;
use crate::usage::Usage;
use crate::{environment, text};

/// Move an image to another base without rebuilding it
///
/// The image's own layers stay as they are, and what its config has over the old base's is laid over
/// the new one's: what comes out is what a build on the new base gives, for every platform of the
/// image. Where a layer would have come out otherwise there, because of links, directories or
/// accounts that the new base has otherwise, nothing is moved, and all of that is told.
///
/// Layers are neither made nor packed again: a registry takes over those that it has. Standard output
/// gets `registry/repository@sha256:…` by the first tag, or the bare digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RebaseArgs {
    /// The image: an OCI layout, `DIR` or `oci:DIR`, with `:NAME` behind it where it holds several
    /// images; or one in a registry, such as `registry.example.com/team/app:1`
    #[arg(value_name = "IMAGE")]
    image: String,

    /// The new base, named as the image is
    #[arg(long, value_name = "BASE")]
    onto: String,

    /// The base that the image stands on [default: what the image says itself]
    #[arg(long, value_name = "BASE")]
    from: Option<String>,

    /// Call the new image this; repeat it for more
    #[arg(short, long, value_name = "REFERENCE", value_parser = parse::tag)]
    tag: Vec<Reference>,

    /// Push to the registries that the tags name
    #[arg(long, help_heading = "Destinations", requires = "tag", required_unless_present = "output")]
    push: bool,

    /// Write an OCI layout, `type=oci,dest=DIR`, or an archive, `type=oci-archive,dest=FILE` with `-`
    /// for standard output; repeat it for more
    #[arg(long, value_name = "OUTPUT", value_parser = parse::output, help_heading = "Destinations")]
    output: Vec<Output>,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild rebase registry.example.com/app:1 --onto registry.example.com/node:22.4 \\
      -t registry.example.com/app:1 --push
  ocibuild rebase app.oci --from node-22.3.oci --onto node-22.4.oci --output type=oci,dest=moved.oci

Exit codes: 1 the new base has something otherwise; others as in `ocibuild --help`.";

/// Moves.
///
/// # Errors
/// [`Failure`]; nothing is written or pushed if the image can't be moved.
pub(crate) fn run(args: RebaseArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let started = Instant::now();
    let stop = Stop::on_signals()?;
    let cancel = stop.cancel();
    let destinations = Destinations::resolve(args.output.clone(), args.push, ".".as_ref())?;
    let (job, origins, registries) = job(&args, options, reporter, &cancel)?;
    let several = job.image.place.root.media_type.is_index();
    let cache = options.cache_directory()?;
    let builder = Builder::new(".", &cache)
        .threads(options.threads())
        .observer(reporter)
        .cancel(cancel.clone())
        .registry(registries.client()?.clone());
    let builder = environment::source_date_epoch()?.into_iter().fold(builder, Builder::created);
    let built = builder.rebase(&job).map_err(|error| {
        Failure::Rebase(Box::new(RebaseFailure { error, origins, several, cache: cache.clone() })).settled()
    })?;
    let copying = CopyOptions::new().observer(reporter).cancel(cancel.clone());
    let files = |error| Failure::place(error, Origin::Files);
    destinations.write(&built, &copying).map_err(files)?;
    let sent = if args.push { Some(push(&built, registries.client()?, &copying)?) } else { None };
    let outputs = args.output.iter().filter_map(|output| Some(output.path()?.display().to_string()));
    let usage = registries.used().map(Usage::of);
    let usage = usage.map(|usage| match &sent {
        Some(sent) => usage.spare(sent.skipped, sent.mounted),
        None => usage,
    });
    let told = Told { started, sent, usage, outputs: outputs.collect(), onto: &job.onto.name };
    told.tell(&built, destinations.uses_stdout(), reporter)
}

/// Finds image and bases; of the first and the new base with who is to blame for their blobs, and the
/// registries of them all.
fn job<'a>(
    args: &RebaseArgs,
    options: &'a Options,
    reporter: &'a Reporter,
    cancel: &Cancel,
) -> Result<(Rebase, [Origin; 2], Registries<'a>), Failure> {
    let images = [Some(&args.image), Some(&args.onto), args.from.as_ref()].into_iter().flatten();
    let tags = args.tag.iter().filter(|_| args.push).cloned().map(|tag| Ok(Place::Registry(tag)));
    let places = images.map(|image| Place::of_source(image)).chain(tags);
    let about = image_place::registries(&places.collect::<Result<Vec<_>, _>>()?);
    let registries = Registries::new(options, reporter, about, cancel.clone());
    let find = |image: &str| image_place::find(image, &registries);
    let (image, onto) = (find(&args.image)?, find(&args.onto)?);
    let from = args.from.as_deref().map(find).transpose()?;
    let origins = [image.origin, onto.origin];
    let job = Rebase {
        ref_names: ref_names(&args.tag, &image),
        tags: args.tag.clone(),
        image: named(image),
        onto: named(onto),
        from: from.map(named),
    };
    Ok((job, origins, registries))
}

fn named(found: FoundImage) -> Named {
    let reference = (found.origin == Origin::Registry).then(|| found.name.parse().ok()).flatten();
    Named {
        place: OpenBase { source: Arc::<dyn Referrers>::from(found.source), root: found.root },
        name: found.name,
        reference,
    }
}

/// What the image goes by in a layout: by its tags, else as it did.
fn ref_names(tags: &[Reference], image: &FoundImage) -> Vec<String> {
    let mut names: Vec<String> = tags.iter().filter_map(Reference::tag).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        names.push(own_name(image));
    }
    names
}

/// What the image is called where it is; without a name for it, as the directory or file.
fn own_name(image: &FoundImage) -> String {
    let stem = || image.place.path().and_then(Path::file_stem).and_then(|stem| stem.to_str());
    let name = image.place.tag().or_else(|| stem().filter(|stem| !stem.starts_with('.')));
    name.unwrap_or(if image.origin == Origin::Registry { "latest" } else { "image" }).to_owned()
}

/// What went to registries.
struct Sent {
    uploaded: Tally,
    mounted: Tally,
    /// What didn't have to be sent, with what was mounted.
    skipped: Tally,
}

fn push(built: &Built, registry: &Registry, copying: &CopyOptions<'_>) -> Result<Sent, Failure> {
    let [image] = &built.images[..] else { unreachable!("one image is moved") };
    let report = built.push_image_as(image, registry, &image.tags, copying);
    let report = report.map_err(|error: BlobError| Failure::place(error, Origin::Registry))?;
    let mut skipped = report.present;
    skipped += report.mounted;
    Ok(Sent { uploaded: report.sent, mounted: report.mounted, skipped })
}

/// What is told in the end.
struct Told<'a> {
    started: Instant,
    sent: Option<Sent>,
    usage: Option<Usage>,
    outputs: Vec<String>,
    onto: &'a str,
}

impl Told<'_> {
    fn tell(&self, built: &Built, stdout_is_taken: bool, reporter: &Reporter) -> Result<(), Failure> {
        let image = &built.images[0];
        let line = match image.tags.first() {
            Some(tag) => tag.at(image.root.digest).to_string(),
            None => image.root.digest.to_string(),
        };
        let tally = |tally: &Tally| json!({ "count": tally.blobs, "bytes": tally.bytes });
        let value = json!({
            "images": [line],
            "seconds": seconds(self.started.elapsed()),
            "uploaded": self.sent.as_ref().map(|sent| tally(&sent.uploaded)),
            "mounted": self.sent.as_ref().map(|sent| tally(&sent.mounted)),
            "registry": self.usage.map(Usage::to_json),
            "outputs": self.outputs,
        });
        reporter.clear();
        reporter.summary(&self.summary(), &value);
        match stdout_is_taken {
            false => text::print(&format!("{line}\n")),
            // Lines of text would be no JSON, and the summary has it.
            true if reporter.is_for_programs() => Ok(()),
            true => {
                // Nobody is there to be told if that fails.
                let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
                Ok(())
            }
        }
    }

    /// One line: where to, what was sent, and the time.
    fn summary(&self) -> String {
        let mut line = format!("moved onto {}", self.onto);
        if let Some(Sent { uploaded, mounted, .. }) = &self.sent {
            let (uploaded, mounted) = (text::bytes(uploaded.bytes), text::bytes(mounted.bytes));
            line.push_str(&format!(", {uploaded} uploaded and {mounted} mounted"));
        }
        if !self.outputs.is_empty() {
            line.push_str(&format!(", in {}", self.outputs.join(", ")));
        }
        let trouble = self.usage.as_ref().map(Usage::trouble).unwrap_or_default();
        format!("{line}; {}{trouble}", text::time(self.started.elapsed()))
    }
}
