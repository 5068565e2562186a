//! What is worth a warning about a layer, made or answered for.

use crate::event::{Event, Observer, Warning};
use crate::layer::gather::Notes;
use crate::plan::PlannedLayer;

/// Warns of what was noticed of a layer.
pub(super) fn warn(layer: &PlannedLayer, notes: &Notes, stale_pyc: u64, observer: &dyn Observer) {
    let label = &layer.label;
    let say = |message: String, hint: &str| {
        observer.event(&Event::Warning(Warning::new(format!("layer `{label}`: {message}")).hint(hint)));
    };
    if let Some((count, path)) = &notes.special_modes {
        let others = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        say(
            format!("setuid, setgid or sticky is dropped from `{path}`{others}"),
            "what needs the bit needs a copy of its own that says so: a file with `mode = \"4755\"`, a directory with `dir-mode`",
        );
    }
    if notes.linked.0 > 0 {
        say(
            match notes.linked {
                (1, bytes) => format!("a file is a hard link of another: {bytes} bytes are in it twice"),
                (count, bytes) => {
                    format!("{count} files are hard links of others: {bytes} bytes are in it twice")
                }
            },
            "links between inputs are not kept, because package managers make them as the file system allows; `preserve = [\"hardlinks\"]` keeps them",
        );
    }
    if stale_pyc > 0 {
        say(
            match stale_pyc {
                1 => "a compiled Python file checks a timestamp that images don't keep".to_owned(),
                count => {
                    format!("{count} compiled Python files check a timestamp that images don't keep")
                }
            },
            "compile with `SOURCE_DATE_EPOCH` set, keep times by `preserve = [\"mtime\"]`, or leave them out with `pyc = \"drop\"` on the copy: Python recompiles them at every start",
        );
    }
}
