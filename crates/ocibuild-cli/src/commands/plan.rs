//! `ocibuild plan`.

mod uploads;

use std::fmt::Write as _;

use clap::{Args, builder::NonEmptyStringValueParser};
use ocibuild_core::build::{
    By, ForeseenBlob, ForeseenImage, ForeseenLayer, ForeseenStep, Foresight, Outlook,
};
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::reference::Reference;
use serde_json::{Value, json};

use crate::commands::build::{BuildFlags, Job};
use crate::commands::foreseen;
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::text::{self, Format};

use uploads::{Amount, Fate, Upload};

/// The version of the form for programs: a field may be added within it, none changed or taken away.
const VERSION: u32 = 1;

/// Tell what a build would do, without doing it
///
/// Takes what `build` takes. For each layer: whether something answers for it, and from where (the
/// machine's cache, or a place that `--cache-from` or the spec names), or whether it has to be made;
/// its size; and what a push would upload of it. A split layer counts as a hit as far as its parts do.
/// Of each step, whether its command would run, and how long it took when it last did here; what comes
/// after a step that runs is only known once that has.
///
/// Nothing is compressed or written but what the cache learns of files. Layers with lockfiles aren't
/// looked at if something answers for them; of others, directories are walked, and files are read that
/// changed since they were last read. Where images would go is asked which blobs it has, by their tags
/// in the spec or `--tag`, whether `--push` is given or not; nothing is sent.
///
/// The size of what has to be made is not known before: it is estimated by what compression made of
/// the layer in its last build (`about`), or is that of its uncompressed bytes (`at most`).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    /// The images that would be built; all of the spec's if none is named
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    images: Vec<String>,

    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,

    #[command(flatten)]
    flags: BuildFlags,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild plan
  ocibuild plan -t registry.example.com/app:1 --cache-from registry.example.com/app:main
  ocibuild plan --format json | jq -r '.images[].layers[] | select(.hit | not) | .name'";

/// Tells what a build would do.
///
/// # Errors
/// [`Failure`], as the build would meet it.
pub(crate) fn run(args: PlanArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let job = Job::resolve(args.images, args.flags, options, reporter)?;
    let (_, foresight, registry) = job.foresee(&stop.cancel())?;
    let uploads =
        foresight.images.iter().map(|image| Upload::of(image, &foresight, registry.as_ref(), reporter));
    let uploads: Vec<Option<Upload>> = uploads.collect::<Result<_, Failure>>()?;
    reporter.clear();
    text::print(&match args.format {
        Format::Text => to_text(&foresight, &uploads),
        Format::Json => format!("{:#}\n", to_json(&foresight, &uploads)),
    })
}

/// The layers of an image that aren't its base's.
fn own<'f>(image: &'f ForeseenImage, foresight: &'f Foresight) -> impl Iterator<Item = &'f ForeseenLayer> {
    image.layers.iter().map(|index| &foresight.layers[*index]).filter(|layer| !layer.is_builtin)
}

/// How long a blob is, or will be.
fn size_of(blob: &ForeseenBlob) -> Amount {
    match (&blob.blob, blob.estimate, blob.tar_size) {
        (Some(built), ..) => Amount::exactly(built.descriptor.size),
        (None, Some(estimate), _) => Amount::about(estimate),
        (None, None, Some(tar_size)) => Amount::at_most(tar_size),
        (None, None, None) => Amount::unknown(),
    }
}

const HEADINGS: [&str; 5] = ["LAYER", "WHAT", "FROM", "SIZE", "UPLOAD"];

fn to_text(foresight: &Foresight, uploads: &[Option<Upload>]) -> String {
    let mut out = String::new();
    for (image, upload) in foresight.images.iter().zip(uploads) {
        if !out.is_empty() {
            out.push('\n');
        }
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(own(image, foresight).map(|layer| row(layer, upload.as_ref())));
        let base = image.base.iter().map(|layer| layer.size).sum();
        if !image.base.is_empty() {
            let fates =
                upload.as_ref().map(|upload| upload.of_blobs(image.base.iter().map(|blob| blob.digest)));
            let what = text::count(image.base.len(), "layer");
            rows.push(["(base)".to_owned(), what, "-".to_owned(), text::bytes(base), told(fates)]);
        }
        let _ = writeln!(out, "image {}", image.name);
        write_rows(&mut out, &rows);
        let _ = writeln!(out, "  {}", total(image, upload.as_ref()));
    }
    steps_to_text(&mut out, &foresight.steps);
    out
}

fn steps_to_text(out: &mut String, steps: &[ForeseenStep]) {
    if steps.is_empty() {
        return;
    }
    out.push_str("\nsteps\n");
    let mut rows = vec![["STEP", "WHAT", "FROM", "LAST RUN", ""].map(str::to_owned)];
    rows.extend(steps.iter().map(|step| {
        let what = match step.outlook {
            Outlook::Hit(_) => "hit",
            Outlook::Runs => "run",
            Outlook::Depends if step.last.is_none() => "likely run",
            Outlook::Depends => "run if a need changes",
            _ => "not needed",
        };
        let from = match (&step.place, foreseen::tier(step)) {
            (Some(place), _) => place.clone(),
            (None, Some(_)) => "local".to_owned(),
            (None, None) => "-".to_owned(),
        };
        let last = step.last.map_or_else(|| "-".to_owned(), text::time);
        [step.label.clone(), what.to_owned(), from, last, String::new()]
    }));
    let mut text = String::new();
    write_rows(&mut text, &rows);
    out.extend(text.lines().map(|line| format!("{}\n", line.trim_end())));
}

fn write_rows(out: &mut String, rows: &[[String; 5]]) {
    let mut widths = [0; 4];
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let [layer, what, from, size] = widths;
    for [a, b, c, d, e] in rows {
        let _ = writeln!(out, "  {a:layer$}  {b:what$}  {c:from$}  {d:>size$}  {e}");
    }
}

fn row(layer: &ForeseenLayer, upload: Option<&Upload>) -> [String; 5] {
    let size = layer.blobs.iter().map(size_of).sum::<Amount>();
    let fate = upload.map(|upload| upload.of_layer(layer));
    [layer.label.clone(), what(layer), from(layer), size.to_string(), told(fate)]
}

fn what(layer: &ForeseenLayer) -> String {
    let made = layer.blobs.iter().filter(|blob| !blob.outcome.is_reused()).count();
    match (made, layer.blobs.len()) {
        (0, 1) => "hit".to_owned(),
        (0, parts) => format!("hit, {parts} parts"),
        (made, parts) if made == parts && parts == 1 => "build".to_owned(),
        (made, parts) => format!("build {made} of {}", text::count(parts, "part")),
    }
}

/// Where a layer, or the parts of it that are anywhere, are; and by what they were found.
fn from(layer: &ForeseenLayer) -> String {
    let places = foreseen::places(layer, Some("local"));
    match (&places[..], layer.by) {
        ([], _) => "-".to_owned(),
        (_, Some(By::Manifest)) => format!("{} (manifests)", places.join(", ")),
        _ => format!("{} (content)", places.join(", ")),
    }
}

fn told(fate: Option<Fate>) -> String {
    fate.map_or_else(|| "unknown".to_owned(), |fate| fate.to_string())
}

fn total(image: &ForeseenImage, upload: Option<&Upload>) -> String {
    match upload {
        Some(upload) => {
            format!(
                "upload: {}, and the config and manifest, to {}",
                upload.total(),
                upload.places().join(", ")
            )
        }
        None if image.tags.is_empty() => {
            "upload: unknown, as the image has no tag that says where it would go".to_owned()
        }
        None => "upload: unknown, as no registry is asked".to_owned(),
    }
}

fn to_json(foresight: &Foresight, uploads: &[Option<Upload>]) -> Value {
    let images = foresight.images.iter().zip(uploads).map(|(image, upload)| {
        let layers = own(image, foresight).map(|layer| layer_to_json(layer, upload.as_ref()));
        let base = image.base.iter().map(|layer| layer.size).sum::<u64>();
        let digests = || image.base.iter().map(|blob| blob.digest);
        json!({
            "name": image.name,
            "tags": image.tags.iter().map(Reference::to_string).collect::<Vec<_>>(),
            "layers": layers.collect::<Vec<_>>(),
            "base": {
                "layers": image.base.len(),
                "bytes": base,
                "upload": upload.as_ref().map(|upload| upload.of_blobs(digests()).to_json()),
            },
            "upload": upload.as_ref().map(Upload::to_json),
        })
    });
    let steps: Vec<Value> = foresight.steps.iter().map(foreseen::step_to_json).collect();
    json!({ "version": VERSION, "images": images.collect::<Vec<_>>(), "steps": steps })
}

fn layer_to_json(layer: &ForeseenLayer, upload: Option<&Upload>) -> Value {
    let part = |blob: &ForeseenBlob| {
        json!({
            "hit": blob.outcome.is_reused(),
            "cache": tier(blob),
            "place": blob.place,
            "digest": blob.blob.as_ref().map(|built| built.descriptor.digest),
            "size": size_of(blob).to_json(),
            "tar_size": blob.tar_size,
            "upload": upload.map(|upload| upload.of_blob(blob).to_json()),
        })
    };
    json!({
        "name": layer.name,
        "label": layer.label,
        "hit": layer.is_hit(),
        "by": foreseen::by(layer),
        "entries": layer.entries,
        "tar_size": layer.tar_size,
        "size": layer.blobs.iter().map(size_of).sum::<Amount>().to_json(),
        "upload": upload.map(|upload| upload.of_layer(layer).to_json()),
        "blobs": layer.blobs.iter().map(part).collect::<Vec<_>>(),
    })
}

/// Which cache answers for a blob; none does for what has to be made.
fn tier(blob: &ForeseenBlob) -> Option<LayerOutcome> {
    Some(blob.outcome).filter(|outcome| outcome.is_reused())
}
