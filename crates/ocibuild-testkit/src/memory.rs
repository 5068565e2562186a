//! Directories that wait for no disk.

use std::fs;

use tempfile::TempDir;

/// Where Linux has files in memory, for everyone.
const MEMORY: &str = "/dev/shm";

/// As much room is needed there, in KiB: containers often have less.
const ENOUGH: u64 = 1 << 20;

/// A temporary directory in memory where there is room, whatever `TMPDIR` says. For tests that run a program
/// many hundred times: each syncs what it writes, and would wait for all that others write.
#[track_caller]
pub fn in_memory() -> TempDir {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let made = match has_room(&mounts) {
        true => TempDir::with_prefix_in("tree-", MEMORY),
        false => TempDir::with_prefix("tree-"),
    };
    made.expect("a temporary directory can be made")
}

/// What was mounted last counts.
fn has_room(mounts: &str) -> bool {
    let options = mounts.lines().rev().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [_, MEMORY, kind, options, ..] => Some((kind, options)),
        _ => None,
    });
    let Some(("tmpfs", options)) = options else { return false };
    let size = options.split(',').find_map(|option| option.strip_prefix("size=")?.strip_suffix('k'));
    // Without one it is half of the memory.
    options.starts_with("rw") && size.is_none_or(|size| size.parse::<u64>().is_ok_and(|size| size >= ENOUGH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_with_room_is_found() {
        let cases = [
            ("tmpfs /dev/shm tmpfs rw,nosuid,nodev,size=24684084k 0 0", true),
            ("shm /dev/shm tmpfs rw,nosuid,size=65536k,inode64 0 0", false),
            ("tmpfs /dev/shm tmpfs ro,size=24684084k 0 0", false),
            ("/dev/vda /dev/shm ext4 rw,size=24684084k 0 0", false),
            ("tmpfs /dev/shm tmpfs rw,nosuid 0 0", true),
            ("tmpfs /run tmpfs rw,size=24684084k 0 0", false),
            ("", false),
        ];
        for (mounts, has) in cases {
            assert_eq!(has_room(&format!("proc /proc proc rw 0 0\n{mounts}\n")), has, "{mounts}");
        }
        assert!(in_memory().path().is_dir());
    }
}
