//! How steps are run, by the flags of all commands that run some or look ahead.

use clap::Args;
use ocibuild_core::Builder;

use crate::environment;
use crate::parse;

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
}
