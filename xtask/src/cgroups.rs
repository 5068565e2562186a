//! Removing the empty cgroups that container runtimes leave behind.
//!
//! Namespaces don't help here: a cgroup belongs to the machine, whoever made it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The runtimes' cgroups that stood before; dropped, it removes those that have come since.
pub(crate) struct Cgroups(BTreeSet<PathBuf>);

impl Cgroups {
    pub(crate) fn remember() -> Self {
        Self(of_runtimes())
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        of_runtimes().difference(&self.0).for_each(|cgroup| remove(cgroup));
    }
}

/// Cgroups of docker, podman and the testkit's containerd, in every hierarchy.
fn of_runtimes() -> BTreeSet<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = children(root);
    let all = hierarchies.iter().flat_map(|hierarchy| children(hierarchy));
    all.chain(children(root)).filter(|cgroup| is_of_runtime(cgroup)).collect()
}

fn is_of_runtime(cgroup: &Path) -> bool {
    let name = cgroup.file_name().unwrap_or_default().to_string_lossy();
    name == "docker" || name == "libpod_parent" || name.starts_with("ocibuild-test-")
}

/// The kernel refuses to remove a cgroup that is in use, so nothing alive can be hit.
fn remove(cgroup: &Path) {
    children(cgroup).iter().for_each(|child| remove(child));
    let _ = fs::remove_dir(cgroup);
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}
