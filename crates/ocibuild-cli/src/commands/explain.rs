//! `ocibuild explain`.

use std::fmt::Write as _;

use clap::{Args, builder::NonEmptyStringValueParser};
use ocibuild_core::build::{By, Explanation, Gone};
use ocibuild_core::cache::{Change, LastBuild, Of};
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::layer::{FileChange, FileChanges, How};
use serde_json::{Value, json};

use crate::commands::build::{BuildFlags, Job};
use crate::commands::foreseen;
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::text::{self, Format};

/// The version of the form for programs: a field may be added within it, none changed or taken away.
const VERSION: u32 = 1;

/// Tell why a layer would be built anew
///
/// Takes what `build` takes. Holds each layer against what it was in the last build on this machine,
/// and names what is otherwise: a lockfile, with its digests; a field of the layer or of a copy; files.
/// Or says that it is a hit, that it was never built here, or that what answered is gone. Of a hit it
/// says why the last build that made it did so.
///
/// Files are walked, and read as far as they changed since they were last read; nothing is compressed.
/// What layers were made of is in the cache, as names, digests and short values of the spec.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The layers, by their names; all of the spec's if none is named
    #[arg(value_name = "LAYER", value_parser = NonEmptyStringValueParser::new())]
    layers: Vec<String>,

    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,

    #[command(flatten)]
    flags: BuildFlags,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild explain
  ocibuild explain dependencies -f deploy/ocibuild.toml
  ocibuild explain --format json | jq '.layers[] | select(.hit | not) | .reasons'";

/// Explains layers.
///
/// # Errors
/// [`Failure`], as the build would meet it.
pub(crate) fn run(args: ExplainArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let job = Job::resolve(Vec::new(), args.flags, options, reporter)?;
    let all = job.explain(&args.layers, &stop.cancel())?;
    reporter.clear();
    text::print(&match args.format {
        Format::Text => all.iter().map(to_text).collect::<String>(),
        Format::Json => {
            let layers = all.iter().map(to_json).collect::<Vec<_>>();
            format!("{:#}\n", json!({ "version": VERSION, "layers": layers }))
        }
    })
}

/// A reason why a layer has to be made.
enum Reason<'e> {
    Never { asked: &'e [String] },
    Change(&'e Change),
    Files(&'e FileChanges),
    BlobGone,
    RecordGone,
    Elsewhere,
    Unknown,
}

/// Why a layer has to be made; nothing of a hit.
fn reasons(explanation: &Explanation) -> Vec<Reason<'_>> {
    let Explanation { layer, last, changes, files, gone, asked, .. } = explanation;
    if layer.is_hit() {
        return Vec::new();
    }
    let mut all = between(changes, files.as_ref());
    match gone {
        Some(Gone::Blob) => all.push(Reason::BlobGone),
        Some(Gone::Record) if all.is_empty() => all.push(Reason::RecordGone),
        _ => {}
    }
    match last {
        None if all.is_empty() => all.push(Reason::Never { asked }),
        Some(LastBuild { last, .. }) if all.is_empty() => all.push(match last.outcome {
            LayerOutcome::Built | LayerOutcome::Reused => Reason::Unknown,
            _ => Reason::Elsewhere,
        }),
        _ => {}
    }
    all
}

fn between<'e>(changes: &'e [Change], files: Option<&'e FileChanges>) -> Vec<Reason<'e>> {
    let files = files.filter(|files| files.count() > 0).map(Reason::Files);
    changes.iter().map(Reason::Change).chain(files).collect()
}

/// Why the last build that made a hit did so, if it is known.
fn earlier(explanation: &Explanation) -> Vec<Reason<'_>> {
    let is_made = |known: &LastBuild| known.last.outcome == LayerOutcome::Built;
    match explanation.last.as_ref().is_some_and(is_made) && explanation.layer.is_hit() {
        true => between(&explanation.earlier.0, explanation.earlier.1.as_ref()),
        false => Vec::new(),
    }
}

fn to_text(explanation: &Explanation) -> String {
    let label = &explanation.layer.label;
    let mut out = String::new();
    let all = reasons(explanation);
    if all.is_empty() {
        let _ = writeln!(out, "layer {label}: {}", hit(explanation));
        explanation.changes.iter().for_each(|change| {
            let _ = writeln!(out, "  though {}", told(change));
        });
        let earlier = earlier(explanation);
        if !earlier.is_empty() {
            out.push_str("  the last build that made it did so\n");
            earlier.iter().for_each(|reason| write_reason(&mut out, reason));
        }
        return out;
    }
    let blobs = &explanation.layer.blobs;
    let parts = match blobs.iter().filter(|blob| blob.outcome.is_reused()).count() {
        0 => String::new(),
        hits => format!(", but for {hits} of {} parts", blobs.len()),
    };
    match &all[..] {
        [Reason::Files(_)] | [_, _, ..] => {
            let _ = writeln!(out, "layer {label}: miss{parts}");
            all.iter().for_each(|reason| write_reason(&mut out, reason));
        }
        _ => {
            let one: String = all.iter().map(sentence).collect();
            let _ = writeln!(out, "layer {label}: miss{parts} {one}");
        }
    }
    out
}

fn hit(explanation: &Explanation) -> String {
    let places = foreseen::places(&explanation.layer, Some("the machine's cache"));
    let by = match explanation.layer.by {
        Some(By::Manifest) => ", by what the spec and its manifests say",
        Some(_) => ", by what its files hold",
        None => ", part by part",
    };
    format!("hit in {}{by}", places.join(", "))
}

fn write_reason(out: &mut String, reason: &Reason<'_>) {
    let _ = writeln!(out, "  {}", sentence(reason));
    if let Reason::Files(files) = reason {
        for change in &files.paths {
            let FileChange { path, how, what, .. } = change;
            let how = match how {
                How::Added => "added  ",
                How::Removed => "removed",
                _ => "changed",
            };
            let what = if what.is_empty() { String::new() } else { format!(" ({})", what.join(", ")) };
            let _ = writeln!(out, "    {how} /{path}{what}");
        }
        match files.count() - files.paths.len() as u64 {
            0 => {}
            more => {
                let _ = writeln!(out, "    and {more} more");
            }
        }
    }
}

fn sentence(reason: &Reason<'_>) -> String {
    match reason {
        Reason::Never { asked: [] } => "because it was never built here".to_owned(),
        Reason::Never { asked } => {
            format!("because it was never built here, and `{}` has nothing for it", asked.join("`, `"))
        }
        Reason::Change(change) => format!("because {}", told(change)),
        Reason::Files(files) => format!("because {}:", counted(files)),
        Reason::BlobGone => "because the record is there but its blob is gone".to_owned(),
        Reason::RecordGone => "because its record is gone, though nothing changed".to_owned(),
        Reason::Elsewhere => {
            "because no place that is asked has it any more; the last build had it from one".to_owned()
        }
        Reason::Unknown => {
            "because nothing answers for it, though nothing is known to have changed".to_owned()
        }
    }
}

fn counted(files: &FileChanges) -> String {
    let count = usize::try_from(files.count()).unwrap_or(usize::MAX);
    let kinds = [(files.added, "added"), (files.removed, "removed"), (files.changed, "changed")];
    let some: Vec<(u64, &str)> = kinds.into_iter().filter(|(count, _)| *count > 0).collect();
    match &some[..] {
        [(_, only)] => format!("{} {only}", paths(count, only)),
        several => {
            let parts: Vec<String> = several.iter().map(|(count, kind)| format!("{count} {kind}")).collect();
            format!("{} differ ({})", text::count(count, "path"), parts.join(", "))
        }
    }
}

fn paths(count: usize, kind: &str) -> String {
    match (count, kind) {
        (1, "changed") => "1 path".to_owned(),
        (1, _) => "1 path was".to_owned(),
        (count, "changed") => format!("{count} paths"),
        (count, _) => format!("{count} paths were"),
    }
}

fn told(change: &Change) -> String {
    let Change { of, before, after, .. } = change;
    match of {
        Of::Manifest { path } => match (before, after) {
            (Some(before), Some(after)) => {
                format!("{path} changed (sha256 {} → {})", short(before), short(after))
            }
            (None, _) => format!("{path} is new among its manifests"),
            (_, None) => format!("{path} is no longer among its manifests"),
        },
        Of::Copy { copy, field: None } => match (before, after) {
            (Some(gone), None) => format!("copy {copy} is gone: {gone}"),
            _ => format!("copy {copy} is new: {}", after.as_deref().unwrap_or_default()),
        },
        Of::Copy { copy, field: Some(field) } => format!("copy {copy}: {}", turned(field, change)),
        Of::Layer { field } => turned(field, change),
        _ => "something changed".to_owned(),
    }
}

fn turned(field: &str, change: &Change) -> String {
    let side = |side: &Option<String>| side.as_deref().map_or("none".to_owned(), plain);
    let is_digest = |side: &Option<String>| side.as_ref().is_none_or(|side| side.starts_with("sha256:"));
    match is_digest(&change.before) && is_digest(&change.after) {
        true => format!("{field} changed ({} → {})", side(&change.before), side(&change.after)),
        false => format!("{field} {} → {}", side(&change.before), side(&change.after)),
    }
}

fn plain(value: &str) -> String {
    if value.starts_with("sha256:") {
        format!("sha256 {}", short(value))
    } else {
        value.escape_debug().to_string()
    }
}

/// The beginning of a digest.
fn short(digest: &str) -> &str {
    text::short(digest.strip_prefix("sha256:").unwrap_or(digest))
}

fn to_json(explanation: &Explanation) -> Value {
    let Explanation { layer, last, asked, .. } = explanation;
    json!({
        "name": layer.name,
        "label": layer.label,
        "hit": layer.is_hit(),
        "by": foreseen::by(layer),
        "places": foreseen::places(layer, None),
        "blobs": layer.blobs.len(),
        "blobs_hit": layer.blobs.iter().filter(|blob| blob.outcome.is_reused()).count(),
        "reasons": reasons(explanation).iter().map(reason_to_json).collect::<Vec<_>>(),
        "known": last.is_some(),
        "changes": explanation.changes,
        "last_made": earlier(explanation).iter().map(reason_to_json).collect::<Vec<_>>(),
        "asked": asked,
    })
}

fn reason_to_json(reason: &Reason<'_>) -> Value {
    let mut value = match reason {
        Reason::Change(change) => json!(change),
        Reason::Files(files) => {
            let mut value = json!(files);
            value["kind"] = json!("files");
            value
        }
        Reason::Never { .. } => json!({ "kind": "never-built" }),
        Reason::BlobGone => json!({ "kind": "blob-gone" }),
        Reason::RecordGone => json!({ "kind": "record-gone" }),
        Reason::Elsewhere => json!({ "kind": "place-gone" }),
        Reason::Unknown => json!({ "kind": "unknown" }),
    };
    value["message"] = json!(sentence(reason).trim_start_matches("because ").trim_end_matches(':'));
    value
}
