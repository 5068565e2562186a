//! Any bytes as an ignore file, against a regular expression for each rule.

use ocibuild_core::pattern::IgnoreRules;
use regex::Regex;

use crate::pattern::{clean, is_for_the_model, one, parents, shown};

/// A rule of the model: whether it brings back, and what it stands for.
type Rule = (bool, Regex);

/// Up to a NUL it is an ignore file, behind it paths, a NUL between two: the rules agree with the
/// model, a walk that is pruned misses nothing, and what is asked for by name is not left out.
pub fn check(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0).take(5);
    let file = parts.next().unwrap_or_default();
    if file.len() > 100 || is_for_the_model(file) {
        return;
    }
    let (rules, model) = match (IgnoreRules::parse(file), model(file)) {
        (Ok(rules), Ok(model)) => (rules, model),
        (Err(error), Err(line)) => return assert_eq!(error.line, line, "{error}"),
        (rules, model) => panic!("`{}`: {rules:?}, but the model is {model:?}", file.escape_ascii()),
    };
    assert_eq!(rules.is_empty(), model.iter().all(|(keeps, _)| *keeps));
    for path in parts.filter(|path| path.len() <= 60 && !is_for_the_model(path)) {
        let _ = (rules.ignores(path), rules.may_hold_kept(path));
        check_path(&rules, &model, &clean(path).0);
    }
    if let Some(path) =
        data.split(|byte| *byte == 0).nth(1).filter(|path| path.len() <= 60 && !is_for_the_model(path))
    {
        check_below(&rules, &model, &clean(path).0);
    }
}

fn check_path(rules: &IgnoreRules, model: &[Rule], path: &[u8]) {
    let told = path.escape_ascii();
    let ignored = ignores(model, path);
    assert_eq!(rules.ignores(path), ignored, "{rules:?} on {told}");
    let pruned = parents(path).find(|parent| !rules.may_hold_kept(parent));
    assert!(ignored || pruned.is_none(), "a walk would miss {told} below {pruned:?}");
}

/// As if the directory that a path lies in, or the path itself, were asked for by name.
fn check_below(rules: &IgnoreRules, model: &[Rule], path: &[u8]) {
    for named in parents(path).last().into_iter().chain([path]) {
        let below = rules.clone().below(named);
        // What of the path is wanted, the rules say themselves.
        if model.iter().any(|(keeps, _)| *keeps) {
            continue;
        }
        assert!(!below.ignores(named), "{} is named", named.escape_ascii());
        let stays = |(keeps, rule): &&Rule| *keeps || !covers(rule, named);
        let rest: Vec<Rule> = model.iter().filter(stays).cloned().collect();
        assert_eq!(below.ignores(path), ignores(&rest, path), "{rules:?} below {named:?}");
    }
}

/// The last rule that stands for a path or one of its parents decides.
fn ignores(model: &[Rule], path: &[u8]) -> bool {
    model.iter().rev().find(|(_, rule)| covers(rule, path)).is_some_and(|(keeps, _)| !keeps)
}

fn covers(rule: &Regex, path: &[u8]) -> bool {
    let shown = shown(path);
    let ends = shown.match_indices('/').map(|(at, _)| at).chain([shown.len()]);
    ends.filter(|end| *end > 0).any(|end| rule.is_match(&shown[..end]))
}

/// The rules, or the number of the first line that is none.
fn model(file: &[u8]) -> Result<Vec<Rule>, usize> {
    let text = shown(file);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.split('\n').enumerate().filter(|(_, line)| !line.starts_with('#'));
    let mut rules = Vec::new();
    for (index, line) in lines {
        let (keeps, line) = match line.trim().strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line.trim()),
        };
        let line = cleaned(line);
        // A rule that is nothing but the root brings nothing back.
        if keeps && line.trim_matches('/').is_empty() {
            return Err(index + 1);
        }
        if !line.is_empty() {
            let regex = expression(&line.chars().collect::<Vec<_>>()).ok_or(index + 1)?;
            rules.push((keeps, Regex::new(&regex).expect("the model is sound")));
        }
    }
    Ok(rules)
}

/// The path that a text means, by taking away piece after piece.
fn cleaned(line: &str) -> String {
    if line.is_empty() {
        return String::new();
    }
    let mut text = format!("/{line}/");
    while let Some(at) = text.find("/./").or_else(|| text.find("//")) {
        let end = at + if text[at..].starts_with("//") { 1 } else { 2 };
        text.replace_range(at..end, "");
    }
    // The first `..` that has a name before it takes it along.
    while let Some(up) = text.match_indices("/../").map(|(at, _)| at).find(|at| {
        let before = &text[..*at];
        !before.is_empty() && !before.ends_with("/..")
    }) {
        let name = text[..up].rfind('/').unwrap_or(0);
        text.replace_range(name..up + 3, "");
    }
    while line.starts_with('/') && text.starts_with("/../") {
        text.replace_range(..3, "");
    }
    match text.trim_matches('/') {
        "" if line.starts_with('/') => "/".to_owned(),
        "" => ".".to_owned(),
        path => path.to_owned(),
    }
}

/// What a glob stands for; nothing if it is none.
fn expression(glob: &[char]) -> Option<String> {
    let (mut regex, mut at) = (String::new(), 0);
    let special = |text: &[char]| text.iter().any(|c| "*?[]\\".contains(*c));
    while at < glob.len() {
        let (piece, length) = match &glob[at..] {
            rest @ (['*', '*'] | ['*', '*', '/']) => (".*".to_owned(), rest.len()),
            ['*', '*', '/', ..] => ("(?:.*/)?".to_owned(), 3),
            ['*', '*', rest @ ..] if at == 0 && !special(rest) => (".*".to_owned(), 2),
            ['*', '*', ..] => ("(?:.*/)?".to_owned(), 2),
            ['*', ..] => ("[^/]*".to_owned(), 1),
            ['?', ..] => ("[^/]".to_owned(), 1),
            ['[', rest @ ..] => {
                let (class, length) = class(rest)?;
                (class, length + 1)
            }
            ['\\', c, ..] => (one(*c), 2),
            ['\\'] | [] => return None,
            [c, ..] => (one(*c), 1),
        };
        regex += &piece;
        at += length;
    }
    Some(format!("(?s)^(?:{regex})$"))
}

/// A class, which may stand for a slash, and its length behind the bracket.
fn class(text: &[char]) -> Option<(String, usize)> {
    let negated = text.first() == Some(&'^');
    let (mut at, mut ranges) = (usize::from(negated), String::new());
    let member = |at: &mut usize| {
        let c = match text.get(*at)? {
            '-' | ']' => return None,
            '\\' => {
                *at += 1;
                text.get(*at)?
            }
            c => c,
        };
        *at += 1;
        Some(*c)
    };
    while ranges.is_empty() || text.get(at) != Some(&']') {
        let low = member(&mut at)?;
        let mut high = low;
        if text.get(at) == Some(&'-') {
            at += 1;
            high = member(&mut at)?;
        }
        if high < low {
            return None;
        }
        ranges += &format!("{}-{}", one(low), one(high));
    }
    Some((if negated { format!("[^{ranges}]") } else { format!("[{ranges}]") }, at + 1))
}
