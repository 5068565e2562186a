//! Whole processes, measured from outside by the program `time`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::error::{Error, io_error};

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
pub fn shell(command: &str, directory: &Path) -> Result<Usage, Error> {
    let record = directory.join("usage");
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%U %S %M", "-o"]).arg(&record).args(["sh", "-c", command]);
    timed.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status =
        timed.status().map_err(|source| Error::Start { program: "/usr/bin/time".to_owned(), source })?;
    let wall = begun.elapsed().as_secs_f64();
    if !status.success() {
        return Err(Error::Failed { command: command.to_owned(), status: status.to_string() });
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
