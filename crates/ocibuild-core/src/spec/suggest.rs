//! "Did you mean": the known word nearest to a mistyped one.

/// The one of `known` that is so near to `word` that it was probably meant.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong; a word of two letters is never taken for another.
    let most = (word.chars().count() + 1) / 3;
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate, most), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The number of insertions, deletions, replacements and swaps of neighbours between two words,
/// or something above `most`. Case, and the difference between `-` and `_`, cost nothing.
fn distance(a: &str, b: &str, most: usize) -> usize {
    let (a, b) = (folded(a), folded(b));
    if a.len().abs_diff(b.len()) > most {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut cost = last[j] + usize::from(a[i] != b[j]);
            cost = cost.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

fn folded(word: &str) -> Vec<char> {
    word.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}
