//! What a file says of itself that matters to who runs an image or sees it: what a program needs to
//! start, and secrets that shouldn't be there.
//!
//! Looks at bytes that somebody else reads, once, piece by piece; knows no layer, no image and no
//! policy. What is found is a matter of fact: whether it is a fault is decided by `checks`.

mod buckets;
mod elf;
mod facts;
mod logins;
mod report;
mod rules;
mod scan;
mod script;
mod secrets;

pub use elf::Elf;
pub(crate) use facts::is_foreign;
pub use facts::{FileFacts, Inspector, Piece, Reader};
pub use report::{Inspected, Inspection, Packed};
pub use rules::{GROUPS, RULES, Rule, Severity, is_known, rule};
pub use script::Script;
pub use secrets::{Hit, Secret};

/// The version of what is looked for: files that were looked at by another are looked at again. From 1
/// to 7, then from 1 again.
pub const VERSION: u8 = 2;
