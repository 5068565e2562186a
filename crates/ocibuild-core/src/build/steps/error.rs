//! Why steps failed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::blob::BlobError;
use crate::build::BuildError;
use crate::files::FileError;
use crate::layer::{InputFault, LayerError};
use crate::plan::{Plan, PlannedStep};
use crate::spec::Span;
use crate::step::{RunError, StepError, ToolError};

/// Steps failed. There are several only where the others were to go on.
#[derive(Debug)]
#[non_exhaustive]
pub struct StepFailures {
    /// Those that failed, in the order in which they did; never empty.
    pub failed: Vec<StepFailure>,
    /// Those that weren't run because of that.
    pub skipped: Vec<SkippedStep>,
}

impl fmt::Display for StepFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failed[..] {
            [one] => write!(f, "step `{}`", one.step),
            several => {
                let names: Vec<String> = several.iter().map(|one| format!("`{}`", one.step)).collect();
                write!(f, "steps {}", names.join(", "))
            }
        }
    }
}

impl std::error::Error for StepFailures {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failed.first().map(|one| &one.fault as _)
    }
}

/// A step failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct StepFailure {
    /// Its label.
    pub step: String,
    /// Where the spec has it.
    pub span: Option<Span>,
    /// Why it failed.
    pub fault: StepFault,
    /// Who wants it: from an image on, by a layer and the steps that need each other, to the step itself.
    pub way: Vec<String>,
    /// The last lines that its command wrote.
    pub tail: Vec<String>,
    /// Where all of them are.
    pub log: Option<PathBuf>,
}

/// A step wasn't run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedStep {
    /// Its label.
    pub step: String,
    /// The label of the step that failed before it, which it needs.
    pub because: String,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepFault {
    /// Its command said so.
    #[error("exit code {0}")]
    Exit(i32),
    /// Its command was killed.
    #[error("killed by signal {0}")]
    Signal(i32),
    /// Its command took longer than it may.
    #[error("not done after {}", seconds(*.0))]
    TimedOut(Duration),
    /// Its inputs can't be read.
    #[error(transparent)]
    Inputs(Box<LayerError>),
    /// An input changed after its key was made.
    #[error("its inputs changed after they were looked at")]
    Changed,
    /// What it made was written to by then: perhaps by a process that its command left and that couldn't be
    /// ended.
    #[error("what it made changed after its command had ended")]
    Disturbed,
    /// Its command ended well and made no such thing.
    #[error("it made no `{path}`")]
    NoOutput {
        /// The output.
        path: String,
        /// Where the spec names it.
        span: Option<Span>,
        /// What it made in that place instead.
        nearby: Vec<String>,
    },
    /// It made something else than what is recorded, where that was to be verified.
    #[error("it made something else than {} has", place.as_ref().map_or_else(|| "the cache".to_owned(), |place| format!("`{place}`")))]
    Unlike {
        /// The place beside the cache that has it; none is the cache.
        place: Option<String>,
    },
    /// What it made in an output's place is only a link.
    #[error("its output `{path}` is a symbolic link")]
    LinkAsOutput {
        /// The output.
        path: String,
        /// Where the spec names it.
        span: Option<Span>,
    },
    /// What it made can't be read.
    #[error("what it made cannot be kept")]
    Outputs(#[source] Box<LayerError>),
    /// Its directory can't be used.
    #[error(transparent)]
    Directory(#[from] StepError),
    /// Its directory can't be read.
    #[error(transparent)]
    Tree(#[from] FileError),
    /// Its command can't be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A tool can't say what it is.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

/// Writes a time as people do.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

impl StepFault {
    /// Where in the spec the fault lies, if it is somewhere within the step.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Inputs(fault) | Self::Outputs(fault) => fault.span(),
            Self::NoOutput { span, .. } | Self::LinkAsOutput { span, .. } => *span,
            Self::Run(fault) => fault.span(),
            _ => None,
        }
    }
}

impl BuildError {
    /// A step's fault; that it was stopped is none.
    pub(in crate::build) fn step(plan: &Plan, step: &PlannedStep, fault: StepFault) -> Self {
        match fault {
            StepFault::Inputs(fault) | StepFault::Outputs(fault) if is_cancelled(&fault) => {
                Self::Cancelled(crate::event::Cancelled)
            }
            StepFault::Directory(StepError::Cancelled(cancelled))
            | StepFault::Tool(ToolError::Cancelled(cancelled)) => Self::Cancelled(cancelled),
            fault => Self::Steps(Box::new(StepFailures {
                failed: vec![StepFailure::new(plan, step, fault)],
                skipped: Vec::new(),
            })),
        }
    }
}

fn is_cancelled(fault: &LayerError) -> bool {
    matches!(
        fault,
        LayerError::Cancelled(_)
            | LayerError::File(InputFault { fault: FileError::Cancelled(_), .. })
            | LayerError::Blob(BlobError::Cancelled(_))
    )
}

impl StepFailure {
    pub(super) fn new(plan: &Plan, step: &PlannedStep, fault: StepFault) -> Self {
        let span = fault.span().or(step.span);
        let way = way(plan, step);
        Self { step: step.label.clone(), span, fault, way, tail: Vec::new(), log: None }
    }
}

/// Who wants a step: the shortest way from an image, or from a step that nobody needs.
fn way(plan: &Plan, step: &PlannedStep) -> Vec<String> {
    let Some(index) = plan.steps.iter().position(|other| other == step) else { return Vec::new() };
    let mut way = vec![format!("step `{}`", step.label)];
    let mut at = index;
    loop {
        if let Some(layer) = plan.layers.iter().position(|layer| layer.steps().any(|step| step == at)) {
            way.push(format!("layer `{}`", plan.layers[layer].label));
            let holds = |image: &&crate::plan::PlannedImage| {
                image.variants.iter().any(|variant| variant.layers.contains(&layer))
            };
            way.extend(plan.images.iter().find(holds).map(|image| format!("image `{}`", image.name)));
            break;
        }
        // Steps come after those they need, so this ends.
        let Some(by) = plan.steps.iter().position(|other| other.needs.contains(&at)) else { break };
        way.push(format!("step `{}`", plan.steps[by].label));
        at = by;
    }
    way.reverse();
    way
}
