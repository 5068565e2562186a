//! Following symbolic links within a tree.

use crate::files::{FileError, FileKind, FileTree, display};

const MAX_LINKS: usize = 40;

/// Returns what a path means once all its links are followed, as a path without links.
///
/// Links may point anywhere inside the root, relative or absolute; what comes after the first
/// missing part is kept as it is, so success doesn't mean that anything is there.
///
/// # Errors
/// [`FileError::Escapes`] if the way leads out of the root, [`FileError::Loop`] if it doesn't end.
pub fn resolve(tree: &dyn FileTree, path: &[u8]) -> Result<Vec<u8>, FileError> {
    if let Some((length, mounted)) = tree.mount(path) {
        let (place, rest) = path.split_at(length);
        return Ok(join(place, &resolve(mounted, rest.strip_prefix(b"/").unwrap_or_default())?));
    }
    let escapes = |by: &[u8]| FileError::Escapes { path: display(path), by: display(by) };
    let start = match path {
        [b'/', ..] => tree.locate(path).ok_or_else(|| escapes(path))?,
        _ => path.to_vec(),
    };
    let mut rest: Vec<Vec<u8>> = parts(&start).rev().collect();
    let mut done: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == b".." {
            pop(&mut done).ok_or_else(|| escapes(b".."))?;
            continue;
        }
        let next = join(&done, &part);
        match tree.metadata(&next) {
            Ok(metadata) if metadata.kind == FileKind::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(FileError::Loop { path: display(path) });
                }
                let target = tree.read_link(&next).map_err(|error| FileError::io("read", &next, error))?;
                if target.starts_with(b"/") {
                    let located = tree.locate(&target).ok_or_else(|| escapes(&next))?;
                    done.clear();
                    rest.extend(parts(&located).rev());
                } else {
                    rest.extend(parts(&target).rev());
                }
            }
            _ => done = next,
        }
    }
    Ok(done)
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

fn pop(path: &mut Vec<u8>) -> Option<()> {
    if path.is_empty() {
        return None;
    }
    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
    Some(())
}

/// Joins two parts of a path.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory, name) {
        (b"", rest) | (rest, b"") => rest.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::MemoryTree;

    #[test]
    fn links_are_followed_within_the_root_only() {
        let tree = MemoryTree::new()
            .file("a/b/file", "")
            .symlink("a/link", "b")
            .symlink("a/up", "../a/link/file")
            .symlink("out", "../elsewhere")
            .symlink("absolute", "/etc")
            .symlink("loop", "loop");
        let resolved = |path: &str| resolve(&tree, path.as_bytes()).map(|path| display(&path));
        assert_eq!(resolved("a/link/file").unwrap(), "a/b/file");
        assert_eq!(resolved("./a//up").unwrap(), "a/b/file");
        assert_eq!(resolved("a/link/missing/x").unwrap(), "a/b/missing/x");
        assert_eq!(resolved("a/../a/b").unwrap(), "a/b");
        assert_eq!(resolved("").unwrap(), ".");
        for path in ["out", "absolute", "..", "a/../../b", "/etc"] {
            assert!(matches!(resolved(path), Err(FileError::Escapes { .. })), "{path}");
        }
        assert!(matches!(resolved("loop/x"), Err(FileError::Loop { .. })));
    }
}
