//! What lies where in the directory of a step: nothing there may be made twice, nor be removed
//! before a run although it is read.

use std::collections::BTreeMap;

use super::check::plain;
use super::{Fault, Span};
use crate::pattern::Pattern;

/// A path that is plain, and where it is named.
pub(crate) type Place = (String, Option<Span>);

/// The paths of one step.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Paths and globs as written, without those left out.
    pub(crate) inputs: Vec<Place>,
    pub(crate) outputs: Vec<Place>,
    /// Those below the root.
    pub(crate) cache_dirs: Vec<Place>,
}

/// One that makes a path: a step's name, with the place where it is needed; or the step itself.
#[derive(Clone, Copy)]
struct Maker<'a> {
    path: &'a str,
    need: Option<&'a str>,
    span: Option<Span>,
}

/// The faults of a step that needs these others.
pub(crate) fn clashes<'a>(own: &'a Places, needs: &[(&'a str, Option<Span>, &'a Places)]) -> Vec<Fault> {
    let mut made: Vec<Maker<'a>> =
        own.outputs.iter().map(|(path, span)| Maker { path, need: None, span: *span }).collect();
    for (name, span, places) in needs {
        let outputs = places.outputs.iter();
        made.extend(outputs.map(|(path, _)| Maker { path, need: Some(name), span: *span }));
    }
    let mut faults = Vec::new();
    overlaps(&mut made, |upper, lower| faults.extend(twice(upper, lower)));
    // Of two in one place the step itself comes first, and so last here, where the last stays.
    let by_path: BTreeMap<&str, Maker<'a>> = made.iter().rev().map(|maker| (maker.path, *maker)).collect();
    for (path, span) in &own.inputs {
        let top = literal(path);
        if let Some(maker) = above(&top).find_map(|above| by_path.get(above)) {
            faults.push(input(path, *span, maker));
        }
    }
    for (path, span) in &own.cache_dirs {
        let maker = above(path).find_map(|above| by_path.get(above).filter(|maker| maker.need.is_none()));
        if let Some(maker) = maker {
            let message = format!("cache directory `{path}` lies in output `{}`", maker.path);
            let hint = "what is kept between runs can't be part of what they make: keep it elsewhere";
            faults.push(Fault::new(message, *span).hint(hint));
        }
    }
    faults
}

/// The faults of steps that run in the same place.
pub(crate) fn in_one_place(steps: &[(&str, &Places)]) -> Vec<Fault> {
    let makers = steps.iter().flat_map(|(name, places)| {
        places.outputs.iter().map(|(path, span)| Maker { path, need: Some(name), span: *span })
    });
    let mut made: Vec<Maker<'_>> = makers.collect();
    let mut faults = Vec::new();
    overlaps(&mut made, |upper, lower| {
        let (Some(one), Some(other)) = (upper.need, lower.need) else { return };
        // Of one step it is told without that.
        if one != other {
            let message = format!("`{one}` and `{other}` run in place and both make `{}`", lower.path);
            faults.push(Fault::new(message, lower.span).hint("let only one of them make it"));
        }
    });
    faults
}

/// What a copy takes of the root.
pub(crate) struct Taken<'a> {
    /// The path or glob, as written.
    pub(crate) path: &'a str,
    pub(crate) include: &'a [Pattern],
    pub(crate) exclude: &'a [Pattern],
    pub(crate) span: Option<Span>,
}

impl Taken<'_> {
    /// The fault of taking what one of these steps makes in the root: which of them is first there would
    /// say what is taken.
    pub(crate) fn in_place(&self, steps: &[(&str, &Places)]) -> Option<Fault> {
        let pattern = Pattern::parse(self.path).ok()?;
        let top = pattern.literal_prefix();
        let outputs =
            steps.iter().flat_map(|(name, places)| places.outputs.iter().map(move |it| (*name, it)));
        let taken: Vec<(&str, &str)> = outputs
            .filter(|(_, (output, _))| self.takes(&pattern, &top, output))
            .map(|(name, (output, _))| (name, output.as_str()))
            .collect();
        let (path, span) = (self.path, self.span);
        if let Some((name, output)) = taken.iter().find(|(_, output)| is_in(&top, output.as_bytes())) {
            let message = match top == output.as_bytes() {
                true => format!("`{name}` makes `{output}`, in place"),
                false => format!("`{path}` lies in `{output}`, which `{name}` makes in place"),
            };
            let hint = format!("write `step = \"{name}\"`: a copy without it takes what an earlier run left");
            return Some(Fault::new(message, span).hint(hint));
        }
        let (first, _) = taken.first()?;
        let named: Vec<String> = taken.iter().map(|(_, output)| format!("`{output}`")).collect();
        let below = |output: &str| format!("\"{}\"", output[top.len()..].trim_start_matches('/'));
        let below: Vec<String> = taken.iter().map(|(_, output)| below(output)).collect();
        let message = format!("`{path}` takes along what is made in place: {}", named.join(", "));
        let hint = format!(
            "write `exclude = [{}]`; what is made is taken by a copy with `step = \"{first}\"`",
            below.join(", ")
        );
        Some(Fault::new(message, span).hint(hint))
    }

    fn takes(&self, pattern: &Pattern, top: &[u8], output: &str) -> bool {
        if !reaches(pattern, [output]) {
            return false;
        }
        let output = output.as_bytes();
        if !is_in(output, top) {
            return true;
        }
        let below = output[top.len()..].strip_prefix(b"/").unwrap_or(&output[top.len()..]);
        // The directory itself, or all that may be in it.
        let is_covered =
            |pattern: &Pattern| pattern.covers(below) || pattern.covers(&[below, b"/\0"].concat());
        let is_reached = |pattern: &Pattern| pattern.covers(below) || pattern.may_match_below(below);
        !self.exclude.iter().any(is_covered)
            && (self.include.is_empty() || self.include.iter().any(is_reached))
    }
}

/// Shows two makers of one path, or of a path and one below it. The first of each is shown with all
/// that lie in it.
fn overlaps<'a>(made: &mut [Maker<'a>], mut each: impl FnMut(&Maker<'a>, &Maker<'a>)) {
    made.sort_by(|a, b| {
        a.path
            .split('/')
            .cmp(b.path.split('/'))
            .then((a.need.is_some(), a.span).cmp(&(b.need.is_some(), b.span)))
    });
    let mut upper: Option<&Maker<'a>> = None;
    for lower in made.iter() {
        match upper.filter(|upper| is_in(lower.path.as_bytes(), upper.path.as_bytes())) {
            Some(upper) => each(upper, lower),
            None => upper = Some(lower),
        }
    }
}

fn twice(upper: &Maker<'_>, lower: &Maker<'_>) -> Option<Fault> {
    let (path, is_same) = (lower.path, lower.path == upper.path);
    let fault = |message: String, span, hint: &str| Some(Fault::new(message, span).hint(hint));
    match (upper.need, lower.need) {
        (None, None) if is_same => {
            fault(format!("output `{path}` is listed twice"), lower.span, "list it once")
        }
        (None, None) => fault(
            format!("output `{path}` lies in output `{}`", upper.path),
            lower.span,
            "leave it out: a directory is taken whole",
        ),
        // A step that is needed twice, or whose own outputs lie in each other: told as that.
        (Some(one), Some(other)) if one == other => None,
        (Some(one), Some(other)) => {
            let message = match is_same {
                true => format!("both `{one}` and `{other}` make `{path}`, and both are needed"),
                false => format!(
                    "`{other}` makes `{path}` in `{}`, which `{one}` makes; both are needed",
                    upper.path
                ),
            };
            fault(message, lower.span, "need only one of the two, or let one make it elsewhere")
        }
        (None, Some(need)) | (Some(need), None) => {
            let own = if upper.need.is_none() { upper } else { lower };
            let other = if upper.need.is_none() { lower } else { upper };
            let message =
                format!("output `{}` clashes with `{}`, which `{need}` makes", own.path, other.path);
            fault(message, own.span, "let the command make it elsewhere")
        }
    }
}

fn input(path: &str, span: Option<Span>, maker: &Maker<'_>) -> Fault {
    match maker.need {
        None => {
            let message =
                format!("input `{path}` lies in output `{}`, which is removed before a run", maker.path);
            Fault::new(message, span).hint("leave it out, or let the command write elsewhere")
        }
        Some(need) => {
            let message = format!("input `{path}` lies in `{}`, which `{need}` makes", maker.path);
            Fault::new(message, span).hint("leave it out: what a needed step makes is there anyway")
        }
    }
}

/// Tells whether a path is another, or lies below it. Everything lies below the empty path.
pub(crate) fn is_in(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || directory.is_empty() || rest[0] == b'/')
}

/// A path and all above it, but not the root.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    let first = (!path.is_empty()).then_some(path);
    std::iter::successors(first, |path: &&str| Some(path.rsplit_once('/')?.0))
}

/// The path in which everything lies that an input stands for.
fn literal(input: &str) -> String {
    let prefix = Pattern::parse(input).ok().map(|pattern| pattern.literal_prefix());
    prefix.and_then(|prefix| String::from_utf8(prefix).ok()).unwrap_or_else(|| plain(input))
}

/// Tells whether a pattern stands for anything that may be among these outputs, or for a directory
/// they lie in.
pub(crate) fn reaches<'a>(pattern: &Pattern, outputs: impl IntoIterator<Item = &'a str>) -> bool {
    let top = pattern.as_literal();
    outputs.into_iter().any(|output| match &top {
        Some(top) => is_in(top, output.as_bytes()) || is_in(output.as_bytes(), top),
        None => pattern.covers(output.as_bytes()) || pattern.may_match_below(output.as_bytes()),
    })
}

/// The fault of a copy of something that the step doesn't make.
pub(crate) fn not_made<'a>(
    path: &str,
    span: Option<Span>,
    step: &str,
    outputs: impl Iterator<Item = &'a str>,
) -> Fault {
    let outputs: Vec<String> = outputs.map(|path| format!("`{path}`")).collect();
    let fault = Fault::new(format!("step `{step}` doesn't make `{path}`"), span);
    match outputs.is_empty() {
        true => fault.hint(format!("it makes nothing: list it in the `outputs` of `[steps.{step}]`")),
        false => fault.hint(format!("it makes {}", outputs.join(", "))),
    }
}
