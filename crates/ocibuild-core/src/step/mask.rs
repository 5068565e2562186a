//! Secrets taken out of what a command writes.
//!
//! A command that was given a secret may print it, and in other clothes: in an address, a header, a
//! trace of the shell. What isn't known here is where lines come from and where they go.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use aho_corasick::AhoCorasick;

use crate::step::forms;

/// What stands in a secret's place.
const STARS: &[u8] = b"***";
/// Less than this many characters can't be hidden: they would be found everywhere.
const MIN: usize = 4;
/// A secret may have as many bytes; what is searched for is some dozen times as long.
pub(super) const MAX: usize = 64 << 10;
/// What is longer is searched for in pieces of so many bytes, so that little has to be held back.
const PIECE: usize = 4 << 10;
/// How many bytes are held back at most of a line that consists of secrets alone.
const SOLID: usize = 1 << 20;

/// A secret can't be masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// The value is so short that it can't be told from other text.
    #[error("a value of less than {MIN} characters cannot be kept out of logs")]
    Short,
    /// The value is so long that it can't be searched for.
    #[error("a value of {size} bytes is too long to be kept out of logs, {MAX} is the most")]
    Long {
        /// How long it is, in bytes.
        size: usize,
    },
    /// There are more values than can be searched for.
    #[error("there are too many values to keep out of logs")]
    Many,
}

/// Hides secrets: the values themselves, each of their lines, and what they look like quoted or
/// encoded.
///
/// Without values, it hides nothing and costs nothing.
#[derive(Clone, Default)]
pub(crate) struct Masker {
    search: Option<AhoCorasick>,
    /// The length of the longest that is searched for, in bytes.
    longest: usize,
}

impl Masker {
    /// Prepares for values, which may be any bytes.
    ///
    /// # Errors
    /// [`MaskError`] if one is too short or too long.
    pub(crate) fn new<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> Result<Self, MaskError> {
        let mut forms = BTreeSet::new();
        for value in values {
            let value = value.as_ref();
            Self::check(value)?;
            add_forms(value, &mut forms);
        }
        if forms.is_empty() {
            return Ok(Self::default());
        }
        let pieces: BTreeSet<&[u8]> = forms.iter().flat_map(|form| pieces(form)).collect();
        let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
        let search = AhoCorasick::new(&pieces).map_err(|_| MaskError::Many)?;
        Ok(Self { search: Some(search), longest })
    }

    /// Tells whether there is nothing to hide.
    pub(crate) fn is_idle(&self) -> bool {
        self.search.is_none()
    }

    /// Tells whether a value can be masked.
    ///
    /// # Errors
    /// [`MaskError`] if it is too short or too long.
    pub(super) fn check(value: &[u8]) -> Result<(), MaskError> {
        if value.len() > MAX {
            return Err(MaskError::Long { size: value.len() });
        }
        if characters(value.trim_ascii()) < MIN { Err(MaskError::Short) } else { Ok(()) }
    }

    /// Returns a line with stars in the place of secrets.
    ///
    /// Where two overlap, nothing of either is left.
    pub(crate) fn mask<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.find(line);
        if found.is_empty() {
            return Cow::Borrowed(line);
        }
        let mut masked = Vec::with_capacity(line.len());
        let mut end = 0;
        for range in found {
            masked.extend_from_slice(&line[end..range.start]);
            masked.extend_from_slice(STARS);
            end = range.end;
        }
        masked.extend_from_slice(&line[end..]);
        Cow::Owned(masked)
    }

    /// Does the same to text.
    #[cfg(test)]
    pub(crate) fn mask_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.mask(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        }
    }

    /// Says where the beginning of a line that goes on can be cut so that no secret is cut: at
    /// `limit` or somewhat before it. `None` says that more of the line is needed.
    pub(crate) fn cut(&self, begun: &[u8], limit: usize) -> Option<usize> {
        // Behind `limit` there is enough for every secret that begins before it.
        if begun.len() < limit + self.longest {
            return None;
        }
        let found = self.find(begun);
        let over = found.iter().find(|range| range.start < limit && limit < range.end);
        match over.map(|range| range.start) {
            None => Some(limit),
            // From its start to here, the line is nothing but secrets.
            Some(0) => (begun.len() >= SOLID).then(|| begun.len() - self.longest),
            Some(start) => Some(start),
        }
    }

    /// Finds all secrets, in order; those that touch are one.
    fn find(&self, line: &[u8]) -> Vec<Range<usize>> {
        let Some(search) = &self.search else { return Vec::new() };
        let mut found: Vec<Range<usize>> = Vec::new();
        // They come in the order of their ends.
        for secret in search.find_overlapping_iter(line) {
            let mut range = secret.range();
            while let Some(last) = found.pop_if(|last| last.end >= range.start) {
                range.start = range.start.min(last.start);
            }
            found.push(range);
        }
        found
    }
}

/// Shows nothing of the values.
impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").finish_non_exhaustive()
    }
}

fn characters(bytes: &[u8]) -> usize {
    str::from_utf8(bytes).map_or(bytes.len(), |text| text.chars().count())
}

/// Cuts what is long in pieces, the last of which overlaps the one before.
fn pieces(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = form.chunks_exact(PIECE);
    let rest =
        if whole.remainder().is_empty() { None } else { Some(&form[form.len().saturating_sub(PIECE)..]) };
    whole.chain(rest)
}

/// Adds what a value looks like, however it is written.
fn add_forms(value: &[u8], all: &mut BTreeSet<Vec<u8>>) {
    let trimmed = value.trim_ascii();
    let lines = trimmed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    // What a file holds ends with a line break, which is seldom passed on.
    for part in [value, trimmed].into_iter().chain(lines).filter(|part| characters(part) >= MIN) {
        all.extend(forms::forms(part));
        all.extend(forms::base64_alone(part));
        all.extend(forms::base64_lines(part).into_iter().flatten());
    }
    // As what a command made is searched for them: their names are told.
    all.extend(forms::parts(value).into_iter().flat_map(forms::forms));
    all.retain(|form| characters(form) >= MIN);
}

#[cfg(test)]
mod tests;
