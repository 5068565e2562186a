//! What a step names: paths of the root, directories that are kept, variables, programs.

use super::path::{below_root, no_nul};
use super::{c_string, env_name, manifest, source};
use crate::spec::ValueError;

/// Checks an input of a step: a path or glob as for [`source`], or one with a `!` in front, for
/// what is left out.
pub fn input(text: &str) -> Result<(), ValueError> {
    match text.strip_prefix('!') {
        Some("") => Err(ValueError::new("nothing follows the `!`").hint("write what is left out after it")),
        Some(excluded) => source(excluded),
        None => source(text),
    }
}

/// Checks an output of a step: the path of a file or directory below the root.
pub fn output(text: &str) -> Result<(), ValueError> {
    below_root(text)?;
    no_glob(text, "name the file or the directory; a directory is taken whole")?;
    if plain(text).is_empty() {
        return Err(ValueError::new(format!("`{text}` is all of the directory the command runs in"))
            .hint("let the command write into a directory of its own, such as \"dist\""));
    }
    Ok(())
}

/// Checks the directory a step's command is started in: a path below the root, or the root itself.
pub fn step_directory(text: &str) -> Result<(), ValueError> {
    below_root(text)?;
    no_glob(text, "name one directory")
}

fn no_glob(text: &str, hint: &str) -> Result<(), ValueError> {
    if text.contains(['*', '?']) {
        return Err(ValueError::new(format!("`{text}`: globs are not expanded here")).hint(hint));
    }
    Ok(())
}

/// Checks a directory that is kept between runs: below the root, or `~/…`, in a home of our own.
pub fn cache_directory(text: &str) -> Result<(), ValueError> {
    let path = text.strip_prefix("~/").unwrap_or(text);
    if text.starts_with('~') && (path == text || plain(path).is_empty()) {
        return Err(ValueError::new(format!("`{text}` is not a directory that can be kept"))
            .hint("write a directory in it, such as \"~/.npm\""));
    }
    if let Some(home) = text.strip_prefix("$HOME/") {
        return Err(ValueError::new(format!("`{text}`: variables are not expanded here"))
            .hint(format!("write \"~/{home}\"")));
    }
    if text.starts_with('/') {
        return Err(ValueError::new(format!("`{text}` is absolute: a step keeps nothing there"))
            .hint("write a path below the root, or one in its home: \"~/.cache\""));
    }
    below_root(path)?;
    no_glob(text, "name the directory; it is kept whole")?;
    if plain(path).is_empty() {
        return Err(ValueError::new(format!("`{text}` is all of the directory the command runs in"))
            .hint("name a directory in it, such as \"target\""));
    }
    Ok(())
}

/// Checks the name of a variable that a step's command gets: not one that the build sets itself, nor one that
/// it may come to set.
pub fn step_variable(text: &str) -> Result<(), ValueError> {
    let refused = match text {
        "OCIBUILD_PLATFORM" => "the build sets `OCIBUILD_PLATFORM` itself",
        "OCIBUILD_STEP" => "`OCIBUILD_STEP` is kept free",
        _ => return env_name(text),
    };
    Err(ValueError::new(refused).hint("choose another name"))
}

/// Checks a command whose output belongs to a step's key: a program and arguments between blanks.
pub fn tool(text: &str) -> Result<(), ValueError> {
    c_string(text)?;
    if text.split_whitespace().next().is_none() {
        return Err(ValueError::new("the command is empty").hint("write one such as \"node --version\""));
    }
    if let Some(mark) = text.chars().find(|c| "|&;<>()$`\"'*?".contains(*c)) {
        return Err(ValueError::new(format!("`{text}`: no shell is there for the `{mark}`"))
            .hint("write a program and its arguments, such as \"node --version\""));
    }
    Ok(())
}

/// Checks the file a secret comes from: absolute, or a path below the root.
pub fn secret_file(text: &str) -> Result<(), ValueError> {
    if text.starts_with('/') {
        return no_nul(text);
    }
    if text.starts_with("~/") {
        return Err(ValueError::new(format!("`{text}`: `~` is not expanded here")).hint(
            "write an absolute path, or one from the root; or let a variable hold the secret: `env = \"NAME\"`",
        ));
    }
    manifest(text)
}

/// The path without `.` and empty parts; of the root itself nothing is left.
pub(crate) fn plain(text: &str) -> String {
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.join("/")
}
