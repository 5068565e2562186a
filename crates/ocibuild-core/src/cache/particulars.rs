//! What a layer's bytes follow from beside its files, by name, and how that changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The longest value that is kept as it is, in bytes.
const MAX_VALUE: usize = 120;

/// Names and short values of what a layer's bytes follow from.
///
/// Paths, targets of links and patterns stand here as they are, with variables filled in, as they show in
/// the image. Contents and extras of keys are SHA-256 digests, for being short: who can guess what they are
/// of can find out that he is right, as by the keys that images carry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Particulars {
    /// What is said of the layer as a whole.
    pub fields: BTreeMap<String, String>,
    /// The digests of its lockfiles, by their paths.
    pub manifests: BTreeMap<String, String>,
    /// What is said of each copy.
    pub copies: Vec<BTreeMap<String, String>>,
}

impl Particulars {
    /// Says something of the layer.
    pub fn say(&mut self, name: &str, value: impl AsRef<str>) {
        self.fields.insert(name.to_owned(), short(value.as_ref()));
    }
}

/// Returns a value, or the digest of one that is too long.
pub(crate) fn short(value: &str) -> String {
    if value.len() <= MAX_VALUE { value.to_owned() } else { Digest::of(value.as_bytes()).to_string() }
}

/// Something that isn't as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What it is of.
    #[serde(flatten)]
    pub of: Of,
    /// What it was; nothing if it wasn't there.
    pub before: Option<String>,
    /// What it is; nothing if it isn't there any more.
    pub after: Option<String>,
}

/// What a change is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Of {
    /// The layer as a whole.
    Layer {
        /// What of it.
        field: String,
    },
    /// A lockfile: its digest.
    Manifest {
        /// Its path.
        path: String,
    },
    /// A copy.
    Copy {
        /// Which, counted from 1, as it is now; of one that is gone, as it was.
        copy: usize,
        /// What of it; nothing where it is there only before, or only after: then the values say what
        /// it copies.
        field: Option<String>,
    },
}

impl Particulars {
    /// Tells what is otherwise `now`: lockfiles, then the layer as a whole, then its copies.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let manifests = differing(&self.manifests, &now.manifests);
        let manifests =
            manifests.map(|(path, before, after)| Change { of: Of::Manifest { path }, before, after });
        let fields = differing(&self.fields, &now.fields);
        let fields = fields.map(|(field, before, after)| Change { of: Of::Layer { field }, before, after });
        let mut changes: Vec<Change> = manifests.chain(fields).collect();
        // That the encoder's name has another compression in it goes without saying.
        let is_of = |change: &Change, name: &str| change.of == Of::Layer { field: name.to_owned() };
        if changes.iter().any(|change| is_of(change, "compression")) {
            changes.retain(|change| !is_of(change, "encoder"));
        }
        changes.extend(copies(&self.copies, &now.copies));
        changes
    }
}

type Fields = BTreeMap<String, String>;

/// The names whose values differ, with both.
fn differing<'a>(
    before: &'a Fields,
    after: &'a Fields,
) -> impl Iterator<Item = (String, Option<String>, Option<String>)> + 'a {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let pairs = names.into_iter().map(|name| (name, before.get(name), after.get(name)));
    pairs
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| (name.clone(), before.cloned(), after.cloned()))
}

/// Copies that are the same at both ends are passed over; between them one is held against one, as
/// far as there are as many.
fn copies(before: &[Fields], after: &[Fields]) -> Vec<Change> {
    let first = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (before_rest, after_rest) = (&before[first..], &after[first..]);
    let last = before_rest.iter().rev().zip(after_rest.iter().rev()).take_while(|(one, other)| one == other);
    let last = last.count();
    let (gone, new) = (&before_rest[..before_rest.len() - last], &after_rest[..after_rest.len() - last]);
    if gone.len() == new.len() {
        let pairs = gone.iter().zip(new).enumerate();
        let of = |at: usize, field| Of::Copy { copy: first + at + 1, field: Some(field) };
        let changes = pairs.flat_map(|(at, (one, other))| {
            differing(one, other).map(move |(field, before, after)| Change {
                of: of(at, field),
                before,
                after,
            })
        });
        return changes.collect();
    }
    let of = |at: usize| Of::Copy { copy: first + at + 1, field: None };
    let gone = gone.iter().enumerate().filter(|(_, copy)| !new.contains(copy));
    let gone = gone.map(|(at, copy)| Change { of: of(at), before: Some(name(copy)), after: None });
    let new = new.iter().enumerate().filter(|(_, copy)| !before_rest.contains(copy));
    let new = new.map(|(at, copy)| Change { of: of(at), before: None, after: Some(name(copy)) });
    gone.chain(new).collect()
}

/// What a copy copies, for people.
fn name(copy: &Fields) -> String {
    let said = |name: &str| copy.get(name).map_or("", String::as_str);
    let what = ["from", "symlink", "directory", "content"].iter().find(|name| copy.contains_key(**name));
    let what = what.map(|name| if *name == "from" { said(name) } else { name }).unwrap_or_default();
    format!("{what} to {}", said("to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(fields: &[(&str, &str)]) -> Fields {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn told(before: &Particulars, now: &Particulars) -> Vec<String> {
        let side = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
        let of = |of: Of| match of {
            Of::Layer { field } => field,
            Of::Manifest { path } => format!("manifest {path}"),
            Of::Copy { copy, field } => format!("copy {copy} {}", side(field)),
        };
        let line =
            |change: Change| format!("{}: {} {}", of(change.of), side(change.before), side(change.after));
        before.changes(now).into_iter().map(line).collect()
    }

    #[test]
    fn what_changed_is_named() {
        let mut before = Particulars::default();
        before.say("compression", "gzip:6");
        before.say("encoder", "gzip:6;1");
        before.manifests.insert("lock".to_owned(), "sha256:a".to_owned());
        before.copies = vec![copy(&[("from", "a"), ("to", "/a")]), copy(&[("from", "b"), ("to", "/b")])];
        assert_eq!(told(&before, &before), [""; 0]);
        let mut now = before.clone();
        now.say("compression", "zstd:3");
        now.say("encoder", "zstd:3;1");
        now.manifests.insert("lock".to_owned(), "sha256:b".to_owned());
        now.manifests.insert("new".to_owned(), "sha256:c".to_owned());
        now.copies[1].insert("mode".to_owned(), "0755".to_owned());
        assert_eq!(
            told(&before, &now),
            [
                "manifest lock: sha256:a sha256:b",
                "manifest new: - sha256:c",
                "compression: gzip:6 zstd:3",
                "copy 2 mode: - 0755",
            ]
        );
        let mut encoder = before.clone();
        encoder.say("encoder", "gzip:6;2");
        assert_eq!(told(&before, &encoder), ["encoder: gzip:6;1 gzip:6;2"]);
    }

    #[test]
    fn a_copy_that_comes_or_goes_is_told_by_itself() {
        let [a, b, c] = ["a", "b", "c"].map(|name| copy(&[("from", name), ("to", "/x")]));
        let link = copy(&[("symlink", "a"), ("to", "/l")]);
        let of = |copies: &[&Fields]| Particulars {
            copies: copies.iter().map(|copy| (*copy).clone()).collect(),
            ..Particulars::default()
        };
        let all = of(&[&a, &b, &c]);
        assert_eq!(told(&all, &of(&[&a, &c])), ["copy 2 -: b to /x -"]);
        assert_eq!(told(&of(&[&a, &c]), &all), ["copy 2 -: - b to /x"]);
        assert_eq!(told(&all, &of(&[&a, &b, &c, &link])), ["copy 4 -: - symlink to /l"]);
        assert_eq!(told(&all, &of(&[&b, &a, &c])), ["copy 1 from: a b", "copy 2 from: b a"]);
        assert_eq!(told(&of(&[]), &of(&[&a])), ["copy 1 -: - a to /x"]);
    }

    #[test]
    fn long_values_are_digests() {
        let mut particulars = Particulars::default();
        particulars.say("key", "k".repeat(500));
        assert!(particulars.fields["key"].starts_with("sha256:"));
    }
}
