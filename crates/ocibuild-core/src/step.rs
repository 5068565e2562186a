//! Steps: commands that are run for what they make.
//!
//! A command runs in a directory of its own, which holds what it declares and nothing else, with an
//! environment of its own. What its keys are made of is here as well; who asks for them, and what becomes
//! of what it makes, isn't known here.

mod command;
mod copy;
mod environment;
mod error;
mod extract;
mod forms;
mod key;
mod leak;
mod log;
mod mask;
mod orphans;
mod outputs;
mod private;
mod process;
mod sandbox;
mod secret;
mod shared;
mod state;
mod sync;
mod tools;
mod trace;

pub use command::{Ears, Host, Run, RunError};
pub use environment::SOURCE_DATE_EPOCH;
pub use error::{StepError, UnpackError};
pub use key::{Circumstances, declared_key, own_key, realised_key};
pub use log::Log;
pub use mask::MaskError;
pub use outputs::{OutputTree, OutputTrees, remove_beneath};
pub use private::{InPlace, Private};
pub use process::{Ending, ProcessError};
pub use sandbox::SandboxError;
pub use secret::{SecretError, absent_secrets};
pub use shared::Shared;
pub use sync::{Synced, Wanted, WantedKind};
pub use tools::{ToolError, Tools};
pub use trace::{TraceError, Undeclared};
