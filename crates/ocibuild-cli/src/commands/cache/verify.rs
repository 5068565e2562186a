//! `ocibuild cache verify`.

use std::path::Path;

use clap::Args;
use ocibuild_core::build::Pool;
use ocibuild_core::cache::{self, Damage, Extent, Survey};
use serde_json::{Value, json};

use crate::commands::cache::{VERSION, count, extent_to_json, failure, strays_to_json, warn_of_strays};
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::text::{self, Format};

/// Find what is damaged in the cache
///
/// Reads every record and every blob, and holds the blobs against the digests they are named by; and
/// all that is noted of files, blocks, last builds and registries. A build does that of what it uses;
/// this finds the rest. What is damaged is told, a line each, and
/// the exit code is then 6.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Remove what is damaged, so that the next build makes it anew; the exit code is then 0
    #[arg(long)]
    remove: bool,

    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild cache verify
  ocibuild cache verify --remove
  ocibuild cache verify --format json | jq -r '.damages[].digest'

Exit codes: 0 whole, or mended; 6 something is damaged; others as in `ocibuild --help`.";

/// The name of the bar.
const BAR: &str = "verify";

pub(super) fn run(
    args: &VerifyArgs,
    directory: &Path,
    options: &Options,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let fault = |error| failure(error, directory);
    let stop = Stop::on_signals()?;
    let cancel = stop.cancel();
    let survey = Survey::take(directory, &cancel).map_err(fault)?;
    reporter.begin(BAR, survey.all_blobs().bytes);
    let verify = || cache::verify(&survey, &|bytes| reporter.advance(BAR, bytes), &cancel);
    let damages = Pool::new(options.threads())
        .install(verify)
        .map_err(|error| Failure::Threads(error.into()))?
        .map_err(fault)?;
    reporter.end(BAR);
    warn_of_strays(&survey.strays, reporter);
    let removed = match args.remove {
        true => cache::drop_damaged(&survey, &damages).map_err(fault)?,
        false => Extent::default(),
    };
    text::print(&match args.format {
        Format::Text => to_text(&survey, &damages, args.remove.then_some(removed)),
        Format::Json => format!("{:#}\n", to_json(&survey, &damages, removed)),
    })?;
    if damages.is_empty() || args.remove { Ok(()) } else { Err(Failure::Damaged { count: damages.len() }) }
}

fn to_text(survey: &Survey, damages: &[Damage], removed: Option<Extent>) -> String {
    let mut text: String = damages.iter().map(|damage| format!("{}\n", line(damage))).collect();
    let (records, blobs) = (survey.record_files(), survey.all_blobs());
    match removed.filter(|_| !damages.is_empty()) {
        Some(removed) => {
            let (files, bytes) = (count(removed, "file"), text::bytes(removed.bytes));
            text.push_str(&format!("removed {files}: {bytes}\n"));
        }
        None if damages.is_empty() => {
            let (records, number) = (count(records, "record"), count(blobs, "blob"));
            text.push_str(&format!("{records} and {number} are whole: {} read\n", text::bytes(blobs.bytes)));
        }
        None => {}
    }
    text
}

fn line(damage: &Damage) -> String {
    match damage {
        Damage::Record { file } => format!("{}: this is no record of that name", file.path.display()),
        Damage::Stat { file } => format!("{}: this is not what was noted of a tree", file.path.display()),
        Damage::Blocks { file } => {
            format!("{}: this is not what was noted of a blob's blocks", file.path.display())
        }
        Damage::LastBuild { file } => {
            format!("{}: this is not what was noted of a layer's last build", file.path.display())
        }
        Damage::Note { file } => format!("{}: this is not what was noted of a registry", file.path.display()),
        Damage::Blob { digest, reason, .. } => format!("{digest}: {reason}"),
        Damage::Incomplete { key, blob, .. } => format!("record {key}: it names `{blob}`, which isn't there"),
        _ => "something else is damaged".to_owned(),
    }
}

fn to_json(survey: &Survey, damages: &[Damage], removed: Extent) -> Value {
    json!({
        "version": VERSION,
        "path": survey.root.display().to_string(),
        "records": extent_to_json(survey.record_files()),
        "blobs": extent_to_json(survey.all_blobs()),
        "damages": damages.iter().map(damage_to_json).collect::<Vec<_>>(),
        "removed": extent_to_json(removed),
        "strays": strays_to_json(&survey.strays),
    })
}

fn damage_to_json(damage: &Damage) -> Value {
    let message = line(damage);
    match damage {
        Damage::Record { file } => {
            json!({ "kind": "record", "path": file.path.display().to_string(), "message": message })
        }
        Damage::Stat { file } => {
            json!({ "kind": "stat", "path": file.path.display().to_string(), "message": message })
        }
        Damage::Blocks { file } => {
            json!({ "kind": "blocks", "path": file.path.display().to_string(), "message": message })
        }
        Damage::LastBuild { file } => {
            json!({ "kind": "last-build", "path": file.path.display().to_string(), "message": message })
        }
        Damage::Note { file } => {
            json!({ "kind": "note", "path": file.path.display().to_string(), "message": message })
        }
        Damage::Blob { digest, file, .. } => json!({
            "kind": "blob",
            "digest": digest,
            "path": file.path.display().to_string(),
            "message": message,
        }),
        Damage::Incomplete { key, file, blob, .. } => json!({
            "kind": "incomplete",
            "key": key,
            "digest": blob,
            "path": file.path.display().to_string(),
            "message": message,
        }),
        _ => json!({ "kind": "other", "message": message }),
    }
}
