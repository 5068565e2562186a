//! The successive states of a real application, as `states/` pins them.
//!
//! A state is laid out as a checkout in CI would be: every file new, and `node_modules` as `npm ci`
//! makes it of the lockfile.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, io_error};
use crate::trees;

/// What makes a state of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first.
    First,
    /// Sources were edited.
    Source,
    /// A dependency has another version.
    Dependency,
    /// The configuration was edited.
    Config,
    /// No file of the image is another.
    Nothing,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::First => "first",
            Self::Source => "source",
            Self::Dependency => "dependency",
            Self::Config => "config",
            Self::Nothing => "nothing",
        })
    }
}

/// An application that changes, state by state.
#[derive(Debug)]
pub struct States {
    /// Where the trees of dependencies lie.
    trees: PathBuf,
    /// The application's own files in the state that was made last.
    sources: PathBuf,
    patches: std::vec::IntoIter<PathBuf>,
    is_begun: bool,
}

/// The directory of the files that pin the states, and of the scripts that build them.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("states")
}

impl States {
    /// Begins before the first state; `sources` is made, and dependencies are kept in `trees`.
    ///
    /// # Errors
    /// If files can't be read or written.
    pub fn begin(trees: &Path, sources: &Path) -> Result<Self, Error> {
        let directory = directory();
        copy(&directory.join("app"), sources)?;
        let entries = fs::read_dir(&directory).map_err(io_error("list", &directory))?;
        let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut patches = paths.map_err(io_error("list", &directory))?;
        patches.retain(|path| path.extension() == Some(OsStr::new("patch")));
        patches.sort_unstable();
        let (trees, sources) = (trees.to_owned(), sources.to_owned());
        Ok(Self { trees, sources, patches: patches.into_iter(), is_begun: false })
    }

    /// Makes the next state in `checkout`, which is made anew, and says what it is; `None` after the
    /// last.
    ///
    /// # Errors
    /// If a patch doesn't fit, dependencies can't be fetched, or files can't be read or written.
    pub fn next(&mut self, checkout: &Path) -> Result<Option<(String, Kind)>, Error> {
        let (name, kind) = if self.is_begun {
            let Some(patch) = self.patches.next() else { return Ok(None) };
            apply(&patch, &self.sources)?;
            let name = patch.file_stem().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let kind = kind(&name).ok_or(Error::Argument { what: "the patch", value: name.clone() })?;
            (name, kind)
        } else {
            self.is_begun = true;
            ("00-first".to_owned(), Kind::First)
        };
        self.check_out(checkout)?;
        Ok(Some((name, kind)))
    }

    fn check_out(&self, checkout: &Path) -> Result<(), Error> {
        if checkout.exists() {
            fs::remove_dir_all(checkout).map_err(io_error("remove", checkout))?;
        }
        copy(&self.sources, checkout)?;
        let read = |name: &str| {
            let path = self.sources.join(name);
            fs::read_to_string(&path).map_err(io_error("read", &path))
        };
        let (package, lock) = (read("package.json")?, read("package-lock.json")?);
        let name = format!("states-{}", &blake3::hash(lock.as_bytes()).to_hex()[..12]);
        let tree = trees::fetch_locked(&self.trees, &name, &package, &lock)?;
        // What `npm ci` would make of its own cache: the same files, with new times.
        copy(&tree.join("node_modules"), &checkout.join("node_modules"))
    }
}

/// Reads the second word of a patch's name: `03-source-list-links`.
fn kind(name: &str) -> Option<Kind> {
    match name.split('-').nth(1)? {
        "source" => Some(Kind::Source),
        "dependency" => Some(Kind::Dependency),
        "config" => Some(Kind::Config),
        "nothing" => Some(Kind::Nothing),
        _ => None,
    }
}

fn apply(patch: &Path, sources: &Path) -> Result<(), Error> {
    if fs::metadata(patch).map_err(io_error("stat", patch))?.len() == 0 {
        return Ok(());
    }
    // Above the directory there may be a repository, whose paths the patch doesn't mean.
    let ceiling = sources.parent().unwrap_or(sources);
    let mut command = Command::new("git");
    command.args(["apply", "--whitespace=nowarn"]).arg(patch).current_dir(sources);
    succeed(command.env("GIT_CEILING_DIRECTORIES", ceiling))
}

/// Copies a directory without the files' times; `to` must not exist.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    succeed(Command::new("cp").args(["-r", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to))
}

fn succeed(command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Start { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let status = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed { command: format!("{command:?}"), status })
}

#[cfg(test)]
mod tests {
    use super::{Kind, apply, copy, directory, kind};
    use std::fs;

    fn names() -> Vec<String> {
        let entries = fs::read_dir(directory()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(".patch"));
        names.sort_unstable();
        names
    }

    #[test]
    fn twenty_patches_fit_one_upon_the_other() {
        let directory_of_test = tempfile::tempdir().unwrap();
        let sources = directory_of_test.path().join("sources");
        copy(&directory().join("app"), &sources).unwrap();
        let names = names();
        for name in &names {
            apply(&directory().join(name), &sources).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        let kinds: Vec<_> = names.iter().map(|name| kind(name.trim_end_matches(".patch")).unwrap()).collect();
        let count = |wanted| kinds.iter().filter(|kind| **kind == wanted).count();
        let counts = [Kind::Source, Kind::Dependency, Kind::Config, Kind::Nothing].map(count);
        assert_eq!(counts, [14, 4, 1, 1]);
    }
}
