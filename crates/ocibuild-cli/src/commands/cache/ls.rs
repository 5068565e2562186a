//! `ocibuild cache ls`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use ocibuild_core::Cancel;
use ocibuild_core::cache::{KnownRecord, Survey};
use serde_json::{Value, json};

use crate::commands::cache::{VERSION, count, extent_to_json, failure, strays_to_json, warn_of_strays};
use crate::failure::Failure;
use crate::names;
use crate::progress::Reporter;
use crate::text::{self, Format};

/// List what the cache holds
///
/// A line for each record, the last used first: how long ago it answered or was written; the beginning
/// of its key; that of the digest of the layer it is of, so that several keys of one layer are seen as
/// that, or the number of layers of a base; the number of files and directories in it; the size of its
/// blobs, and of the layer's tar bytes; and what it is found by: lockfiles, its `content`, or `base` for
/// the listing of a base; `last build` is none of these, and tells that the layer was built before. A record whose blobs aren't all there is marked: the next build makes them anew.
///
/// The last line has the sums, and how much of it no record names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LsArgs {
    /// The form in which it is shown
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild cache ls
  ocibuild cache ls --format json | jq -r '.records[] | select(.complete | not) | .key'";

const HEADINGS: [&str; 7] = ["USED", "KEY", "OF", "FILES", "SIZE", "TAR", "BY"];

pub(super) fn run(args: &LsArgs, directory: &Path, reporter: &Reporter) -> Result<(), Failure> {
    let survey = Survey::take(directory, &Cancel::new()).map_err(|error| failure(error, directory))?;
    warn_of_strays(&survey.strays, reporter);
    text::print(&match args.format {
        Format::Text => to_text(&survey, SystemTime::now()),
        Format::Json => format!("{:#}\n", to_json(&survey)),
    })
}

/// The size of the blobs that the cache keeps for a record.
fn stored(known: &KnownRecord) -> u64 {
    known.record.kept().map(|blob| blob.size).sum()
}

fn to_text(survey: &Survey, now: SystemTime) -> String {
    let mut rows: Vec<[String; 7]> = survey.records.iter().map(|known| row(known, now)).collect();
    if !rows.is_empty() {
        rows.insert(0, HEADINGS.map(str::to_owned));
    }
    let mut widths = [0; 6];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().max(*width));
    }
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:>width$}  ");
        }
        let _ = writeln!(text, "{}", row[6]);
    }
    text.push_str(&totals(survey));
    text
}

fn row(known: &KnownRecord, now: SystemTime) -> [String; 7] {
    let KnownRecord { record, last_used, is_whole, .. } = known;
    let (of, tar) = match (record.is_listing(), &record.layers[..]) {
        (true, layers) => (text::count(layers.len(), "layer"), "-".to_owned()),
        (false, []) => ("-".to_owned(), "-".to_owned()),
        (false, [layer]) => {
            (text::short(&layer.descriptor.digest.hex()).to_owned(), text::bytes(record.tar_size))
        }
        (false, layers) => (text::count(layers.len(), "layer"), text::bytes(record.tar_size)),
    };
    let mut what = record.materials.iter().map(|material| names::escape(material.name.as_bytes()));
    let mut what = match what.next() {
        Some(first) => what.fold(first, |all, name| format!("{all}, {name}")),
        None if record.is_listing() => "base".to_owned(),
        None if record.is_trace => "last build".to_owned(),
        None if record.is_lookup() => "checks".to_owned(),
        None => "content".to_owned(),
    };
    if !is_whole {
        what.push_str(" (incomplete)");
    }
    [
        text::age(now.duration_since(*last_used).unwrap_or_default()),
        text::short(&record.key.hex()).to_owned(),
        of,
        record.entries.to_string(),
        text::bytes(stored(known)),
        tar,
        what,
    ]
}

fn totals(survey: &Survey) -> String {
    let (records, blobs, unnamed) = (survey.record_files(), survey.all_blobs(), survey.unnamed_blobs());
    let (notes, stat, temporary) = (survey.note_files(), survey.stat_files(), survey.temporary_files());
    let (blocks, last) = (survey.block_indexes(), survey.last_build_files());
    let (outputs, steps, tools) = (survey.output_trees(), survey.step_directories(), survey.tool_notes());
    let all = [records, blobs, notes, stat, blocks, last, outputs, steps, tools, temporary];
    let mut parts = vec![
        count(records, "record"),
        count(blobs, "blob"),
        text::bytes(all.iter().map(|extent| extent.bytes).sum()),
    ];
    if notes.count > 0 {
        parts.push(count(notes, "registry note"));
    }
    if stat.count > 0 {
        parts.push(count(stat, "stat cache"));
    }
    if blocks.count > 0 {
        parts.push(count(blocks, "block list"));
    }
    if outputs.count > 0 {
        parts.push(format!("{} in {}", text::bytes(outputs.bytes), count(outputs, "step output")));
    }
    if steps.count > 0 {
        parts.push(format!("{} in {}", text::bytes(steps.bytes), count(steps, "step workspace")));
    }
    if tools.count > 0 {
        parts.push(count(tools, "tool note"));
    }
    if unnamed.count > 0 {
        parts.push(format!(
            "of it {} in {} that no record names",
            text::bytes(unnamed.bytes),
            count(unnamed, "blob")
        ));
    }
    if temporary.count > 0 {
        parts.push(format!("{} in {}", text::bytes(temporary.bytes), count(temporary, "unfinished file")));
    }
    if !survey.broken.is_empty() {
        parts.push(format!("{} can't be understood", text::count(survey.broken.len(), "record")));
    }
    format!("{}\n", parts.join(", "))
}

fn to_json(survey: &Survey) -> Value {
    let (records, blobs) = (survey.record_files(), survey.all_blobs());
    let (notes, stat, temporary) = (survey.note_files(), survey.stat_files(), survey.temporary_files());
    let (blocks, last) = (survey.block_indexes(), survey.last_build_files());
    let (outputs, steps, tools) = (survey.output_trees(), survey.step_directories(), survey.tool_notes());
    let all = [records, blobs, notes, stat, blocks, last, outputs, steps, tools, temporary];
    json!({
        "version": VERSION,
        "path": survey.root.display().to_string(),
        "records": survey.records.iter().map(record_to_json).collect::<Vec<_>>(),
        "totals": {
            "bytes": all.iter().map(|extent| extent.bytes).sum::<u64>(),
            "records": extent_to_json(records),
            "broken_records": survey.broken.len(),
            "blobs": extent_to_json(blobs),
            "unnamed_blobs": extent_to_json(survey.unnamed_blobs()),
            "registry_notes": extent_to_json(notes),
            "stat_caches": extent_to_json(stat),
            "block_lists": extent_to_json(blocks),
            "last_builds": extent_to_json(last),
            "step_outputs": extent_to_json(outputs),
            "step_workspaces": extent_to_json(steps),
            "tool_notes": extent_to_json(tools),
            "temporary_files": extent_to_json(temporary),
        },
        "strays": strays_to_json(&survey.strays),
    })
}

fn record_to_json(known: &KnownRecord) -> Value {
    let KnownRecord { record, last_used, is_whole, .. } = known;
    let seconds = last_used.duration_since(UNIX_EPOCH).as_ref().map(Duration::as_secs).unwrap_or_default();
    let layers =
        record.layers.iter().map(|layer| json!({ "descriptor": layer.descriptor, "diff_id": layer.diff_id }));
    json!({
        "key": record.key,
        "kind": match (record.is_listing(), record.is_trace) {
            (true, _) => "base",
            (_, true) => "trace",
            _ if record.is_lookup() => "lookup",
            _ => "layer",
        },
        "layers": layers.collect::<Vec<_>>(),
        "inventory": record.inventory,
        "materials": record.materials,
        "machines": record.machines,
        "entries": record.entries,
        "size": stored(known),
        "tar_size": (!record.is_listing()).then_some(record.tar_size),
        "last_used": seconds,
        "complete": is_whole,
    })
}
