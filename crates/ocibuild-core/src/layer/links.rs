//! Names of one file within a layer: links, where copies keep them, and else the file again.

use std::collections::BTreeMap;

use crate::files::{Entry, EntryKind, FileId, FileSource, Metadata};

/// Makes every further name of a file a link to its first, where the copies keep links and both
/// names have the same metadata. Returns the number and bytes of the files that are written again.
pub(super) fn link(entries: &mut [Entry]) -> (u64, u64) {
    let mut known: BTreeMap<FileId, Vec<usize>> = BTreeMap::new();
    let mut again = (0, 0);
    for index in 0..entries.len() {
        let Some((seen, _)) = shared(&entries[index]) else { continue };
        let names = known.entry(seen.id).or_default();
        match names.iter().find(|name| is_one(&entries[**name], &entries[index])) {
            Some(first) => entries[index].kind = EntryKind::Hardlink(entries[*first].path.clone()),
            None => {
                if !names.is_empty() {
                    again = (again.0 + 1, again.1 + seen.size);
                }
                names.push(index);
            }
        }
    }
    again
}

/// Returns what was seen of a file with several names, and what its copy says of links and of
/// other machines.
fn shared(entry: &Entry) -> Option<(&Metadata, (bool, bool))> {
    match &entry.kind {
        EntryKind::File { source: FileSource::Tree { seen, allow_foreign, keeps_links, .. }, .. } => {
            Some((&**seen, (*keeps_links, *allow_foreign))).filter(|(seen, _)| seen.links > 1)
        }
        _ => None,
    }
}

fn is_one(one: &Entry, other: &Entry) -> bool {
    let (Some((one_seen, rules)), Some((other_seen, other_rules))) = (shared(one), shared(other)) else {
        return false;
    };
    let metadata = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    rules.0
        && rules == other_rules
        && one_seen.is_unchanged(other_seen)
        && metadata(one) == metadata(other)
        && one.xattrs == other.xattrs
}
