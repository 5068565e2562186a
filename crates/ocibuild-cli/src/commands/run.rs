//! `ocibuild run`.

mod job;
mod list;
mod output;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, builder::NonEmptyStringValueParser};
use ocibuild_core::Platform;
use ocibuild_core::build::FinishedStep;
use serde_json::{Value, json};

use crate::commands::build::{CacheFlags, Told};
use crate::failure::Failure;
use crate::options::Options;
use crate::parse;
use crate::progress::Reporter;
use crate::progress::json::seconds;
use crate::signals::Stop;
use crate::step_flags::StepFlags;
use crate::text;

pub(crate) use job::{Asked, StepJob};
use output::Output;

/// Run steps, such as tests, without building an image
///
/// Runs the steps named and all that they need, as `build` would: what a cache answers for isn't run,
/// what doesn't depend on each other runs side by side, and each command sees what its step declares and
/// nothing else. Without a name, tells which steps there are.
///
/// A step that is made for several platforms runs for those of the images that use it, or for those of
/// `--platform`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG_EXAMPLES)]
pub(crate) struct RunArgs {
    /// The steps to run; without any, those there are are listed
    #[arg(value_name = "STEP", value_parser = NonEmptyStringValueParser::new())]
    steps: Vec<String>,

    /// The spec file [default: ocibuild.toml]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Give a variable of the spec a value
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    var: Vec<(String, String)>,

    /// Run for these platforms, in place of those of the images: `linux/amd64,linux/arm64`
    #[arg(long, value_name = "OS/ARCH", value_parser = parse::platform, value_delimiter = ',')]
    platform: Vec<Platform>,

    /// Copy what the steps made to this directory, each output to its path below it
    ///
    /// Those of several platforms go to a directory for each, `linux-arm64`. Files with other names that
    /// are there stay. `-o .` in the spec's root puts them where the spec has them.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    how: StepFlags,

    #[command(flatten)]
    caches: CacheFlags,

    /// Ask no cache but the machine's
    #[arg(
        long,
        env = "OCIBUILD_OFFLINE",
        value_parser = clap::builder::BoolishValueParser::new(),
        help_heading = "Work"
    )]
    offline: bool,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild run
  ocibuild run test
  ocibuild run lint test --keep-going --jobs 4
  ocibuild run compile -o .";

const LONG_EXAMPLES: &str = "\
Examples:
  Tell which steps there are:
    ocibuild run

  Run the tests before anything is packaged:
    ocibuild run test && ocibuild build --push

  Run several, and tell all that fails:
    ocibuild run lint test --keep-going

  Have what a step makes in the working directory:
    ocibuild run compile -o .

Exit codes:
  0 done; 2 command line or spec; 3 files; 6 cache; 7 a step failed; 130 interrupted.";

/// Runs steps.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: RunArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let RunArgs { steps, file, var, platform, output, how, caches, offline } = args;
    let asked = Asked { steps, file, var, platforms: platform, how, caches, offline };
    let job = StepJob::resolve(asked, options, reporter)?;
    if job.asked.steps.is_empty() {
        return text::print(&list::list(&job.source.spec));
    }
    let output = output.map(Output::at).transpose()?;
    let stop = Stop::on_signals()?;
    let outcome = job.run(output.as_ref(), &stop.cancel())?;
    reporter.clear();
    reporter.summary(&outcome.to_text(), &outcome.to_json());
    Ok(())
}

/// What came of a run.
pub(crate) struct Outcome {
    steps: Vec<FinishedStep>,
    told: Option<Told>,
    output: Option<String>,
    elapsed: Duration,
}

/// As many steps are named in the summary; of more there is a number.
const NAMED: usize = 6;

impl Outcome {
    fn to_text(&self) -> String {
        let (reused, ran): (Vec<&FinishedStep>, Vec<_>) =
            self.steps.iter().partition(|step| step.outcome.is_reused());
        let names = |steps: &[&FinishedStep]| match steps.len() {
            0..=NAMED => steps.iter().map(|step| &*step.label).collect::<Vec<_>>().join(", "),
            count => text::count(count, "step"),
        };
        let parts = [("ran", ran), ("reused", reused)].into_iter().filter(|(_, steps)| !steps.is_empty());
        let mut parts: Vec<String> = parts.map(|(how, steps)| format!("{how} {}", names(&steps))).collect();
        parts.push(text::time(self.elapsed));
        if let Some(told) = self.told.as_ref().filter(|told| told.kept.records > 0) {
            let records = usize::try_from(told.kept.records).unwrap_or(usize::MAX);
            parts.push(format!("{} to `{}`", text::count(records, "record"), told.place));
        }
        parts.extend(self.output.iter().map(|output| format!("what was made is in {output}")));
        parts.join("; ")
    }

    fn to_json(&self) -> Value {
        json!({
            "steps": self.steps.iter().map(step_to_json).collect::<Vec<_>>(),
            "seconds": seconds(self.elapsed),
            "cached": self.told.as_ref().map(Told::to_json),
            "output": self.output,
        })
    }
}

/// A step that is finished, for programs.
pub(crate) fn step_to_json(step: &FinishedStep) -> Value {
    json!({
        "name": step.name,
        "label": step.label,
        "cache": step.outcome,
        "place": step.place,
        "size": step.record.layers.first().map(|layer| layer.descriptor.size),
        "seconds": seconds(step.elapsed),
    })
}
