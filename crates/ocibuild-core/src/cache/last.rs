//! What layers were made of when they were last built: kept for whoever asks why one was made anew.
//!
//! A file for each layer of an image of a spec, `layers/v1/KEY.json`, written under a temporary name
//! and renamed, with a digest of it. It answers nothing in a build and may be lost, so nothing is
//! synced; one that is damaged is none, and the next build writes it anew. It names things and has short
//! values or digests of them, and is no place for secrets: see [`Particulars`].

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::particulars::Particulars;
use crate::cache::sealed::{seal, unseal};
use crate::digest::Digest;
use crate::event::LayerOutcome;
use crate::files::note_use;
use crate::key::{Key, KeyWriter};
use crate::oci::{Descriptor, to_json};
use crate::own;

/// The directory in a cache, and the one in it for this version.
pub(super) const DIRECTORY: [&str; 2] = ["layers", "v1"];

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 4 << 20;

/// The version of the form: another is not understood.
const VERSION: u32 = 1;

/// What it is called where it is sealed.
const SEALED: &str = "layer";

/// What a layer was when it was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Past {
    /// What its bytes followed from, beside its files.
    pub particulars: Particulars,
    /// The key of what it held.
    pub content: Option<Key>,
    /// Its blobs.
    pub blobs: Vec<Digest>,
    /// Their length in bytes.
    pub size: u64,
    /// The length of its tar bytes; 0 where another place had it.
    pub tar_size: u64,
    /// The list of what it held; none where another place had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Descriptor>,
    /// Whether it was made, or what answered.
    pub outcome: LayerOutcome,
}

impl Past {
    /// Puts it together.
    #[must_use]
    pub fn new(particulars: Particulars, record: &crate::cache::Record, outcome: LayerOutcome) -> Self {
        Self {
            particulars,
            content: record.content,
            blobs: record.layers.iter().map(|layer| layer.descriptor.digest).collect(),
            size: record.blob_size(),
            tar_size: record.tar_size,
            inventory: record.inventory.clone(),
            outcome,
        }
    }

    /// Tells whether nothing changed between the two, whatever answered.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.particulars == other.particulars && self.content == other.content && self.blobs == other.blobs
    }
}

/// The last build of a layer, and what came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LastBuild {
    version: u32,
    /// What it was in the last build.
    pub last: Past,
    /// What it was before it last became something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Past>,
}

/// Which layer is meant: one of an image, by the names that a spec has, for these platforms.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LayerName<'a> {
    /// The spec's name.
    pub spec: &'a str,
    /// The image's.
    pub image: &'a str,
    /// The layer's.
    pub layer: &'a str,
    /// The platforms, in order.
    pub platforms: Vec<String>,
}

impl<'a> LayerName<'a> {
    /// Names a layer.
    #[must_use]
    pub fn new(spec: &'a str, image: &'a str, layer: &'a str, platforms: Vec<String>) -> Self {
        Self { spec, image, layer, platforms }
    }

    fn key(&self) -> Key {
        let mut key = KeyWriter::new("last build", VERSION);
        key.field("spec", self.spec).field("image", self.image).field("layer", self.layer);
        key.list("platforms", &self.platforms);
        key.finish()
    }
}

/// The last builds of layers in a cache's directory, which many processes may share: the last one that
/// writes is right.
#[derive(Debug, Clone)]
pub struct LastBuilds {
    root: PathBuf,
    is_written: bool,
}

impl LastBuilds {
    /// Opens those in a cache's directory, which is made when the first is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_written: true }
    }

    /// Opens those in a cache's directory, which stays as it is.
    pub fn read_only(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_written: false }
    }

    /// Returns what is known of a layer. What can't be read, or isn't as it was written, is not known.
    #[must_use]
    pub fn get(&self, name: &LayerName<'_>) -> Option<LastBuild> {
        parse(&read(&self.path(name)).ok()?)
    }

    /// Notes what a layer is. What is as it was is only noted as used.
    ///
    /// # Errors
    /// Whatever writing it meets; what was noted before is there still.
    pub fn note(&self, name: &LayerName<'_>, now: Past) -> io::Result<()> {
        if !self.is_written {
            return Ok(());
        }
        let known = self.get(name);
        if known.as_ref().is_some_and(|known| known.last.is_like(&now)) {
            note_use(&self.path(name));
            return Ok(());
        }
        let before = known.map(|known| known.last);
        let bytes = seal(SEALED, &to_json(&LastBuild { version: VERSION, last: now, before }));
        own::replace(&self.root, &self.path(name), &bytes)
    }

    fn path(&self, name: &LayerName<'_>) -> PathBuf {
        let [directory, version] = DIRECTORY;
        self.root.join(directory).join(version).join(format!("{}.json", name.key().hex()))
    }
}

fn parse(bytes: &[u8]) -> Option<LastBuild> {
    let known: LastBuild = serde_json::from_slice(unseal(SEALED, bytes)?).ok()?;
    (known.version == VERSION).then_some(known)
}

/// Of what is larger the beginning, which is none.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    own::open_regular(path)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells whether a file is as it was written.
pub(super) fn is_whole(path: &Path) -> io::Result<bool> {
    Ok(parse(&read(path)?).is_some())
}

/// Tells whether a file goes by the name of one of these.
pub(super) fn is_last_build(path: &Path) -> bool {
    let stem = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
    stem.is_some_and(|stem| stem.parse::<Key>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn past(name: &str) -> Past {
        let mut particulars = Particulars::default();
        particulars.say("compression", name);
        Past {
            particulars,
            content: None,
            blobs: vec![Digest::of(name.as_bytes())],
            size: 1,
            tar_size: 2,
            inventory: None,
            outcome: LayerOutcome::Built,
        }
    }

    #[test]
    fn what_a_layer_was_is_known_with_what_it_was_before() {
        let directory = tempfile::tempdir().unwrap();
        let known = LastBuilds::new(directory.path());
        let name = |image| LayerName::new("spec", image, "layer", vec!["linux/amd64".to_owned()]);
        assert_eq!(known.get(&name("one")), None);
        known.note(&name("one"), past("a")).unwrap();
        assert_eq!(known.get(&name("one")).unwrap().before, None);
        known.note(&name("one"), Past { outcome: LayerOutcome::Reused, ..past("a") }).unwrap();
        assert_eq!(known.get(&name("one")).unwrap().last, past("a"), "as it was made");
        known.note(&name("one"), past("b")).unwrap();
        let now = known.get(&name("one")).unwrap();
        assert_eq!((now.last, now.before), (past("b"), Some(past("a"))));
        assert_eq!(known.get(&name("other")), None);
        let path = known.path(&name("one"));
        assert!(is_last_build(&path) && !is_last_build(&directory.path().join("other.json")));
        assert!(is_whole(&path).unwrap());
        let bytes = fs::read(&path).unwrap();
        let flipped = (0..bytes.len()).map(|at| {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            damaged
        });
        let others = ["", "{", "{\"version\":2}", "\u{0}"].map(|damage| damage.as_bytes().to_vec());
        for damage in flipped.chain(others) {
            fs::write(&path, &damage).unwrap();
            assert_eq!(known.get(&name("one")), None, "{}", String::from_utf8_lossy(&damage));
            assert!(!is_whole(&path).unwrap());
        }
        known.note(&name("one"), past("c")).unwrap();
        assert!(known.get(&name("one")).is_some() && is_whole(&path).unwrap());
    }
}
