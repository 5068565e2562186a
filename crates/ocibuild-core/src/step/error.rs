//! What can go wrong with a step.

use crate::step::process::ProcessError;
use crate::step::sandbox::SandboxError;
use crate::step::secret::SecretError;
use crate::step::trace::TraceError;

/// A step failed.
///
/// Which step it was is the caller's to say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The step's command can't be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The command can't be kept from the network or the host.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// One of the step's secrets can't be handed over.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What the command reads can't be watched.
    #[error(transparent)]
    Trace(#[from] TraceError),
}
