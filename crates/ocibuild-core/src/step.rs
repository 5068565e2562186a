//! Steps: commands that are run for what they make.

#[cfg(unix)]
mod copy;
#[cfg(unix)]
mod error;
#[cfg(unix)]
mod extract;
#[cfg(unix)]
mod outputs;
#[cfg(unix)]
mod private;
#[cfg(unix)]
mod shared;
#[cfg(unix)]
mod state;
#[cfg(unix)]
mod sync;

#[cfg(unix)]
pub use error::{StepError, UnpackError};
#[cfg(unix)]
pub use outputs::{Adoption, OutputTree, OutputTrees};
#[cfg(unix)]
pub use private::Private;
#[cfg(unix)]
pub use shared::Shared;
#[cfg(unix)]
pub use sync::{Synced, Wanted, WantedKind};
