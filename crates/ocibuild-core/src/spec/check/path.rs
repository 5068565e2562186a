//! Paths: where files come from, and where they go.

use crate::pattern::{Pattern, PatternError};
use crate::spec::ValueError;

/// Checks where a copy puts its files: an absolute path, without empty, `.` and `..` parts, and
/// without a part that begins with `.wh.`, which would delete instead of add. It may end in `/`.
pub fn destination(text: &str) -> Result<(), ValueError> {
    image_directory(text)?;
    if text.split('/').any(|part| part.starts_with(".wh.")) {
        return Err(ValueError::new(format!(
            "`{text}` has a part that begins with `.wh.`, which marks deletions in a layer"
        ))
        .hint("choose another name"));
    }
    Ok(())
}

/// Checks a path in the image: absolute, without empty, `.` and `..` parts. It may end in `/`.
pub fn image_directory(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    let Some(rest) = text.strip_prefix('/') else {
        return Err(not_absolute(text));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // What is left of `/` is empty and fine; what is left of `//` isn't a path.
    if text.len() > 1 && rest.split('/').any(str::is_empty) {
        return Err(ValueError::new(format!("`{text}` has an empty part")).hint("write one `/`"));
    }
    dots(text, rest)
}

fn dots(text: &str, rest: &str) -> Result<(), ValueError> {
    match rest.split('/').find(|part| matches!(*part, "." | "..")) {
        Some(part) => Err(ValueError::new(format!("`{text}` has a part `{part}`"))
            .hint(format!("write the path without `{part}`"))),
        None => Ok(()),
    }
}

fn not_absolute(text: &str) -> ValueError {
    if let Some(path) = windows(text) {
        return ValueError::new(format!("`{text}` is a Windows path, but images hold Linux paths"))
            .hint(format!("write \"{path}\""));
    }
    let error = ValueError::new(format!("`{text}` is not an absolute path"));
    if text.is_empty() {
        return error.hint("write a path that begins with `/`");
    }
    error.hint(format!("write \"/{}\"", text.trim_start_matches("./")))
}

/// What was probably meant by a path with a drive letter or backslashes.
fn windows(text: &str) -> Option<String> {
    let rest = if has_drive(text) { &text[2..] } else { text };
    let windows = has_drive(text) || text.contains('\\');
    windows.then(|| format!("/{}", rest.replace('\\', "/").trim_start_matches('/')))
}

fn has_drive(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

/// Checks what is taken away from a base: an absolute path or glob in the image, not the root itself.
pub fn removal(text: &str) -> Result<(), ValueError> {
    image_directory(text)?;
    if text.trim_matches('/').is_empty() {
        return Err(ValueError::new("the root itself can't be taken away")
            .hint("write \"/*\" for everything in it, or build on \"scratch\""));
    }
    Pattern::parse(text).map(|_| ()).map_err(|error| pattern_error(text, &error))
}

/// Checks a path or glob of the host: relative to the root and below it.
///
/// Success doesn't mean that it exists, nor that a link on the way doesn't lead out of the root.
pub fn source(text: &str) -> Result<(), ValueError> {
    below_root(text)?;
    Pattern::parse(text).map(|_| ()).map_err(|error| pattern_error(text, &error))
}

/// Checks a manifest: a path as for [`source`], but of one file.
pub fn manifest(text: &str) -> Result<(), ValueError> {
    below_root(text)?;
    if text.contains(['*', '?']) {
        return Err(ValueError::new(format!("`{text}`: globs are not expanded here"))
            .hint("list each file by its name"));
    }
    Ok(())
}

pub(super) fn below_root(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    if text.is_empty() {
        return Err(ValueError::new("the path is empty").hint("write `.` for the root itself"));
    }
    if let Some(path) = windows(text).filter(|_| has_drive(text) || has_windows_separator(text)) {
        let path = path.trim_start_matches('/');
        return Err(ValueError::new(format!("`{text}` is a Windows path"))
            .hint(format!("write \"{path}\", relative to the root")));
    }
    if text.starts_with('/') {
        return Err(ValueError::new(format!("`{text}` is absolute, but paths are relative to the root"))
            .hint("set `root` to a directory that holds it, and write the path from there"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(ValueError::new(format!("`{text}` leads out of the root"))
            .hint("set `root` to a directory that holds it, and write the path from there"));
    }
    Ok(())
}

/// Checks a pattern of `include` or `exclude`, which is relative to the copy's `from`.
pub fn pattern(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    if has_windows_separator(text) {
        return Err(ValueError::new(format!("`{text}` is written with backslashes"))
            .hint("write `/` between directories"));
    }
    if text.starts_with('!') {
        return Err(ValueError::new(format!("`{text}`: a pattern can't be negated"))
            .hint("list it in `include` or `exclude`, or write `\\!` for a name that begins so"));
    }
    Pattern::parse(text).map(|_| ()).map_err(|error| pattern_error(text, &error))
}

fn pattern_error(text: &str, error: &PatternError) -> ValueError {
    let hint = error.hint();
    let error = ValueError::new(format!("`{text}`: {error}"));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Whether a backslash stands before a letter or digit, where it escapes nothing.
fn has_windows_separator(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next().is_some_and(char::is_alphanumeric) {
            return true;
        }
    }
    false
}

/// Checks the root of a spec: a path of the host, relative to the spec file or absolute.
pub fn root(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    if text.is_empty() {
        return Err(ValueError::new("the root is empty").hint("write \".\" for the spec's own directory"));
    }
    Ok(())
}

/// Checks the directory of a layout. Whether it may lie outside the root is for the caller to say.
pub fn layout(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    if text.is_empty() {
        return Err(ValueError::new("the path of the layout is empty"));
    }
    Ok(())
}

pub(super) fn no_nul(text: &str) -> Result<(), ValueError> {
    if text.contains('\0') {
        return Err(ValueError::new("a path can't hold a NUL character"));
    }
    Ok(())
}
