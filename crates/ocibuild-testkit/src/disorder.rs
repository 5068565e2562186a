//! A view of a directory whose entries come in another order each time.

use crate::command::run;
use crate::mounts::unmount_below;
use crate::skip::{Missing, root, tool};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A shuffling mount of a directory, undone when dropped.
#[derive(Debug)]
pub struct Disorderfs {
    mount: TempDir,
}

impl Disorderfs {
    /// Answers whether it can be used here: the program, root, and FUSE in the kernel.
    pub fn find() -> Result<PathBuf, Missing> {
        root()?;
        if !Path::new("/dev/fuse").exists() {
            return Err(Missing::new("FUSE (`/dev/fuse`)"));
        }
        tool("disorderfs")
    }

    /// Mounts `source` with its entries shuffled on each reading.
    #[track_caller]
    pub fn mount(source: &Path) -> Result<Self, Missing> {
        let program = Self::find()?;
        let mount = TempDir::with_prefix("disorder-").expect("a temporary directory can be made");
        let mut command = Command::new(program);
        command
            .args(["--shuffle-dirents=yes", "--reverse-dirents=no", "--quiet"])
            .arg(source)
            .arg(mount.path());
        run(&mut command);
        Ok(Self { mount })
    }

    /// Where the shuffled view lies.
    pub fn path(&self) -> &Path {
        self.mount.path()
    }
}

impl Drop for Disorderfs {
    fn drop(&mut self) {
        unmount_below(self.mount.path());
    }
}
