//! Ignore files: what they leave out, by docker's rules for
//! [`.dockerignore`](https://docs.docker.com/build/concepts/context/#dockerignore-files).
//!
//! One rule a line, and the last one that stands for a path or one of its parents decides; a rule
//! that begins with `!` brings back. Rules are anchored at the root. A byte order mark is passed
//! over; a `#` in the first column makes a comment, one behind blanks doesn't. Blanks at both ends
//! fall away, `.`, `..` and double slashes are resolved, a slash in front or at the end means
//! nothing. Neither rules nor names need be UTF-8.
//!
//! In a class (`[^x]`, which stands for a slash, too) and behind a `\` every character means itself,
//! as Go's [`filepath.Match`](https://pkg.go.dev/path/filepath#Match) has it. Docker checks rules by
//! that, but matches by a regular expression that `[*]`, `\d` or a `^` reach as they are.

mod glob;
#[cfg(test)]
mod tests;

use glob::Glob;

/// The rules of an ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Whether it brings back what rules before it leave out.
    keeps: bool,
    glob: Glob,
}

/// A line of an ignore file is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
#[non_exhaustive]
pub struct IgnoreError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: IgnoreFault,
}

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IgnoreFault {
    /// There is nothing but the `!`, or the root behind it.
    #[error("the `!` names nothing that could be brought back")]
    Nothing,
    /// A bracket has no counterpart.
    #[error("`[` has no `]`")]
    Unclosed,
    /// Nothing is between the brackets.
    #[error("nothing is between the brackets")]
    EmptyClass,
    /// A `-` between brackets has nothing before or behind it.
    #[error("a `-` between brackets is no range")]
    Dash,
    /// The end of a range comes before its start.
    #[error("a range between brackets is empty")]
    EmptyRange,
    /// The backslash is the last character.
    #[error("nothing follows the `\\`")]
    Escape,
}

impl IgnoreRules {
    /// Reads the rules of an ignore file.
    ///
    /// # Errors
    /// [`IgnoreError`] for the first line that is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, IgnoreError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut rules = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let rule = rule(line).map_err(|fault| IgnoreError { line: index + 1, fault })?;
            rules.extend(rule);
        }
        Ok(Self { rules })
    }

    /// Tells whether nothing can be left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(|rule| rule.keeps)
    }

    /// Tells whether a path, relative to the root, is left out.
    #[must_use]
    pub fn ignores(&self, path: &[u8]) -> bool {
        self.decisive(path).is_some_and(|index| !self.rules[index].keeps)
    }

    /// Tells whether something below a directory may be kept: the directory itself is, or a later
    /// rule may bring something back. It is never wrong when it says no.
    #[must_use]
    pub fn may_hold_kept(&self, directory: &[u8]) -> bool {
        match self.decisive(directory) {
            Some(index) if !self.rules[index].keeps => {
                self.rules[index + 1..].iter().any(|rule| rule.keeps && rule.glob.may_cover_below(directory))
            }
            _ => true,
        }
    }

    /// The rules for what lies below a path that was asked for by name: without those that leave
    /// out the path itself or one of its parents, which would leave nothing of it. Where a later rule
    /// may bring something below the path back (`*`, `!dist/public`), they say what is wanted of it
    /// rather than that nothing is, and stay.
    #[must_use]
    pub fn below(mut self, path: &[u8]) -> Self {
        let brings_back = |rule: &Rule| rule.keeps && rule.glob.may_cover_below(path);
        let meant = self.rules.iter().rposition(brings_back).unwrap_or_default();
        let mut index = 0..;
        self.rules.retain(|rule| {
            let is_meant = index.next().is_some_and(|index| index < meant);
            rule.keeps || is_meant || !rule.glob.covers(path)
        });
        self
    }

    fn decisive(&self, path: &[u8]) -> Option<usize> {
        self.rules.iter().rposition(|rule| rule.glob.covers(path))
    }
}

fn rule(line: &[u8]) -> Result<Option<Rule>, IgnoreFault> {
    if line.starts_with(b"#") {
        return Ok(None);
    }
    let line = trim(line);
    let (keeps, text) = match line.strip_prefix(b"!") {
        Some(rest) => (true, trim(rest)),
        None => (false, line),
    };
    if text.is_empty() {
        return if keeps { Err(IgnoreFault::Nothing) } else { Ok(None) };
    }
    let text = clean(text);
    if keeps && text == b"/" {
        return Err(IgnoreFault::Nothing);
    }
    let glob = Glob::parse(&text)?;
    Ok(Some(Rule { keeps, glob }))
}

/// Without the blanks at both ends, also where there is something else than UTF-8 between them.
fn trim(text: &[u8]) -> &[u8] {
    let first = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let text = &text[first.len() - first.trim_start().len()..];
    let last = text.utf8_chunks().last().filter(|chunk| chunk.invalid().is_empty());
    let last = last.map_or("", |chunk| chunk.valid());
    &text[..text.len() - (last.len() - last.trim_end().len())]
}

/// Resolves `.`, `..` and double slashes as text, and drops a slash in front. What leads out of
/// the root keeps its `..`, and stands for nothing.
fn clean(text: &[u8]) -> Vec<u8> {
    let rooted = text.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in text.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.last().is_some_and(|last| *last != b"..") => {
                names.pop();
            }
            b".." if rooted => {}
            name => names.push(name),
        }
    }
    match (names.is_empty(), rooted) {
        // Neither is the name of anything, so that such a rule stands for nothing.
        (true, true) => b"/".to_vec(),
        (true, false) => b".".to_vec(),
        _ => names.join(&b'/'),
    }
}
