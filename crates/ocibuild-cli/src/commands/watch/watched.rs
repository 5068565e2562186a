//! What a build reads, and how it looked when it was last looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ocibuild_core::files::PART_PREFIX;
use ocibuild_core::pattern::{Pattern, Selection};
use ocibuild_core::plan::{From, Plan, PlannedStep};
use ocibuild_core::spec::Sources;

use crate::file;

/// What a file looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
    mode: u32,
    target: Option<PathBuf>,
}

/// What all files looked like.
pub(super) type Seen = BTreeMap<PathBuf, Stamp>;

/// Files that are watched, whether they are there or not.
#[derive(Debug)]
pub(crate) struct Watched {
    root: PathBuf,
    files: BTreeSet<PathBuf>,
    trees: Vec<Tree>,
    passed_over: BTreeSet<PathBuf>,
}

/// A file, or what is in a directory.
#[derive(Debug, PartialEq, Eq)]
struct Tree {
    /// Its path below the root.
    path: Vec<u8>,
    /// Which paths below the root count: all, unless this is given.
    glob: Option<Pattern>,
    /// Which paths below it count.
    selection: Option<Selection>,
    /// What of the root doesn't.
    excluded: Vec<Pattern>,
}

impl Watched {
    /// Watches nothing yet.
    pub(crate) fn new(root: &Path) -> Self {
        let (files, trees, passed_over) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        Self { root: root.to_owned(), files, trees, passed_over }
    }

    /// Watches a single file.
    pub(crate) fn file(path: &Path) -> Self {
        let mut watched = Self::new(Path::new("."));
        watched.files.insert(path.to_owned());
        watched
    }

    /// Watches the files of a spec, and its lock.
    pub(crate) fn spec(&mut self, sources: &Sources) {
        self.files.extend(sources.files().map(|file| PathBuf::from(file.name())));
        self.files.insert(Path::new(sources.name()).with_extension("lock"));
    }

    /// Watches what a plan reads of the root.
    pub(crate) fn plan(&mut self, plan: &Plan) {
        for layer in &plan.layers {
            let sources = layer.copies.iter().filter_map(|copy| copy.from());
            sources.filter(|from| from.step.is_none()).for_each(|from| self.add(Tree::of(from)));
            self.files.extend(layer.manifests.iter().map(|manifest| self.root.join(&manifest.path)));
        }
        for step in &plan.steps {
            Tree::of_step(step).for_each(|tree| self.add(tree));
            if step.in_place {
                let made: Vec<PathBuf> =
                    step.outputs.iter().map(|output| self.root.join(&output.path)).collect();
                self.pass_over(made.into_iter());
            }
        }
    }

    /// Watches nothing of these: what a build writes.
    pub(crate) fn pass_over(&mut self, paths: impl Iterator<Item = PathBuf>) {
        self.passed_over.extend(paths.map(|path| file::normalised(&path)));
    }

    fn add(&mut self, tree: Tree) {
        if !self.trees.contains(&tree) {
            self.trees.push(tree);
        }
    }

    /// Looks at all of it. What can't be read isn't there.
    pub(super) fn look(&self) -> Seen {
        let mut seen = Seen::new();
        for file in &self.files {
            seen.extend(stamp(file).map(|(stamp, _)| (file.clone(), stamp)));
        }
        for tree in &self.trees {
            self.walk(tree, &tree.path, &mut seen);
        }
        seen
    }

    /// The paths that look otherwise.
    pub(super) fn differences(before: &Seen, now: &Seen) -> Vec<PathBuf> {
        let all: BTreeSet<&PathBuf> = before.keys().chain(now.keys()).collect();
        all.into_iter().filter(|path| before.get(*path) != now.get(*path)).cloned().collect()
    }

    fn walk(&self, tree: &Tree, path: &[u8], seen: &mut Seen) {
        let full = match path {
            b"" | b"." => self.root.clone(),
            path => self.root.join(OsStr::from_bytes(path)),
        };
        let Some((stamp, is_directory)) = stamp(&full) else { return };
        if self.is_passed_over(&full) {
            return;
        }
        if !is_directory {
            if tree.counts(path) {
                seen.insert(full, stamp);
            }
            return;
        }
        if !tree.may_count_below(path) {
            return;
        }
        let Ok(entries) = fs::read_dir(&full) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.as_bytes().starts_with(PART_PREFIX.as_bytes()) {
                continue;
            }
            let path = match path {
                b"" | b"." => name.as_bytes().to_vec(),
                path => [path, b"/", name.as_bytes()].concat(),
            };
            self.walk(tree, &path, seen);
        }
    }

    fn is_passed_over(&self, full: &Path) -> bool {
        // By name first: to follow all links of all files takes too long.
        let is_named = |path: &PathBuf| path.file_name() == full.file_name();
        self.passed_over.iter().any(is_named) && self.passed_over.contains(&file::normalised(full))
    }
}

impl Tree {
    fn of(from: &From) -> Self {
        let selection = from.glob.is_none().then(|| from.selection.clone());
        Self { path: start(&from.literal), glob: from.glob.clone(), selection, excluded: Vec::new() }
    }

    fn of_step(step: &PlannedStep) -> impl Iterator<Item = Self> {
        let excluded: Vec<Pattern> = step
            .inputs
            .iter()
            .filter(|input| input.is_excluded)
            .filter_map(|input| input.glob.clone())
            .collect();
        step.inputs.iter().filter(|input| !input.is_excluded).map(move |input| Self {
            path: start(&input.literal),
            glob: input.glob.clone(),
            selection: None,
            excluded: excluded.clone(),
        })
    }

    fn counts(&self, path: &[u8]) -> bool {
        let is_excluded = self.excluded.iter().any(|pattern| pattern.covers(path));
        let is_matched = self.glob.as_ref().is_none_or(|glob| glob.covers(path));
        let is_selected = match (&self.selection, self.below(path)) {
            (Some(selection), Some(below)) if !below.is_empty() => selection.selects(below),
            _ => true,
        };
        !is_excluded && is_matched && is_selected
    }

    fn may_count_below(&self, path: &[u8]) -> bool {
        if matches!(path, b"" | b".") {
            return true;
        }
        let is_excluded = self.excluded.iter().any(|pattern| pattern.covers(path));
        let may_match = |glob: &Pattern| glob.covers(path) || glob.may_match_below(path);
        !is_excluded && self.glob.as_ref().is_none_or(may_match)
    }

    /// A path as the selection has it.
    fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match &self.path[..] {
            b"" | b"." => Some(path),
            own => path.strip_prefix(own)?.strip_prefix(b"/"),
        }
    }
}

/// Where a search begins: the literal part of a glob may end in a slash.
fn start(literal: &[u8]) -> Vec<u8> {
    literal.strip_suffix(b"/").unwrap_or(literal).to_vec()
}

/// What is at a path; and whether it is a directory, which counts for what is in it.
fn stamp(path: &Path) -> Option<(Stamp, bool)> {
    let own = path.symlink_metadata().ok()?;
    let target = own.is_symlink().then(|| fs::read_link(path).ok()).flatten();
    // A link counts as itself, and as the file that it leads to.
    let metadata: Metadata = if own.is_symlink() { path.metadata().unwrap_or(own) } else { own };
    let is_directory = metadata.is_dir() && target.is_none();
    let stamp = Stamp {
        modified: metadata.modified().ok(),
        size: metadata.len(),
        inode: metadata.ino(),
        mode: metadata.mode(),
        target,
    };
    Some((stamp, is_directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_seen_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = room.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        ["src/a.ts", "src/deep/b.ts", "src/c.md", "out/x", "other"].iter().for_each(|path| write(path, "1"));
        let mut watched = Watched::new(room.path());
        let tree = |path: &[u8], glob: Option<&str>, excluded: &[&str]| Tree {
            path: path.to_vec(),
            glob: glob.map(|glob| Pattern::parse(glob).unwrap()),
            selection: None,
            excluded: excluded.iter().map(|text| Pattern::parse(text).unwrap()).collect(),
        };
        watched.add(tree(b"src", Some("src/**/*.ts"), &["src/deep"]));
        watched.add(tree(b"", Some("*"), &["src", "out"]));
        watched.pass_over([room.path().join("other")].into_iter());
        let names = |seen: &Seen| {
            seen.keys().map(|path| path.strip_prefix(room.path()).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let before = watched.look();
        assert_eq!(names(&before), [Path::new("src/a.ts")]);
        ["src/c.md", "out/y", "src/deep/b.ts", "other"].iter().for_each(|path| write(path, "22"));
        assert_eq!(watched.look(), before);
        write("src/a.ts", "22");
        write("new", "1");
        let now = watched.look();
        let changed: Vec<PathBuf> = ["new", "src/a.ts"].map(|path| room.path().join(path)).to_vec();
        assert_eq!(Watched::differences(&before, &now), changed);
    }
}
