//! Points in time as servers write them, in whole seconds since 1970.
//!
//! Compares what one server says with what it says elsewhere; there is no clock of ours in it.

/// Reads a time as in `2026-11-21T16:00:30.5+01:00`
/// ([RFC 3339](https://www.rfc-editor.org/rfc/rfc3339#section-5.6)); years before 1970 aren't read.
pub(crate) fn rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let zone = rest.find(['Z', 'z', '+', '-']).map(|at| &rest[at..])?;
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign, rest) => {
            let (hours, minutes) = rest.split_once(':')?;
            let seconds = i64::try_from(digits(hours)? * 3600 + digits(minutes)? * 60).ok()?;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    seconds(year, month, day, time)?.checked_sub_signed(offset)
}

/// Reads a time as in `Sat, 21 Nov 2026 16:00:30 GMT`
/// ([RFC 9110, 5.6.7](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7)); the two obsolete
/// forms aren't read.
pub(crate) fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.trim().split_once(", ")?;
    let mut words = rest.split(' ');
    let day = digits(words.next()?)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year = digits(words.next()?)?;
    let time = words.next()?;
    (words.next() == Some("GMT")).then(|| seconds(year, month, day, time))?
}

fn digits(text: &str) -> Option<u64> {
    let fits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

fn seconds(year: u64, month: u64, day: u64, time: &str) -> Option<u64> {
    let mut parts = time.splitn(3, ':');
    let (hour, minute, second) = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    // A leap second is the first of the next minute.
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970, in a calendar whose years begin with March, so that leap days come last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    // 719468 days lie between the first of March of the year 0 and 1970.
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339("2000-02-29T12:34:56Z"), Some(951_827_696));
        assert_eq!(rfc3339("2026-11-21T17:00:30.123456789+01:00"), Some(1_795_276_830));
        assert_eq!(rfc3339("2026-11-21t15:30:30-00:30"), Some(1_795_276_830));
        assert_eq!(http_date("Sat, 21 Nov 2026 16:00:30 GMT"), Some(1_795_276_830));
        assert_eq!(http_date("Tue, 29 Feb 2000 12:34:56 GMT"), Some(951_827_696));
    }

    #[test]
    fn what_is_no_time_is_none() {
        let cases = [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "1969-12-31T00:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "２０26-01-01T00:00:00Z",
            "2026-01-01T00:00:00+0100",
            "+026-01-01T00:00:00Z",
        ];
        for text in cases {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        for text in [
            "",
            "Sat, 21 Nov 2026 16:00:30",
            "Sat, 21 Foo 2026 16:00:30 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sat, x",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
