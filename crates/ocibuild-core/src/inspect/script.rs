//! Scripts: the line that says which program runs them.

use serde::{Deserialize, Serialize};

/// The longest first line that Linux reads, in bytes.
const MAX_LINE: usize = 256;

/// What a script's first line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Script {
    /// The program that runs it, an absolute path.
    pub interpreter: String,
    /// The program that `env` is to look for in `PATH`, if it is run by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// Reads the first line of a file; none if no program is named there by its whole path.
///
/// As Linux does it ([execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)): the path ends at
/// a blank or tab, all that follows is one argument, and nothing else ends a line but its end. So of a
/// script with the line ends of Windows the program's name ends with a carriage return.
pub(super) fn parse(first: &[u8]) -> Option<Script> {
    const BLANKS: [char; 2] = [' ', '\t'];
    let line = first.strip_prefix(b"#!")?;
    let line = &line[..line.len().min(MAX_LINE)];
    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_matches(BLANKS);
    let (interpreter, argument) = line.split_once(BLANKS).unwrap_or((line, ""));
    let interpreter = Some(interpreter).filter(|path| path.starts_with('/'))?.to_owned();
    let is_env = interpreter.ends_with("/env");
    let program = sought(argument.trim_start_matches(BLANKS)).filter(|_| is_env).map(str::to_owned);
    Some(Script { interpreter, program })
}

/// The program that `env` looks for, which splits its argument only if it begins with `-S`.
fn sought(argument: &str) -> Option<&str> {
    let split = argument.strip_prefix("-S").or_else(|| argument.strip_prefix("--split-string="));
    if split.is_none() && argument.starts_with("-vS") {
        return None;
    }
    let is_program =
        |word: &&str| !word.is_empty() && !word.starts_with('-') && !word.contains(['=', '$', '\\']);
    match split {
        Some(words) => words.split_ascii_whitespace().find(is_program),
        None => Some(argument).filter(is_program),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_script_is_read() {
        let read = |text: &str| parse(text.as_bytes()).map(|script| (script.interpreter, script.program));
        let path = |path: &str| path.to_owned();
        assert_eq!(read("#!/bin/sh -e\n"), Some((path("/bin/sh"), None)));
        assert_eq!(read("#! /usr/bin/env node \n"), Some((path("/usr/bin/env"), Some(path("node")))));
        assert_eq!(
            read("#!/usr/bin/env -S A=1 deno run\n"),
            Some((path("/usr/bin/env"), Some(path("deno"))))
        );
        assert_eq!(read("#![allow(unused)]\n"), None);
        // One argument is all that a line has, unless `env` splits it.
        let whole = Some((path("/usr/bin/env"), Some(path("node --flag"))));
        assert_eq!(read("#!/usr/bin/env node --flag\n"), whole);
        assert_eq!(read("#!/usr/bin/env -i node\n"), Some((path("/usr/bin/env"), None)));
        // Line ends of Windows are part of a name, for the kernel.
        assert_eq!(read("#!/bin/sh\r\n"), Some((path("/bin/sh\r"), None)));
        assert_eq!(read("#!/usr/bin/env node\r\n"), Some((path("/usr/bin/env"), Some(path("node\r")))));
        assert_eq!(
            read("#!/usr/bin/env -S node -x\r\n"),
            Some((path("/usr/bin/env"), Some(path("node")))),
            "it splits there as well"
        );
        assert_eq!(read("#!\n/bin/sh"), None);
        assert_eq!(parse(b"#!/bin/\xff\n"), None);
    }
}
