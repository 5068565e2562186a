use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn patterns_match_as_documented() {
    let cases: [(&str, &[&str], &[&str]); 16] = [
        ("*.map", &["a.map", ".map"], &["d/a.map", "a.mapx", ""]),
        ("**/*.map", &["a.map", "d/a.map", "d/e/a.map"], &["d/a.mapx", "d"]),
        ("d/**", &["d/a", "d/e/a"], &["d", "e/a"]),
        ("d/**/a", &["d/a", "d/e/a", "d/e/f/a"], &["da", "d/ea", "a"]),
        ("**", &["a", "a/b"], &[""]),
        ("**/**/a", &["a", "b/a"], &["b"]),
        ("a?c", &["abc", "aéc"], &["ac", "abbc", "a/c"]),
        ("[a-cx]", &["a", "c", "x"], &["d", "-", "ab", ""]),
        ("[^a-c]", &["d", "é"], &["a", "dd"]),
        ("[!a]", &["!", "a"], &["b"]),
        ("[\\]\\-a]", &["]", "-", "a"], &["\\"]),
        ("\\*\\[x", &["*[x"], &["a[x"]),
        ("/a/", &["a"], &["a/b"]),
        ("./a//b/.", &["a/b"], &["a"]),
        (".", &[""], &["a"]),
        ("a*b*c", &["abc", "axbxc", "abcbc"], &["abcb"]),
    ];
    for (text, yes, no) in cases {
        let pattern = pattern(text);
        yes.iter().for_each(|path| assert!(pattern.matches(path.as_bytes()), "{text} on {path}"));
        no.iter().for_each(|path| assert!(!pattern.matches(path.as_bytes()), "{text} on {path}"));
    }
}

#[test]
fn names_that_are_not_utf8_match() {
    assert!(pattern("*.txt").matches(b"\xff\xfe.txt"));
    assert!(pattern("a?b").matches(b"a\xffb"));
    assert!(pattern("a[^x]b").matches(b"a\xffb"));
    assert!(!pattern("a[x]b").matches(b"a\xffb"));
    assert!(!pattern("*??").matches("€".as_bytes()), "a star must not tear a character apart");
}

#[test]
fn faults_are_told() {
    let cases = [
        ("", PatternError::Empty),
        ("a[b", PatternError::Unclosed),
        ("a[b/c]", PatternError::Unclosed),
        ("[]", PatternError::EmptyClass),
        ("[^]", PatternError::EmptyClass),
        ("[z-a]", PatternError::EmptyRange('z', 'a')),
        ("a\\", PatternError::Escape),
        ("a**", PatternError::DoubleStar),
        ("a/../b", PatternError::Parent),
    ];
    for (text, error) in cases {
        assert_eq!(Pattern::parse(text), Err(error), "{text}");
    }
    assert_eq!(Pattern::parse(&"a/".repeat(64)), Err(PatternError::TooLong));
    assert!(Pattern::parse(&"a/".repeat(63)).is_ok());
}

#[test]
fn plain_names_are_known() {
    assert_eq!(pattern("a/\\[b\\]").as_literal(), Some(b"a/[b]".to_vec()));
    assert_eq!(pattern("a/b/*.c").as_literal(), None);
    assert_eq!(pattern("a/b/*.c").literal_prefix(), b"a/b");
    assert_eq!(pattern("**/x").literal_prefix(), b"");
    assert!(!pattern(".").is_glob());
}

#[test]
fn long_patterns_take_no_time() {
    let stars = "*a".repeat(1000) + "b";
    assert!(!pattern(&stars).matches(&b"a".repeat(4000)));
    let directories = "**/a/".repeat(30) + "b";
    assert!(!pattern(&directories).matches("a/".repeat(2000).as_bytes()));
}

#[test]
fn selections_choose() {
    let selection = Selection::parse(["src/**", "*.toml"], ["**/*.map", "src/gen"]).unwrap();
    for path in ["src/a", "src/d/a", "Cargo.toml"] {
        assert!(selection.selects(path.as_bytes()), "{path}");
    }
    for path in ["src/a.map", "src/gen", "src/gen/a", "d/Cargo.toml", "src", "a.map/src"] {
        assert!(!selection.selects(path.as_bytes()), "{path}");
    }
    assert!(selection.may_select_below(b""));
    assert!(selection.may_select_below(b"src/d"));
    assert!(!selection.may_select_below(b"src/gen/d"));
    assert!(!selection.may_select_below(b"d"));
    assert!(Selection::default().is_all() && Selection::default().selects(b"a"));
}

/// A pattern as the model has it: the pieces of each part, written and matched naively.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "é", "*", "?", "[ab]", "[^a]", "[a-é]", "\\*"])
}

fn part_strategy() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![3 => prop::collection::vec(piece(), 1..5), 1 => Just(vec!["**"])]
}

fn name_strategy() -> impl Strategy<Value = Vec<u8>> {
    let unit = prop::sample::select(vec![&b"a"[..], b"b", "é".as_bytes(), b"*", b"\xff"]);
    prop::collection::vec(unit, 1..5).prop_map(|units| units.concat())
}

fn units(name: &[u8]) -> Vec<&[u8]> {
    let text = |rest: &[u8]| if rest.starts_with("é".as_bytes()) { 2 } else { 1 };
    let mut rest = name;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (one, left) = rest.split_at(text(rest));
        out.push(one);
        rest = left;
    }
    out
}

fn model_name(pieces: &[&str], name: &[&[u8]]) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else { return name.is_empty() };
    if *piece == "*" {
        return (0..=name.len()).any(|skip| model_name(pieces, &name[skip..]));
    }
    let Some((unit, name)) = name.split_first() else { return false };
    let fits = match *piece {
        "?" => true,
        "[ab]" => matches!(*unit, b"a" | b"b"),
        "[^a]" => *unit != b"a",
        "[a-é]" => *unit == b"a" || *unit == b"b" || *unit == "é".as_bytes(),
        "\\*" => *unit == b"*",
        literal => *unit == literal.as_bytes(),
    };
    fits && model_name(pieces, name)
}

fn model(parts: &[Vec<&str>], path: &[Vec<u8>]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return path.is_empty() };
    if part[..] == ["**"] {
        let least = usize::from(rest.iter().all(|part| part[..] == ["**"]));
        return (least..=path.len())
            .any(|skip| model(rest, &path[skip..]) || (least == 1 && skip == path.len()));
    }
    let Some((name, path)) = path.split_first() else { return false };
    model_name(part, &units(name)) && model(rest, path)
}

proptest! {
    #[test]
    fn matches_as_the_model_does(
        parts in prop::collection::vec(part_strategy(), 1..5),
        path in prop::collection::vec(name_strategy(), 0..6),
    ) {
        let parts: Vec<Vec<&str>> = parts
            .into_iter()
            .map(|mut part| { part.dedup_by(|a, b| *a == "*" && a == b); part })
            .collect();
        let text = parts.iter().map(|part| part.concat()).collect::<Vec<_>>().join("/");
        let pattern = Pattern::parse(&text).unwrap();
        let bytes = path.join(&b'/');
        prop_assert_eq!(pattern.matches(&bytes), model(&parts, &path), "{} on {:?}", text, bytes);

        let covered = (0..=path.len()).any(|upto| model(&parts, &path[..upto]));
        prop_assert_eq!(pattern.covers(&bytes), covered);
        // What matches lies below every one of its parents, and in the literal prefix.
        if pattern.matches(&bytes) {
            for upto in 0..path.len() {
                prop_assert!(pattern.may_match_below(&path[..upto].join(&b'/')));
            }
            prop_assert!(bytes.starts_with(&pattern.literal_prefix()));
        }
    }

    #[test]
    fn pruning_loses_nothing(
        include in prop::collection::vec(prop::sample::select(vec!["a", "**/b", "a/*", "b/**", "?/a", "*"]), 0..3),
        exclude in prop::collection::vec(prop::sample::select(vec!["a/b", "**/a", "b", "*/*/b"]), 0..3),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..5),
    ) {
        let selection = Selection::parse(include, exclude).unwrap();
        if selection.selects(path.join("/").as_bytes()) {
            for upto in 0..path.len() {
                prop_assert!(selection.may_select_below(path[..upto].join("/").as_bytes()));
            }
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC*", path in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(pattern) = Pattern::parse(&text) {
            pattern.matches(&path);
            pattern.covers(&path);
            pattern.may_match_below(&path);
        }
    }
}
