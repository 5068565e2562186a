//! What steps made, copied to a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ocibuild_core::files::PART_PREFIX;
use ocibuild_core::plan::PlannedStep;

use crate::failure::Failure;
use crate::file;
use crate::side_by_side::lock;

/// The flag that names the directory.
const FLAG: &str = "--output";

/// A directory that gets what steps made.
pub(crate) struct Output {
    directory: PathBuf,
    /// What couldn't be written first.
    fault: Mutex<Option<(PathBuf, io::Error)>>,
}

impl Output {
    /// Refuses, before anything runs, a directory that can't be written to.
    ///
    /// # Errors
    /// [`Failure::Result`] if it can't be.
    pub(super) fn at(directory: PathBuf) -> Result<Self, Failure> {
        let checked = file::check(&directory.join("x"));
        let fault = Mutex::default();
        match checked {
            Ok(()) => Ok(Self { directory, fault }),
            Err(source) => Err(Failure::Result { what: FLAG, path: directory, source, is_built: false }),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Copies what a step made, which lies below `made`.
    pub(super) fn take(&self, step: &PlannedStep, made: &Path) {
        if lock(&self.fault).is_some() {
            return;
        }
        let directory = match &step.platform {
            // The label says for which where there are several.
            Some(platform) if step.label != step.name => {
                self.directory.join(platform.to_string().replace('/', "-"))
            }
            _ => self.directory.clone(),
        };
        for output in &step.outputs {
            let to = directory.join(&output.path);
            if let Err(fault) = copy(&made.join(&output.path), &to) {
                *lock(&self.fault) = Some((to, fault));
                return;
            }
        }
    }

    /// Tells where all of it is.
    ///
    /// # Errors
    /// [`Failure::Result`] if something couldn't be written.
    pub(super) fn finish(&self) -> Result<String, Failure> {
        match lock(&self.fault).take() {
            None => Ok(self.directory.display().to_string()),
            Some((path, source)) => Err(Failure::Result { what: FLAG, path, source, is_built: false }),
        }
    }
}

/// Copies a file, a link, or a directory with all that is in it. A file takes the place of the one that
/// is there at once.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = from.symlink_metadata()?;
    if metadata.is_dir() {
        fs::create_dir_all(to)?;
        for entry in from.read_dir()? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    let parent = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let beside = tempfile::Builder::new().prefix(PART_PREFIX).tempdir_in(parent)?;
    let part = beside.path().join("part");
    if metadata.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, &part)?;
    } else {
        fs::copy(from, &part)?;
    }
    fs::rename(&part, to)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_there_is_replaced_file_by_file() {
        let room = tempfile::tempdir().unwrap();
        let (from, to) = (room.path().join("from"), room.path().join("to"));
        fs::create_dir_all(from.join("a/empty")).unwrap();
        fs::write(from.join("a/program"), "new").unwrap();
        fs::set_permissions(from.join("a/program"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("program", from.join("a/link")).unwrap();
        fs::create_dir_all(to.join("a")).unwrap();
        for name in ["program", "link", "own"] {
            fs::write(to.join("a").join(name), "old").unwrap();
        }
        copy(&from, &to).unwrap();
        let text = |name: &str| fs::read_to_string(to.join("a").join(name)).unwrap();
        assert_eq!((text("program"), text("own")), ("new".to_owned(), "old".to_owned()));
        assert_eq!(fs::read_link(to.join("a/link")).unwrap(), Path::new("program"));
        assert_eq!(to.join("a/program").metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(to.join("a").read_dir().unwrap().count(), 4, "nothing is left over");
    }
}
