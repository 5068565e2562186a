//! What steps write, a step's lines together, as CI systems fold them.
//!
//! One step's lines are shown as they come; those of others wait until it ended, and so does what else
//! is told. A step can't write what these systems take for orders.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who folds lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Folding {
    /// GitHub Actions, by [workflow commands].
    ///
    /// [workflow commands]: https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
    GitHub,
    /// GitLab, by [sections].
    ///
    /// [sections]: https://docs.gitlab.com/ci/jobs/job_logs/#expand-and-collapse-job-log-sections
    GitLab,
}

/// The steps under way, and what waits.
pub(super) struct Groups {
    folding: Folding,
    /// The step whose lines are shown as they come.
    open: Option<Open>,
    waiting: Vec<Waiting>,
    /// What else is told, meanwhile.
    held: Vec<String>,
    count: usize,
}

/// A step whose lines are shown.
struct Open {
    step: String,
    /// The word that ends it: GitHub's that lets orders count again, or GitLab's name of the section.
    word: String,
}

/// A step whose lines wait.
struct Waiting {
    step: String,
    lines: Vec<String>,
    is_done: bool,
}

impl Groups {
    pub(super) fn new(folding: Folding) -> Self {
        Self { folding, open: None, waiting: Vec::new(), held: Vec::new(), count: 0 }
    }

    /// A step is started; returns what is to be written, as the others do.
    pub(super) fn start(&mut self, step: &str) -> String {
        match self.is_known(step) {
            true => String::new(),
            false if self.open.is_none() => self.begin(step),
            false => {
                self.waiting.push(Waiting { step: step.to_owned(), lines: Vec::new(), is_done: false });
                String::new()
            }
        }
    }

    /// A step under way has a line.
    pub(super) fn line(&mut self, step: &str, line: &str) -> String {
        let line = format!("{line}\n");
        if self.is_open(step) {
            return line;
        }
        match self.waiting.iter_mut().find(|waiting| waiting.step == step) {
            Some(waiting) => {
                waiting.lines.push(line);
                String::new()
            }
            None => self.other(&line),
        }
    }

    /// A step ended.
    pub(super) fn end(&mut self, step: &str) -> String {
        if self.is_open(step) {
            return self.go_on();
        }
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.step == step) {
            waiting.is_done = true;
        }
        String::new()
    }

    /// Something else is told, in whole lines.
    pub(super) fn other(&mut self, lines: &str) -> String {
        match self.open {
            Some(_) => {
                self.held.push(lines.to_owned());
                String::new()
            }
            None => lines.to_owned(),
        }
    }

    /// Nothing goes on any more.
    pub(super) fn finish(&mut self) -> String {
        self.waiting.iter_mut().for_each(|waiting| waiting.is_done = true);
        if self.open.is_some() { self.go_on() } else { String::new() }
    }

    /// Keeps what is written in between from being taken for orders.
    pub(super) fn fenced(&self, lines: &str) -> String {
        match self.folding {
            Folding::GitHub => {
                let token = token();
                format!("::stop-commands::{token}\n{lines}::{token}::\n")
            }
            Folding::GitLab => lines.to_owned(),
        }
    }

    fn is_open(&self, step: &str) -> bool {
        self.open.as_ref().is_some_and(|open| open.step == step)
    }

    fn is_known(&self, step: &str) -> bool {
        self.is_open(step) || self.waiting.iter().any(|waiting| waiting.step == step && !waiting.is_done)
    }

    /// Closes the open group; shows those that ended meanwhile, what was held, and opens the next.
    fn go_on(&mut self) -> String {
        let mut text = self.close();
        let (done, going): (Vec<Waiting>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.is_done);
        for Waiting { step, lines, .. } in done {
            text.push_str(&self.begin(&step));
            text.extend(lines);
            text.push_str(&self.close());
        }
        text.extend(self.held.drain(..));
        let mut going = going.into_iter();
        if let Some(Waiting { step, lines, .. }) = going.next() {
            text.push_str(&self.begin(&step));
            text.extend(lines);
        }
        self.waiting = going.collect();
        text
    }

    fn begin(&mut self, step: &str) -> String {
        self.count += 1;
        let (begin, word) = match self.folding {
            Folding::GitHub => {
                let (token, name) = (token(), step.replace('%', "%25"));
                (format!("::group::step {name}\n::stop-commands::{token}\n"), token)
            }
            Folding::GitLab => {
                let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
                // A name counts once in a job.
                let name: String = format!("step_{}_{step}", self.count).chars().map(letter).collect();
                let start = format!("{CLEAR}section_start:{}:{name}[collapsed=true]\r", seconds());
                (format!("{start}{CLEAR}step {step}\n"), name)
            }
        };
        self.open = Some(Open { step: step.to_owned(), word });
        begin
    }

    fn close(&mut self) -> String {
        let Some(Open { word, .. }) = self.open.take() else { return String::new() };
        match self.folding {
            Folding::GitHub => format!("::{word}::\n::endgroup::\n"),
            Folding::GitLab => format!("{CLEAR}section_end:{}:{word}\r{CLEAR}\n", seconds()),
        }
    }
}

/// What clears the line, with which marks of sections begin.
const CLEAR: &str = "\u{1b}[0K";

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// A word that nobody can guess: hashes by keys that the system drew.
fn token() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_steps_lines_are_live_and_the_others_come_together_after_it() {
        let mut groups = Groups::new(Folding::GitHub);
        let mut text = groups.other("before\n");
        text += &groups.start("a");
        let live = text.len();
        text += &groups.line("a", "a1");
        assert!(text.len() > live, "it is shown at once");
        let shown = text.len();
        text += &groups.start("b");
        text += &groups.line("b", "b1");
        text += &groups.start("c");
        text += &groups.line("c", "c1");
        text += &groups.other("held\n");
        text += &groups.end("c");
        assert_eq!(text.len(), shown);
        text += &groups.line("a", "::set-output::x");
        text += &groups.end("a");
        text += &groups.line("b", "b2");
        text += &groups.finish();
        text += &groups.other("after\n");
        let tokens: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("::stop-commands::").map(str::to_owned))
            .collect();
        assert!(tokens.len() == 3 && tokens[0] != tokens[1] && tokens[0].len() == 32);
        let text = tokens.iter().fold(text, |text, token| text.replace(token, "T"));
        let group = |name: &str, lines: &str| {
            format!("::group::step {name}\n::stop-commands::T\n{lines}::T::\n::endgroup::\n")
        };
        let expected = [
            "before\n".to_owned(),
            group("a", "a1\n::set-output::x\n"),
            group("c", "c1\n"),
            "held\n".to_owned(),
            group("b", "b1\nb2\n"),
            "after\n".to_owned(),
        ];
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn gitlab_has_marks_with_times_and_names_of_their_own() {
        let mut groups = Groups::new(Folding::GitLab);
        let text =
            [groups.start("a (linux/arm64)"), groups.line("x", "of none"), groups.end("a (linux/arm64)")];
        let text = text.concat();
        let marks: Vec<&str> = text.split('\r').collect();
        assert!(marks[0].starts_with("\u{1b}[0Ksection_start:"), "{text:?}");
        assert!(marks[0].ends_with(":step_1_a__linux_arm64_[collapsed=true]"), "{text:?}");
        assert!(text.ends_with("of none\n") && text.contains("section_end:"), "{text:?}");
    }
}
