//! Finding a part, and telling loudly that a test goes without.
//!
//! The test runner keeps the output of a passing test to itself, and knows no third outcome. So a
//! skip is written past its capture, and counted in a file where somebody asked for that.

use std::env;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Names the environment variable that, set to `1`, makes a missing part a failure.
pub const ALL: &str = "OCIBUILD_TEST_ALL";

/// Names the environment variable with the file that gets one line for each skipped test.
pub const SKIPS: &str = "OCIBUILD_TEST_SKIPS";

/// Says which part isn't there, in words that fit after "needs".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(String);

impl Missing {
    /// Names the missing part, such as "the program `skopeo`".
    pub fn new(part: impl Into<String>) -> Self {
        Self(part.into())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Finds a program in `PATH`, or in the `sbin` directories an ordinary user's `PATH` lacks.
pub fn tool(name: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| Missing::new(format!("the program `{name}`")))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Answers whether this process is root's: mounts, owners and containers need it.
pub fn root() -> Result<(), Missing> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1));
    if effective == Some("0") { Ok(()) } else { Err(Missing::new("to run as root")) }
}

/// Counts `test` as skipped and says why, or panics where [`ALL`] says that nothing may be skipped.
///
/// [`require!`](crate::require) is the usual way here.
pub fn skip(test: &str, why: &str) {
    if env::var_os(ALL).is_some_and(|value| value == "1") {
        panic!("{test} may not be skipped here ({ALL}=1), but {why}");
    }
    report(&format!("SKIPPED: {test}: {why}\n"));
}

/// One write for the whole line, so that tests side by side don't mix theirs.
fn report(line: &str) {
    let counted = env::var_os(SKIPS).is_some_and(|file| {
        let opened = OpenOptions::new().create(true).append(true).open(file);
        opened.and_then(|mut file| file.write_all(line.as_bytes())).is_ok()
    });
    if !counted {
        // The handle, not `eprint!`: only the macro's output is captured by the test runner.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Unwraps a part (`Result<T, Missing>`), or skips the calling test: says so and returns.
///
/// A second argument is what the test function returns then: `require!(tool("jq"), Ok(()))`.
#[macro_export]
macro_rules! require {
    ($part:expr $(,)?) => {
        $crate::require!($part, ())
    };
    ($part:expr, $answer:expr $(,)?) => {
        match $part {
            Ok(part) => part,
            Err(missing) => {
                $crate::skip($crate::this_function!(), &format!("it needs {missing}"));
                return $answer;
            }
        }
    };
}

/// Names the function it is written in, as `crate::module::function`.
#[macro_export]
macro_rules! this_function {
    () => {{
        fn here() {}
        let name = ::std::any::type_name_of_val(&here);
        name.trim_end_matches("::here").trim_end_matches("::{{closure}}")
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tool_is_found_or_named() {
        assert!(tool("sh").unwrap().ends_with("sh"));
        let missing = tool("no-such-program").unwrap_err();
        assert_eq!(missing.to_string(), "the program `no-such-program`");
    }

    #[test]
    fn this_function_is_named_inside_closures_too() {
        let closure = || this_function!();
        let name = closure();
        assert_eq!(name, "ocibuild_testkit::skip::tests::this_function_is_named_inside_closures_too");
    }

    #[test]
    fn require_passes_a_part_on() {
        let present: Result<u8, Missing> = Ok(7);
        let part = crate::require!(present);
        assert_eq!(part, 7);
    }
}
