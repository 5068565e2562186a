//! Which part of a split layer each entry lies in.
//!
//! It follows from the entries alone, so that it needs no history and is the same everywhere, and
//! from each package for itself, so that one that grows moves nobody else: a package goes by the
//! hash of its name, and where a part holds too much it is cut in two by the next bit of that
//! hash. `docs/performance.md` has the trial that settled the numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::files::{Entry, EntryKind};
use crate::layer::draft::WHITEOUT;
use crate::layer::package::{Packages, split_first};
use crate::plan::Split;
use crate::tar;

/// Files of at least this many bytes have a part of their own.
const LARGE: u64 = 8 << 20;

/// At most so many files of a split layer have a part of their own: the largest.
pub const LARGE_FILES: usize = 8;

/// A part that would hold more bytes than this is cut in two, while there may be more parts; a
/// package that does goes by its directories.
const ENOUGH: u64 = 8 << 20;

/// Entries of one package, or of a directory of it.
struct Unit {
    /// Decides which part it is in.
    hash: u64,
    /// Its length in the tar stream.
    size: u64,
    entries: Vec<usize>,
}

/// Divides entries, in the order of a layer, into parts: each the indices of its entries, in that
/// order, with the directories on their way. A directory may be in several, all else is in one.
///
/// First come the large files, in their order, then what goes by its packages, in the order of
/// hashes. There is always a part, and none is empty unless the layer is.
pub(super) fn parts(entries: &[Entry], split: Split, packages: &Packages) -> Vec<Vec<usize>> {
    let parents = parents(entries);
    let mut has_children = vec![false; entries.len()];
    parents.iter().flatten().for_each(|parent| has_children[*parent] = true);
    let mut parts: Vec<Vec<usize>> = large(entries).into_iter().map(|index| vec![index]).collect();
    let stands_alone: Vec<usize> = parts.iter().flatten().copied().collect();
    let (mut whiteouts, mut links, mut free) = (Vec::new(), Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        match &entry.kind {
            _ if has_children[index] || stands_alone.contains(&index) => {}
            _ if is_whiteout(entry) => whiteouts.push(index),
            EntryKind::Hardlink(_) => links.push(index),
            _ => free.push(index),
        }
    }
    parts.extend(bins(units(entries, &free, packages), split));
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    parts[0].extend(whiteouts);
    follow(entries, links, &mut parts);
    with_directories(&parents, &mut parts, entries.len());
    parts
}

/// Returns each entry's directory, where it lies in one.
fn parents(entries: &[Entry]) -> Vec<Option<usize>> {
    let mut open: Vec<usize> = Vec::new();
    let mut parents = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let is_in = |directory: &usize| {
            let rest = entry.path.strip_prefix(&*entries[*directory].path);
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        };
        while open.last().is_some_and(|directory| !is_in(directory)) {
            open.pop();
        }
        parents.push(open.last().copied());
        if matches!(entry.kind, EntryKind::Directory) {
            open.push(index);
        }
    }
    parents
}

fn is_whiteout(entry: &Entry) -> bool {
    let name = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.starts_with(WHITEOUT)
}

/// The files that stand alone, in order.
fn large(entries: &[Entry]) -> Vec<usize> {
    let mut large: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].size() >= LARGE).collect();
    large.sort_by_key(|index| std::cmp::Reverse(entries[*index].size()));
    large.truncate(LARGE_FILES);
    large.sort_unstable();
    large
}

/// Puts together what belongs together.
fn units(entries: &[Entry], free: &[usize], packages: &Packages) -> Vec<Unit> {
    let mut found: BTreeMap<Vec<u8>, Vec<(usize, &[u8])>> = BTreeMap::new();
    for index in free {
        let package = packages.package(&entries[*index].path);
        found.entry(package.name).or_default().push((*index, package.rest));
    }
    let mut units = Vec::with_capacity(found.len());
    for (name, members) in found {
        settle(name, members, entries, &mut units);
    }
    units
}

/// Makes a unit of entries, or several by the directories they lie in where they are too much.
fn settle(name: Vec<u8>, members: Vec<(usize, &[u8])>, entries: &[Entry], units: &mut Vec<Unit>) {
    let size = members.iter().map(|(index, _)| length(&entries[*index])).sum();
    let can_be_divided = members.len() > 1 && members.iter().any(|(_, rest)| !rest.is_empty());
    if size <= ENOUGH || !can_be_divided {
        let entries = members.iter().map(|(index, _)| *index).collect();
        units.push(Unit { hash: hash(&name), size, entries });
        return;
    }
    let mut found: BTreeMap<&[u8], Vec<(usize, &[u8])>> = BTreeMap::new();
    for (index, rest) in members {
        let (first, rest) = split_first(rest);
        found.entry(first).or_default().push((index, rest));
    }
    for (first, members) in found {
        settle([&name, &b"/"[..], first].concat(), members, entries, units);
    }
}

fn length(entry: &Entry) -> u64 {
    tar::header_len(entry) + tar::padded(entry.size())
}

fn hash(name: &[u8]) -> u64 {
    let hash = blake3::hash(name);
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("a digest has more than eight bytes"))
}

/// Puts units into parts by their hashes.
fn bins(mut units: Vec<Unit>, split: Split) -> Vec<Vec<usize>> {
    units.sort_by_key(|unit| unit.hash);
    let mut ranges = Vec::new();
    match split {
        Split::Auto { most } => {
            let all = 0..units.len();
            halve(&units, all, 0, most.checked_ilog2().unwrap_or(0), &mut ranges);
        }
        Split::Into(parts) => {
            // The hash as a fraction of all hashes.
            let place = |unit: &Unit| (u128::from(unit.hash) * u128::from(parts)) >> 64;
            let mut start = 0;
            for number in 0..u128::from(parts) {
                let end = units.partition_point(|unit| place(unit) <= number);
                ranges.push(start..end);
                start = end;
            }
        }
        Split::Whole => ranges.push(0..units.len()),
    }
    let filled = ranges.into_iter().filter(|range| !range.is_empty());
    filled.map(|range| units[range].iter().flat_map(|unit| unit.entries.iter().copied()).collect()).collect()
}

/// Cuts a run of units whose hashes agree in `depth` bits in two by the next, as often as it holds
/// too much.
fn halve(units: &[Unit], range: Range<usize>, depth: u32, deepest: u32, ranges: &mut Vec<Range<usize>>) {
    let run = &units[range.clone()];
    if depth == deepest || run.len() < 2 || run.iter().map(|unit| unit.size).sum::<u64>() <= ENOUGH {
        ranges.push(range);
        return;
    }
    let middle = range.start + run.partition_point(|unit| unit.hash << depth >> 63 == 0);
    halve(units, range.start..middle, depth + 1, deepest, ranges);
    halve(units, middle..range.end, depth + 1, deepest, ranges);
}

/// Puts each link into the part that has its file.
fn follow(entries: &[Entry], links: Vec<usize>, parts: &mut [Vec<usize>]) {
    if links.is_empty() {
        return;
    }
    let mut homes: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (number, part) in parts.iter().enumerate() {
        homes.extend(part.iter().map(|index| (&*entries[*index].path, number)));
    }
    for index in links {
        let EntryKind::Hardlink(target) = &entries[index].kind else { continue };
        parts[homes.get(&**target).copied().unwrap_or_default()].push(index);
    }
}

/// Adds the directories on the way to what each part has, and puts it in order.
fn with_directories(parents: &[Option<usize>], parts: &mut [Vec<usize>], count: usize) {
    let mut seen = vec![usize::MAX; count];
    for (number, part) in parts.iter_mut().enumerate() {
        for at in 0..part.len() {
            let mut next = parents[part[at]];
            while let Some(directory) = next.filter(|directory| seen[*directory] != number) {
                seen[directory] = number;
                part.push(directory);
                next = parents[directory];
            }
        }
        part.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::FileSource;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.as_bytes().into(), kind, mode: 0o755, uid: 0, gid: 0, mtime: 1, xattrs: None }
    }

    fn file(path: &str, size: u64) -> Entry {
        entry(path, EntryKind::File { source: FileSource::Bytes([].into()), size })
    }

    fn directory(path: &str) -> Entry {
        entry(path, EntryKind::Directory)
    }

    /// The paths of each part.
    fn split(entries: &[Entry], split: Split) -> Vec<Vec<String>> {
        let path = |index: &usize| String::from_utf8_lossy(&entries[*index].path).into_owned();
        let parts = parts(entries, split, &Packages::of(entries, vec![Vec::new()]));
        parts.iter().map(|part| part.iter().map(path).collect()).collect()
    }

    const AUTO: Split = Split::Auto { most: 64 };

    #[test]
    fn a_layer_of_nothing_has_a_part() {
        assert_eq!(split(&[], AUTO), [Vec::<String>::new()]);
        assert_eq!(split(&[directory("a")], AUTO), [["a"]]);
        assert_eq!(split(&[file("a/.wh.x", 0)], Split::Into(4)), [["a/.wh.x"]]);
    }

    #[test]
    fn the_largest_files_stand_alone_in_order() {
        let mut entries = vec![directory("d")];
        let sizes = [9, 30, 10, 31, 8, 32, 33, 34, 35, 36, 7];
        entries.extend((0..).zip(sizes).map(|(number, size)| file(&format!("d/{number:02}"), size << 20)));
        let parts = split(&entries, AUTO);
        let alone: Vec<&str> = parts[..LARGE_FILES].iter().map(|part| part[1].as_str()).collect();
        assert_eq!(alone, ["d/01", "d/02", "d/03", "d/05", "d/06", "d/07", "d/08", "d/09"]);
        assert!(parts.iter().all(|part| part[0] == "d"));
        let rest: Vec<&String> = parts[LARGE_FILES..].iter().flat_map(|part| &part[1..]).collect();
        assert_eq!(rest.len(), 3);
    }

    #[test]
    fn whiteouts_come_first_and_links_follow_their_file() {
        let mut entries = vec![directory("a"), file("a/.wh..wh..opq", 0), file("a/.wh.x", 0)];
        entries.extend((0..20).flat_map(|number| [file(&format!("b{number:02}"), 5)]));
        let links = (0..20).map(|number| {
            let target = format!("b{number:02}").into_bytes().into();
            entry(&format!("c{number:02}"), EntryKind::Hardlink(target))
        });
        entries.extend(links);
        let parts = split(&entries, Split::Into(8));
        assert!(parts.len() > 4);
        assert_eq!(parts[0][..3], ["a", "a/.wh..wh..opq", "a/.wh.x"]);
        for part in &parts {
            let names = |kind: char| -> Vec<&str> {
                part.iter()
                    .filter_map(|path| path.strip_prefix(kind))
                    .filter(|rest| rest.len() == 2)
                    .collect()
            };
            assert_eq!(names('b'), names('c'));
        }
    }

    #[test]
    fn a_package_that_is_too_much_goes_by_its_directories() {
        let mut entries = vec![directory("node_modules"), directory("node_modules/p")];
        for number in 0..8 {
            entries.push(directory(&format!("node_modules/p/d{number}")));
            entries.extend(
                (0..3).map(|file_number| file(&format!("node_modules/p/d{number}/{file_number}"), 1 << 20)),
            );
        }
        let parts = split(&entries, AUTO);
        assert!(parts.len() > 2, "{parts:?}");
        // A directory that isn't too much stays together.
        for number in 0..8 {
            let directory = format!("node_modules/p/d{number}");
            let with: Vec<_> = parts.iter().filter(|part| part.contains(&directory)).collect();
            assert_eq!(with.len(), 1, "{directory}");
            assert_eq!(with[0].iter().filter(|path| path.starts_with(&format!("{directory}/"))).count(), 3);
        }
    }

    #[test]
    fn hashes_are_the_same_for_ever() {
        assert_eq!(hash(b""), 0xaf13_49b9_f5f9_a1a6);
    }
}
