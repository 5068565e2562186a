//! What of the file system is in a sandbox.
//!
//! What is shown is listed, not what is hidden: on a machine of a team, files that nobody thought of
//! lie anywhere. System directories are as they are, so a sandbox doesn't make a step reproducible on
//! another system; that is what `tools` are for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::step::process::{Process, directories};

/// What systems have their programs and settings in.
const SYSTEM: [&str; 15] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix",
    "/gnu",
    "/snap",
    "/sys",
    "/var/lib/ca-certificates",
    "/run/current-system",
];
/// Variables whose paths are given otherwise.
const OWN: [&str; 4] = ["PATH", "HOME", "TMPDIR", "PWD"];

/// What a command in a sandbox sees, beside the system and its programs.
///
/// All paths are absolute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rooms<'a> {
    /// Where it may write: the step's directory, its home, its temporary and its kept directories.
    pub(crate) writable: Vec<&'a Path>,
    /// What it may read besides, such as the directory of its secrets.
    pub(crate) readable: Vec<&'a Path>,
    /// The caller's home directory. What of it `PATH` and the step's variables name can be read.
    pub(crate) home: Option<&'a Path>,
    /// What mustn't be seen but for `writable` and `readable`: the checkout and the cache.
    pub(crate) hidden: Vec<&'a Path>,
}

impl Rooms<'_> {
    /// The arguments of `bwrap` that put it together.
    pub(super) fn mounts(&self, process: &Process) -> Vec<OsString> {
        let mut mounts = Mounts::default();
        for path in SYSTEM.map(Path::new) {
            mounts.system(path);
        }
        mounts.add("--dev", Path::new("/dev"));
        for path in ["/tmp", "/var/tmp", "/run"].map(Path::new) {
            mounts.add("--tmpfs", path);
        }
        mounts.names_of_hosts();
        // A home directory may lie in what is shown, as `/opt/service` does.
        for path in self.home.into_iter().filter(|home| *home != Path::new("/")) {
            mounts.hide(path);
        }
        for path in self.tools(process) {
            mounts.read(&path);
        }
        for path in &self.hidden {
            mounts.hide(path);
        }
        for path in &self.readable {
            mounts.bind("--ro-bind", path);
        }
        for path in &self.writable {
            mounts.bind("--bind", path);
        }
        mounts.argv.extend(["--remount-ro".into(), "/".into()]);
        mounts.argv
    }

    /// What is named by `PATH` and other variables, and isn't hidden.
    fn tools(&self, process: &Process) -> Vec<PathBuf> {
        let path = process.environment.get(OsStr::new("PATH")).map_or(OsStr::new(""), OsString::as_os_str);
        let programs = directories(path).flat_map(|directory| self.programs(directory));
        let named = process.environment.iter().filter(|(name, _)| !OWN.iter().any(|own| *name == *own));
        let named = named.flat_map(|(_, value)| directories(value)).map(Path::to_owned);
        programs.chain(named).filter(|path| self.may_show(path)).collect()
    }

    /// A directory of programs, with what they mostly need: what lies beside a `bin`.
    fn programs(&self, directory: &Path) -> Vec<PathBuf> {
        let alone = vec![directory.to_owned()];
        let Some(prefix) = directory.parent() else { return alone };
        let is_bin = directory.file_name().is_some_and(|name| name == "bin" || name == "sbin");
        if !is_bin || !self.may_show(prefix) {
            return alone;
        }
        match prefix.file_name().map(OsStr::as_bytes) {
            // All kinds of things lie there, credentials among them.
            Some(b".cargo") => alone,
            Some(b".local") => vec![directory.to_owned(), prefix.join("lib")],
            _ => vec![prefix.to_owned()],
        }
    }

    /// Whether a path is none of what is hidden, and nothing hidden lies in it.
    fn may_show(&self, path: &Path) -> bool {
        let around = self.home.iter().chain(&self.hidden).chain(&self.writable);
        let is_around = around.into_iter().any(|inner| inner.starts_with(path));
        path.is_absolute() && !is_around && !self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }
}

/// Arguments of `bwrap`, and what they show by now.
#[derive(Default)]
struct Mounts {
    argv: Vec<OsString>,
    /// By path, whether it is shown or hidden; what lies deeper counts.
    shown: BTreeMap<PathBuf, bool>,
}

impl Mounts {
    fn add(&mut self, option: &str, path: &Path) {
        self.argv.extend([option.into(), path.into()]);
        self.shown.insert(path.to_owned(), false);
    }

    fn bind(&mut self, option: &str, path: &Path) {
        self.argv.extend([option.into(), path.into(), path.into()]);
        self.shown.insert(path.to_owned(), true);
    }

    /// Shows a system directory, or what it is a link to.
    fn system(&mut self, path: &Path) {
        match fs::read_link(path) {
            Ok(target) => self.argv.extend(["--symlink".into(), target.into(), path.into()]),
            Err(_) if path.exists() => self.bind("--ro-bind", path),
            Err(_) => {}
        }
    }

    /// Shows what is there and isn't shown yet.
    fn read(&mut self, path: &Path) {
        if path.exists() && !self.shows(path) {
            self.bind("--ro-bind", path);
        }
    }

    /// Puts an empty directory over what is shown.
    fn hide(&mut self, path: &Path) {
        if path.is_dir() && self.shows(path) {
            self.add("--tmpfs", path);
        }
    }

    /// The file that says who knows names of hosts is mostly a link to where others write it.
    fn names_of_hosts(&mut self) {
        if let Ok(path) = fs::canonicalize("/etc/resolv.conf") {
            self.read(&path);
        }
    }

    fn shows(&self, path: &Path) -> bool {
        path.ancestors().find_map(|path| self.shown.get(path)).copied().unwrap_or(false)
    }
}
