//! The part of a pattern that stands for one name.

use super::PatternError;

/// A pattern for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Component {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// These bytes.
    Text(Vec<u8>),
    /// Any number of characters.
    Star,
    /// One character.
    Any,
    /// One character of these ranges, or one that is in none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

impl Component {
    /// `*`
    pub(super) fn any() -> Self {
        Self { tokens: vec![Token::Star] }
    }

    pub(super) fn parse(name: &str) -> Result<Self, PatternError> {
        let mut component = Self { tokens: Vec::new() };
        let mut chars = name.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if component.tokens.last() == Some(&Token::Star) => return Err(PatternError::DoubleStar),
                '*' => component.tokens.push(Token::Star),
                '?' => component.tokens.push(Token::Any),
                '[' => component.tokens.push(class(&mut chars)?),
                '\\' => component.push_text(chars.next().ok_or(PatternError::Escape)?),
                _ => component.push_text(c),
            }
        }
        Ok(component)
    }

    /// The name, if the pattern has nothing special in it.
    pub(super) fn literal(&self) -> Option<&[u8]> {
        match self.tokens.as_slice() {
            [Token::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Tells whether the pattern stands for the name. Takes time at most proportional to the
    /// product of their lengths: a star that turns out too short grows, but one before it never
    /// has to.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let (mut token, mut rest) = (0, name);
        let mut star: Option<(usize, &[u8])> = None;
        loop {
            match self.tokens.get(token) {
                None if rest.is_empty() => return true,
                Some(Token::Star) => {
                    token += 1;
                    star = Some((token, rest));
                    continue;
                }
                Some(one) => {
                    if let Some(left) = one.strip(rest) {
                        token += 1;
                        rest = left;
                        continue;
                    }
                }
                None => {}
            }
            let Some((after, from)) = star.filter(|(_, from)| !from.is_empty()) else { return false };
            let grown = &from[unit(from).1..];
            star = Some((after, grown));
            (token, rest) = (after, grown);
        }
    }

    fn push_text(&mut self, c: char) {
        let mut buffer = [0; 4];
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        match self.tokens.last_mut() {
            Some(Token::Text(text)) => text.extend_from_slice(bytes),
            _ => self.tokens.push(Token::Text(bytes.to_vec())),
        }
    }
}

impl Token {
    /// What is left of `rest` after what the token stands for, if it begins with that.
    fn strip<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        if let Self::Text(text) = self {
            return rest.strip_prefix(text.as_slice());
        }
        if rest.is_empty() {
            return None;
        }
        let (c, length) = unit(rest);
        let fits = match self {
            Self::Class { negated, ranges } => {
                let within = |c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                c.is_some_and(within) != *negated
            }
            _ => true,
        };
        fits.then(|| &rest[length..])
    }
}

/// The first character and its length; a byte that belongs to none counts as one by itself.
pub(super) fn unit(bytes: &[u8]) -> (Option<char>, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        // What was valid before the error is valid by itself.
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    valid.chars().next().map_or((None, 1), |c| (Some(c), c.len_utf8()))
}

fn class(chars: &mut Chars<'_>) -> Result<Token, PatternError> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while chars.next_if_eq(&']').is_none() {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        if high < low {
            return Err(PatternError::EmptyRange(low, high));
        }
        ranges.push((low, high));
    }
    if ranges.is_empty() {
        return Err(PatternError::EmptyClass);
    }
    Ok(Token::Class { negated, ranges })
}

fn member(chars: &mut Chars<'_>) -> Result<char, PatternError> {
    match chars.next() {
        Some('\\') => chars.next().ok_or(PatternError::Unclosed),
        Some(c) => Ok(c),
        None => Err(PatternError::Unclosed),
    }
}
