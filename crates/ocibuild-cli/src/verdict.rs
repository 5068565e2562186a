//! What is said of a failure, and the exit code: this one place decides on both.

mod blob;
mod build;
mod layer;
mod rebase;
mod steps;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use ocibuild_core::cache::CacheError;
use ocibuild_core::files::FileError;
use ocibuild_core::lock::LockError;
use ocibuild_core::spec::{Fault, Sources, SpecError};
use ocibuild_serve::ServeError;

use crate::exit;
use crate::failure::{Failure, Origin};
use crate::progress::json;
use crate::style::Palette;

/// What a user is told in the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The exit code.
    pub(crate) code: u8,
    /// What went wrong and where, in one line or more.
    message: String,
    /// Why, outermost first.
    causes: Vec<String>,
    /// What to try next.
    hint: Option<String>,
    /// The steps that failed, if that is what went wrong, for programs.
    steps: Option<serde_json::Value>,
}

impl Verdict {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hint: None, steps: None }
    }

    /// Tells an error with its causes.
    fn of_error(code: u8, error: &dyn Error) -> Self {
        let mut chain = chain(error);
        let message = if chain.is_empty() { String::new() } else { chain.remove(0) };
        Self { code, message, causes: chain, hint: None, steps: None }
    }

    fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// Adds why the system didn't do it.
    fn caused_by(self, source: &std::io::Error) -> Self {
        Self { causes: vec![source.to_string()], ..self }
    }

    /// Tells whether the exit code says all there is to say.
    pub(crate) fn is_silent(&self) -> bool {
        self.message.is_empty()
    }

    /// Writes it for people.
    pub(crate) fn to_text(&self, palette: Palette) -> String {
        let mut text = format!("{} {}\n", palette.error(), self.message.trim_end());
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  {} {hint}", palette.hint());
        }
        text
    }

    /// Writes it for programs, in one line.
    pub(crate) fn to_json(&self) -> String {
        let (message, steps) = (self.message.trim_end(), self.steps.as_ref());
        json::error(message, &self.causes, self.hint.as_deref(), self.code, steps)
    }
}

/// What the HTTP client puts around a cause without adding to it.
const HOLLOW: [&str; 4] =
    ["client error (Connect)", "client error (SendRequest)", "dns error", "tcp connect error"];

/// An error and its causes, each once: what only passes its source on says nothing of its own.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        messages.push(error.to_string());
        next = error.source();
    }
    messages.dedup();
    messages.retain(|message| !HOLLOW.contains(&message.as_str()));
    messages
}

pub(crate) use build::finding;

/// Judges a failure.
pub(crate) fn of(failure: &Failure) -> Verdict {
    match failure {
        Failure::Usage { message, hint } => Verdict::new(exit::USAGE, message).hint(hint.clone()),
        Failure::NoSpec => no_spec(),
        Failure::SpecFile { path, source } => {
            let message = format!("cannot read the spec file `{}`", path.display());
            let verdict = Verdict::of_error(exit::USAGE, source);
            Verdict { causes: vec![verdict.message], message, ..verdict }.hint(read_hint(source))
        }
        Failure::Spec { error, file } => spec(error, file.as_ref()),
        Failure::Faulty { error, file, code } => Verdict { code: *code, ..spec(error, Some(file)) },
        Failure::Lock { path, error } => lock(path, error),
        Failure::LockFile { path, source } => {
            let message = format!("cannot read or write the lock `{}`", path.display());
            Verdict::new(exit::FILES, message).caused_by(source)
        }
        Failure::Told { code } => Verdict::new(*code, ""),
        Failure::UnknownImage { name, known, other } => {
            let hint = name_hint(name, known, *other);
            Verdict::new(exit::USAGE, format!("the spec has no image `{name}`")).hint(Some(hint))
        }
        Failure::UnknownStep { name, known, other } => {
            let hint = name_hint(name, known, *other);
            Verdict::new(exit::USAGE, format!("the spec has no step `{name}`")).hint(Some(hint))
        }
        Failure::Cache { error, directory } => cache(error, directory),
        Failure::Damaged { count } => damaged(*count),
        Failure::Threads(error) => Verdict::of_error(exit::FAILURE, error).hint(Some(build::FEWER_THREADS)),
        Failure::Root(error) => Verdict::of_error(exit::FILES, error).hint(root_hint(error)),
        Failure::Build(failure) => build::judge(failure),
        Failure::Rebase(failure) => rebase::judge(failure),
        Failure::Place { error, origin, cache } => blob::judge(error, *origin, cache.as_deref()),
        Failure::Image { error, origin } => blob::image(error, *origin),
        Failure::Different => Verdict::new(exit::FAILURE, ""),
        Failure::Credentials(error) => blob::credentials(error),
        Failure::Authority { path, source } => {
            let message = format!("cannot read the CA certificates in `{}`", path.display());
            Verdict::new(exit::FILES, message).hint(read_hint(source)).caused_by(source)
        }
        Failure::Login { path, source } => {
            let message = format!("cannot write the login to `{}`", path.display());
            let hint = "check that it may be written to, or let `DOCKER_CONFIG` name another directory";
            Verdict::new(exit::FILES, message).hint(Some(hint)).caused_by(source)
        }
        Failure::Serve(error) => serve(error),
        Failure::Invalid { violations: 1 } => Verdict::new(exit::FAILURE, "the image breaks a rule"),
        Failure::Invalid { violations } => {
            Verdict::new(exit::FAILURE, format!("the image breaks {violations} rules"))
        }
        Failure::Stdout(source) => {
            Verdict::new(exit::FILES, "cannot write to standard output").caused_by(source)
        }
        Failure::Result { what, path, source, is_built } => result(what, path, source, *is_built),
        Failure::Terminal(source) => {
            Verdict::new(exit::FILES, "cannot read standard input").caused_by(source)
        }
        Failure::Signals(source) => Verdict::new(exit::FAILURE, "cannot catch signals").caused_by(source),
        Failure::Interrupted => Verdict::new(exit::INTERRUPTED, "interrupted; nothing was left half-written"),
    }
}

fn lock(path: &Path, error: &LockError) -> Verdict {
    let LockError { line, column, message, .. } = error;
    let message = format!("{}:{line}:{column}: {message}", path.display());
    let hint = "mend it, keeping both sides of a merge; or delete the file, and run `ocibuild lock`";
    Verdict::new(exit::USAGE, message).hint(Some(hint))
}

fn damaged(count: usize) -> Verdict {
    let (what, verb) = match count {
        1 => ("something".to_owned(), "is"),
        count => (format!("{count} things"), "are"),
    };
    let hint = "`ocibuild cache verify --remove` removes what is; the next build makes it anew";
    Verdict::new(exit::CACHE, format!("{what} in the cache {verb} damaged")).hint(Some(hint))
}

fn serve(error: &ServeError) -> Verdict {
    let (code, hint) = match error {
        ServeError::Layout(error) => return blob::judge(error, Origin::Files, None),
        ServeError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            (exit::FAILURE, Some("another program listens there: choose another port, or 0 for any free one"))
        }
        ServeError::Listen { .. } => {
            (exit::FAILURE, Some("name an address of this machine, such as `--listen 127.0.0.1:5000`"))
        }
        ServeError::Busy(_) => (exit::FILES, Some("use the server there is, or stop it first")),
        ServeError::File { .. } => {
            (exit::FILES, Some("check that it may be written to, or use `--read-only`"))
        }
        _ => (exit::FAILURE, None),
    };
    Verdict::of_error(code, error).hint(hint)
}

/// Judges a cache that can't be looked at or tidied up.
fn cache(error: &CacheError, directory: &Path) -> Verdict {
    match error {
        CacheError::Foreign { .. } => {
            let hint = "nothing in it was touched: name the cache's own directory with `--cache-dir DIR`; \
                        `ocibuild cache path` tells which is meant";
            Verdict::of_error(exit::CACHE, error).hint(Some(hint))
        }
        error => build::cache(error, directory),
    }
}

const START: &str = "\
describe the image in a file `ocibuild.toml`:

    version = 1

    [layers.app]
    copy = [{ from = \"target/release/app\", to = \"/app\" }]

    [images.app]
    layers = [\"app\"]
    entrypoint = [\"/app\"]

  or in flags: ocibuild build --copy target/release/app:/app --entrypoint /app
  or name a file that lies elsewhere: ocibuild build -f DIR/ocibuild.toml";

fn no_spec() -> Verdict {
    Verdict::new(exit::USAGE, "there is no `ocibuild.toml` in this directory").hint(Some(START))
}

fn result(what: &str, path: &Path, source: &std::io::Error, is_built: bool) -> Verdict {
    let message = format!("cannot write to `{}` for `{what}`", path.display());
    let mut hint = match is_built {
        true => "the images are built and where they belong; mend this and build again, which is quick",
        false => "check that the path is right and may be written to",
    }
    .to_owned();
    if !what.starts_with('-') {
        hint.push_str(&format!("; or unset `{what}`"));
    }
    Verdict::new(exit::FILES, message).hint(Some(hint)).caused_by(source)
}

fn read_hint(error: &std::io::Error) -> Option<&'static str> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Some("check the path; it is relative to the working directory"),
        std::io::ErrorKind::InvalidData => Some("a spec file is TOML in UTF-8"),
        std::io::ErrorKind::IsADirectory => Some("name the file in it: `-f DIR/ocibuild.toml`"),
        _ => None,
    }
}

fn root_hint(error: &FileError) -> Option<&'static str> {
    let absent = |source: &std::io::Error| source.kind() == std::io::ErrorKind::NotFound;
    match error {
        FileError::Io { source, .. } if absent(source) => {
            Some("a spec's `root` is a directory, absolute or relative to the spec file")
        }
        _ => None,
    }
}

/// All faults of a spec, each with its line; those of flags have none.
fn spec(error: &SpecError, file: Option<&Sources>) -> Verdict {
    match (file, &error.faults[..]) {
        (Some(file), [_]) => Verdict::new(exit::USAGE, error.render(file)),
        (Some(file), faults) => {
            let count = faults.len() + error.omitted;
            let rendered = error.render(file);
            Verdict::new(exit::USAGE, format!("`{}` has {count} faults\n\n{rendered}", file.name()))
        }
        (None, [fault]) => {
            let hint = fault.hint.as_deref().map(build::without_file);
            Verdict::new(exit::USAGE, flags_fault(fault)).hint(hint)
        }
        (None, faults) => {
            let hint = |fault: &Fault| {
                fault.hint.as_ref().map(|hint| format!("\n    hint: {}", build::without_file(hint)))
            };
            let line =
                |fault: &Fault| format!("\n  {}{}", flags_fault(fault), hint(fault).unwrap_or_default());
            let lines: String = faults.iter().map(line).collect();
            Verdict::new(exit::USAGE, format!("the flags have {} faults{lines}", faults.len()))
        }
    }
}

/// What stands in the place of an image may have been meant as a directory or a file, which is what
/// other builders take there.
fn name_hint(name: &str, known: &[String], other: Option<&str>) -> String {
    match other {
        Some("image") => return format!("it is an image: `ocibuild build {name}`"),
        Some("step") => return format!("it is a step: `ocibuild run {name}`"),
        Some(other) => {
            return format!("it is a {other}; {}", name_hint(name, known, None));
        }
        None => {}
    }
    let known = match known {
        [] => "it has none".to_owned(),
        known => format!("it has `{}`", known.join("`, `")),
    };
    if name == "." || name.contains('/') || Path::new(name).extension().is_some_and(|end| end == "toml") {
        return format!(
            "{known}; `-f FILE` names another spec file, whose `root` says where paths count from"
        );
    }
    known
}

/// There is one image only; which copy it is has to be said.
fn flags_fault(fault: &Fault) -> String {
    if fault.place.starts_with("layer ") {
        return format!("{}: {}", fault.place, fault.message);
    }
    fault.message.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_why_and_what_next() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let verdict = of(&Failure::SpecFile { path: "x.toml".into(), source });
        assert_eq!(verdict.code, exit::USAGE);
        assert_eq!(
            verdict.to_text(Palette::PLAIN),
            "error: cannot read the spec file `x.toml`\n  caused by: entity not found\n  \
             hint: check the path; it is relative to the working directory\n"
        );
    }
}
