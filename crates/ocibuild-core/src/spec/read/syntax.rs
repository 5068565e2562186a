//! Faults of syntax, and what must be found before the parser is let at a file.

use std::collections::BTreeSet;

use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use crate::spec::{Fault, Sources, Span, SpecError, render};

/// The largest spec file, in bytes.
const MAX_SIZE: usize = 4 << 20;
/// The deepest brackets, and the most parts a dotted key has. A spec needs four of either.
///
/// The parser's own limit of 80 counts brackets and parts apart from each other, so that a file of
/// a few kilobytes can nest tables 6400 deep, which overflows the stack when they are dropped.
const MAX_DEPTH: usize = 16;

/// Refuses files that are too large or too deep to be parsed safely.
pub(in crate::spec) fn guard(source: &str) -> Result<(), SpecError> {
    if source.len() > MAX_SIZE {
        let message = format!("the file has {} bytes, but a spec has at most {MAX_SIZE}", source.len());
        return Err(Fault::new(message, None).into());
    }
    let (mut brackets, mut parts) = (0_usize, 0_usize);
    for token in Source::new(source).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => brackets += 1,
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                brackets = brackets.saturating_sub(1);
            }
            TokenKind::Dot => parts += 1,
            TokenKind::Newline | TokenKind::Equals | TokenKind::Comma => parts = 0,
            _ => {}
        }
        if brackets > MAX_DEPTH || parts > MAX_DEPTH {
            let span = Span { start: token.span().start(), end: token.span().end() };
            return Err(Fault::new("the nesting is too deep for a spec", Some(span)).into());
        }
    }
    Ok(())
}

/// The faults of syntax, one a line: what comes after the first on a line mostly follows from it.
///
/// Fails at once where something isn't closed. All that comes after was then taken for a part of
/// it, and what could be said of that would be wrong.
pub(super) fn faults(errors: &[toml::de::Error], source: &str) -> Result<Vec<Fault>, SpecError> {
    let lines = render::Lines::new(source);
    let mut faults: Vec<Fault> = errors.iter().map(|error| fault(error, source)).collect();
    faults.sort_by_key(|fault| fault.span);
    faults.dedup_by_key(|fault| fault.span.map(|span| lines.line(span.start)));
    let swallows = |message: &str| {
        ["unclosed array", "unclosed inline", "invalid multi-line"]
            .iter()
            .any(|start| message.starts_with(start))
    };
    match errors.iter().find(|error| swallows(error.message())) {
        None => Ok(faults),
        Some(error) => {
            faults.truncate(1);
            faults.push(fault(error, source));
            Err(SpecError::new(faults))
        }
    }
}

fn fault(error: &toml::de::Error, source: &str) -> Fault {
    let span = error.span().map(Span::from);
    let message = error.message();
    if message.contains("escaped value") {
        let hint = "write `\\\\` for a backslash, or put single quotes around the string";
        return Fault::new("unknown escape in a string", span).hint(hint);
    }
    let before = span.and_then(|span| source.get(..span.start)).unwrap_or_default();
    let is_mode = before.trim_end().strip_suffix('=').is_some_and(|key| key.trim_end().ends_with("mode"));
    let fault = Fault::new(message, span);
    if message.contains("leading zero") && is_mode {
        return fault.hint("write modes in quotes, such as \"0755\"");
    }
    fault
}

/// Adds to faults of syntax those of the parts that were understood: the ones on other lines.
pub(super) fn merge(mut syntax: Vec<Fault>, others: &[Fault], sources: &Sources) -> Vec<Fault> {
    let files = sources.lines();
    let line = |fault: &Fault| {
        let span = fault.span?;
        let index = sources.index(span);
        let (_, start, lines) = &files[index];
        Some((index, lines.line(span.start - start)))
    };
    let broken: BTreeSet<_> = syntax.iter().map(line).collect();
    syntax.extend(others.iter().filter(|fault| !broken.contains(&line(fault))).cloned());
    syntax
}
