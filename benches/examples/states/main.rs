//! Twenty successive states of a real application, built and pushed: `states PROGRAM TREES`.
//!
//! Each state is checked out anew, with all its `node_modules`, outside of what is measured. Then
//! every row builds it and pushes it to a registry of its own: `ocibuild` on an empty cache directory
//! with `--cache-from` the image of the state before, and on a cache directory that is kept; umoci
//! and buildah by the scripts in `benches/states`. The rows take turns in being the first.
//!
//! Bytes uploaded are those that came to lie in the registry.

mod row;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use ocibuild_benches::measure::mean;
use ocibuild_benches::states::{Kind, States};

use row::{Outcome, Row, Tool};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What to measure.
#[derive(Parser)]
struct Arguments {
    /// The product's program.
    program: PathBuf,
    /// Where trees of dependencies are kept between runs.
    trees: PathBuf,
    /// Runs those rows only that have this in their name; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Ends after this many states.
    #[arg(long, default_value_t = usize::MAX)]
    states: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let program = fs::canonicalize(&arguments.program)?;
    fs::create_dir_all(&arguments.trees)?;
    let home = tempfile::tempdir()?;
    let mut rows = rows(&program, home.path(), &arguments.only)?;
    let mut states = States::begin(&fs::canonicalize(&arguments.trees)?, &home.path().join("sources"))?;
    let checkout = home.path().join("checkout");
    let mut number = 0;
    while let Some((name, kind)) = states.next(&checkout)? {
        let count = rows.len();
        for turn in 0..count {
            let row = &mut rows[(number + turn) % count];
            let outcome = row.run(&checkout, kind)?;
            eprintln!("{name}, {}: {outcome}", row.name);
        }
        number += 1;
        if number > arguments.states {
            break;
        }
    }
    report(&rows);
    Ok(())
}

fn rows(program: &Path, home: &Path, only: &[String]) -> Result<Vec<Row>> {
    let ours = |split, kept| Tool::Ocibuild { program: program.to_owned(), split, kept };
    let all = [
        ("ocibuild, empty cache, `--cache-from`", ours(false, false)),
        ("ocibuild, cache kept", ours(false, true)),
        ("ocibuild, `split = \"auto\"`, empty cache, `--cache-from`", ours(true, false)),
        ("ocibuild, `split = \"auto\"`, cache kept", ours(true, true)),
        ("umoci, skopeo", Tool::Umoci { times: None }),
        ("umoci, skopeo, times set to one", Tool::Umoci { times: Some("@0") }),
        ("buildah from, copy, commit, push", Tool::Buildah),
        ("buildah build --layers, empty storage, `--cache-from`", Tool::BuildahLayers { kept: false }),
        ("buildah build --layers, storage kept", Tool::BuildahLayers { kept: true }),
    ];
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let chosen = all.into_iter().filter(|(name, _)| wanted(name)).enumerate();
    chosen.map(|(at, (name, tool))| Row::new(name, tool, &home.join(format!("row{at}")))).collect()
}

/// Prints the means over all states but the first, which has none before it.
fn report(rows: &[Row]) {
    println!(
        "| row | first | time | dependencies changed | cpu | hit rate | uploaded | of the image | requests |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let later: Vec<_> = row.outcomes.iter().filter(|(kind, _)| *kind != Kind::First).collect();
        let over = |value: fn(&Outcome) -> f64| mean(later.iter().map(|(_, outcome)| value(outcome)));
        let first = row.outcomes.first().map_or(f64::NAN, |(_, outcome)| outcome.usage.wall);
        let dependencies = later.iter().filter(|(kind, _)| *kind == Kind::Dependency);
        println!(
            "| {} | {first:.2} s | {:.3} s | {:.2} s | {:.2} s | {:.1}% | {:.2} MB | {:.1}% | {:.0} |",
            row.name,
            over(|outcome| outcome.usage.wall),
            mean(dependencies.map(|(_, outcome)| outcome.usage.wall)),
            over(|outcome| outcome.usage.cpu),
            over(|outcome| outcome.reused as f64 / outcome.image as f64) * 100.0,
            over(|outcome| outcome.uploaded as f64) / 1e6,
            over(|outcome| outcome.uploaded as f64 / outcome.image as f64) * 100.0,
            over(|outcome| outcome.requests as f64),
        );
    }
}
