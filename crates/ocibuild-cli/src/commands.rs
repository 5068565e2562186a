//! The commands, one a file: its arguments, then what it does.

pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod explain;
mod foreseen;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod lock;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod rebase;
pub(crate) mod run;
pub(crate) mod save;
pub(crate) mod schema;
pub(crate) mod serve;
pub(crate) mod tag;
pub(crate) mod validate;
pub(crate) mod version;
