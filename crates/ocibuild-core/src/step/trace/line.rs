//! One line of what `strace` writes: which call it was, with what, and what came of it.

use std::ops::RangeInclusive;

/// A system call that came to an end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call<'a> {
    pub(super) name: &'a [u8],
    pub(super) arguments: Vec<Argument<'a>>,
    /// What it returned, as written; a path that a descriptor leads to may follow.
    pub(super) result: &'a [u8],
}

/// An argument of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    /// A text that was between quotes.
    Text(Vec<u8>),
    /// Anything else, as written: flags, numbers, structures.
    Other(&'a [u8]),
}

impl<'a> Call<'a> {
    /// Reads a line without its process number; `None` if it isn't a call that came to an end.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let open = line.iter().position(|byte| *byte == b'(')?;
        let (name, rest) = (&line[..open], &line[open + 1..]);
        let is_name =
            !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if !is_name {
            return None;
        }
        let (arguments, rest) = arguments(rest)?;
        let result = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
        Some(Self { name, arguments, result })
    }

    /// Whether it did what was asked.
    pub(super) fn is_success(&self) -> bool {
        self.result.first().is_some_and(u8::is_ascii_digit)
    }

    /// What it returned, if that is a number.
    pub(super) fn number(&self) -> Option<u64> {
        let digits = self.result.split(|byte| !byte.is_ascii_digit()).next()?;
        str::from_utf8(digits).ok()?.parse().ok()
    }

    pub(super) fn text(&self, at: usize) -> Option<&[u8]> {
        match self.arguments.get(at)? {
            Argument::Text(text) => Some(text),
            Argument::Other(_) => None,
        }
    }

    pub(super) fn other(&self, at: usize) -> &'a [u8] {
        match self.arguments.get(at) {
            Some(Argument::Other(text)) => text,
            _ => b"",
        }
    }

    /// The path that a descriptor leads to, where it is said: `3</path>`.
    pub(super) fn descriptor(&self, at: usize) -> Option<Vec<u8>> {
        let written = self.other(at);
        let begin = written.iter().position(|byte| *byte == b'<')? + 1;
        let path = written[begin..].strip_suffix(b">")?;
        path.starts_with(b"/").then(|| unescape(path))
    }
}

/// Cuts what is between parentheses at its commas, and returns what follows them.
fn arguments(line: &[u8]) -> Option<(Vec<Argument<'_>>, &[u8])> {
    let mut arguments = Vec::new();
    let (mut begin, mut at, mut depth) = (0, 0, 0_usize);
    loop {
        match *line.get(at)? {
            b'"' => at = after_quotes(line, at)?,
            // What a descriptor leads to; `1<<3` is a number.
            b'<' if line.get(at + 1) == Some(&b'<') => at += 2,
            b'<' => at += line[at..].iter().position(|byte| *byte == b'>')? + 1,
            b'(' | b'[' | b'{' => (at, depth) = (at + 1, depth + 1),
            byte @ (b',' | b')') if depth == 0 => {
                arguments.extend(argument(&line[begin..at]));
                (at, begin) = (at + 1, at + 1);
                if byte == b')' {
                    return Some((arguments, &line[at..]));
                }
            }
            b')' | b']' | b'}' => (at, depth) = (at + 1, depth.saturating_sub(1)),
            _ => at += 1,
        }
    }
}

/// The place after a text that begins with a quote.
fn after_quotes(line: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin + 1;
    loop {
        match *line.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn argument(written: &[u8]) -> Option<Argument<'_>> {
    let written = written.trim_ascii();
    if written.is_empty() {
        return None;
    }
    let quoted = written.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Some(quoted.map_or(Argument::Other(written), |text| Argument::Text(unescape(text))))
}

/// Undoes how C writes texts.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        let Some(escaped) = text.get(at) else { break };
        at += 1;
        match escaped {
            b'n' => plain.push(b'\n'),
            b't' => plain.push(b'\t'),
            b'r' => plain.push(b'\r'),
            b'v' => plain.push(0x0b),
            b'f' => plain.push(0x0c),
            b'x' => plain.push(digits(text, &mut at, 16, 0..=1)),
            b'0'..=b'7' => {
                at -= 1;
                plain.push(digits(text, &mut at, 8, 0..=2));
            }
            other => plain.push(*other),
        }
    }
    plain
}

/// Reads a number of some digits; what doesn't fit a byte is cut off.
fn digits(text: &[u8], at: &mut usize, radix: u32, places: RangeInclusive<usize>) -> u8 {
    let mut value = 0_u32;
    for _ in places {
        let digit = text.get(*at).and_then(|byte| char::from(*byte).to_digit(radix));
        let Some(digit) = digit else { break };
        value = value * radix + digit;
        *at += 1;
    }
    u8::try_from(value & 0xff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Call<'_> {
        Call::read(line.as_bytes()).unwrap()
    }

    #[test]
    fn a_call_is_read_with_its_arguments() {
        let call = read(r#"openat(AT_FDCWD</work>, "a, \"b\")\303\251\n", O_RDONLY|O_CLOEXEC) = 3</work/a>"#);
        assert_eq!(call.name, b"openat");
        assert_eq!(call.descriptor(0).unwrap(), b"/work");
        assert_eq!(call.text(1).unwrap(), "a, \"b\")é\n".as_bytes());
        assert_eq!(call.other(2), b"O_RDONLY|O_CLOEXEC");
        assert!(call.is_success());
        assert_eq!(call.number(), Some(3));
    }

    #[test]
    fn structures_and_descriptors_hold_commas() {
        let call = read(
            r#"newfstatat(3</a\76, b\74>, "", {st_mode=S_IFREG|0644, st_size=1<<3, ...}, AT_EMPTY_PATH) = 0"#,
        );
        assert_eq!(call.arguments.len(), 4);
        assert_eq!(call.descriptor(0).unwrap(), b"/a>, b<");
        assert_eq!(call.other(3), b"AT_EMPTY_PATH");
        let call = read("clone3({flags=CLONE_VM, exit_signal=SIGCHLD} => {parent_tid=[0]}, 88) = 3830");
        assert_eq!(call.number(), Some(3830));
        let call = read(r#"execve("/bin/sh", ["sh", "-c", ""...], 0x7ffe /* 3 vars */) = 0"#);
        assert_eq!(call.text(0).unwrap(), b"/bin/sh");
    }

    #[test]
    fn a_failure_is_told_from_success() {
        assert!(!read(r#"open("x", O_RDONLY) = -1 ENOENT (No such file or directory)"#).is_success());
        assert!(!read("exit_group(0) = ?").is_success());
        for line in
            ["+++ exited with 0 +++", "--- SIGCHLD {si_signo=SIGCHLD} ---", "open(\"x", "", "(", "f(\"\\"]
        {
            assert!(Call::read(line.as_bytes()).is_none(), "{line}");
        }
    }
}
