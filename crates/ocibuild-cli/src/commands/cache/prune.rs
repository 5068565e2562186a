//! `ocibuild cache prune`.

use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Args;
use ocibuild_core::cache::{self, PruneOptions, Pruned};
use ocibuild_core::event::Warning;
use serde_json::json;

use crate::commands::cache::{VERSION, count, extent_to_json, failure, strays_to_json, warn_of_strays};
use crate::failure::Failure;
use crate::parse;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::text::{self, Format};

/// Remove from the cache what is not needed
///
/// Without flags: blobs that no record names, records that can't be understood, and what killed runs
/// left behind a minute ago, or a day ago while a build goes on. With flags also what was least recently
/// used: records with the blobs that only they name, what is known of the files of trees, what steps
/// made, and the directories in which they run. A build uses what answers in it and what it looks up,
/// though it writes nothing.
///
/// Builds may go on meanwhile. While one does, nothing is removed that was used or made in the last
/// hour, not by `--all` either, and nothing that a step has in use.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PruneArgs {
    /// Remove what was least recently used, until no more than this is left: `500MB`, `10GiB`
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    max_size: Option<u64>,

    /// Remove what wasn't used for so long: `7d`, `12h`, `2w`
    #[arg(long, value_name = "DURATION", value_parser = parse::age)]
    max_age: Option<Duration>,

    /// Remove everything
    #[arg(long, conflicts_with_all = ["max_size", "max_age"])]
    all: bool,

    /// Remove nothing; tell what would be removed
    #[arg(long)]
    dry_run: bool,

    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild cache prune --max-size 10GB
  ocibuild cache prune --max-age 30d --dry-run
  ocibuild cache prune --all";

pub(super) fn run(args: &PruneArgs, directory: &Path, reporter: &Reporter) -> Result<(), Failure> {
    let PruneArgs { max_size, max_age, all, dry_run, format } = *args;
    let stop = Stop::on_signals()?;
    let options = PruneOptions { all, max_size, max_age, dry_run };
    let pruned = cache::prune(directory, &options, SystemTime::now(), &stop.cancel())
        .map_err(|error| failure(error, directory))?;
    if pruned.is_spared {
        let warning = Warning::new("a build is running: what it uses, or was used in the last hour, is kept");
        reporter.warn(&warning.hint("prune again when none is"));
    }
    warn_of_strays(&pruned.strays, reporter);
    text::print(&match format {
        Format::Text => to_text(&pruned, dry_run),
        Format::Json => {
            let value = json!({
                "version": VERSION,
                "path": directory.display().to_string(),
                "dry_run": dry_run,
                "records": extent_to_json(pruned.records),
                "blobs": extent_to_json(pruned.blobs),
                "registry_notes": extent_to_json(pruned.notes),
                "stat_caches": extent_to_json(pruned.stat),
                "block_lists": extent_to_json(pruned.blocks),
                "last_builds": extent_to_json(pruned.last_builds),
                "step_outputs": extent_to_json(pruned.outputs),
                "step_workspaces": extent_to_json(pruned.steps),
                "tool_notes": extent_to_json(pruned.tools),
                "temporary_files": extent_to_json(pruned.temporary),
                "bytes": bytes(&pruned),
                "left": { "bytes": pruned.left.bytes },
                "spared": pruned.is_spared,
                "strays": strays_to_json(&pruned.strays),
            });
            format!("{value:#}\n")
        }
    })
}

fn bytes(pruned: &Pruned) -> u64 {
    let Pruned { records, blobs, notes, stat, blocks, last_builds, outputs, steps, tools, temporary, .. } =
        pruned;
    let all = [records, blobs, notes, stat, blocks, last_builds, outputs, steps, tools, temporary];
    all.into_iter().map(|extent| extent.bytes).sum()
}

fn to_text(pruned: &Pruned, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut parts = vec![count(pruned.records, "record"), count(pruned.blobs, "blob")];
    let others = [
        (pruned.notes, "registry note"),
        (pruned.stat, "stat cache"),
        (pruned.blocks, "block list"),
        (pruned.outputs, "step output"),
        (pruned.steps, "step workspace"),
        (pruned.tools, "tool note"),
        (pruned.temporary, "unfinished file"),
    ];
    let there = others.iter().filter(|(extent, _)| extent.count > 0);
    parts.extend(there.map(|(extent, noun)| count(*extent, noun)));
    let last = parts.pop().unwrap_or_default();
    let (gone, left) = (text::bytes(bytes(pruned)), text::bytes(pruned.left.bytes));
    format!("{verb} {} and {last}: {gone}; {left} left\n", parts.join(", "))
}
