//! What is wrong with images that could be built, found before anything of them is published: programs
//! that can't start, secrets, sizes beyond what was agreed.
//!
//! Judges what `inspect` found in files by what an image holds and by what the spec says of findings;
//! reads no file itself. Only what is sure is an error: what nothing starts, what a package manager
//! brought, and what only a test may use weighs less.

mod alone;
mod brought;
mod budget;
mod config;
mod finding;
mod libraries;
mod loader;
mod programs;
mod root;
mod started;

pub use alone::{Biggest, LayerView, alone};
pub use budget::{BudgetView, budgets};
pub use config::{ConfigView, config};
pub use finding::{Finding, Findings, Place, fails};
pub use programs::{ImageView, programs};
pub use root::{Contents, Held, Item, Removed};
pub use started::Start;

#[cfg(test)]
mod tests;
