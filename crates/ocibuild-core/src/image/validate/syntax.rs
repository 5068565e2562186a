//! The small grammars that values have to follow.

/// Tells whether the text is a media type
/// ([RFC 6838, 4.2](https://www.rfc-editor.org/rfc/rfc6838#section-4.2)).
pub(super) fn is_media_type(text: &str) -> bool {
    let part = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
        part.len() <= 127 && part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(fits)
    };
    text.split_once('/').is_some_and(|(kind, subtype)| part(kind) && part(subtype))
}

/// Tells whether the text is a digest, also by an algorithm that isn't registered
/// ([image-spec, digests](https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests)).
pub(super) fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let component =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let hex =
        |length| encoded.len() == length && encoded.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match algorithm {
        "sha256" | "blake3" => hex(64),
        "sha512" => hex(128),
        _ => {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"=_-".contains(&b);
            algorithm.split(['+', '.', '_', '-']).all(component)
                && !encoded.is_empty()
                && encoded.bytes().all(fits)
        }
    }
}

/// Tells whether the text names a port as the config's `ExposedPorts` has it: `80`, `80/tcp`, …
pub(super) fn is_port(text: &str) -> bool {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty();
    digits && port.parse::<u16>().is_ok() && matches!(protocol, "tcp" | "udp" | "sctp")
}

/// Tells whether the text is made of what an address may hold, and begins with a scheme
/// ([RFC 3986](https://www.rfc-editor.org/rfc/rfc3986)).
pub(super) fn is_uri(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&b);
    let scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    text.bytes().all(fits)
        && text.split_once(':').is_some_and(|(name, _)| {
            name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(scheme)
        })
}

/// Decodes base64 with padding ([RFC 4648, 4](https://www.rfc-editor.org/rfc/rfc4648#section-4)).
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in body.bytes() {
        bits = bits << 6 | sextet(byte)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(bytes)
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::is_time;

    #[track_caller]
    fn check(is: impl Fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(is(text), "{text}");
        }
        for text in bad {
            assert!(!is(text), "{text}");
        }
    }

    #[test]
    fn grammars_hold_what_they_should() {
        check(
            is_time,
            &["1970-01-01T00:00:01Z", "2024-02-29t23:59:60.123456789+05:30", "2000-12-31T00:00:00-00:00"],
            &[
                "",
                "2023-02-29T00:00:00Z",
                "2024-01-01",
                "2024-01-01 00:00:00Z",
                "2024-01-01T24:00:00Z",
                "2024-01-01T00:00:00",
                "2024-01-01T00:00:00.Z",
                "2024-13-01T00:00:00Z",
                "2024-01-01T00:00:00+24:00",
            ],
        );
        check(
            is_port,
            &["80", "80/tcp", "53/udp"],
            &["", "/tcp", "80/", "80/http", "70000", "-1", "80-90/tcp"],
        );
        check(is_media_type, &["application/vnd.a+json"], &["", "a", "a/", "/b", "a/b/c", "a/b c", "ä/b"]);
        check(is_uri, &["https://example.com/a?b=%20"], &["", "a b:c", "//x", "1x:y", "no scheme"]);
        let hex = "a".repeat(64);
        check(
            is_digest,
            &[&format!("sha256:{hex}"), "multihash+base58:QmRZ", "sha256+b64u:LCa0-_="],
            &[
                "sha256:../../x",
                &format!("sha256:{}", hex.to_uppercase()),
                "sha256",
                "SHA256:aa",
                "a++b:c",
                "a:",
            ],
        );
    }

    #[test]
    fn base64_is_decoded() {
        for (text, expected) in
            [("", Some(&b""[..])), ("aGVsbG8=", Some(b"hello")), ("aGVsbA==", Some(b"hell"))]
        {
            assert_eq!(base64(text).as_deref(), expected);
        }
        for text in ["a", "a===", "aGVsbG8", "aGVs bG8=", "aGVsbH==", "====", "-_=="] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
