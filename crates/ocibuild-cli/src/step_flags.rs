//! How steps are run, by the flags of all commands that run some or look ahead.

use clap::Args;
use ocibuild_core::Builder;
use ocibuild_core::build::FinishedStep;
use ocibuild_core::event::Warning;
use ocibuild_core::plan::Plan;

use crate::environment;
use crate::parse;
use crate::progress::Reporter;

/// How steps are run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Steps")]
pub(crate) struct StepFlags {
    /// Make this many steps and layers at once, at most [default: one a processor]
    ///
    /// How many threads compress layers is another matter: `--threads`.
    #[arg(short, long, value_name = "NUMBER", value_parser = parse::jobs, env = "OCIBUILD_JOBS")]
    jobs: Option<usize>,

    /// After a step failed, go on with all that doesn't need it, and tell all failures in the end
    #[arg(short, long)]
    keep_going: bool,

    /// Tell what steps with `in-place = true` read of the root without declaring it; needs `strace`
    #[arg(long)]
    check_inputs: bool,
}

impl StepFlags {
    /// Has a builder keep to the flags, and gives it what steps may have of the environment.
    pub(crate) fn apply<'b>(&self, builder: Builder<'b>) -> Builder<'b> {
        builder
            .environment(environment::of_steps)
            .jobs(self.jobs.unwrap_or_default())
            .keep_going(self.keep_going)
            .check_inputs(self.check_inputs)
    }

    /// Tells of which steps nobody saw what they read, though that was asked for: nothing is found by a look
    /// at what isn't run.
    pub(crate) fn warn_of_unseen(&self, plan: &Plan, steps: &[FinishedStep], reporter: &Reporter) {
        if !self.check_inputs {
            return;
        }
        let has_run =
            |index: usize| steps.iter().any(|step| step.index == index && !step.outcome.is_reused());
        for (index, step) in plan.steps.iter().enumerate().filter(|(_, step)| step.in_place) {
            if !has_run(index) {
                let warning =
                    Warning::new(format!("step `{}` was not run, so nobody saw what it reads", step.label));
                reporter.warn(&warning.hint("`--no-cache` runs it"));
            }
        }
        if !plan.steps.iter().any(|step| step.in_place) {
            reporter
                .warn(&Warning::new("no step here has `in-place = true`, so there are no inputs to check"));
        }
    }
}
