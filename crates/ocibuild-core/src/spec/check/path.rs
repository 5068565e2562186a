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
    let drive = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'\\' | b'/')
    };
    if drive(text) {
        return Some(text[2..].replace('\\', "/"));
    }
    let slashes = text.replace('\\', "/");
    text.contains('\\').then(|| format!("/{}", slashes.trim_start_matches('/')))
}

/// Checks a path or glob of the host: relative to the root and below it.
///
/// Success doesn't mean that it exists, nor that a link on the way doesn't lead out of the root.
pub fn source(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    if text.is_empty() {
        return Err(ValueError::new("the path is empty").hint("write `.` for the root itself"));
    }
    if let Some(path) = windows(text).filter(|_| has_windows_separator(text)) {
        return Err(ValueError::new(format!("`{text}` is written with backslashes"))
            .hint(format!("write \"{}\", relative to the root", path.trim_start_matches('/'))));
    }
    if text.starts_with('/') {
        return Err(ValueError::new(format!("`{text}` is absolute, but paths are relative to the root"))
            .hint("set `root` to a directory that holds it, and write the path from there"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(ValueError::new(format!("`{text}` leads out of the root"))
            .hint("set `root` to a directory that holds it, and write the path from there"));
    }
    Pattern::parse(text).map(|_| ()).map_err(|error| pattern_error(text, &error))
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

/// Checks the directory of a layout. Whether it may lie outside the root is for the caller to say.
pub fn layout(text: &str) -> Result<(), ValueError> {
    no_nul(text)?;
    if text.is_empty() {
        return Err(ValueError::new("the path of the layout is empty"));
    }
    Ok(())
}

fn no_nul(text: &str) -> Result<(), ValueError> {
    if text.contains('\0') {
        return Err(ValueError::new("a path can't hold a NUL character"));
    }
    Ok(())
}
