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
pub(super) fn parse(first: &[u8]) -> Option<Script> {
    let line = first.strip_prefix(b"#!")?;
    let line = &line[..line.len().min(MAX_LINE)];
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let interpreter = words.next().filter(|path| path.starts_with('/'))?.to_owned();
    let is_env = interpreter.ends_with("/env");
    let is_program = |word: &&str| !word.starts_with('-') && !word.contains('=');
    let program = words.find(is_program).filter(|_| is_env).map(str::to_owned);
    Some(Script { interpreter, program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_script_is_read() {
        let read = |text: &str| parse(text.as_bytes()).map(|script| (script.interpreter, script.program));
        let path = |path: &str| path.to_owned();
        assert_eq!(read("#!/bin/sh -e\n"), Some((path("/bin/sh"), None)));
        assert_eq!(read("#! /usr/bin/env node\r\n"), Some((path("/usr/bin/env"), Some(path("node")))));
        assert_eq!(
            read("#!/usr/bin/env -S A=1 deno run\n"),
            Some((path("/usr/bin/env"), Some(path("deno"))))
        );
        assert_eq!(read("#![allow(unused)]\n"), None);
        assert_eq!(read("#!\n/bin/sh"), None);
        assert_eq!(parse(b"#!/bin/\xff\n"), None);
    }
}
