//! Steps: a command is run for what it makes.

mod error;
#[cfg_attr(not(test), allow(dead_code, reason = "steps are not run yet"))]
mod mask;
#[cfg_attr(not(test), allow(dead_code, reason = "steps are not run yet"))]
mod process;
#[cfg_attr(not(test), allow(dead_code, reason = "steps are not run yet"))]
mod sandbox;
#[cfg_attr(not(test), allow(dead_code, reason = "steps are not run yet"))]
mod secret;
#[cfg_attr(not(test), allow(dead_code, reason = "steps are not run yet"))]
mod trace;

pub use error::StepError;
pub use mask::MaskError;
pub use process::ProcessError;
pub use sandbox::SandboxError;
pub use secret::SecretError;
pub use trace::TraceError;
