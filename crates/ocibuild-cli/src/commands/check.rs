//! `ocibuild check`.

mod findings;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};
use ocibuild_core::plan::{Plan, PlanError};
use ocibuild_core::spec::Sources;
use ocibuild_core::{Builder, Error};

use crate::failure::{BuildFailure, Failure};
use crate::lock_file::{LockFile, LockFlags};
use crate::options::Options;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::source::{ImageFlags, Source};
use crate::static_base::Builtins;
use crate::text::Format;
use crate::verdict;
use crate::{host, parse, registry};

use findings::{Findings, Sound};

/// Find what is wrong with a spec, without building it
///
/// Reads `ocibuild.toml`, or the file given, with all it extends; then looks whether bases can be
/// opened, lockfiles are there, copies find something that can go where it is to go, and inputs of
/// steps something at all. All faults are told at once, each with its line. The content of files is
/// not read, and nothing is run: what a build does can still fail.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// The images to check; all of the spec's if none is named
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    images: Vec<String>,

    /// The spec file [default: ocibuild.toml]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Give a variable of the spec a value
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    var: Vec<(String, String)>,

    /// The form in which it is told
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    format: Format,

    #[command(flatten)]
    lock: LockFlags,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild check
  ocibuild check -f deploy/ocibuild.toml api --var tag=1.4.2
  ocibuild check --format json | jq -r '.findings[] | \"\\(.file):\\(.line): \\(.message)\"'

Exit codes: 0 sound; 2 the spec is faulty; 3 a file or a base is.";

/// Checks.
///
/// # Errors
/// [`Failure::Faulty`] if something is wrong; others if that can't be found out.
pub(crate) fn run(args: CheckArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let vars = args.var.iter().cloned().collect();
    let read = Source::find(args.file.clone(), ImageFlags::default(), &args.images, &vars);
    let (findings, sound) = match read {
        Err(Failure::Spec { error, file: Some(file) }) => (Findings::of_spec(file, error), None),
        Err(failure) => return Err(failure),
        Ok(source) => {
            // What is read from a file has its sources.
            let Some(file) = source.file.clone() else { return Ok(()) };
            look(&args, &source, file, options, reporter)?
        }
    };
    match args.format {
        Format::Text => findings.tell(sound.as_ref(), reporter),
        Format::Json => findings.print(sound.as_ref()),
    }
}

/// Plans a sound spec, and holds the plan against what there is.
fn look(
    args: &CheckArgs,
    source: &Source,
    file: Sources,
    options: &Options,
    reporter: &Reporter,
) -> Result<(Findings, Option<Sound>), Failure> {
    let cache = options.cache_directory()?;
    let stop = Stop::on_signals()?;
    let builtins = Builtins::new(None);
    let builder = Builder::new(&source.root, &cache)
        .images(&args.images)
        .threads(options.threads())
        .observer(reporter)
        .cancel(stop.cancel())
        .host(host::name())
        .builtins(|name, version| builtins.get(name, version));
    let builder = source.name.iter().fold(builder, Builder::name);
    let builder = args.lock.apply(builder, &LockFile::of(source)?);
    let plan = match builder.plan(&source.spec) {
        Ok(plan) => plan,
        Err(PlanError::Spec(error)) => {
            return Ok((Findings::of_spec(file, error).warn(source.spec.warnings.clone()), None));
        }
        Err(error) => return Err(Failure::plan(error, Some(&file)).named_in(&source.spec)),
    };
    let is_pulled = !args.lock.offline && !plan.remote_bases().is_empty();
    let builder = match is_pulled {
        true => {
            builder.registry(registry::open_for(&plan, (false, None), options, reporter, &stop.cancel())?)
        }
        false => builder,
    };
    let failure = |error| BuildFailure {
        error,
        file: Some(file.clone()),
        root: source.shown_root(),
        cache: cache.clone(),
        asks_caches: false,
    };
    let faults = |plan: &Plan| {
        builder.check_plan(plan).map_err(|error| match error {
            Error::Root(error) => Failure::Root(error),
            Error::Build(error) => Failure::Build(Box::new(failure(error))).settled(),
            other => Failure::usage(other.to_string()),
        })
    };
    let mut findings = Findings::new(file.clone()).warn(plan.warnings.clone());
    let mut all = faults(&plan)?;
    let mut steps: BTreeSet<String> = plan.steps.iter().map(|step| step.name.clone()).collect();
    let others = if args.images.is_empty() { others(source, &steps) } else { Vec::new() };
    if !others.is_empty() {
        let plan = match builder.plan_steps(&source.spec, &others, &[]) {
            Ok(plan) => plan,
            Err(PlanError::Spec(error)) => {
                return Ok((Findings::of_spec(file.clone(), error).warn(plan.warnings), None));
            }
            Err(error) => return Err(Failure::plan(error, Some(&file))),
        };
        steps.extend(others);
        all.extend(faults(&plan)?);
    }
    for error in all {
        findings.add(verdict::finding(&failure(error)));
    }
    Ok((findings, Some(Sound { plan, steps })))
}

/// The steps that no image needs, such as tests.
fn others(source: &Source, needed: &BTreeSet<String>) -> Vec<String> {
    let names = source.spec.steps.iter().map(|step| &step.name.value);
    names.filter(|name| !needed.contains(*name)).cloned().collect()
}
