//! What registries warn of: the `Warning` header
//! ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#warnings),
//! [RFC 7234, 5.5](https://www.rfc-editor.org/rfc/rfc7234#section-5.5)).

use crate::registry::error::tidy;
use crate::registry::http::field::{split, unquote};

/// Returns the texts of a header, fit to be shown. Those of the code 299 alone are for people; others
/// are caches talking to caches.
pub(crate) fn texts(header: &str) -> impl Iterator<Item = String> {
    split(header).into_iter().filter_map(|warning| {
        // Code, agent, text, and perhaps a date.
        let (code, rest) = warning.split_once(' ')?;
        let (_, text) = rest.trim_start().split_once(' ')?;
        let text = text.trim_start();
        let text = tidy(&unquote(&text[..end_of_quoted(text)?]));
        (code == "299" && !text.is_empty()).then_some(text)
    })
}

/// Where a quoted text ends, that begins here.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    let inner = text.strip_prefix('"')?;
    let end = inner.find(|c| match c {
        _ if escaped => {
            escaped = false;
            false
        }
        '\\' => {
            escaped = true;
            false
        }
        c => c == '"',
    })?;
    Some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_people_is_read() {
        let read = |header: &str| texts(header).collect::<Vec<_>>();
        assert_eq!(read(r#"299 - "this tag goes on Monday""#), ["this tag goes on Monday"]);
        assert_eq!(
            read(r#"299 - "say \"please\", then wait", 299 r.io "two""#),
            [r#"say "please", then wait"#, "two"]
        );
        assert_eq!(read(r#"299 - "old" "Sat, 21 Nov 2026 16:00:30 GMT""#), ["old"]);
        assert_eq!(read("299 - \"a\tb\u{7f}c\"").len(), 1);
        assert!(!read("299 - \"a\u{1b}[31m\"")[0].contains('\u{1b}'));
        assert_eq!(read(&format!("299 - \"{}\"", "x".repeat(1000)))[0].len(), 300);
        for header in ["", "299", "299 -", "299 - x", r#"299 - """#, r#"110 - "stale""#, r#"299 - "open"#] {
            assert!(read(header).is_empty(), "{header}");
        }
    }
}
