//! Any text as a pattern, against the regular expression that its documentation describes.

use ocibuild_core::pattern::{Pattern, Selection};
use regex::Regex;

/// Bytes of names that are no UTF-8 stand here for the model, one character each.
const STRAY: u32 = 0x10_fe00;

/// The first line is a pattern, the second another one, the others are paths: patterns and the
/// choices they make agree with the model, and a walk that is pruned misses nothing.
pub fn check(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n').take(12);
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let (Some(one), Some(other)) = (text(), text()) else { return };
    if one.len() > 120
        || other.len() > 120
        || is_for_the_model(one.as_bytes())
        || is_for_the_model(other.as_bytes())
    {
        return;
    }
    let (one, other) = (both(one), both(other));
    let (Some(one), Some(other)) = (one, other) else { return };
    let include = Selection::new(vec![one.0.clone()], vec![other.0.clone()]);
    let exclude = Selection::new(Vec::new(), vec![one.0.clone(), other.0.clone()]);
    for path in lines.filter(|path| path.len() <= 200 && !is_for_the_model(path)) {
        let (path, shown) = clean(path);
        [&one, &other].into_iter().for_each(|both| check_path(both, &path, &shown));
        let (first, second) = (covers(&one.1, &shown), covers(&other.1, &shown));
        assert_eq!(include.selects(&path), first && !second, "{:?}", path.escape_ascii().to_string());
        assert_eq!(exclude.selects(&path), !first && !second, "{:?}", path.escape_ascii().to_string());
        for selection in [&include, &exclude] {
            let pruned = || parents(&path).any(|parent| !selection.may_select_below(parent));
            assert!(!selection.selects(&path) || !pruned(), "a walk would miss it");
        }
    }
}

fn check_path((pattern, model): &(Pattern, Regex), path: &[u8], shown: &str) {
    let told = path.escape_ascii();
    assert_eq!(pattern.matches(path), model.is_match(shown), "{pattern:?} on {told}");
    assert_eq!(pattern.covers(path), covers(model, shown), "{pattern:?} covers {told}");
    if pattern.matches(path) {
        assert!(parents(path).all(|parent| pattern.may_match_below(parent)), "a walk would miss {told}");
        assert!(path.starts_with(&pattern.literal_prefix()));
        assert!(pattern.as_literal().is_none_or(|literal| literal == path));
    }
}

/// A pattern and its model: both take the text, or neither does.
fn both(text: &str) -> Option<(Pattern, Regex)> {
    let (pattern, model) = (Pattern::parse(text), model(text));
    match (pattern, model) {
        (Ok(pattern), Some(model)) => {
            assert_eq!(pattern.is_glob(), pattern.as_literal().is_none());
            Some((pattern, Regex::new(&model).expect("the model is sound")))
        }
        (Err(_), None) => None,
        (pattern, model) => panic!("`{text}`: {pattern:?}, but the model is {model:?}"),
    }
}

/// Paths are matched with a slash behind every name.
fn model(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if text.is_empty() || parts.contains(&"..") {
        return None;
    }
    let mut regex = "^".to_owned();
    for part in &parts {
        match *part {
            "**" => regex += "(?:[^/]+/)*",
            part => regex += &format!("{}/", name(part)?),
        }
    }
    if parts.last() == Some(&"**") {
        regex += "[^/]+/";
    }
    // More parts than a pattern may have; those in a row count once, and one adds one at the end.
    let mut kept = parts.clone();
    kept.dedup_by(|part, before| *part == "**" && part == before);
    let count = kept.len() + usize::from(kept.last() == Some(&"**"));
    (count <= 63).then(|| regex + "$")
}

fn name(part: &str) -> Option<String> {
    let mut regex = String::new();
    let mut chars = part.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => return None,
            '*' => regex += "[^/]*",
            '?' => regex += "[^/]",
            '[' => regex += &class(&mut chars)?,
            '\\' => regex += &one(chars.next()?),
            c => regex += &one(c),
        }
    }
    Some(regex)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = String::new();
    let member = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next()? {
        '\\' => chars.next(),
        c => Some(c),
    };
    while chars.next_if_eq(&']').is_none() {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        if high < low {
            return None;
        }
        ranges += &format!("{}-{}", one(low), one(high));
    }
    (!ranges.is_empty()).then(|| if negated { format!("[^/{ranges}]") } else { format!("[{ranges}&&[^/]]") })
}

pub(crate) fn one(c: char) -> String {
    format!("\\x{{{:x}}}", u32::from(c))
}

fn covers(model: &Regex, shown: &str) -> bool {
    let borders = shown.match_indices('/').map(|(at, _)| at + 1);
    std::iter::once(0).chain(borders).any(|end| model.is_match(&shown[..end]))
}

/// Tells whether a text holds characters that stand for bytes here.
pub(crate) fn is_for_the_model(text: &[u8]) -> bool {
    text.utf8_chunks().any(|chunk| chunk.valid().chars().any(|c| u32::from(c) >= STRAY))
}

/// The path as patterns take it, and as the model does.
pub(crate) fn clean(path: &[u8]) -> (Vec<u8>, String) {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"." | b".."));
    let names: Vec<&[u8]> = names.collect();
    let shown = names.iter().map(|name| shown(name) + "/").collect();
    (names.join(&b'/'), shown)
}

/// A text with a character for each byte that belongs to none.
pub(crate) fn shown(text: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in text.utf8_chunks() {
        shown += chunk.valid();
        let stray = |byte: &u8| char::from_u32(STRAY + u32::from(*byte)).expect("it is a character");
        shown.extend(chunk.invalid().iter().map(stray));
    }
    shown
}

/// All directories above a path, the topmost first.
pub(crate) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let top = (!path.is_empty()).then_some(&path[..0]);
    top.into_iter().chain(slashes.map(|(at, _)| &path[..at]))
}
