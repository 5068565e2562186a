use proptest::prelude::*;
use regex::Regex;

use super::*;

fn rules(text: &[u8]) -> IgnoreRules {
    IgnoreRules::parse(text).unwrap_or_else(|error| panic!("{}: {error}", text.escape_ascii()))
}

#[track_caller]
fn check(text: &[u8], ignored: &[&[u8]], kept: &[&[u8]]) {
    let (name, rules) = (text.escape_ascii().to_string(), rules(text));
    for path in ignored {
        assert!(rules.ignores(path), "{name} on {}", path.escape_ascii());
    }
    for path in kept {
        assert!(!rules.ignores(path), "{name} on {}", path.escape_ascii());
    }
}

#[test]
fn lines_are_read_as_docker_reads_them() {
    check(b"", &[], &[b"a", b"a/b"]);
    check(b"\xef\xbb\xbfa", &[b"a"], &[b"\xef\xbb\xbfa"]);
    check(b"\xef\xbb\xbf#a\nb", &[b"b"], &[b"a", b"#a"]);
    check(b"#a\nb", &[b"b"], &[b"a", b"#a"]);
    check(b" #a", &[b"#a"], &[b"a"]);
    check(b"\\#a", &[b"#a"], &[b"a"]);
    check(b"  a b\t\r\n\r\n\x0b\n", &[b"a b"], &[b"a", b""]);
    check(b"\xc2\xa0a\xe3\x80\x80", &[b"a"], &[]);
    check(b" \xff \x0b", &[b"\xff"], &[b"\xff "]);
    check(b"\xc2\xa0\xff\xe3\x80\x80", &[b"\xff"], &[]);
    check(b"/a\n//b/", &[b"a", b"b", b"b/c"], &[b"c"]);
    check(b"./a/.//b/\nc/../d", &[b"a/b", b"d"], &[b"a", b"c"]);
    check(b"../a\n/../b", &[b"b"], &[b"a"]);
    check(b".\n/", &[], &[b"a", b"a/b"]);
    check(b"a\n! /a/ \n", &[], &[b"a"]);
    check(b"!!a\n", &[], &[b"a", b"!a"]);
    check(b"\\!a", &[b"!a"], &[b"a"]);
}

#[test]
fn globs_mean_what_they_mean_to_docker() {
    check(b"a", &[b"a", b"a/b/c"], &[b"b/a", b"ab"]);
    check(b"*.md", &[b"a.md", b".md", b"d.md/x"], &[b"d/a.md", b"a.mdx"]);
    check(b"*/a?", &[b"x/ab"], &[b"ab", b"x/a", b"x/y/ab", b"x/a/"]);
    check(b"?", &[b"a", "\u{e9}".as_bytes(), b"\xff"], &[b"ab"]);
    check(b"**/a", &[b"a", b"d/a", b"d/e/a/f"], &[b"d/ba", b"ab"]);
    check(b"a/**", &[b"a/b", b"a/b/c"], &[b"a", b"ab"]);
    check(b"a**", &[b"a", b"ab", b"ab/c"], &[b"b/a"]);
    check(b"a/**/b", &[b"a/b", b"a/c/d/b"], &[b"a/cb", b"ab"]);
    check(b"a**b", &[b"ab", b"ac/b", b"a/b"], &[b"acb"]);
    check(b"**", &[b"a", b"a/b"], &[b""]);
    check(b"***", &[b"a", b"a/b"], &[]);
    // Docker takes these by their end, unless there is something special in it.
    check(b"**x.y", &[b"ax.y", b"d/ax.y", b"x.y"], &[b"ax-y"]);
    check(b"**x?", &[b"xa", b"d/xa"], &[b"axa"]);
    check(b"[a-cx]", &[b"a", b"c", b"x"], &[b"d", b"-"]);
    check(b"a[^x]b", &[b"acb", b"a/b", b"a\xffb"], &[b"axb", b"ab"]);
    check(b"[!x]", &[b"!", b"x"], &[b"a"]);
    check(b"[\\]\\-*]", &[b"]", b"-", b"*"], &[b"\\", b"a"]);
    check(b"a\\*\\?\\[", &[b"a*?["], &[b"ab?["]);
    check(b"a\\b", &[b"ab"], &[b"a\\b"]);
    check(b"{a,b}.+^$|()", &[b"{a,b}.+^$|()"], &[b"a"]);
    check(b"caf\xe9*", &[b"caf\xe9", b"caf\xe9s"], &["caf\u{e9}".as_bytes()]);
}

#[test]
fn the_last_rule_decides_also_by_a_parent() {
    check(b"d\n!d/keep", &[b"d", b"d/a"], &[b"d/keep", b"d/keep/x"]);
    check(b"!d/keep\nd", &[b"d/keep"], &[]);
    check(b"*\n!src\nsrc/gen", &[b"a", b"src/gen/x"], &[b"src", b"src/a"]);
    check(b"*.md\n!README*.md\nREADME-secret.md", &[b"a.md", b"README-secret.md"], &[b"README.md"]);
    check(b"**/n\n!n/n/x", &[b"n/n", b"n/x"], &[b"n/n/x/n"]);
}

#[test]
fn directories_are_pruned_unless_something_below_may_come_back() {
    let rules = rules(b"n\n!n/a/*.js\nm\n!k\n**/p\n");
    for directory in [&b"n"[..], b"n/a", b"k", b"", b"x"] {
        assert!(rules.may_hold_kept(directory), "{}", directory.escape_ascii());
    }
    for directory in [&b"n/b"[..], b"m", b"m/k", b"n/a/p", b"p"] {
        assert!(!rules.may_hold_kept(directory), "{}", directory.escape_ascii());
    }
}

#[test]
fn what_is_named_is_not_left_out() {
    let all = rules(b"**/node_modules\n*.log\n!a.log\nd/e");
    let below = all.clone().below(b"node_modules");
    assert!(!below.ignores(b"node_modules/x") && !below.ignores(b"node_modules/y/node_modules"));
    assert!(!all.clone().below(b"d/e/f").ignores(b"d/e/f/g"), "also by its parent");
    assert!(all.clone().below(b"d").ignores(b"d/e") && all.clone().below(b"").ignores(b"d/e"));
    // Unless it is said what of it is wanted.
    let public = rules(b"*\n!d/public\n**/*.map").below(b"d");
    for path in [&b"d/public/x"[..], b"d/public"] {
        assert!(!public.ignores(path), "{}", path.escape_ascii());
    }
    for path in [&b"d/secret"[..], b"d/public/x.map"] {
        assert!(public.ignores(path), "{}", path.escape_ascii());
    }
    assert!(!rules(b"*\n!d/public").below(b"e").ignores(b"e/x"), "nothing is said of it");
    assert!(!rules(b"*\n!d/public\nd").below(b"d").ignores(b"d/public/x"), "the last rule is off");
    // What brings back takes nothing away.
    let back = rules(b"**/*.map\n!src").below(b"src");
    assert!(!back.ignores(b"src/a.map"));
    assert!(rules(b"!a\n#b\n").is_empty() && !all.is_empty());
}

#[test]
fn faults_are_told_with_their_line() {
    let cases: [(&[u8], usize, IgnoreFault); 10] = [
        (b"a\n! /../", 2, IgnoreFault::Nothing),
        (b"a\n!", 2, IgnoreFault::Nothing),
        (b"a\n\n ! ", 3, IgnoreFault::Nothing),
        (b"[a", 1, IgnoreFault::Unclosed),
        (b"[a-", 1, IgnoreFault::Unclosed),
        (b"[]", 1, IgnoreFault::EmptyClass),
        (b"[^]a]", 1, IgnoreFault::EmptyClass),
        (b"[a-]", 1, IgnoreFault::Dash),
        (b"[z-a]", 1, IgnoreFault::EmptyRange),
        (b"#\na\\", 2, IgnoreFault::Escape),
    ];
    for (text, line, fault) in cases {
        assert_eq!(IgnoreRules::parse(text), Err(IgnoreError { line, fault }), "{}", text.escape_ascii());
    }
    let error = IgnoreRules::parse(b"\n[").unwrap_err();
    assert_eq!(error.to_string(), "line 2: `[` has no `]`");
}

#[test]
fn long_rules_take_no_time() {
    let text = "**/a*".repeat(200) + "b";
    assert!(!rules(text.as_bytes()).ignores("a/".repeat(1000).as_bytes()));
}

/// A rule's regular expression, written down from the rules without a thought for speed.
fn expression(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::new(), 0);
    let special = |text: &[char]| text.iter().any(|c| "*?[]\\".contains(*c));
    while at < chars.len() {
        let rest = &chars[at..];
        let (piece, length) = match rest {
            ['*', '*'] | ['*', '*', '/'] => (".*".to_owned(), rest.len()),
            ['*', '*', '/', ..] => ("(.*/)?".to_owned(), 3),
            ['*', '*', left @ ..] if at == 0 && !special(left) => (".*".to_owned(), 2),
            ['*', '*', ..] => ("(.*/)?".to_owned(), 2),
            ['*', ..] => ("[^/]*".to_owned(), 1),
            ['?', ..] => ("[^/]".to_owned(), 1),
            ['[', '^', 'a', ']', ..] => ("[^a]".to_owned(), 4),
            ['\\', c, ..] => (regex::escape(&c.to_string()), 2),
            [c, ..] => (regex::escape(&c.to_string()), 1),
            [] => unreachable!(),
        };
        out += &piece;
        at += length;
    }
    format!("(?s)^(?:{out})$")
}

/// Cleans a path piece by piece.
fn cleaned(text: &str) -> String {
    let mut path = std::path::PathBuf::new();
    for part in std::path::Path::new(text).components() {
        match part {
            std::path::Component::ParentDir if path.file_name().is_some() => {
                path.pop();
            }
            std::path::Component::ParentDir if text.starts_with('/') => {}
            std::path::Component::RootDir | std::path::Component::CurDir => {}
            part => path.push(part),
        }
    }
    match path.to_str().unwrap() {
        "" if text.starts_with('/') => "/".to_owned(),
        "" => ".".to_owned(),
        path => path.to_owned(),
    }
}

/// What the model says of a path; nothing if a line is no rule.
fn model(lines: &[String], path: &str) -> Option<bool> {
    let mut ignored = false;
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let (keeps, text) = line.strip_prefix('!').map_or((false, line.as_str()), |rest| (true, rest));
        let text = if text.is_empty() { return None } else { cleaned(text) };
        if keeps && text == "/" {
            return None;
        }
        if text.replace("\\\\", "").ends_with('\\') {
            return None;
        }
        let expression = Regex::new(&expression(&text)).unwrap();
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        if ends.into_iter().any(|end| expression.is_match(&path[..end])) {
            ignored = !keeps;
        }
    }
    Some(ignored)
}

fn line() -> impl Strategy<Value = String> {
    let pieces = vec!["a", "b", "/", "/", "*", "?", "**", "**/", "[^a]", "!", "\\", ".", ".."];
    prop::collection::vec(prop::sample::select(pieces), 0..7).prop_map(|pieces| pieces.concat())
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "ab", "ba", ".a", "a.b", "!", "*", "\\", "b!", "aab"]);
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ignores_as_the_model_does(
        lines in prop::collection::vec(line(), 0..5),
        path in path(),
    ) {
        let parsed = IgnoreRules::parse(lines.join("\n").as_bytes());
        // In the model a bracket is a class, escaped or not.
        prop_assume!(!lines.iter().any(|line| line.contains("\\[")));
        let expected = model(&lines, &path);
        prop_assert_eq!(parsed.is_ok(), expected.is_some(), "{:?}", &lines);
        if let (Ok(rules), Some(expected)) = (parsed, expected) {
            prop_assert_eq!(rules.ignores(path.as_bytes()), expected, "{:?} on {}", &lines, &path);
        }
    }

    #[test]
    fn pruning_loses_nothing(lines in prop::collection::vec(line(), 0..5), path in path()) {
        let Ok(rules) = IgnoreRules::parse(lines.join("\n").as_bytes()) else { return Ok(()) };
        if !rules.ignores(path.as_bytes()) {
            for (end, _) in path.match_indices('/') {
                prop_assert!(rules.may_hold_kept(&path.as_bytes()[..end]), "{lines:?} on {path}");
            }
        }
    }

    #[test]
    fn parsing_never_panics(
        text in prop::collection::vec(any::<u8>(), 0..60),
        path in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        if let Ok(rules) = IgnoreRules::parse(&text) {
            let _ = (rules.ignores(&path), rules.may_hold_kept(&path));
        }
    }
}
