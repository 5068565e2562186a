//! Faults as text for people.

use std::fmt::Write;

use super::{Fault, Sources, Span, has_credentials};

/// The beginnings of the lines of a source, to find positions without going through all of it.
pub(super) struct Lines<'a> {
    source: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let ends = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { source, starts: std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect() }
    }

    /// The line of a byte, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Line and column of a byte, counted from 1, the column in characters. An offset beyond the
    /// end or inside a character is taken as the nearest position before it.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = floor(self.source, offset);
        let line = self.line(offset);
        let start = self.starts[line - 1];
        (line, self.source[start..offset].chars().count() + 1)
    }

    /// The text of a line without its end.
    fn text(&self, line: usize) -> &'a str {
        let end = self.starts.get(line).map_or(self.source.len(), |next| next - 1);
        let text = &self.source[self.starts[line - 1]..end];
        text.strip_suffix('\r').unwrap_or(text)
    }
}

fn floor(source: &str, offset: usize) -> usize {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Renders faults one after another, with an empty line between two.
pub(super) fn faults(faults: &[Fault], sources: &Sources) -> String {
    let files = sources.lines();
    let mut out = String::new();
    for (index, fault) in faults.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        match fault.span {
            Some(span) => located(&mut out, fault, span, sources, &files),
            None => placeless(&mut out, fault, sources.name()),
        }
        if let Some(hint) = &fault.hint {
            let _ = writeln!(out, "  hint: {}", plain(hint));
        }
    }
    out
}

// Writing to a string can't fail.
fn placeless(out: &mut String, fault: &Fault, file: &str) {
    let _ = match fault.place.as_str() {
        "" => writeln!(out, "{file}: {}", plain(&fault.message)),
        place => writeln!(out, "{file}: {}: {}", plain(place), plain(&fault.message)),
    };
}

fn located(
    out: &mut String,
    fault: &Fault,
    span: Span,
    sources: &Sources,
    files: &[(&str, usize, Lines<'_>)],
) {
    let index = sources.index(span);
    let (file, start, lines) = &files[index];
    let within = |offset: usize| offset.saturating_sub(*start);
    let (line, column) = lines.position(within(span.start));
    let _ = writeln!(out, "{file}:{line}:{column}: {}", plain(&fault.message));
    // Whatever is wrong beside it, credentials are shown to nobody.
    let is_secret = |part: &str| part.contains("://") && has_credentials(part);
    if !lines.text(line).split(['"', '\'']).any(is_secret) {
        excerpt(out, lines, within(span.start), within(span.end));
    }
    let extenders: Vec<String> = sources.extenders(index).map(|span| extender(sources, span)).collect();
    if !extenders.is_empty() {
        let _ = writeln!(out, "  extended by {}", extenders.join(", by "));
    }
}

fn extender(sources: &Sources, span: Span) -> String {
    let position = sources.position(span);
    format!("`{}`, line {}", position.file, position.line)
}

/// A text that may quote the spec, with what a terminal would obey made visible.
fn plain(text: &str) -> String {
    let obeyed = |c: char| c.is_control() || is_bidi_control(c);
    let shown = |c: char| if obeyed(c) { c.escape_unicode().to_string() } else { c.into() };
    text.chars().map(shown).collect()
}

/// Longest excerpt of a line, in characters; a longer line is shown around the fault.
const WIDTH: usize = 120;
/// Characters of a long line shown before the fault.
const BEFORE: usize = 40;

fn excerpt(out: &mut String, lines: &Lines<'_>, start: usize, end: usize) {
    let (line, column) = lines.position(start);
    let (last, end_column) = lines.position(end.max(start));
    let all: Vec<char> = lines.text(line).chars().collect();
    let from = column - 1;
    let to = if last > line { all.len() } else { (end_column - 1).min(all.len()) };
    let skip = if all.len() > WIDTH { from.saturating_sub(BEFORE) } else { 0 };
    let shown = &all[skip.min(all.len())..all.len().min(skip + WIDTH)];
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let text = shown.iter().map(|c| cell(*c).0).collect::<String>();
    let _ = writeln!(out, "{}", format!("  {number} | {text}").trim_end());
    let width = |range: &[char]| range.iter().map(|c| cell(*c).1).sum::<usize>();
    let at = from.saturating_sub(skip).min(shown.len());
    let upto = to.saturating_sub(skip).clamp(at, shown.len());
    let indent = " ".repeat(width(&shown[..at]));
    let carets = "^".repeat(width(&shown[at..upto]).max(1));
    let _ = writeln!(out, "  {gutter} | {indent}{carets}");
}

/// What is printed for a character, and how many columns a terminal gives it.
fn cell(c: char) -> (String, usize) {
    match c {
        '\t' => ("    ".into(), 4),
        c if c.is_control() || is_bidi_control(c) => ("\u{fffd}".into(), 1),
        c => (c.into(), columns(c)),
    }
}

/// Characters that turn the writing direction could make a line look like another.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The usual width: 0 for combining characters, 2 for East Asian wide ones and emoji. The blocks
/// are coarse, which at worst moves a caret by a column; a table isn't worth a dependency.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfeff => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
        0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff => 2,
        0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// One line about all of them, for a chain of errors.
pub(super) fn summary(faults: &[Fault]) -> String {
    let one = |fault: &Fault| match fault.place.as_str() {
        place if fault.span.is_none() && !place.is_empty() => format!("{place}: {}", fault.message),
        _ => fault.message.clone(),
    };
    match faults {
        [only] => one(only),
        _ => {
            let all: Vec<String> = faults.iter().map(one).collect();
            format!("the spec has {} faults: {}", faults.len(), all.join("; "))
        }
    }
}
