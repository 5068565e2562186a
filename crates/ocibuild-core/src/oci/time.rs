//! Times, as the image specification has them.

/// Tells whether the text is a time ([RFC 3339, 5.6](https://www.rfc-editor.org/rfc/rfc3339#section-5.6)).
#[must_use]
pub fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((head, tail)) = bytes.split_at_checked(19) else { return false };
    let form = head.iter().zip(b"0000-00-00T00:00:00").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't'),
        _ => byte == form,
    });
    if !form {
        return false;
    }
    let number = |range: std::ops::Range<usize>| -> u32 {
        head[range].iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'))
    };
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && number(11..13) <= 23
        && number(14..16) <= 59
        && number(17..19) <= 60
        && is_zone(without_fraction(tail))
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn without_fraction(tail: &[u8]) -> &[u8] {
    match tail {
        [b'.', digits @ ..] if digits.first().is_some_and(u8::is_ascii_digit) => {
            let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
            &digits[end..]
        }
        _ => tail,
    }
}

fn is_zone(zone: &[u8]) -> bool {
    match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => {
            [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) && [*a, *b] <= *b"23" && [*c, *d] <= *b"59"
        }
        _ => false,
    }
}
