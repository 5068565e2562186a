//! What a secret looks like: quoted and encoded, whole and in parts. What hides secrets and what looks for
//! them both go by this.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Programs that write base64 in lines make them so long, in characters.
const BASE64_LINES: [usize; 2] = [64, 76];
/// Both alphabets.
const BASE64: [&GeneralPurpose; 2] = [&STANDARD, &URL_SAFE];
/// Shorter parts, in bytes, and those of fewer different ones, are found where nobody put them.
const MIN_PART: usize = 16;
const MIN_DIFFERENT: usize = 8;
/// As many bytes of hexadecimal digits are no other text, such as a date or a version.
const MIN_HEX: usize = 32;
/// As many parts of one value are looked for: those of a key of 4096 bits and more.
const MOST_PARTS: usize = 64;
/// How words in base64 begin that aren't secret: the line that all keys of OpenSSH have in common, public
/// keys of OpenSSH, and certificates in PEM.
const PUBLIC: [&[u8]; 3] = [b"b3BlbnNzaC1rZXktdjE", b"AAAA", b"LS0tLS1CRUdJTiBDRVJUSUZJQ0FUR"];

/// What a value looks like in whatever else: as it is, quoted for programs, in addresses, in hexadecimal
/// digits, and in base64, wherever it begins there.
pub(super) fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = base64_inside(value);
    forms.extend(quoted_forms(value));
    forms
}

/// A value in base64 as a part of something.
///
/// Of three bytes that become four characters, some may belong to what is around; so the characters
/// at its ends that depend on that aren't searched for.
pub(super) fn base64_inside(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    for engine in BASE64 {
        for before in 0..3_usize {
            let mut around = vec![0; before];
            around.extend_from_slice(value);
            let encoded = engine.encode(&around).into_bytes();
            // Characters of six bits that lie within the value's bits.
            let inner = (before * 8).div_ceil(6)..(around.len() * 8) / 6;
            forms.insert(encoded.get(inner).unwrap_or_default().to_vec());
        }
    }
    forms
}

/// A value in base64 by itself, to its last character.
pub(super) fn base64_alone(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let alone = BASE64.map(|engine| engine.encode(value).into_bytes());
    let unpadded = alone.iter().map(|encoded| {
        let padding = encoded.iter().rev().take_while(|byte| **byte == b'=').count();
        encoded[..encoded.len() - padding].to_vec()
    });
    unpadded.chain(alone.clone()).collect()
}

/// The lines in which programs write a value in base64, in order, for each length of a line.
pub(super) fn base64_lines(value: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let all = BASE64.map(|engine| engine.encode(value).into_bytes());
    let lines =
        |length: usize| all.iter().map(move |encoded| encoded.chunks(length).map(<[u8]>::to_vec).collect());
    BASE64_LINES.into_iter().flat_map(lines).collect()
}

/// The parts of a value that are secret by themselves, as far as one can tell: words that nobody writes
/// who doesn't know it, such as lines of a key, or the token in a file of settings. Certificates and public
/// keys are none, nor are addresses and names of settings.
pub(super) fn parts(value: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut is_public = false;
    for line in lines(value) {
        let has = |text: &str| line.windows(text.len()).any(|part| part == text.as_bytes());
        let is_border = has("-----BEGIN ") || has("-----END ");
        if is_border {
            is_public = has("-----BEGIN ") && (has("CERTIFICATE-----") || has("PUBLIC KEY-----"));
        }
        if is_border || !is_public {
            parts.extend(line.split(|byte| is_between(*byte)).filter(|word| is_telling(word)));
        }
    }
    parts.truncate(MOST_PARTS);
    parts
}

/// The lines of a value, also of one that is written in one with `\n`, as in JSON.
fn lines(value: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < value.len() {
        let length = match value[at..] {
            [b'\\', b'n' | b'r', ..] => 2,
            [b'\n' | b'\r', ..] => 1,
            _ => 0,
        };
        if length > 0 {
            lines.push(value[start..at].trim_ascii());
            start = at + length;
        }
        at += length.max(1);
    }
    lines.push(value[start..].trim_ascii());
    lines
}

/// Tells what stands between words in files of settings.
fn is_between(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'`,;:=@<>()[]{}".contains(&byte)
}

/// Tells whether a word is as good as random: of all kinds of characters, or of hexadecimal digits. What
/// names accounts and the like is often of these digits as well, but with dashes.
fn is_telling(word: &[u8]) -> bool {
    let different: BTreeSet<u8> = word.iter().copied().collect();
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    let is_mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    let is_hex = word.len() >= MIN_HEX && word.iter().all(u8::is_ascii_hexdigit);
    let slashes = word.iter().filter(|byte| **byte == b'/').count();
    let is_path = word.starts_with(b"//") || word.starts_with(b"/") && slashes > 2;
    let is_public = PUBLIC.iter().any(|start| word.starts_with(start));
    word.len() >= MIN_PART
        && different.len() >= MIN_DIFFERENT
        && (is_mixed || is_hex)
        && !is_path
        && !is_public
}

/// A value as addresses, JSON, programs' messages and shells write it.
fn quoted_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        value.to_vec(),
        replace(value, &[(b'\'', r"'\''")]),
        replace(value, &[(b'\'', r#"'"'"'"#)]),
        replace(value, &[(b'\'', r"\'"), (b'\\', r"\\")]),
        replace(value, &[(b'"', "\\\""), (b'\\', r"\\"), (b'$', r"\$"), (b'`', r"\`")]),
        replace(
            value,
            &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&quot;"), (b'\'', "&#39;")],
        ),
        backslashed(value),
        hex(value, false),
        hex(value, true),
    ];
    // What is left as it is in a part of an address, in a whole one, and in a form.
    for plain in ["-_.~", "-_.!~*'()", "-_.!~*'();/?:@&=+$,#", "-_.*"] {
        forms.extend([percent(value, plain, true), percent(value, plain, false)]);
    }
    forms.push(replace(&percent(value, "-_.* ", true), &[(b' ', "+")]));
    if let Ok(text) = str::from_utf8(value) {
        forms.extend(json_forms(text));
    }
    forms
}

fn json_forms(text: &str) -> [Vec<u8>; 3] {
    let quoted = serde_json::to_string(text).expect("texts can be written as JSON");
    let json = quoted[1..quoted.len() - 1].to_owned();
    let mut units = [0; 2];
    let ascii: String = json
        .chars()
        .map(|c| match c.is_ascii() {
            true => c.to_string(),
            false => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        })
        .collect();
    [json.replace('/', "\\/").into_bytes(), json.into_bytes(), ascii.into_bytes()]
}

fn replace(value: &[u8], with: &[(u8, &str)]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(value.len());
    for byte in value {
        match with.iter().find(|(from, _)| from == byte) {
            Some((_, to)) => replaced.extend_from_slice(to.as_bytes()),
            None => replaced.push(*byte),
        }
    }
    replaced
}

/// As shells quote without quotes.
fn backslashed(value: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(value.len());
    for byte in value {
        if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"_@%+=:,./-".contains(byte) {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted
}

fn percent(value: &[u8], plain: &str, is_upper: bool) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(value.len());
    for byte in value {
        match byte.is_ascii_alphanumeric() || plain.as_bytes().contains(byte) {
            true => encoded.push(*byte),
            false => {
                encoded.push(b'%');
                encoded.extend(hex(&[*byte], is_upper));
            }
        }
    }
    encoded
}

fn hex(value: &[u8], is_upper: bool) -> Vec<u8> {
    let digits = if is_upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    value.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Vec<&str> {
        parts(value.as_bytes()).into_iter().map(|part| str::from_utf8(part).unwrap()).collect()
    }

    #[test]
    fn parts_are_what_nobody_else_writes() {
        let body =
            "MHcCAQEEIE0fv2rGQHYxUvjvmSYyxZ0VJQvKFtXe2jHtYMzZ8t7boAoGCCqGSM49\nAwEHoUQDQgAEk5XzXJqF0p3nQ1Y2";
        let key = format!("-----BEGIN EC PRIVATE KEY-----\n{body}==\n-----END EC PRIVATE KEY-----\n");
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(found(&key), lines);
        assert_eq!(found(&key.replace('\n', "\r\n")), lines);
        let json = serde_json::json!({
            "type": "service_account",
            "private_key": key,
            "auth_uri": "https://accounts.example.com/o/OAuth2/auth-provider",
        });
        assert_eq!(found(&json.to_string()), lines, "in one line, with the addresses that all have");
        let certificate = key.replace("EC PRIVATE KEY", "CERTIFICATE");
        assert_eq!(found(&format!("{certificate}{key}")), lines, "what comes with it is public");
        assert_eq!(
            found(
                "registry=https://registry.example.org/v2/Path1\n//registry.example.org/:_authToken=npm_3xAmpl3Of4T0ken99\nalways-auth=true\n"
            ),
            ["npm_3xAmpl3Of4T0ken99"]
        );
        assert_eq!(
            found("machine a.example.org login me password 0123456789abcdef0123456789abcdef"),
            ["0123456789abcdef0123456789abcdef"]
        );
    }

    #[test]
    fn what_may_stand_anywhere_is_no_part() {
        let openssh = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
        for text in [
            "",
            "correct horse battery staple",
            "Aa1Aa1Aa1Aa1Aa1Aa1Aa1",
            "12345678-9abc-def0-1234-56789abcdef0",
            "/home/me/Keys/app1.jks",
            openssh,
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        let many: String = (0..500).map(|n| format!("Line{n:03}xYzQwErTyUi\n")).collect();
        assert_eq!(found(&many).len(), MOST_PARTS);
    }
}
