//! What a step's command wrote: all of it in a file, its end in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// As many lines are kept in memory.
const LINES: usize = 40;

/// The whole of what a command writes, as far as it may be seen.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// None where it can't be written: the step is worth more than its log.
    file: Option<File>,
    tail: VecDeque<String>,
}

impl Log {
    /// Begins a log, in place of the one that was there.
    #[must_use]
    pub fn begin(path: &Path) -> Self {
        // Whoever reads the old one has it to its end.
        let _ = std::fs::remove_file(path);
        let kept = Kept { file: File::create_new(path).ok(), tail: VecDeque::new() };
        Self { path: path.to_owned(), kept: Mutex::new(kept) }
    }

    /// Adds a line, without its end.
    pub fn line(&self, line: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let written = kept.file.as_mut().map(|file| file.write_all(format!("{line}\n").as_bytes()));
        if written.is_some_and(|written| written.is_err()) {
            kept.file = None;
        }
        if kept.tail.len() == LINES {
            kept.tail.pop_front();
        }
        kept.tail.push_back(line.to_owned());
    }

    /// Returns the last lines.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tail.iter().cloned().collect()
    }

    /// Returns the file, if all is in it.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.file.as_ref().map(|_| self.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_all_lines_and_remembers_the_last() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("log");
        std::fs::write(&path, "of the last run\n").expect("there is room");
        let log = Log::begin(&path);
        (0..100).for_each(|number| log.line(&format!("line {number}")));
        let all = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!((all.lines().count(), all.lines().next()), (100, Some("line 0")));
        assert_eq!((log.tail().len(), log.tail()[0].as_str()), (LINES, "line 60"));
        assert_eq!(log.path(), Some(path));
    }

    #[test]
    fn a_log_that_cant_be_written_remembers_the_last_lines() {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let log = Log::begin(&file.path().join("log"));
        log.line("a");
        assert_eq!((log.tail(), log.path()), (vec!["a".to_owned()], None));
    }
}
