//! The commands, one a file: its arguments, then what it does.

pub(crate) mod build;
pub(crate) mod diff;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod validate;
