//! The little colour there is.

use std::io::{IsTerminal as _, stderr};

use crate::environment;

/// The word before an error.
pub(crate) fn error_mark() -> &'static str {
    if is_coloured() { "\x1b[1;31merror:\x1b[0m " } else { "error: " }
}

/// The word before a warning.
pub(crate) fn warning_mark() -> &'static str {
    if is_coloured() { "\x1b[1;33mwarning:\x1b[0m " } else { "warning: " }
}

fn is_coloured() -> bool {
    stderr().is_terminal() && environment::allows_colour()
}
