//! Numbers for people, and lines for standard output.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::ValueEnum;

use crate::failure::Failure;

/// A form of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change
    Text,
    /// For programs; fields are only ever added
    Json,
}

/// The characters of a key, or of a digest, that are enough to tell it from others.
pub(crate) fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

/// Writes bytes in decimal units: `812 B`, `1.24 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded up to four digits belongs to the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Writes a time: `12 ms`, `3.4 s`, `2 min 5 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis().max(1)),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Writes how long is waited: as [`time()`], but from 2 s on in whole seconds, as what is added to a
/// wait by chance is nobody's matter.
pub(crate) fn pause(length: Duration) -> String {
    match length.as_secs() {
        2..60 => format!("{:.0} s", length.as_secs_f64()),
        _ => time(length).replace(".0 s", " s"),
    }
}

/// Writes how long ago something was, in its largest unit: `12 s`, `3 d`.
pub(crate) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Writes `1 layer`, `2 layers`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Writes to standard output. A reader that has gone wanted no more, which is no failure.
///
/// # Errors
/// [`Failure::Stdout`] if it can't be written for another reason.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    stream(|stdout| stdout.write_all(text.as_bytes()))
}

/// Writes to standard output what may be too long to be held in memory.
///
/// # Errors
/// As for [`print()`].
pub(crate) fn stream(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut stdout = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Stdout(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (123_456, "123 kB"),
            (999_600, "1.00 MB"),
            (1_500_000_000, "1.50 GB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_have_a_fitting_unit() {
        assert_eq!(time(Duration::from_millis(12)), "12 ms");
        assert_eq!(time(Duration::from_millis(3_440)), "3.4 s");
        assert_eq!(time(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(pause(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(pause(Duration::from_secs(1)), "1 s");
        assert_eq!(pause(Duration::from_millis(5_240)), "5 s");
        let ages = [(0, "0 s"), (119, "1 min"), (86_399, "23 h"), (8 * 86_400, "8 d")];
        ages.iter().for_each(|(seconds, text)| assert_eq!(age(Duration::from_secs(*seconds)), *text));
    }
}
