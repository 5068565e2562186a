//! The search for secrets: all anchors at once, then what stands around each.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::inspect::buckets;
use crate::inspect::secrets::Kind::Base64;
use crate::inspect::secrets::{Form, Hit, Kind, SECRETS, Secret};

/// As far before and behind an anchor it is looked for what belongs to it, in bytes.
pub(super) const REACH: usize = 512;

/// The most secrets of a file that are told.
pub(super) const MAX_HITS: usize = 8;

/// What finds anchors.
struct Search {
    automaton: AhoCorasick,
    /// The secrets, in the order in which it was given their anchors.
    secrets: Vec<&'static Secret>,
}

/// None of the anchors is shorter than four bytes, with which vectors help least.
static SEARCH: LazyLock<Search> = LazyLock::new(|| {
    let mut secrets: Vec<_> = SECRETS.iter().filter(|secret| !secret.anchor.is_empty()).collect();
    secrets.sort_by_key(|secret| buckets::turn(secret));
    let anchors = secrets.iter().map(|secret| secret.anchor);
    let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(anchors);
    Search { automaton: automaton.expect("few short words make a small automaton"), secrets }
});

/// Finds secrets in bytes whose ends lie behind `seen`; offsets are from the beginning of the bytes.
pub(super) fn scan(bytes: &[u8], seen: usize, found: &mut Vec<Found>) {
    for anchor in SEARCH.automaton.find_iter(bytes) {
        let secret = SEARCH.secrets[anchor.pattern().as_usize()];
        let begin = around(secret, bytes, anchor.start(), anchor.end()).filter(|(_, last)| *last > seen);
        found.extend(begin.map(|(begin, _)| Found { secret, begin }));
        if found.len() >= MAX_HITS {
            return;
        }
    }
}

/// A secret, and where it begins.
pub(super) struct Found {
    pub(super) secret: &'static Secret,
    pub(super) begin: usize,
}

impl Found {
    /// Tells of it, without telling it.
    pub(super) fn hit(&self, bytes: &[u8], start: u64) -> Hit {
        let before = &bytes[..self.begin];
        let line = (start == 0).then(|| 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64);
        Hit {
            id: self.secret.id.to_owned(),
            offset: start + self.begin as u64,
            line,
            begin: match self.secret.form {
                // The first characters of a password say nothing but that.
                Form::Pem | Form::Login => String::new(),
                _ if self.secret.id.ends_with("-login") => String::new(),
                _ => begin_of(&bytes[self.begin..]),
            },
        }
    }
}

/// The first four characters of a secret.
fn begin_of(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect()
}

/// Returns where a secret begins and ends that has its anchor there.
fn around(secret: &Secret, bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_first = || start == 0 || !is_name(bytes[start - 1]);
    match secret.form {
        Form::Token(kind, least, most) => {
            let last = run(bytes, end, kind, least, most)?;
            (is_first() && is_real(&bytes[end..last])).then_some((start, last))
        }
        Form::Inner(kind, least, most) => {
            let last = run(bytes, end, kind, least, most)?;
            is_real(&bytes[end..last]).then_some((start, last))
        }
        Form::After(kind, least, most) => {
            let last = run(bytes, end, kind, least, most)?;
            is_real(&bytes[end..last]).then_some((start + 1, last))
        }
        Form::Numbered(kind, least, most) => {
            let last = run(bytes, end, kind, least, most)?;
            let digits = bytes[..start].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let begin = start - digits;
            let is_free = begin == 0 || !is_name(bytes[begin - 1]);
            ((8..=10).contains(&digits) && is_free && is_real(&bytes[end..last])).then_some((begin, last))
        }
        Form::Value(kind, least, most) => {
            let begin = value(bytes, end)?;
            let last = run(bytes, begin, kind, least, most)?;
            is_real(&bytes[begin..last]).then_some((begin, last))
        }
        Form::Pem => pem(bytes, start, end),
        Form::Login => login(bytes, end),
        Form::Named => None,
    }
}

/// Where a run of characters ends that is neither too short nor too long.
fn run(bytes: &[u8], from: usize, kind: Kind, least: usize, most: usize) -> Option<usize> {
    let rest = &bytes[from..];
    let length = rest.iter().take(most + 1).take_while(|byte| kind.has(**byte)).count();
    (least..=most).contains(&length).then_some(from + length)
}

/// Where a value begins, behind the quotes, blanks and signs that come after its name.
fn value(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = &bytes[from..];
    let rest = &rest[..rest.len().min(16)];
    let between =
        rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'=' | b':' | b'>'));
    let length = between.clone().count();
    between.clone().any(|byte| matches!(byte, b'=' | b':')).then_some(from + length)
}

/// Words of documentation, and how few different characters an invented secret has.
// The last one is how the key of Azure's emulator begins.
const INVENTED: [&[u8]; 9] = [
    b"example",
    b"xxxxx",
    b"00000000",
    b"12345678",
    b"abcdefgh",
    b"placeholder",
    b"redacted",
    b"aaaaaaaa",
    b"eby8vdm02xnocqf",
];

/// Words that stand in keys of documentation. Runs of one letter, and of letters in their order, stand
/// in real keys as well: their numbers begin with zeros.
const INVENTED_KEY: [&[u8]; 4] = [b"example", b"xxxxx", b"placeholder", b"redacted"];

/// Tells whether this may be a secret, and isn't one that documentation shows.
fn is_real(token: &[u8]) -> bool {
    (token.len() < 16 || is_varied(token)) && !has_any(token, &INVENTED)
}

/// Tells whether bytes have as many different characters as a secret has.
fn is_varied(token: &[u8]) -> bool {
    let mut seen = [false; 256];
    token.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    seen.iter().filter(|seen| **seen).count() >= 7
}

fn has_any(token: &[u8], words: &[&[u8]]) -> bool {
    let folded = token.to_ascii_lowercase();
    words.iter().any(|word| folded.windows(word.len()).any(|part| part == *word))
}

/// A key in PEM: `-----BEGIN … PRIVATE KEY-----`, and a body. Line ends may be written `\n`, as in JSON.
fn pem(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
    let before = &bytes[start.saturating_sub(32)..start];
    let dashes = b"-----BEGIN ";
    let at = before.windows(dashes.len()).rposition(|part| part == dashes)?;
    let label = &before[at + dashes.len()..];
    if !label.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b' ') {
        return None;
    }
    let rest = bytes[end..].strip_prefix(b" BLOCK").unwrap_or(&bytes[end..]);
    let rest = rest.strip_prefix(b"-----")?;
    let rest = &rest[..rest.len().min(REACH / 2)];
    let body = body(rest);
    // No key is shorter: one for Ed25519 has 64 characters in 48 bytes.
    let is_key = body.len() >= 60 && is_varied(&body[8..]) && !has_any(&body, &INVENTED_KEY);
    is_key.then(|| (start - before.len() + at, end + rest.len().min(80)))
}

/// The characters of base64 that come first, without headers, blanks and line ends.
fn body(rest: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(rest).replace("\\r", "").replace("\\n", "\n");
    let lines = text.lines().map(|line| line.trim_matches([' ', '\t', '"', '\'', '+', ',', '\\']));
    let lines = lines.skip_while(|line| line.is_empty() || line.contains(": "));
    let is_body = |line: &&str| line.is_empty() || line.bytes().all(|byte| Base64.has(byte));
    lines.take_while(is_body).flat_map(|line| line.bytes().collect::<Vec<u8>>()).collect()
}

/// A login of a registry: base64 of a user and a password, as docker's `config.json` has it.
fn login(bytes: &[u8], end: usize) -> Option<(usize, usize)> {
    let begin = value(bytes, end)?;
    let last = run(bytes, begin, Base64, 12, 8192)?;
    let decoded = STANDARD.decode(&bytes[begin..last]).ok()?;
    let at = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = (&decoded[..at], &decoded[at + 1..]);
    let is_text = decoded.iter().all(|byte| (b' '..=b'~').contains(byte));
    let is_shown = matches!(password, b"password" | b"pass" | b"secret" | b"test" | b"bar" | b"pwd");
    (is_text && !user.is_empty() && password.len() >= 4 && !is_shown).then_some((begin, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Inspector, Piece};

    /// The ids of what is found in a text.
    fn found(text: &str) -> Vec<String> {
        hits(text).into_iter().map(|hit| hit.id).collect()
    }

    fn hits(text: &str) -> Vec<Hit> {
        let read = |_, _| None;
        let (bytes, size) = (text.as_bytes(), text.len() as u64);
        let facts = Inspector.piece(Piece { size, start: 0, bytes, read: &read });
        facts.map(|facts| facts.secrets).unwrap_or_default()
    }

    /// Characters of a kind that look random, the same ones always.
    fn random(kind: Kind, length: usize, seed: &str) -> String {
        let numbers = (0_u32..).flat_map(|n| *blake3::hash(format!("{seed}{n}").as_bytes()).as_bytes());
        let fits = numbers.filter(|byte| kind.has(*byte) && (byte.is_ascii_alphanumeric()));
        fits.take(length).map(char::from).collect()
    }

    /// A made-up secret of each kind. None of them stands in the sources, where others' scanners would
    /// find it.
    fn samples() -> Vec<(&'static Secret, String)> {
        let sample = |(index, secret): (usize, &'static Secret)| {
            let seed = format!("{}{index}", secret.id);
            let anchor = secret.anchor;
            let text = match secret.form {
                Form::Token(kind, least, _) | Form::Inner(kind, least, _) | Form::After(kind, least, _) => {
                    format!("{anchor}{}", random(kind, least, &seed))
                }
                Form::Numbered(kind, least, _) => format!("734251968{anchor}{}", random(kind, least, &seed)),
                Form::Value(kind, least, _) => format!("{anchor} = \"{}\"", random(kind, least, &seed)),
                Form::Pem => pem_of("RSA ", &seed),
                Form::Login => {
                    format!(
                        "{anchor}: \"{}\"",
                        STANDARD.encode(format!("robot:{}", random(Kind::Word, 20, &seed)))
                    )
                }
                Form::Named => return None,
            };
            Some((secret, text))
        };
        SECRETS.iter().enumerate().filter_map(sample).collect()
    }

    fn pem_of(label: &str, seed: &str) -> String {
        let lines: Vec<String> =
            (0..4).map(|line| random(Kind::Word, 64, &format!("{seed}{line}"))).collect();
        let (begin, end) = ("-----BEGIN ", "-----END ");
        format!("{begin}{label}PRIVATE KEY-----\n{}\n{end}{label}PRIVATE KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn each_kind_is_found_wherever_it_stands() {
        for (secret, sample) in samples() {
            for text in [sample.clone(), format!("first line\ntoken: [{sample}]\n"), format!("K={sample};x")]
            {
                assert_eq!(found(&text), [secret.id], "{text}");
            }
        }
    }

    #[test]
    fn what_is_told_has_four_characters_of_it() {
        for (_, sample) in samples() {
            let hits = hits(&format!("\n\n{sample}\n"));
            let id = &hits[0].id;
            let length = if id == "secret-private-key" || id.ends_with("-login") { 0 } else { 4 };
            assert_eq!((hits[0].line, hits[0].begin.len()), (Some(3), length), "{sample}");
        }
    }

    #[test]
    fn logins_of_npm_and_keys_of_aws_are_found_as_their_tools_write_them() {
        let password = STANDARD.encode(random(Kind::Word, 20, "npm"));
        let login = STANDARD.encode(format!("me:{}", random(Kind::Word, 20, "npm")));
        for text in [
            format!(
                "//registry.example.com/:username=me\n//registry.example.com/:_password=\"{password}\"\n"
            ),
            format!("_auth={login}\n"),
            format!("//registry.example.com/:_auth = {login}\n"),
        ] {
            assert_eq!(found(&text), ["secret-npm-login"], "{text}");
        }
        let key = random(Kind::Base64, 40, "aws");
        for text in [format!("secretAccessKey: '{key}'\n"), format!("\"SecretAccessKey\": \"{key}\",")] {
            assert_eq!(found(&text), ["secret-aws-secret-key"], "{text}");
        }
        let values =
            [":_password=${NPM_PASSWORD}", "_auth=${NPM_AUTH}", "is_auth = checkAuthorization(user)"];
        for text in values.into_iter().chain(["secretAccessKey: process.env.AWS_SECRET_ACCESS_KEY"]) {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let (begin, dashes) = ("-----BEGIN", "-----");
        let texts = [
            // The keys of AWS's own documentation.
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            // Names, parts of longer words, placeholders.
            "npm_config_registry npm_package_dependencies_typescript_eslint_plugin".to_owned(),
            format!("ghp_{}", "x".repeat(36)),
            format!("ghp_{}", "ab".repeat(18)),
            format!("xghp_{}", random(Kind::Word, 36, "a")),
            format!("ghp_{}", random(Kind::Word, 37, "a")),
            format!("{begin} PRIVATE KEY{dashes}"),
            format!("{begin} RSA PRIVATE KEY{dashes}\n...\n-----END RSA PRIVATE KEY{dashes}\n"),
            format!("{begin} PUBLIC KEY{dashes}\n{}\n", random(Kind::Word, 64, "b")),
            format!(
                "if text.contains(\"{begin} RSA PRIVATE KEY{dashes}\") {{ return true; }} else {{ false }}"
            ),
            "//registry.npmjs.org/:_authToken=${NPM_TOKEN}".to_owned(),
            format!("\"auth\": \"{}\"", STANDARD.encode("user:password")),
            "\"auth\": \"aHR0cHM=\", \"auth\": { \"user\": 1 }".to_owned(),
        ];
        for text in texts {
            assert_eq!(found(&text), [""; 0], "{text}");
        }
    }

    /// Every key of OpenSSH without a passphrase has the same beginning, which has nine `A` in a row.
    #[test]
    fn keys_of_openssh_are_found() {
        let (begin, dashes) = ("-----BEGIN OPENSSH", "-----");
        let first = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
        let body = random(Kind::Word, 140, "openssh");
        let text = format!("{begin} PRIVATE KEY{dashes}\n{first}\n{}\n{}\n", &body[..70], &body[70..]);
        assert_eq!(found(&text), ["secret-private-key"]);
        let shown = text.replace(&body[..7], "EXAMPLE");
        assert_eq!(found(&shown), [""; 0]);
    }

    #[test]
    fn keys_are_found_in_json_and_with_headers() {
        let pem = pem_of("", "json");
        assert_eq!(found(&serde_json::json!({ "private_key": pem }).to_string()), ["secret-private-key"]);
        let lines: Vec<&str> = pem.lines().collect();
        let headers = format!(
            "{}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{}",
            lines[0],
            lines[1..].join("\n")
        );
        assert_eq!(found(&headers), ["secret-private-key"]);
    }

    #[test]
    fn passwords_of_a_netrc_are_found_by_its_form() {
        let text = "# mine\n\nmachine example.com\n  login me\n  password correct-horse\n";
        let hit = &hits(text)[0];
        assert_eq!(
            (hit.line, hit.is_at(b"root/.netrc"), hit.is_at(b"root/netrc.txt")),
            (Some(5), true, false)
        );
        for other in ["password\n", "password correct-horse\n", "machines have no password here\n"] {
            assert!(hits(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_secret_across_pieces_is_found_once_wherever_the_border_is() {
        let token = format!("ghp_{}", random(Kind::Word, 36, "across"));
        let text = format!("{}{token}{}", " ".repeat(100), " ".repeat(1000));
        let bytes = text.as_bytes();
        let read = |at: u64, length: usize| Some(bytes.get(at as usize..at as usize + length)?.to_vec());
        for border in 90..160 {
            let piece = |start: usize, end: usize| Piece {
                size: bytes.len() as u64,
                start: start as u64,
                bytes: &bytes[start..end],
                read: &read,
            };
            let mut facts = Inspector.piece(piece(0, border)).unwrap_or_default();
            facts.add(Inspector.piece(piece(border, bytes.len())).unwrap_or_default());
            assert_eq!(facts.secrets.len(), 1, "{border}");
            assert_eq!(facts.secrets[0].offset, 100, "{border}");
        }
    }

    #[test]
    fn no_bytes_end_the_search_before_its_time() {
        let mut bytes: Vec<u8> = (0..200_u8).flat_map(|n| *blake3::hash(&[n]).as_bytes()).collect();
        for secret in &SECRETS {
            bytes.extend(secret.anchor.as_bytes());
        }
        bytes.extend(b"-----BEGIN PRIVATE KEY-----");
        for cut in 0..bytes.len() {
            scan(&bytes[cut..], 0, &mut Vec::new());
            scan(&bytes[..cut], 0, &mut Vec::new());
        }
    }
}
