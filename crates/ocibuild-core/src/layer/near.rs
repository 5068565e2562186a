//! What lies where something was looked for in vain.

use crate::files::{FileTree, MountedTree, display};
use crate::layer::StepKey;
use crate::layer::gather::below;
use crate::spec::closest;

/// What is there instead of a path that leads to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nearby {
    /// The path that was probably meant: one name is different, and
    /// others in case at most.
    pub meant: Option<String>,
    /// The label of the step in whose outputs it was looked for: paths are relative to its directory.
    pub step: Option<String>,
    /// The last directory on the way that is there; `.` is the root.
    pub directory: String,
    /// The first names in it, sorted, at most five; hidden ones only if one was looked for.
    pub names: Vec<String>,
    /// How many more it has.
    pub more: usize,
}

/// How many names are told.
const TOLD: usize = 5;

impl Nearby {
    /// Looks along a path that leads to nothing. What can't be read has no names. Trees of steps are mounted
    /// by their places among `steps`.
    pub(super) fn of(tree: &dyn FileTree, path: &[u8], steps: &[StepKey]) -> Self {
        let mut parts: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && **part != b"."[..]).collect();
        let number = MountedTree::number(path);
        let mount = if number.is_some() { parts.remove(0) } else { b"" };
        let step = number.and_then(|number| steps.get(number)).map(|step| step.label.clone());
        let (mut directory, mut at) = (mount.to_vec(), 0);
        while at + 1 < parts.len() {
            let next = below(&directory, parts[at]);
            if tree.metadata(&next).is_err() {
                break;
            }
            (directory, at) = (next, at + 1);
        }
        let Some(wanted) = parts.get(at) else {
            return Self { step, ..Self::default() };
        };
        let mut names: Vec<String> =
            tree.read_dir(&directory).unwrap_or_default().iter().map(|(name, _)| display(name)).collect();
        names.retain(|name| wanted.starts_with(b".") || !name.starts_with('.'));
        names.sort_unstable();
        let meant = closest(&display(wanted), names.iter().map(String::as_str)).and_then(|name| {
            let start = below(&directory, name.as_bytes());
            let path = parts[at + 1..].iter().try_fold(start, |path, part| entry(tree, &path, part));
            path.filter(|path| tree.metadata(path).is_ok()).map(|path| display(&path))
        });
        let more = names.len().saturating_sub(TOLD);
        names.truncate(TOLD);
        Self { meant, step, directory: display(&directory), names, more }
    }
}

/// The entry of a directory that has this name, or has it in another case: where a spec was
/// written that may be the same.
fn entry(tree: &dyn FileTree, directory: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let exact = below(directory, name);
    if tree.metadata(&exact).is_ok() {
        return Some(exact);
    }
    let folded = |name: &[u8]| display(name).to_lowercase();
    let entries = tree.read_dir(directory).ok()?;
    let (found, _) = entries.iter().find(|(found, _)| folded(found) == folded(name))?;
    Some(below(directory, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::files::MemoryTree;

    #[test]
    fn the_name_that_was_meant_is_found_anywhere_in_the_path() {
        let tree = MemoryTree::new().file("target/release/app", "").file("target/release/other", "");
        let meant = |path: &str| Nearby::of(&tree, path.as_bytes(), &[]).meant;
        assert_eq!(meant("target/release/ap").as_deref(), Some("target/release/app"));
        assert_eq!(meant("./taget/release/app").as_deref(), Some("target/release/app"));
        assert_eq!(meant("taget/release/nothing-like-it"), None);
        assert_eq!(meant("dist"), None);
        assert_eq!(meant("Target/Release/App").as_deref(), Some("target/release/app"));
        assert_eq!(meant("Target/Release/Ap"), None);
    }

    #[test]
    fn what_is_there_is_told_from_the_last_directory_that_is() {
        let tree =
            "gfedcba".chars().fold(MemoryTree::new(), |tree, name| tree.file(format!("dir/{name}"), ""));
        let nearby = Nearby::of(&tree, b"dir/nothing/at-all", &[]);
        assert_eq!((nearby.directory.as_str(), nearby.more), ("dir", 2));
        assert_eq!(nearby.names, ["a", "b", "c", "d", "e"]);
        assert_eq!(Nearby::of(&MemoryTree::new(), b"x", &[]).directory, ".");
    }

    #[test]
    fn what_a_step_made_has_the_names_that_it_has_there() {
        let (root, made) = (MemoryTree::new(), MemoryTree::new().file("dist/app", "").file("dist/lib", ""));
        let tree = MountedTree::new(&root, vec![(1, Arc::new(made))]);
        let steps = ["install", "compile"].map(|label| StepKey { label: label.to_owned(), key: None });
        let nearby =
            |path: &[u8]| Nearby::of(&tree, &[&MountedTree::place(1), &b"/"[..], path].concat(), &steps);
        let wrong = nearby(b"dits/app");
        assert_eq!((wrong.meant.as_deref(), wrong.step.as_deref()), (Some("dist/app"), Some("compile")));
        assert_eq!((nearby(b"dist/x").directory, nearby(b"x/y").directory), ("dist".into(), ".".into()));
        assert_eq!(nearby(b"x/y").names, ["dist"]);
        assert_eq!(Nearby::of(&tree, b"x", &steps).step, None);
    }
}
