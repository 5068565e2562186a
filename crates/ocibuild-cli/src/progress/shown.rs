//! What commands write, made fit to be shown among our lines.

/// A line as it may be shown: of what steers a terminal colours stay, if there are any, and nothing
/// else. Of a line that was drawn over itself, as bars are, the last state stays.
pub(crate) fn shown(line: &str, is_coloured: bool) -> String {
    let line = line.trim_end_matches('\r');
    let last = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut text = String::with_capacity(last.len());
    let mut has_colour = false;
    let mut rest = last.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\u{1b}' => {
                let colour = escaped(&mut rest).filter(|_| is_coloured);
                has_colour |= colour.is_some();
                text.extend(colour);
            }
            '\u{9b}' => drop(control(&mut rest)),
            '\t' => text.push('\t'),
            letter if letter.is_control() => {}
            letter => text.push(letter),
        }
    }
    if has_colour {
        text.push_str("\u{1b}[0m");
    }
    text
}

/// Takes what follows an escape; returns it with that if it is a colour.
fn escaped(rest: &mut std::str::Chars<'_>) -> Option<String> {
    match rest.next()? {
        '[' => control(rest),
        // Titles, links and the like, to a bell or to an escape and a backslash.
        ']' | 'P' | 'X' | '^' | '_' => {
            let mut before = ' ';
            for letter in rest {
                if letter == '\u{7}' || (before == '\u{1b}' && letter == '\\') {
                    break;
                }
                before = letter;
            }
            None
        }
        ' '..='/' => {
            rest.find(|letter| !(' '..='/').contains(letter));
            None
        }
        _ => None,
    }
}

/// Takes a control sequence; returns it if it is a colour.
fn control(rest: &mut std::str::Chars<'_>) -> Option<String> {
    let mut parameters = String::new();
    for letter in rest {
        match letter {
            'm' if parameters.chars().all(|letter| matches!(letter, '0'..='9' | ';' | ':')) => {
                return Some(format!("\u{1b}[{parameters}m"));
            }
            '@'..='~' => return None,
            letter => parameters.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_nothing_else_that_steers_a_terminal() {
        let cases = [
            ("plain\ttext", "plain\ttext", "plain\ttext"),
            ("\u{1b}[31mred\u{1b}[0m", "\u{1b}[31mred\u{1b}[0m\u{1b}[0m", "red"),
            ("\u{1b}[2K\u{1b}[1Aup\u{1b}[?25l", "up", "up"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b", "ab", "ab"),
            ("\u{1b}(Ba\u{1b}cb\u{8}\u{7}c", "abc", "abc"),
            ("\u{9b}2Jx\u{1b}", "x", "x"),
            ("10%\r50%\r100%\r", "100%", "100%"),
            ("\u{1b}[>4;1mx", "x", "x"),
        ];
        for (line, coloured, plain) in cases {
            assert_eq!(shown(line, true), coloured, "{line:?}");
            assert_eq!(shown(line, false), plain, "{line:?}");
        }
    }
}
