//! The lock beside a spec: read where it is there, and written whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::BoolishValueParser;
use ocibuild_core::{Builder, Lock};

use crate::failure::Failure;
use crate::file;
use crate::source::Source;

/// How bases in registries are come by.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Bases from registries")]
pub(crate) struct LockFlags {
    /// Fail unless the lock has every base that is named by a tag, and no such tag has moved since
    #[arg(long, env = "OCIBUILD_LOCKED", value_parser = BoolishValueParser::new())]
    locked: bool,

    /// Ask no registry for a base, and no other cache than the machine's: take what the lock says and the
    /// cache holds
    #[arg(long, env = "OCIBUILD_OFFLINE", value_parser = BoolishValueParser::new())]
    pub(crate) offline: bool,
}

impl LockFlags {
    /// Has a builder keep to the flags and the lock.
    pub(crate) fn apply<'b>(&self, builder: Builder<'b>, lock: &LockFile) -> Builder<'b> {
        let builder = builder.lock(lock.lock.clone()).locked(self.locked).offline(self.offline);
        lock.path.iter().fold(builder, Builder::output)
    }
}

/// A spec's lock.
#[derive(Debug)]
pub(crate) struct LockFile {
    /// Where it is, or would be; none without a spec file.
    path: Option<PathBuf>,
    /// What it says; nothing if it isn't there.
    pub(crate) lock: Lock,
}

impl LockFile {
    /// Reads the lock of a spec: `ocibuild.lock` beside `ocibuild.toml`, `api.lock` beside `api.toml`.
    ///
    /// # Errors
    /// [`Failure`] if it is there and can't be used.
    pub(crate) fn of(source: &Source) -> Result<Self, Failure> {
        let Some(spec) = &source.file else { return Ok(Self { path: None, lock: Lock::new() }) };
        let path = beside(Path::new(spec.name()));
        let lock = match fs::read_to_string(&path) {
            Ok(text) => Lock::parse(&text).map_err(|error| Failure::Lock { path: path.clone(), error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Lock::new(),
            Err(source) => return Err(Failure::LockFile { path, source }),
        };
        Ok(Self { path: Some(path), lock })
    }

    /// Its name, for people.
    pub(crate) fn shown(&self) -> String {
        self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Writes another lock in its place; one that says the same is left alone.
    ///
    /// # Errors
    /// [`Failure::LockFile`]; the old one is then there still.
    pub(crate) fn write(&self, lock: &Lock) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        let text = lock.render();
        let is_same = match fs::read_to_string(path) {
            Ok(old) => old == text,
            // Where nothing is locked there needn't be a lock.
            Err(_) => lock.iter().next().is_none(),
        };
        if is_same {
            return Ok(());
        }
        file::write(path, text.as_bytes()).map_err(|source| Failure::LockFile { path: path.clone(), source })
    }
}

fn beside(spec: &Path) -> PathBuf {
    let lock = spec.with_extension("lock");
    if lock != spec {
        return lock;
    }
    let mut name = spec.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_its_specs_name() {
        for (spec, lock) in [
            ("ocibuild.toml", "ocibuild.lock"),
            ("deploy/api.toml", "deploy/api.lock"),
            ("api", "api.lock"),
            ("odd.lock", "odd.lock.lock"),
        ] {
            assert_eq!(beside(Path::new(spec)), Path::new(lock));
        }
    }
}
