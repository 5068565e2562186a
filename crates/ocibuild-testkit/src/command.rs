//! Running a program to its end, and showing all of it where it fails.

use std::fmt;
use std::process::{Command, Stdio};

/// What a program that ended has left: its exit code and all it wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages; not quoted for a shell.
    pub command: String,
    /// The exit code; none for a program killed by a signal.
    pub code: Option<i32>,
    /// Everything written to standard output.
    pub stdout: Vec<u8>,
    /// Everything written to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Reads standard output as text, without space at its ends.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Reads standard error as text, without space at its ends.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// Parses standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {self}"),
        }
    }

    /// Demands an exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code}: {self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "`{}`", self.command)?;
        match self.code {
            Some(code) => writeln!(formatter, "exit code: {code}")?,
            None => writeln!(formatter, "killed by a signal")?,
        }
        writeln!(formatter, "--- stdout\n{}", self.text())?;
        writeln!(formatter, "--- stderr\n{}", self.errors())
    }
}

/// Runs a command that has to succeed; panics with all it said otherwise.
///
/// Its standard input is empty.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    run_any(command).expect_code(0)
}

/// Runs a command to its end, whatever that is; panics only where it can't be started.
///
/// Its standard input is empty.
#[track_caller]
pub fn run_any(command: &mut Command) -> Output {
    let line = command_line(command);
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            Output { command: line, code: output.status.code(), stdout: output.stdout, stderr: output.stderr }
        }
        Err(error) => panic!("can't start `{line}`: {error}"),
    }
}

fn command_line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_shows_everything() {
        let fail = || run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let panic = std::panic::catch_unwind(fail).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        for part in ["sh -c echo out", "exit code: 3", "stdout\nout", "stderr\nerr"] {
            assert!(message.contains(part), "`{part}` is missing from {message}");
        }
    }

    #[test]
    fn other_exit_codes_can_be_expected() {
        let output = run_any(Command::new("sh").args(["-c", "exit 3"]));
        assert_eq!(output.expect_code(3).text(), "");
    }
}
