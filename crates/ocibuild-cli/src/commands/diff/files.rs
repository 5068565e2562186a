//! The files that differ, without what the user wants left out, and how many there are.

use ocibuild_core::contents::Difference;
use serde::Serialize;

use crate::commands::diff::Comparison;
use crate::commands::diff::layers::Pair;

/// How much differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Summary {
    pub(super) files_added: usize,
    pub(super) files_removed: usize,
    pub(super) files_changed: usize,
    pub(super) config_changes: usize,
    pub(super) layers_common: usize,
    pub(super) layers_added: usize,
    pub(super) layers_removed: usize,
}

impl Summary {
    /// Tells whether there is no difference.
    pub(super) fn is_same(&self) -> bool {
        *self == Self { layers_common: self.layers_common, ..Self::default() }
    }
}

/// Counts the differences.
pub(super) fn summary(comparison: &Comparison) -> Summary {
    let mut summary = Summary { config_changes: comparison.config.len(), ..Summary::default() };
    for pair in &comparison.layers {
        match pair {
            Pair::Added(_) => summary.layers_added += 1,
            Pair::Removed(_) => summary.layers_removed += 1,
            _ => summary.layers_common += 1,
        }
    }
    for difference in comparison.differences() {
        match (difference.before, difference.after) {
            (None, _) => summary.files_added += 1,
            (_, None) => summary.files_removed += 1,
            _ => summary.files_changed += 1,
        }
    }
    summary
}

impl Comparison {
    /// Goes over the files that differ.
    pub(super) fn differences(&self) -> impl Iterator<Item = Difference<'_>> {
        self.files
            .iter()
            .flat_map(|(before, after)| before.differences(after))
            .filter_map(|difference| self.heeded(difference))
    }

    fn heeded<'a>(&self, mut difference: Difference<'a>) -> Option<Difference<'a>> {
        let is_changed = !difference.aspects.is_empty();
        difference.aspects.retain(|aspect| !self.ignored.contains(aspect));
        (!is_changed || !difference.aspects.is_empty()).then_some(difference)
    }
}
