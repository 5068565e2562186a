//! Text that becomes part of a page. Everything that an image says is hostile until it went
//! through here.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{names, text};

/// Writes text so that it is text in HTML, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in names::escape_rest(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Writes JSON so that nothing in it ends the element that it stands in.
pub(super) fn json(value: &Value) -> String {
    // Outside of strings JSON has no `<`.
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Leaves out the middle of what is longer than this many characters, and says how many it left out.
pub(super) fn shorten(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let half = most / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{start} […{} characters…] {end}", number((count - 2 * half) as u64))
}

/// Writes a number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a number of bytes for people, with the exact one beside it for programs.
pub(super) fn bytes(count: u64) -> String {
    format!("<data value=\"{count}\" title=\"{} bytes\">{}</data>", number(count), text::bytes(count))
}

/// Writes a share in percent.
pub(super) fn share(part: u64, whole: u64) -> String {
    match (part, percent(part, whole)) {
        (0, _) => "0 %".to_owned(),
        (_, percent) if percent < 0.1 => "under 0.1 %".to_owned(),
        (_, percent) if percent < 9.95 => format!("{percent:.1} %"),
        (_, percent) => format!("{percent:.0} %"),
    }
}

/// A share in percent, of which there is none of nothing.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// The most colours that layers and kinds of files have; then they begin again.
pub(super) const COLOURS: usize = 10;

/// Draws a share as a bar, in the colour of a layer.
pub(super) fn bar(part: u64, whole: u64, layer: usize) -> String {
    let mut bar = String::from(
        "<svg class=\"bar\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let (width, colour) = (percent(part, whole), layer % COLOURS);
    let _ = write!(bar, "<rect class=\"c{colour}\" width=\"{width:.2}\" height=\"4\"/></svg>");
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_an_image_says_is_markup() {
        assert_eq!(
            escape("<img src=x onerror='a'>&\"\n"),
            "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;\\n"
        );
        let data = serde_json::json!({ "</script><!--": "<\u{2028}" });
        let text = json(&data);
        assert!(!text.contains('<') && !text.contains('\u{2028}'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), data);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten(&"äb".repeat(600), 4), "äb […1,196 characters…] äb");
    }

    #[test]
    fn numbers_are_readable() {
        let shown = [0, 999, 1000, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        let shares = [(0, 0), (1, 100_000), (1, 30), (1, 2), (2, 2)].map(|(part, whole)| share(part, whole));
        assert_eq!(shares, ["0 %", "under 0.1 %", "3.3 %", "50 %", "100 %"]);
    }
}
