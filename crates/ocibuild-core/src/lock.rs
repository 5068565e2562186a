//! The lock: what the tags of base images meant when somebody looked last.
//!
//! A text file beside the spec, to be committed: one entry a reference in an order of their own,
//! so that two branches that add one each merge by themselves. A reference with a digest needs no
//! entry. Pure: what is in the file is decided here, who reads or writes it is not.

mod read;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::digest::{DiffId, Digest};
use crate::oci::{Descriptor, Platform};
use crate::reference::Reference;

/// The version of the form that is written; another is not understood.
const VERSION: i64 = 1;

const HEADER: &str = "\
# What the tags of base images mean, written by `ocibuild lock`. Commit it.
version = 1
";

/// A text is no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
#[non_exhaustive]
pub struct LockError {
    /// The line at fault, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// What references mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    pins: BTreeMap<Reference, Pin>,
}

/// What one reference means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The manifest or index that has the tag: media type, digest and size.
    pub root: Descriptor,
    /// The images of it that were asked for.
    pub images: BTreeMap<Platform, PinnedImage>,
}

/// The image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinnedImage {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The contents of its layers, the lowest first.
    pub diff_ids: Vec<DiffId>,
}

impl Pin {
    /// Pins a manifest or index, of which no image is known yet.
    #[must_use]
    pub fn new(root: Descriptor) -> Self {
        Self { root: Descriptor::new(root.media_type, root.digest, root.size), images: BTreeMap::new() }
    }

    /// Adds the image for a platform.
    #[must_use]
    pub fn image(mut self, platform: Platform, image: PinnedImage) -> Self {
        self.images.insert(platform, image);
        self
    }
}

impl PinnedImage {
    /// Names a manifest, and the contents of its layers.
    #[must_use]
    pub fn new(digest: Digest, size: u64, diff_ids: Vec<DiffId>) -> Self {
        Self { digest, size, diff_ids }
    }
}

/// How one lock differs from another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A reference is new.
    Added {
        /// The reference.
        reference: Reference,
        /// What it means.
        to: Digest,
    },
    /// A reference is gone.
    Removed {
        /// The reference.
        reference: Reference,
        /// What it meant.
        from: Digest,
    },
    /// A reference means something else.
    Moved {
        /// The reference.
        reference: Reference,
        /// What it meant.
        from: Digest,
        /// What it means.
        to: Digest,
    },
    /// A reference means the same, for other platforms.
    Platforms {
        /// The reference.
        reference: Reference,
        /// Those that are new.
        added: Vec<Platform>,
        /// Those that are gone.
        removed: Vec<Platform>,
    },
}

impl Lock {
    /// Makes a lock without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what [`Lock::render`] wrote, or somebody merged.
    ///
    /// # Errors
    /// [`LockError`] with the line of the first fault.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        read::read(text).map(|pins| Self { pins })
    }

    /// Writes it: the same entries give the same text.
    #[must_use]
    pub fn render(&self) -> String {
        let entries = self.pins.iter().map(|(reference, pin)| render(reference, pin));
        std::iter::once(HEADER.to_owned()).chain(entries).collect()
    }

    /// Returns what a reference means.
    #[must_use]
    pub fn get(&self, reference: &Reference) -> Option<&Pin> {
        self.pins.get(reference)
    }

    /// Says what a reference means, whatever was said of it before.
    pub fn insert(&mut self, reference: Reference, pin: Pin) {
        self.pins.insert(reference, pin);
    }

    /// Returns all entries, in the order of their references.
    pub fn iter(&self) -> impl Iterator<Item = (&Reference, &Pin)> {
        self.pins.iter()
    }

    /// Tells what is other in `new`.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (reference, pin) in &new.pins {
            let reference = reference.clone();
            let to = pin.root.digest;
            match self.pins.get(&reference) {
                None => changes.push(Change::Added { reference, to }),
                Some(old) if old.root.digest != to => {
                    changes.push(Change::Moved { reference, from: old.root.digest, to });
                }
                Some(old) => changes.extend(platforms(reference, old, pin)),
            }
        }
        let gone = self.pins.iter().filter(|(reference, _)| !new.pins.contains_key(reference));
        changes.extend(
            gone.map(|(reference, pin)| Change::Removed {
                reference: reference.clone(),
                from: pin.root.digest,
            }),
        );
        changes
    }
}

fn render(reference: &Reference, pin: &Pin) -> String {
    let Descriptor { media_type, digest, size, .. } = &pin.root;
    let media_type = quoted(media_type.as_str());
    let mut text = format!(
        "\n[[base]]\nreference = \"{reference}\"\nmedia-type = {media_type}\ndigest = \"{digest}\"\nsize = {size}\n"
    );
    for (platform, PinnedImage { digest, size, diff_ids }) in &pin.images {
        let _ = write!(
            text,
            "\n[[base.image]]\nplatform = \"{platform}\"\ndigest = \"{digest}\"\nsize = {size}\ndiff-ids = [\n"
        );
        for diff_id in diff_ids {
            let _ = writeln!(text, "  \"{diff_id}\",");
        }
        text.push_str("]\n");
    }
    text
}

/// A string of TOML: the only one here that may need escapes, as a registry says what it is. They
/// are those of JSON, but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\x7f', "\\u007f")
}

fn platforms(reference: Reference, old: &Pin, new: &Pin) -> Option<Change> {
    let only = |these: &Pin, those: &Pin| -> Vec<Platform> {
        these.images.keys().filter(|platform| !those.images.contains_key(platform)).cloned().collect()
    };
    let (added, removed) = (only(new, old), only(old, new));
    let is_same = added.is_empty() && removed.is_empty();
    (!is_same).then_some(Change::Platforms { reference, added, removed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::MediaType;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    fn pin(root: &str, platforms: &[&str]) -> Pin {
        let pin = Pin::new(Descriptor::of(MediaType::INDEX, root.as_bytes()));
        platforms.iter().fold(pin, |pin, platform| {
            let diff_ids = ["one", "two"].map(|layer| DiffId(Digest::of(layer.as_bytes())));
            let image = PinnedImage::new(Digest::of(platform.as_bytes()), 7, diff_ids.to_vec());
            pin.image(platform.parse().unwrap(), image)
        })
    }

    fn lock() -> Lock {
        let mut lock = Lock::new();
        lock.insert(reference("r.io/z:1"), pin("z", &[]));
        lock.insert(reference("r.io/a:2"), pin("a", &["linux/arm/v7", "linux/amd64"]));
        lock.insert(reference("alpine:3"), pin("alpine", &["linux/amd64"]));
        lock
    }

    #[test]
    fn what_is_written_is_read_back() {
        for lock in [Lock::new(), lock()] {
            assert_eq!(Lock::parse(&lock.render()).unwrap(), lock);
        }
    }

    #[test]
    fn whatever_a_registry_calls_it_is_read_back() {
        for odd in ["a\"b", "it's", "\\", "é\u{202e}", "\u{7f}\u{1}\t\n", ""] {
            let mut lock = Lock::new();
            let root = Descriptor::of(MediaType::new(odd), b"");
            lock.insert(reference("r.io/a:1"), Pin::new(root));
            assert_eq!(Lock::parse(&lock.render()).unwrap(), lock, "{odd:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_is_told_or_does_no_harm(
            at in 0_usize..2000,
            length in 0_usize..40,
            other in "[ -~\n\\[\\]\"é]{0,20}",
        ) {
            let mut text: Vec<char> = lock().render().chars().collect();
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, other.chars());
            let text: String = text.into_iter().collect();
            match Lock::parse(&text) {
                Ok(lock) => proptest::prop_assert_eq!(Lock::parse(&lock.render()).unwrap(), lock),
                Err(error) => {
                    proptest::prop_assert!((1..=text.lines().count() + 1).contains(&error.line), "{error}");
                    proptest::prop_assert!(error.column >= 1 && !error.message.contains('\n'));
                }
            }
        }
    }

    #[test]
    fn entries_stand_in_an_order_of_their_own() {
        let text = lock().render();
        let names: Vec<&str> = text.lines().filter(|line| line.starts_with("reference")).collect();
        let expected = ["docker.io/library/alpine:3", "r.io/a:2", "r.io/z:1"];
        assert_eq!(names, expected.map(|name| format!("reference = \"{name}\"")));
    }

    #[test]
    fn two_branches_that_add_an_entry_each_are_joined_by_their_lines() {
        let text = lock().render();
        let (own, entry) = text.rsplit_once("\n[[base]]").unwrap();
        let other =
            "\n[[base]]\nreference = \"r.io/b:1\"\nmedia-type = \"a/b\"\ndigest = \"DIGEST\"\nsize = 1\n"
                .replace("DIGEST", &Digest::of(b"b").to_string());
        let merged = format!("{own}{other}\n[[base]]{entry}");
        assert_eq!(Lock::parse(&merged).unwrap().iter().count(), 4);
    }

    #[test]
    fn faults_have_their_line() {
        let sound = lock().render();
        let line = |text: &str| sound.lines().position(|line| line.contains(text)).unwrap() + 1;
        let cases = [
            ("version = 1", "version = 2", "version"),
            ("version = 1", "<<<<<<< HEAD", ""),
            ("\"r.io/a:2\"", "\"r.io/z:1\"", "twice"),
            ("\"r.io/a:2\"", "\"r.io/A:2\"", "lowercase"),
            ("\"r.io/a:2\"", "2", "string"),
            ("platform = \"linux/arm/v7\"", "platform = \"arm\"", "platform"),
            ("reference = \"r.io/a:2\"", "name = \"r.io/a:2\"", "unknown key `name`"),
        ];
        for (from, to, part) in cases {
            let error = Lock::parse(&sound.replacen(from, to, 1)).unwrap_err();
            assert!(error.message.contains(part), "{to}: {error}");
            // The second of two is at fault, wherever the first stands.
            let expected = if part == "twice" { line("r.io/z:1") } else { line(from) };
            assert_eq!(error.line, expected, "{to}: {error}");
        }
        let digest = sound.replacen("digest = \"sha256:", "digest = \"sha256:x", 1);
        assert_eq!(Lock::parse(&digest).unwrap_err().line, line("digest"));
        let gap = "version = 1\n[[base]]\nreference = \"r.io/a:1\"\n";
        assert_eq!(Lock::parse(gap).unwrap_err().message, "`media-type` is missing");
    }

    #[test]
    fn changes_are_told() {
        let (old, mut new) = (lock(), lock());
        assert_eq!(old.changes(&new), []);
        new.insert(reference("r.io/z:1"), pin("moved", &[]));
        new.insert(reference("r.io/n:1"), pin("new", &[]));
        new.insert(reference("r.io/a:2"), pin("a", &["linux/amd64", "linux/arm64"]));
        new.pins.remove(&reference("alpine:3"));
        let digest = |text: &str| Digest::of(text.as_bytes());
        let platform = |text: &str| vec![text.parse::<Platform>().unwrap()];
        let expected = [
            Change::Platforms {
                reference: reference("r.io/a:2"),
                added: platform("linux/arm64"),
                removed: platform("linux/arm/v7"),
            },
            Change::Added { reference: reference("r.io/n:1"), to: digest("new") },
            Change::Moved { reference: reference("r.io/z:1"), from: digest("z"), to: digest("moved") },
            Change::Removed { reference: reference("alpine:3"), from: digest("alpine") },
        ];
        assert_eq!(old.changes(&new), expected);
    }
}
