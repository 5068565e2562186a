//! Which layers two images have in common.

use ocibuild_core::base::Base;

/// How layers of two images stand to each other. Numbers are from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pair {
    /// Both have the same blob.
    SameBlob(usize, usize),
    /// Both have the same content, in different blobs.
    SameContent(usize, usize),
    /// Only the first image has it.
    Removed(usize),
    /// Only the second image has it.
    Added(usize),
}

/// Lines up the layers of two images so that as many as can be stand beside their like. There are
/// at most 127 in each.
pub(super) fn pair(before: &Base, after: &Base) -> Vec<Pair> {
    let (one, other) = (&before.diff_ids, &after.diff_ids);
    // How many pairs there can be from here to the end.
    let mut pairs = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in (0..one.len()).rev() {
        for j in (0..other.len()).rev() {
            pairs[i][j] = match one[i] == other[j] {
                true => pairs[i + 1][j + 1] + 1,
                false => pairs[i + 1][j].max(pairs[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while i < one.len() || j < other.len() {
        if i < one.len() && j < other.len() && one[i] == other[j] {
            let same = before.layers[i].digest == after.layers[j].digest;
            found.push(if same { Pair::SameBlob(i, j) } else { Pair::SameContent(i, j) });
            (i, j) = (i + 1, j + 1);
        } else if j == other.len() || i < one.len() && pairs[i + 1][j] >= pairs[i][j + 1] {
            found.push(Pair::Removed(i));
            i += 1;
        } else {
            found.push(Pair::Added(j));
            j += 1;
        }
    }
    found
}
