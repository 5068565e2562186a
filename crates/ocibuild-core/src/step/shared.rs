//! Directories in homes that all steps of all specs share that name them: what package managers keep
//! (`~/.npm`, `~/go/pkg/mod`). Who uses one has it alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::{SHARED_NAME, STEPS_DIRECTORY, Turn};
use crate::event::Cancel;
use crate::files::{Entry, display};
use crate::key::KeyWriter;
use crate::step::{StepError, private, sync};

/// The name in such a directory of what is linked to.
const CONTENT: &str = "content";

/// Shared directories, until they are dropped: nobody else uses them meanwhile.
#[derive(Debug, Default)]
pub struct Shared {
    directories: Vec<Directory>,
}

#[derive(Debug)]
struct Directory {
    /// Where it is in the home.
    path: Vec<u8>,
    /// Where it is in the cache.
    content: PathBuf,
    _turn: Turn,
}

impl Shared {
    /// Makes and takes the directories that a step names by their texts (`~/.npm`), each once. Waits while
    /// others use one, and tells `waiting` so, once for each. All take them in the same order, so that no
    /// two wait for each other.
    ///
    /// # Errors
    /// [`StepError::Path`] if a text isn't `~/` and a path below a home; [`StepError::Overlap`] if one lies
    /// in another; [`StepError::File`] if one can't be made or locked; [`StepError::Cancelled`].
    pub fn take(
        cache: &Path,
        texts: &[&str],
        cancel: &Cancel,
        waiting: &dyn Fn(&str),
    ) -> Result<Self, StepError> {
        let paths = texts.iter().map(|text| path_of(text).map(|path| (path, *text)));
        let mut paths = paths.collect::<Result<Vec<_>, StepError>>()?;
        paths.sort_by(|(one, _), (other, _)| Entry::compare_paths(one, other));
        paths.dedup_by(|(one, _), (other, _)| one == other);
        for pair in paths.windows(2) {
            let is_below = pair[1].0.strip_prefix(pair[0].0).is_some_and(|rest| rest.starts_with(b"/"));
            if is_below {
                return Err(StepError::Overlap { path: format!("~/{}", display(pair[1].0)) });
            }
        }
        let taken =
            paths.into_iter().map(|(path, text)| Directory::take(cache, path, cancel, &|| waiting(text)));
        Ok(Self { directories: taken.collect::<Result<_, StepError>>()? })
    }

    /// Returns where each is in the home, and what it is linked to.
    pub(super) fn links(&self) -> impl Iterator<Item = (&[u8], &Path)> {
        self.directories.iter().map(|directory| (&directory.path[..], directory.content.as_path()))
    }

    /// Returns the directories as they are in the cache: what a sandbox has to let the command write to.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.iter().map(|directory| directory.content.as_path())
    }
}

impl Directory {
    fn take(cache: &Path, path: &[u8], cancel: &Cancel, waiting: &dyn Fn()) -> Result<Self, StepError> {
        let mut key = KeyWriter::new("shared-directory", 1);
        key.field("path", path);
        let [steps, version] = STEPS_DIRECTORY;
        let directory = cache.join(steps).join(version).join(SHARED_NAME).join(key.finish().hex());
        let turn = private::turn(&directory, cancel, waiting)?;
        let content = directory.join(CONTENT);
        let made = match content.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            // Something of another kind: no command's business, and none of ours.
            _ => fs::create_dir(&content),
        };
        made.map_err(StepError::own("make", &content, b""))?;
        let absolute = content.canonicalize().map_err(StepError::own("open", &content, b""))?;
        Ok(Self { path: path.to_owned(), content: absolute, _turn: turn })
    }
}

/// The path below a home that a text names.
fn path_of(text: &str) -> Result<&[u8], StepError> {
    let wrong = || StepError::Path { path: text.to_owned() };
    let path = text.strip_prefix("~/").ok_or_else(wrong)?.as_bytes();
    sync::check_path(path).map_err(|_| wrong())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn all_that_name_one_share_it_one_after_the_other() {
        let cache = tempfile::tempdir().unwrap();
        let (cancel, told) = (Cancel::new(), RefCell::new(Vec::new()));
        let take = |texts: &[&str], cancel: &Cancel| {
            Shared::take(cache.path(), texts, cancel, &|text| told.borrow_mut().push(text.to_owned()))
        };
        let one = take(&["~/.npm", "~/go/pkg/mod", "~/.npm"], &cancel).unwrap();
        let directories: Vec<PathBuf> = one.directories().map(Path::to_owned).collect();
        assert_eq!(directories.len(), 2);
        fs::write(directories[0].join("file"), "x").unwrap();
        assert!(take(&["~/.cache/pip"], &cancel).is_ok());
        assert!(told.borrow().is_empty());
        let stopped = Cancel::new();
        std::thread::scope(|scope| {
            let other = stopped.clone();
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(50));
                other.cancel();
            });
            assert!(matches!(take(&["~/go/pkg/mod"], &stopped), Err(StepError::Cancelled(_))));
        });
        assert_eq!(*told.borrow(), ["~/go/pkg/mod"]);
        drop(one);
        let again = take(&["~/.npm"], &cancel).unwrap();
        assert!(again.directories().next().unwrap().join("file").exists());
    }

    #[test]
    fn only_paths_in_a_home_are_shared_and_none_in_another() {
        let cache = tempfile::tempdir().unwrap();
        let take = |texts: &[&str]| Shared::take(cache.path(), texts, &Cancel::new(), &|_| {});
        for text in ["", "~", "~/", "/x", "x", "~/..", "~/a/../b", "~/a//b", "~/a/", "~root/x", "~/a\0"] {
            assert!(matches!(take(&[text]), Err(StepError::Path { .. })), "{text}");
        }
        assert!(matches!(take(&["~/go/pkg", "~/go"]), Err(StepError::Overlap { .. })));
        assert!(take(&["~/go", "~/go-build"]).is_ok());
    }
}
