//! What a copy keeps of its source, and what it sets instead: of the two the nearer counts, so that
//! a default gives way to what a copy says itself.

use toml::de::{DeArray, DeTable, DeValue};

use super::fields::Value;
use crate::spec::log::Log;
use crate::spec::validate::{KEPT_AND_SET, kept_and_set};

/// Tells whether a copy, or defaults of copies, keep this of their source.
pub(super) fn keeps(table: &DeTable<'_>, word: &str) -> bool {
    let Some(DeValue::Array(words)) = table.get("preserve").map(Value::get_ref) else { return false };
    words.iter().any(|item| item.get_ref().as_str() == Some(word))
}

/// Takes defaults away that the copy, or else its layer, wants to keep from the source.
pub(super) fn give_way(defaults: &mut DeTable<'_>, layer: &DeTable<'_>, copy: &DeTable<'_>) {
    // The copy's own words count before those of defaults, and these before the layer's.
    let own = match (copy.contains_key("preserve"), defaults.contains_key("preserve")) {
        (true, _) => copy,
        (false, true) => return,
        (false, false) => layer,
    };
    for (word, keys) in [("owner", &["owner"][..]), ("mode", &["mode", "dir-mode"])] {
        if keeps(own, word) {
            for key in keys {
                defaults.remove(*key);
            }
        }
    }
}

/// Reports a copy, or defaults of copies, that set what they are to keep.
pub(super) fn contradictions(table: &DeTable<'_>, log: &mut Log) {
    for word in KEPT_AND_SET {
        if let Some((_, value)) = table.get_key_value(word).filter(|_| keeps(table, word)) {
            log.report(kept_and_set(word, Some(value.span().into())));
        }
    }
}

/// Takes all but modes away from what defaults keep: a step's outputs have nothing else.
pub(super) fn only_mode(defaults: &mut DeTable<'_>) {
    let Some(DeValue::Array(words)) = defaults.get_mut("preserve").map(toml::Spanned::get_mut) else {
        return;
    };
    let kept: DeArray<'_> =
        words.iter().filter(|word| word.get_ref().as_str() == Some("mode")).cloned().collect();
    *words = kept;
}
