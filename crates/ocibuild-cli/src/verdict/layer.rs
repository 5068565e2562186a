//! What to try where a layer can't be built.

use std::path::Path;

use ocibuild_core::files::FileError;
use ocibuild_core::layer::{LayerError, Nearby};

use crate::exit;

pub(super) const OUTSIDE: &str = "nothing outside the root is read: set `root` further up";

/// Judges a layer's failure: its exit code, and what to try.
pub(super) fn judge(error: &LayerError, root: &Path) -> (u8, Option<String>) {
    if let Some(hint) = contradiction(error) {
        return (exit::USAGE, Some(hint.to_owned()));
    }
    if let LayerError::File(error) = error {
        return (exit::FILES, file(&error.fault));
    }
    let hint = selection(error, root).or_else(|| destination(error)).or_else(|| vouching(error, root));
    (exit::FILES, hint)
}

/// What the spec itself says can't be.
fn contradiction(error: &LayerError) -> Option<&'static str> {
    match error {
        LayerError::Conflict { .. } => Some("leave one of the copies out, or give it another destination"),
        LayerError::RemovedAndWritten { .. } => Some(
            "leave it out of `remove`: what is written takes its place; \
             `DIRECTORY/*` empties a directory that is written to",
        ),
        _ => None,
    }
}

/// What copies find, and what of it no layer can hold.
fn selection(error: &LayerError, root: &Path) -> Option<String> {
    Some(match error {
        LayerError::Missing { nearby, .. } => missing(nearby, root),
        LayerError::Empty { ignored_by: Some(file), .. } => {
            format!("`{file}` leaves files out: mend its rules, or set `ignore-file = false` on the copy")
        }
        LayerError::Empty { .. } => {
            "it is empty, or no pattern matches: mend that, or set `allow-empty = true` on the copy"
                .to_owned()
        }
        LayerError::IgnoreFile { path, .. } => {
            format!("`{path}` is looked for in the root, `{}`", root.display())
        }
        LayerError::IgnoreRule { .. } => {
            "mend the line; a `\\` takes the meaning from the character after it".to_owned()
        }
        LayerError::Unsupported { path, .. } => {
            // Patterns begin below the copy's `from`, which isn't known here.
            let name = path.rsplit('/').next().unwrap_or(path);
            format!("leave it out: `exclude = [\"**/{name}\"]` on the copy")
        }
        LayerError::Attribute { .. } | LayerError::Attributes { .. } => {
            "remove the attribute with `setfattr -x`, or leave \"xattrs\" out of `preserve`".to_owned()
        }
        LayerError::Whiteout { .. } => {
            "rename the file, or leave it out: `exclude = [\"**/.wh.*\"]` on the copy".to_owned()
        }
        LayerError::Foreign { platform, .. } => format!(
            "build the program for {platform}, build the image for another `--platform`, \
             or set `allow-foreign = true` on the copy"
        ),
        _ => return None,
    })
}

/// Where it goes, and what it meets in the base.
fn destination(error: &LayerError) -> Option<String> {
    Some(match error {
        LayerError::NotDirectory { .. } => {
            "choose another destination, or leave it out with `exclude`".to_owned()
        }
        LayerError::BaseSymlink { .. } => {
            "name the path that the link leads to, or set `on-base-symlink` of the copy to \"follow\" or \"replace\""
                .to_owned()
        }
        LayerError::OverDirectory { path, .. } => {
            format!("put the file into it: `to = \"/{path}/\"`, or choose another name")
        }
        LayerError::NothingToRemove { empty: true, .. } => {
            "only what a base brings can be taken away: leave `remove` out".to_owned()
        }
        LayerError::NothingToRemove { closest: Some(path), .. } => format!("did you mean `/{path}`?"),
        LayerError::NothingToRemove { .. } => "leave it out of `remove`".to_owned(),
        LayerError::Unremovable { .. } => {
            "take away the directory that it is in, or all of its content with `/*`".to_owned()
        }
        LayerError::UnknownAccount { kind, known, .. } => accounts(kind, known),
        _ => return None,
    })
}

/// What the layer is made of beside its files, and when.
fn vouching(error: &LayerError, root: &Path) -> Option<String> {
    Some(match error {
        LayerError::Changed { .. } => "wait for what writes to it, or stop it, and build again".to_owned(),
        LayerError::Manifest { .. } => {
            format!("`manifests` are files, relative to the root, `{}`", root.display())
        }
        _ => return None,
    })
}

/// As many names as a hint should list.
const MAX_NAMES: usize = 30;

fn accounts(kind: &str, known: &[String]) -> String {
    if known.is_empty() {
        return "it has no names at all: give numbers, such as `owner = \"65532:65532\"`".to_owned();
    }
    let names: Vec<String> = known.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if known.len() > MAX_NAMES { " and more" } else { "" };
    format!("give a number, or a {kind} that it has: {}{more}", names.join(", "))
}

/// What is there instead of a copy's source.
pub(super) fn missing(nearby: &Nearby, root: &Path) -> String {
    let relative = match &nearby.step {
        Some(step) => format!("paths are relative to the directory of step `{step}`"),
        None => format!("paths are relative to the root, `{}`", root.display()),
    };
    if let Some(meant) = &nearby.meant {
        return format!("did you mean `{meant}`? {relative}");
    }
    let place = match nearby.directory.as_str() {
        "." | "" => "which".to_owned(),
        directory => format!("where `{directory}`"),
    };
    if nearby.names.is_empty() {
        return format!("{relative}, {place} is empty");
    }
    let more = if nearby.more > 0 { format!(" and {} more", nearby.more) } else { String::new() };
    format!("{relative}, {place} has `{}`{more}", nearby.names.join("`, `"))
}

fn file(error: &FileError) -> Option<String> {
    let hint = match error {
        FileError::Escapes { .. } => OUTSIDE,
        FileError::Loop { .. } => "mend the links",
        FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "check the permissions, or leave the file out with `exclude`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}
