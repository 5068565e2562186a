//! Undoing mounts below a directory, so that it can be removed.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounts everything at or below `directory`, the innermost first; needs root for that.
///
/// Lazily, as a container that has just ended may keep its root file system busy for a moment.
pub fn unmount_below(directory: &Path) {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    for mount in mount_points(&table).iter().rev().filter(|mount| mount.starts_with(&directory)) {
        let _ = Command::new("umount").arg("--lazy").arg(mount).output();
    }
}

/// Reads the mount points out of a mountinfo table, in the order in which they were mounted.
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescape(field))))
        .collect()
}

/// Space, tab, newline and backslash stand as three octal digits in that table.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal.filter(|_| first == b'\\') {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let table = b"36 35 98:0 / / rw - ext4 /dev/a rw\n\
            37 36 0:5 / /tmp/a\\040b rw - tmpfs tmpfs rw\n";
        assert_eq!(mount_points(table), [PathBuf::from("/"), PathBuf::from("/tmp/a b")]);
    }
}
