//! Chooses among literals and matches.

use crate::matcher::{LOOKAHEAD, Match, Matcher, Search};
use crate::split::Splitter;
use crate::tables::distance_slot;

/// Literals in a row from which on positions are passed over.
const DULL: usize = 256;

/// Most literals that are held back.
const LONGEST_RUN: usize = 8192;

/// How much work to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) search: Search,
    /// A match of this length is taken without a look at the next position.
    pub(crate) sure: usize,
}

/// Takes the longest match wherever there is one; if `LAZY`, unless the next position has a
/// better one.
pub(crate) fn parse<const SHORT: bool, const LAZY: bool>(
    matcher: &mut Matcher,
    bytes: &[u8],
    effort: Effort,
    mut splitter: Splitter<'_, '_>,
) {
    matcher.start(bytes);
    let end = bytes.len().saturating_sub(LOOKAHEAD);
    count(&mut splitter, bytes, 0, 1);
    let mut position = 1;
    while position < end {
        let mut found = matcher.search::<SHORT>(bytes, position, effort.search);
        if !worth::<SHORT>(&splitter, bytes, position, found) {
            splitter.count_literal(bytes[position]);
            position = pass_over(&mut splitter, bytes, position + 1);
            continue;
        }
        let mut noted = position + 1;
        while LAZY && found.length < effort.sure && noted < end {
            let next = matcher.search::<SHORT>(bytes, noted, effort.search);
            noted += 1;
            if !better(next, found) {
                break;
            }
            splitter.count_literal(bytes[position]);
            (position, found) = (noted - 1, next);
        }
        splitter.push(position, found.length, found.distance);
        position += found.length;
        matcher.insert_all::<SHORT>(bytes, noted, position.min(end));
    }
    count(&mut splitter, bytes, position, bytes.len());
    splitter.finish();
}

/// Passes over literals where many came before, and returns the next position to look at.
#[inline(always)]
fn pass_over(splitter: &mut Splitter<'_, '_>, bytes: &[u8], position: usize) -> usize {
    let run = position - splitter.end();
    if run < DULL {
        return position;
    }
    let next = (position + run / DULL).min(bytes.len());
    count(splitter, bytes, position, next);
    if run >= LONGEST_RUN {
        splitter.push_run(next);
    }
    next
}

/// Counts literals.
fn count(splitter: &mut Splitter<'_, '_>, bytes: &[u8], start: usize, end: usize) {
    let literals = bytes.get(start..end).unwrap_or_default();
    literals.iter().for_each(|&byte| splitter.count_literal(byte));
}

/// Tells whether a match is likely to be cheaper than its bytes.
#[inline(always)]
fn worth<const SHORT: bool>(
    splitter: &Splitter<'_, '_>,
    bytes: &[u8],
    position: usize,
    found: Match,
) -> bool {
    let slot = || distance_slot((found.distance - 1) & 0x7fff);
    found.length > 3
        || SHORT && found.length == 3 && splitter.prices.favours_shortest(&bytes[position..], slot())
}

/// Tells whether the match at the next position is better by more than the literal before it.
#[inline(always)]
fn better(next: Match, found: Match) -> bool {
    let cost = |found: Match| found.distance.max(1).ilog2() as usize;
    next.length > 3 && 4 * next.length + cost(found) > 4 * found.length + cost(next) + 2
}
