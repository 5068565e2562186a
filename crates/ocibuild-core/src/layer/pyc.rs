//! Compiled Python files that go stale in an image.

/// The directory of files that are compiled as they are needed. One elsewhere was put there in the
/// place of its source, and Python takes it without a look at a timestamp.
const CACHE: &[u8] = b"__pycache__";

/// What an interpreter's number in a compiled file ends with.
const MAGIC_END: &[u8] = b"\r\n";

/// The time of a source that a compiled file is checked by; `None` if it's cut off.
pub(super) type SourceTime = Option<u32>;

/// Tells by the first bytes whether a file looks like compiled Python that is checked by its
/// source's timestamp ([PEP 552](https://peps.python.org/pep-0552/)), and by which.
pub(super) fn checked(first: &[u8]) -> Option<SourceTime> {
    let is_checked = first.get(2..4) == Some(MAGIC_END) && first.get(4..8) == Some(&[0; 4]);
    let written = || first.get(8..12).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    is_checked.then(written)
}

/// Tells whether a file that looks like it is compiled Python, and its source's time is later than
/// `mtime`, the file's own in the image: the source was written before it was compiled, so its time
/// isn't kept.
pub(super) fn is_stale(path: &[u8], mtime: i64, checked: SourceTime) -> bool {
    let mut names = path.rsplit(|byte| *byte == b'/');
    let is_cached = names.next().is_some_and(|name| name.ends_with(b".pyc")) && names.next() == Some(CACHE);
    is_cached && checked.is_none_or(|written| i64::from(written) > mtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_stale(path: &[u8], mtime: i64, first: &[u8]) -> bool {
        checked(first).is_some_and(|checked| super::is_stale(path, mtime, checked))
    }

    #[test]
    fn only_timestamp_checked_files_are_stale() {
        let timestamp = b"\xa7\x0d\x0d\x0a\0\0\0\0\x01\x02\x03\x04rest";
        let hash = b"\xa7\x0d\x0d\x0a\x03\0\0\0\x01\x02\x03\x04rest";
        assert!(is_stale(b"a/__pycache__/m.cpython-311.pyc", 1, timestamp));
        assert!(is_stale(b"__pycache__/m.pyc", 1, timestamp));
        assert!(!is_stale(b"m.pyc", 1, timestamp) && !is_stale(b"a/__pycache__x/m.pyc", 1, timestamp));
        assert!(!is_stale(b"__pycache__/m.pyc", 1, hash));
        assert!(!is_stale(b"__pycache__/m.py", 1, timestamp));
        assert!(!is_stale(b"__pycache__/m.pyc", 1, b"\xa7\x0d\x0d\x0a\0\0"));
        assert!(!is_stale(b"__pycache__/m.pyc", 1, &[0; 16]));
        // Where times are kept, and the source's isn't cut off.
        let time = 0x0403_0201;
        assert!(!is_stale(b"__pycache__/m.pyc", time, timestamp));
        assert!(is_stale(b"__pycache__/m.pyc", time - 1, timestamp));
    }
}
