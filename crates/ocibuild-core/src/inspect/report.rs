//! What was found in the files of a layer: kept with the layer's record, so that it is known when the
//! layer is reused and nobody looks at its files.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::inspect::{Elf, FileFacts, Hit, Script, VERSION, is_foreign};

/// What was found in the files of a layer, by what they hold. Nothing in it depends on a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Inspection {
    /// The version of what was looked for.
    pub version: u8,
    /// The files there is something to say of, in the order of the layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Inspected>,
    /// Links that may stand for a program or a library: paths and targets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// What anybody may write to, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
    /// Programs with the rights of their owner or group, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setuid: Vec<String>,
    /// Whether there was more than is kept, so that of some files it isn't known what they say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_partial: bool,
}

/// A file there is something to say of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Inspected {
    /// Its path in the image, without a leading `/`; what isn't UTF-8 is replaced.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it holds: the first 16 bytes of its BLAKE3 digest, in hexadecimal digits.
    pub content: String,
    /// The program or library it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elf: Option<Box<Elf>>,
    /// The script it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Box<Script>>,
    /// Secrets in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Hit>,
}

impl Inspected {
    /// Puts a file together with what is to be said of it.
    #[must_use]
    pub fn new(path: String, mode: u32, content: String, facts: FileFacts) -> Self {
        let FileFacts { elf, script, secrets } = facts;
        Self { path, mode, content, elf, script, secrets }
    }

    /// Returns what is to be said of it.
    #[must_use]
    pub fn facts(&self) -> FileFacts {
        FileFacts { elf: self.elf.clone(), script: self.script.clone(), secrets: self.secrets.clone() }
    }
}

/// An inspection, small enough to stand in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Packed(String);

/// The most that stands in a record, in characters: of some fifteen thousand programs.
const MAX_PACKED: usize = 512 << 10;
/// As far as one is unpacked, in bytes.
const MAX_UNPACKED: u64 = 32 << 20;
const LEVEL: i32 = 9;

impl Inspection {
    /// An inspection that found nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { version: VERSION, ..Self::default() }
    }

    /// Leaves out what matters least, as far as there is more than a record may carry: first of packages
    /// what is no secret, then libraries, then all programs, and in the end secrets beyond the first ones.
    /// The same is left out each time, so that a layer is judged alike when it is made and when it is
    /// reused.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        type Matters = fn(&Inspected) -> bool;
        let steps: [Matters; 3] =
            [|file| !is_foreign(file.path.as_bytes()), |file| file.mode & 0o111 != 0, |_| false];
        for matters in steps {
            if self.fits() {
                return self;
            }
            self.files.retain(|file| !file.secrets.is_empty() || matters(file));
            // What links lead to is looked up in the layer's inventory as well.
            self.links.clear();
            self.is_partial = true;
        }
        while !self.fits() && !self.files.is_empty() {
            self.files.truncate(self.files.len() / 2);
        }
        self
    }

    fn fits(&self) -> bool {
        let json = serde_json::to_vec(self).expect("an inspection has string keys");
        json.len() <= MAX_PACKED / 2 || self.pack().is_some()
    }

    /// Makes it small; none if it is larger than a record may carry.
    #[must_use]
    pub fn pack(&self) -> Option<Packed> {
        let json = serde_json::to_vec(self).expect("an inspection has string keys");
        let bytes = zstd::bulk::compress(&json, LEVEL).expect("memory takes it");
        let text = format!("{}.{}", self.version, STANDARD.encode(bytes));
        (text.len() <= MAX_PACKED).then_some(Packed(text))
    }
}

impl Packed {
    /// Tells whether it is of this version, without unpacking it.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.text().is_some()
    }

    fn text(&self) -> Option<&str> {
        let (version, text) = self.0.split_once('.')?;
        (version.parse() == Ok(VERSION)).then_some(text)
    }

    /// Unpacks it. What another version found is nothing: it may have looked for less.
    #[must_use]
    pub fn unpack(&self) -> Option<Inspection> {
        let bytes = STANDARD.decode(self.text()?).ok()?;
        let mut json = Vec::new();
        let mut decoder = zstd::stream::Decoder::new(&bytes[..]).ok()?;
        decoder.window_log_max(25).ok()?;
        decoder.take(MAX_UNPACKED).read_to_end(&mut json).ok()?;
        let inspection: Inspection = serde_json::from_slice(&json).ok()?;
        (inspection.version == VERSION).then_some(inspection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut inspection = Inspection::new();
        inspection.links.insert("lib/libx.so".into(), "libx.so.1".into());
        let file = Inspected::new("app".into(), 0o755, "00".into(), FileFacts::default());
        inspection.files.push(file);
        let packed = inspection.pack().unwrap();
        assert_eq!(packed.unpack(), Some(inspection.clone()));
        assert_eq!(Packed(packed.0[..packed.0.len() / 2].to_owned()).unpack(), None);
        inspection.version += 1;
        let packed = inspection.pack().unwrap();
        assert_eq!(packed.unpack(), None, "another version looked for other things");
        assert!(!packed.is_current() && !Packed(STANDARD.encode("the first version")).is_current());
    }

    /// What matters is kept, however much there is.
    #[test]
    fn of_too_much_the_least_is_left_out() {
        let file = |path: String, mode: u32, is_secret: bool| {
            let name = blake3::hash(path.as_bytes()).to_hex();
            let hit = Hit { id: "secret-npm-token".into(), offset: 0, line: None, begin: String::new() };
            let script = Script { interpreter: format!("/{name}"), program: None };
            let facts = match is_secret {
                true => FileFacts { secrets: vec![hit], ..FileFacts::default() },
                false => FileFacts { script: Some(Box::new(script)), ..FileFacts::default() },
            };
            Inspected::new(path, mode, name[..32].to_owned(), facts)
        };
        let of = |packages: u32, libraries: u32, programs: u32| {
            let mut inspection = Inspection::new();
            inspection.links.insert("bin/sh".into(), "dash".into());
            let all = |count, name: &'static str, mode, is_secret| {
                (0..count).map(move |number| file(format!("{name}/{number}"), mode, is_secret))
            };
            inspection.files.extend(all(packages, "app/node_modules", 0o755, false));
            inspection.files.extend(all(libraries, "lib", 0o644, false));
            inspection.files.extend(all(programs, "bin", 0o755, false));
            inspection.files.extend(all(3, "app/node_modules/keys", 0o644, true));
            let whole = inspection.clone();
            let trimmed = inspection.trimmed();
            let packed = trimmed.pack().expect("it is small enough now");
            assert_eq!(packed.unpack().as_ref(), Some(&trimmed));
            assert_eq!(trimmed.is_partial, trimmed != whole);
            assert_eq!(trimmed.clone().trimmed(), trimmed);
            trimmed.files.len()
        };
        assert_eq!(of(10, 10, 10), 33);
        assert_eq!(of(20_000, 10, 10), 23);
        assert_eq!(of(10, 20_000, 10), 13);
        assert_eq!(of(10, 10, 20_000), 3);
        let mut secrets = Inspection::new();
        secrets.files.extend((0..40_000_u32).map(|number| file(number.to_string(), 0o644, true)));
        let trimmed = secrets.trimmed();
        assert!(trimmed.is_partial && trimmed.files.len() > 1000 && trimmed.pack().is_some());
    }

    #[test]
    fn what_is_too_large_is_not_packed() {
        let mut inspection = Inspection::new();
        for number in 0..40_000_u32 {
            let name = blake3::hash(&number.to_le_bytes()).to_hex();
            inspection.writable.push(name.to_string());
        }
        assert!(inspection.pack().is_none());
    }
}
