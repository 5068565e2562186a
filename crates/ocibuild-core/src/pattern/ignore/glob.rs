//! The globs of ignore files, which run over whole paths: a `**` needs no slashes around it, and a
//! class may stand for a slash.

use super::IgnoreFault;
use crate::pattern::component::unit;

/// A glob, as the steps of an automaton.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    steps: Vec<Step>,
}

/// A character by its number, or a byte that belongs to none, beyond all of them.
type Code = u32;

const SLASH: Code = b'/' as Code;
const BEYOND: Code = 0x11_0000;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// This character.
    One(Code),
    /// One character of a name.
    Any,
    /// One character of these ranges, or one that is in none of them.
    Class { negated: bool, ranges: Vec<(Code, Code)> },
    /// Any number of characters of a name, also none.
    Star,
    /// Anything.
    Rest,
    /// The next step, or not.
    Maybe,
    /// Anything up to a slash, with it.
    ThroughSlash,
}

/// Which steps may come next, a bit each.
struct States(Vec<u64>);

impl Glob {
    pub(super) fn parse(text: &[u8]) -> Result<Self, IgnoreFault> {
        let codes: Vec<Code> = codes(text).collect();
        let mut steps = Vec::new();
        let mut rest = codes.as_slice();
        while let Some((code, after)) = rest.split_first() {
            rest = after;
            match char::from_u32(*code) {
                Some('*') if rest.first() == Some(&Code::from(b'*')) => {
                    rest = double_star(&rest[1..], &mut steps);
                }
                Some('*') => steps.push(Step::Star),
                Some('?') => steps.push(Step::Any),
                Some('[') => steps.push(class(&mut rest)?),
                Some('\\') => {
                    let (code, after) = rest.split_first().ok_or(IgnoreFault::Escape)?;
                    steps.push(Step::One(*code));
                    rest = after;
                }
                _ => steps.push(Step::One(*code)),
            }
        }
        Ok(Self { steps })
    }

    /// Tells whether it stands for a path or one of its parents.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        if path.is_empty() {
            return false;
        }
        let (mut states, mut next) = (self.start(), self.none());
        for code in codes(path) {
            if code == SLASH && states.has(self.steps.len()) {
                return true;
            }
            self.advance(&states, code, &mut next);
            std::mem::swap(&mut states, &mut next);
            if states.is_empty() {
                return false;
            }
        }
        states.has(self.steps.len())
    }

    /// Tells whether it may stand for something below a directory.
    pub(super) fn may_cover_below(&self, directory: &[u8]) -> bool {
        if directory.is_empty() {
            return true;
        }
        let (mut states, mut next) = (self.start(), self.none());
        for code in codes(directory).chain([SLASH]) {
            self.advance(&states, code, &mut next);
            std::mem::swap(&mut states, &mut next);
        }
        !states.is_empty()
    }

    fn start(&self) -> States {
        let mut states = self.none();
        self.enter(&mut states, 0);
        states
    }

    fn none(&self) -> States {
        States(vec![0; self.steps.len() / 64 + 1])
    }

    /// Makes `next` the states after one more character.
    fn advance(&self, states: &States, code: Code, next: &mut States) {
        next.0.fill(0);
        for index in states.iter().take_while(|index| *index < self.steps.len()) {
            let (stays, goes) = match &self.steps[index] {
                Step::One(one) => (false, *one == code),
                Step::Any => (false, code != SLASH),
                Step::Class { negated, ranges } => {
                    let within = ranges.iter().any(|(low, high)| (*low..=*high).contains(&code));
                    (false, within != *negated)
                }
                Step::Star => (code != SLASH, false),
                Step::Rest => (true, false),
                Step::Maybe => (false, false),
                Step::ThroughSlash => (true, code == SLASH),
            };
            if stays {
                self.enter(next, index);
            }
            if goes {
                self.enter(next, index + 1);
            }
        }
    }

    /// Adds a step, and those that come next if it stands for nothing.
    fn enter(&self, states: &mut States, mut index: usize) {
        loop {
            states.add(index);
            match self.steps.get(index) {
                Some(Step::Star | Step::Rest) => index += 1,
                Some(Step::Maybe) => {
                    states.add(index + 1);
                    index += 2;
                }
                _ => return,
            }
        }
    }
}

/// Takes what follows two stars. At the end they stand for anything; else for any number of
/// directories, also none, with or without the slash behind them. In front of plain characters
/// alone docker takes them for the end of any path: `**x` stands for `ax`, `**x?` for no `axb`.
fn double_star<'a>(rest: &'a [Code], steps: &mut Vec<Step>) -> &'a [Code] {
    let special = |code: &Code| matches!(char::from_u32(*code), Some('*' | '?' | '[' | ']' | '\\'));
    let after = rest.strip_prefix(&[SLASH]).unwrap_or(rest);
    let is_suffix = steps.is_empty() && after.len() == rest.len() && !rest.iter().any(special);
    if after.is_empty() || is_suffix {
        steps.push(Step::Rest);
    } else {
        steps.extend([Step::Maybe, Step::ThroughSlash]);
    }
    after
}

fn class(rest: &mut &[Code]) -> Result<Step, IgnoreFault> {
    let negated = take(rest, b'^');
    let mut ranges = Vec::new();
    loop {
        match rest.first() {
            None => return Err(IgnoreFault::Unclosed),
            Some(code) if *code == Code::from(b']') => {
                *rest = &rest[1..];
                if ranges.is_empty() {
                    return Err(IgnoreFault::EmptyClass);
                }
                return Ok(Step::Class { negated, ranges });
            }
            Some(_) => {}
        }
        let low = member(rest)?;
        let high = if take(rest, b'-') { member(rest)? } else { low };
        if high < low {
            return Err(IgnoreFault::EmptyRange);
        }
        ranges.push((low, high));
    }
}

fn member(rest: &mut &[Code]) -> Result<Code, IgnoreFault> {
    if matches!(rest.first(), Some(code) if *code == Code::from(b'-') || *code == Code::from(b']')) {
        return Err(IgnoreFault::Dash);
    }
    take(rest, b'\\');
    let (code, after) = rest.split_first().ok_or(IgnoreFault::Unclosed)?;
    *rest = after;
    Ok(*code)
}

fn take(rest: &mut &[Code], byte: u8) -> bool {
    let found = rest.first() == Some(&Code::from(byte));
    if found {
        *rest = &rest[1..];
    }
    found
}

fn codes(mut text: &[u8]) -> impl Iterator<Item = Code> + '_ {
    std::iter::from_fn(move || {
        let first = *text.first()?;
        let (code, length) = match first {
            0..0x80 => (Code::from(first), 1),
            _ => match unit(text) {
                (Some(c), length) => (Code::from(c), length),
                (None, length) => (BEYOND + Code::from(first), length),
            },
        };
        text = &text[length..];
        Some(code)
    })
}

impl States {
    fn add(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bits = |mut word: u64| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (bit < 64).then_some(bit)
            })
        };
        self.0.iter().enumerate().flat_map(move |(index, word)| bits(*word).map(move |bit| index * 64 + bit))
    }
}
