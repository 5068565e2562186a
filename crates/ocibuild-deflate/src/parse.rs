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
}

/// Takes the longest match wherever there is one.
pub(crate) fn greedy<const SHORT: bool>(
    matcher: &mut Matcher,
    bytes: &[u8],
    effort: Effort,
    mut splitter: Splitter<'_, '_>,
) {
    matcher.start(bytes);
    let end = bytes.len().saturating_sub(LOOKAHEAD);
    let mut position = 1;
    while position < end {
        let found = matcher.search::<SHORT>(bytes, position, effort.search);
        if found.length > 3 || found.length == 3 && worth(&splitter, bytes, position, found) {
            splitter.push(position, found.length, found.distance);
            let next = position + found.length;
            for passed in position + 1..next.min(end) {
                matcher.insert::<SHORT>(bytes, passed);
            }
            position = next;
        } else {
            position += 1;
            let run = position - splitter.end();
            if run >= DULL {
                position += run / DULL;
                if run >= LONGEST_RUN {
                    position = position.min(bytes.len());
                    splitter.push_run(position);
                }
            }
        }
    }
    splitter.finish();
}

#[inline(always)]
fn worth(splitter: &Splitter<'_, '_>, bytes: &[u8], position: usize, found: Match) -> bool {
    splitter.prices.favours_shortest(&bytes[position..], distance_slot(found.distance - 1))
}
