//! What can go wrong with a step.

use crate::step::mask::MaskError;
use crate::step::process::ProcessError;

/// A step failed.
///
/// Which step it was is the caller's to say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// A secret can't be kept out of what the step's command writes.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// The step's command can't be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
}
