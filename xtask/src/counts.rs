//! How many tests passed, failed and were skipped, out of what the test runner prints.

use crate::Result;
use std::fmt;
use std::ops::AddAssign;
use std::str::FromStr;

/// Sums over all test programs of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Reads a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`, if it is one.
    ///
    /// An ignored test is a skipped one.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let number = |what: &str| {
            let mut parts = numbers.split("; ");
            parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
        };
        Some(Self { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
    }

    /// Moves tests that said they were skipped out of the passed ones, as the runner counts them.
    pub(crate) fn skip(&mut self, number: u64) {
        self.passed = self.passed.saturating_sub(number);
        self.skipped += number;
    }

    /// A run that ended badly without a failed test (it didn't compile, it crashed) has failed too.
    pub(crate) fn blame(&mut self) {
        self.failed = self.failed.max(1);
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl FromStr for Counts {
    type Err = Box<dyn std::error::Error>;

    /// Reads what [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [passed, failed, skipped] => Ok(Self { passed, failed, skipped }),
            _ => Err(format!("`{text}` aren't counts").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; \
            3 filtered out; finished in 0.36s";
        let counts = Counts { passed: 5, failed: 2, skipped: 1 };
        assert_eq!(Counts::of_line(line), Some(counts));
        assert_eq!(Counts::of_line("test a::test result: ... ok"), None);
        assert_eq!(counts.to_string().parse::<Counts>().unwrap(), counts);
    }

    #[test]
    fn skips_were_counted_as_passed() {
        let mut counts = Counts { passed: 5, failed: 0, skipped: 1 };
        counts.skip(2);
        assert_eq!(counts, Counts { passed: 3, failed: 0, skipped: 3 });
    }
}
