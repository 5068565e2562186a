//! What users of other builders type out of habit, and what it is called here.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags that mean something elsewhere.
const FLAGS: [(&str, &str); 5] = [
    ("--load", "docker takes an archive: `--output type=oci-archive,dest=- | docker load`"),
    ("--build-arg", "variables of a spec are given by `--var NAME=VALUE`"),
    ("--dry-run", "`ocibuild check` finds what is wrong without building"),
    ("--json", "`--format json`, where a command has it"),
    ("-o", "`--output type=oci,dest=DIR`, or `type=oci-archive,dest=FILE`"),
];

/// Commands that are there elsewhere.
const COMMANDS: [(&str, &str); 3] = [
    ("prune", "`ocibuild cache prune` tidies the cache up"),
    ("history", "`ocibuild inspect IMAGE` shows how each layer came to be"),
    ("publish", "`ocibuild build --push` pushes what it builds"),
];

/// Has an error of clap say what such a word is called here. Its own tip for unknown flags, to write
/// them behind `--`, is taken away: nothing that is taken there begins with a hyphen.
pub(crate) fn translate(mut error: clap::Error) -> clap::Error {
    let (kind, known): (_, &[_]) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, &FLAGS),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, &COMMANDS),
        _ => return error,
    };
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(ContextKind::Suggested);
    }
    let word = match error.get(kind) {
        Some(ContextValue::String(word)) => word.clone(),
        _ => return error,
    };
    if let Some((_, tip)) = known.iter().find(|(foreign, _)| *foreign == word) {
        for similar in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
            error.remove(similar);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(*tip)]));
    }
    error
}
