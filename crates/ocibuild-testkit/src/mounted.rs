//! File systems of a test's own: mounted for it, and undone with the value.

use crate::command::run;
use crate::mounts::unmount_below;
use crate::skip::{Missing, root, tool};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Something that is mounted as long as this value lives.
#[derive(Debug)]
pub struct Mounted {
    /// Holds the mount point, and what is mounted there.
    home: TempDir,
}

impl Mounted {
    /// An empty file system in memory.
    #[track_caller]
    pub fn tmpfs() -> Result<Self, Missing> {
        let this = Self::prepare()?;
        this.mount(["-t", "tmpfs", "-o", "mode=0755", "tmpfs"]);
        Ok(this)
    }

    /// An empty file system in memory with room for so many bytes, in whole pages of 4 KiB.
    #[track_caller]
    pub fn tmpfs_of(bytes: u64) -> Result<Self, Missing> {
        let this = Self::prepare()?;
        this.mount(["-t", "tmpfs", "-o", &format!("mode=0755,size={bytes}"), "tmpfs"]);
        Ok(this)
    }

    /// An empty file system in memory with room for so many files and directories, its own included.
    #[track_caller]
    pub fn tmpfs_of_files(count: u64) -> Result<Self, Missing> {
        let this = Self::prepare()?;
        this.mount(["-t", "tmpfs", "-o", &format!("mode=0755,nr_inodes={count}"), "tmpfs"]);
        Ok(this)
    }

    /// Gives a file system in memory all the room that it may need.
    #[track_caller]
    pub fn widen(&self) {
        self.mount(["-o", "remount,size=1g,nr_inodes=100000"]);
    }

    /// A view of a directory that nothing can be written to.
    #[track_caller]
    pub fn read_only(source: &Path) -> Result<Self, Missing> {
        let this = Self::prepare()?;
        this.mount([OsStr::new("--bind"), source.as_os_str()]);
        this.mount(["-o", "remount,bind,ro"]);
        Ok(this)
    }

    /// A directory with an empty layer over it that takes all changes.
    #[track_caller]
    pub fn overlay(lower: &Path) -> Result<Self, Missing> {
        if !has("overlay") {
            return Err(Missing::new("overlay mounts in the kernel"));
        }
        let this = Self::prepare()?;
        // Itself in memory: not every file system can hold the upper layer.
        let memory = this.home.path().join("memory");
        fs::create_dir(&memory).expect("a directory can be made");
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&memory));
        let [upper, work] = ["upper", "work"].map(|name| memory.join(name));
        [&upper, &work].into_iter().for_each(|path| fs::create_dir(path).expect("a directory can be made"));
        let options = [("lowerdir", lower), ("upperdir", &upper), ("workdir", &work)];
        let options = options.map(|(name, path)| format!("{name}={}", path.display())).join(",");
        this.mount(["-t", "overlay", "-o", &options, "overlay"]);
        Ok(this)
    }

    /// An empty exFAT, as cards and sticks have it: upper and lower case mean the same and stay as
    /// they were written, every file is 0777, and there are no links of any kind.
    #[track_caller]
    pub fn exfat() -> Result<Self, Missing> {
        let (make, _) = (tool("mkfs.exfat")?, tool("mount.exfat-fuse")?);
        for (device, name) in [("/dev/fuse", "FUSE"), ("/dev/loop-control", "loop devices")] {
            if !Path::new(device).exists() {
                return Err(Missing::new(format!("{name} (`{device}`)")));
            }
        }
        let this = Self::prepare()?;
        let image = this.home.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("a file can be made");
        run(Command::new(make).arg(&image));
        this.mount([OsStr::new("-t"), "exfat-fuse".as_ref(), "-o".as_ref(), "loop".as_ref(), image.as_ref()]);
        Ok(this)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("mount")
    }

    fn prepare() -> Result<Self, Missing> {
        root()?;
        let home = TempDir::with_prefix("mounted-").expect("a temporary directory can be made");
        let this = Self { home };
        fs::create_dir(this.path()).expect("a directory can be made");
        Ok(this)
    }

    #[track_caller]
    fn mount<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) {
        run(Command::new("mount").args(arguments).arg(self.path()));
    }
}

/// Answers whether the kernel knows a file system.
fn has(name: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(name))
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount_below(self.home.path());
    }
}
