//! Whole processes, measured from outside by the program `time`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::error::{Error, io_error};

const TIME: &str = "/usr/bin/time";

/// What a command and all its children used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Seconds from start to end.
    pub wall: f64,
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// Peak resident memory in bytes of the largest of the processes, not of their sum.
    pub memory: u64,
}

/// Runs a shell command in `directory` and measures it; its stdout is dropped.
///
/// # Errors
/// If the program `time` is missing or the command fails.
pub fn shell(text: &str, directory: &Path) -> Result<Usage, Error> {
    command(Command::new("sh").args(["-c", text]).current_dir(directory))
}

/// Runs a command and measures it, without input; its stdout is dropped. Of the command, its
/// program, arguments, directory and variables count.
///
/// # Errors
/// If the program `time` is missing or the command fails; then what it said is told.
pub fn command(command: &Command) -> Result<Usage, Error> {
    let scratch = tempfile::tempdir().map_err(io_error("make a directory in", Path::new("/tmp")))?;
    let (record, said) = (scratch.path().join("usage"), scratch.path().join("said"));
    let file = File::create(&said).map_err(io_error("write", &said))?;
    let mut timed = Command::new(TIME);
    timed.args(["-f", "%U %S %M", "-o"]).arg(&record).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    timed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    let begun = Instant::now();
    let status = timed.status().map_err(|source| Error::Start { program: TIME.to_owned(), source })?;
    let wall = begun.elapsed().as_secs_f64();
    if !status.success() {
        let said = fs::read_to_string(&said).unwrap_or_default();
        return Err(Error::Failed { command: format!("{command:?}"), status: format!("{status}: {said}") });
    }
    let text = fs::read_to_string(&record).map_err(io_error("read", &record))?;
    parse(&text, wall).ok_or(Error::Argument { what: "the output of `time`", value: text })
}

fn parse(text: &str, wall: f64) -> Option<Usage> {
    let mut fields = text.split_whitespace();
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    let kibibytes: u64 = fields.next()?.parse().ok()?;
    Some(Usage { wall, cpu: user + system, memory: kibibytes << 10 })
}

/// Gives the mean.
#[must_use]
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Gives the median; of an even number of values the lower one of the middle two.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{Usage, median, parse};

    #[test]
    fn usage_is_read_from_three_numbers() {
        let expected = Usage { wall: 1.0, cpu: 2.5, memory: 2048 };
        assert_eq!(parse("2.25 0.25 2\n", 1.0), Some(expected));
        assert_eq!(parse("Command exited\n", 1.0), None);
    }

    #[test]
    fn median_is_a_value_that_occurs() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
    }
}
