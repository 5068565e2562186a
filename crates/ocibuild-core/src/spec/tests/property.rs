//! Whatever is written, reading it neither panics nor points outside the file.

use proptest::prelude::*;

use super::*;

const PIECES: &[&str] = &[
    "version = 1\n",
    "version",
    "[images.a]\n",
    "[layers.app]\n",
    "[[layers.app.copy]]\n",
    "[steps.app]\n",
    "run = \"make\"\n",
    "needs = [\"app\"]\n",
    "secrets = [{ id = ",
    "[vars]\n",
    "[vars.\"linux/arm64\"]\n",
    "layers = [\"app\"]\n",
    "copy = [{ from = \"a\", to = \"/a\" }]\n",
    "copy",
    "from",
    "to",
    "content",
    "symlink",
    "directory",
    "mode = \"0755\"",
    "owner = ",
    "base = ",
    "env = { A = 1 }\n",
    "healthcheck = ",
    "expose = [80]\n",
    "\"{var.x}\"",
    "\"{\"",
    "\"[\"",
    "'C:\\a'",
    "\"\"\"",
    "'''",
    "é",
    "\u{feff}",
    "\t",
    "\r\n",
    "\n",
    " ",
    "=",
    ".",
    ",",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    "#",
    "\"",
    "'",
    "1",
    "0755",
    "-1",
    "1.5",
    "true",
    "1979-05-27",
    "\u{0}",
    "日本",
];

fn check_faults(source: &str) {
    if let Err(error) = parse(source) {
        assert!(!error.faults.is_empty());
        for fault in &error.faults {
            assert!(!fault.message.is_empty());
            let Some(span) = fault.span else { continue };
            assert!(span.start <= span.end && span.end <= source.len(), "{fault:?}");
            assert!(source.get(span.start..span.end).is_some(), "{fault:?}");
        }
        let starts: Vec<_> =
            error.faults.iter().filter_map(|fault| fault.span).map(|span| span.start).collect();
        assert!(starts.is_sorted());
        assert!(!error.render(&Sources::of("ocibuild.toml", source)).is_empty());
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(source in "\\PC*") {
        check_faults(&source);
    }

    #[test]
    fn any_pieces_are_survived(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        check_faults(&pieces.concat());
    }

    #[test]
    fn changes_to_a_sound_spec_are_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..6, prop::sample::select(PIECES)), 1..6),
    ) {
        let mut source: Vec<char> = sound::EXAMPLE.chars().collect();
        for (at, length, piece) in changes {
            let at = at.index(source.len());
            let end = (at + length).min(source.len());
            source.splice(at..end, piece.chars());
        }
        check_faults(&source.into_iter().collect::<String>());
    }

    #[test]
    fn faults_are_told_whatever_else_is_wrong(present in prop::collection::vec(any::<bool>(), FAULTY.len())) {
        let chosen: Vec<_> = FAULTY.iter().zip(present).filter(|(_, present)| *present).map(|(case, _)| case).collect();
        let lines = |wanted: &str| -> String {
            chosen.iter().filter(|(part, ..)| *part == wanted).map(|(_, line, _)| format!("{line}\n")).collect()
        };
        let source = format!(
            "version = 1\n{}[layers.app]\ncopy = [\n{}{{ from = \"a\", to = \"/a\" }} ]\n[images.app]\nlayers = [\"app\"]\n{}",
            lines("top"), lines("copy"), lines("image"),
        );
        let found: Vec<String> = match parse(&source) {
            Ok(_) => Vec::new(),
            Err(error) => error.faults.into_iter().map(|fault| fault.message).collect(),
        };
        let expected: Vec<&str> = chosen.iter().map(|(_, _, message)| *message).collect();
        prop_assert_eq!(found, expected, "{}", source);
    }

    #[test]
    fn literals_expand_to_themselves(text in "\\PC*") {
        let platform = crate::oci::Platform::linux_amd64();
        let vars = Vars::default();
        let lookup = vars.lookup(&platform);
        prop_assert_eq!(&Template::literal(text.clone()).expand(&lookup).unwrap(), &text);
        let escaped = text.replace('{', "{{").replace('}', "}}");
        prop_assert_eq!(Template::parse(&escaped).unwrap(), Template::literal(text));
    }
}

/// One fault each: where the line goes, the line, and what is said of it.
const FAULTY: [(&str, &str, &str); 12] = [
    ("top", "nmae = 'x'", "unknown key `nmae`"),
    ("top", "steps = 1", "`steps` should be a table, but is an integer"),
    ("top", "root = 1", "`root` should be a string, but is an integer"),
    ("copy", "{ from = '../a', to = '/a' },", "`../a` leads out of the root"),
    ("copy", "{ from = 'a', to = 'a' },", "`a` is not an absolute path"),
    ("copy", "{ to = '/a' },", "the copy doesn't say what to copy"),
    ("copy", "{ content = '{foo}', to = '/a' },", "unknown name `{foo}`"),
    ("copy", "{ directory = '/a', mode = '9' },", "`9` is not a mode"),
    ("image", "user = ''", "`` is not a user"),
    ("image", "expose = [0]", "`0` is not a port"),
    ("image", "env = []", "`env` should be a table, but is a list"),
    ("image", "healthcheck = { test = [] }", "the test is empty"),
];
