//! Fetches the two real trees that all measurements run on.
//!
//! What they hold is pinned by the lists in `trees/`; how they are measured is not known here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::error::{Error, io_error};

const NPM_PACKAGE: &str = include_str!("../trees/npm/package.json");
const NPM_LOCK: &str = include_str!("../trees/npm/package-lock.json");
const PIP_REQUIREMENTS: &str = include_str!("../trees/pip/requirements.txt");

/// Where the fetched trees lie.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Trees {
    /// A `package.json`, its lock file and their `node_modules`: many small files.
    pub npm: PathBuf,
    /// Python packages as pip unpacks them: fewer and larger files, many of them binary.
    pub pip: PathBuf,
}

/// Fetches both trees into `npm` and `pip` below `directory`, unless they are there already.
///
/// A stamp beside each tree holds the digest of its pinned list; where it differs, the tree is
/// fetched anew. Success doesn't mean that nobody changed a tree since. Needs `npm` and `python3`
/// with pip, and a network.
///
/// # Errors
/// If a client can't be started or fails, or a file can't be written.
pub fn fetch(directory: &Path) -> Result<Trees, Error> {
    fs::create_dir_all(directory).map_err(io_error("create", directory))?;
    Ok(Trees {
        npm: fetch_one(directory, "npm", &[NPM_PACKAGE, NPM_LOCK], |tree| {
            npm(tree, NPM_PACKAGE, NPM_LOCK, "--legacy-peer-deps")
        })?,
        pip: fetch_one(directory, "pip", &[PIP_REQUIREMENTS], pip)?,
    })
}

/// Fetches what a lockfile of npm names into `name` below `directory`, unless it is there already:
/// a `package.json`, its lockfile and their `node_modules`, without what is for development only.
///
/// # Errors
/// As of [`fetch`].
pub fn fetch_locked(directory: &Path, name: &str, package: &str, lock: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(directory).map_err(io_error("create", directory))?;
    fetch_one(directory, name, &[package, lock], |tree| npm(tree, package, lock, "--omit=dev"))
}

fn fetch_one(
    directory: &Path,
    name: &str,
    lists: &[&str],
    install: impl Fn(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let tree = directory.join(name);
    let stamp = directory.join(format!("{name}.stamp"));
    let wanted = digest(lists);
    if tree.is_dir() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(tree);
    }
    let partial = directory.join(format!("{name}.partial"));
    for stale in [&tree, &partial] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(io_error("remove", stale))?;
        }
    }
    fs::create_dir(&partial).map_err(io_error("create", &partial))?;
    install(&partial)?;
    fs::rename(&partial, &tree).map_err(io_error("rename", &partial))?;
    fs::write(&stamp, wanted).map_err(io_error("write", &stamp))?;
    Ok(tree)
}

fn digest(lists: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for list in lists {
        hasher.update(list.len().to_le_bytes());
        hasher.update(list);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn npm(tree: &Path, package: &str, lock: &str, option: &str) -> Result<(), Error> {
    for (name, text) in [("package.json", package), ("package-lock.json", lock)] {
        let path = tree.join(name);
        fs::write(&path, text).map_err(io_error("write", &path))?;
    }
    let mut command = Command::new("npm");
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", option]);
    run(command.current_dir(tree))
}

fn pip(tree: &Path) -> Result<(), Error> {
    let list = tree.with_extension("requirements.txt");
    fs::write(&list, PIP_REQUIREMENTS).map_err(io_error("write", &list))?;
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]);
    command.args(["--no-compile", "--target"]).arg(tree).arg("--requirement").arg(&list);
    let outcome = run(&mut command);
    fs::remove_file(&list).map_err(io_error("remove", &list))?;
    outcome
}

/// Runs a client with its own output on stderr, so that stdout stays the caller's.
fn run(command: &mut Command) -> Result<(), Error> {
    let words = format!("{command:?}");
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|source| Error::Start { program, source })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { command: words, status: status.to_string() })
}
