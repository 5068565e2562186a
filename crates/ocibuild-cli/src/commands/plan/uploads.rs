//! What a push would upload, as far as that can be asked before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use ocibuild_core::blob::{BlobError, Sink as _, Source};
use ocibuild_core::build::{ForeseenBlob, ForeseenImage, ForeseenLayer, Foresight};
use ocibuild_core::event::{Observer as _, Warning};
use ocibuild_core::reference::{Reference, Repository};
use ocibuild_core::registry::Registry;
use ocibuild_core::{Descriptor, Digest, Event};
use serde_json::{Value, json};

use crate::commands::plan::size_of;
use crate::failure::{Failure, Origin};
use crate::progress::Reporter;
use crate::text;

/// A number of bytes, as well as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    bytes: u64,
    known: Known,
}

/// How well; the worst of several counts for their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Exactly,
    About,
    AtMost,
    Not,
}

impl Amount {
    pub(super) fn exactly(bytes: u64) -> Self {
        Self { bytes, known: Known::Exactly }
    }

    pub(super) fn about(bytes: u64) -> Self {
        Self { bytes, known: Known::About }
    }

    pub(super) fn at_most(bytes: u64) -> Self {
        Self { bytes, known: Known::AtMost }
    }

    pub(super) fn unknown() -> Self {
        Self { bytes: 0, known: Known::Not }
    }

    pub(super) fn to_json(self) -> Value {
        let how = match self.known {
            Known::Exactly => "exact",
            Known::About => "estimate",
            Known::AtMost => "bound",
            Known::Not => return Value::Null,
        };
        json!({ "bytes": self.bytes, "known": how })
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, known: self.known.max(other.known) }
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::exactly(0), Self::add)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = text::bytes(self.bytes);
        match self.known {
            Known::Exactly => f.write_str(&bytes),
            Known::About => write!(f, "about {bytes}"),
            Known::AtMost => write!(f, "at most {bytes}"),
            Known::Not => f.write_str("unknown"),
        }
    }
}

/// What becomes of blobs at the registries that an image goes to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    sent: Amount,
    /// What registries take over from another of their repositories, if they do that.
    mounted: u64,
    /// What is there.
    present: u64,
}

impl Fate {
    const NOTHING: Self = Self { sent: Amount { bytes: 0, known: Known::Exactly }, mounted: 0, present: 0 };

    pub(super) fn to_json(self) -> Value {
        json!({ "sent": self.sent.to_json(), "mounted": self.mounted, "present": self.present })
    }
}

impl Add for Fate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            mounted: self.mounted + other.mounted,
            present: self.present + other.present,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = Amount::exactly(0);
        match (self.sent == nothing, self.mounted > 0) {
            (true, true) => f.write_str("mounted"),
            (true, false) => f.write_str("there"),
            _ => self.sent.fmt(f),
        }
    }
}

/// What a push of an image would upload.
#[derive(Debug)]
pub(super) struct Upload {
    /// To which repositories, and what they lack.
    places: Vec<(Repository, BTreeSet<Digest>)>,
    /// Where blobs can be mounted from.
    origins: BTreeMap<Digest, Vec<Repository>>,
    base: BTreeMap<Digest, u64>,
    total: Fate,
}

impl Upload {
    /// Asks where an image would go what is there. Nothing is known where nobody is asked, or one of the
    /// registries doesn't answer.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub(super) fn of(
        image: &ForeseenImage,
        foresight: &Foresight,
        registry: Option<&Registry>,
        reporter: &Reporter,
    ) -> Result<Option<Self>, Failure> {
        let Some(registry) = registry.filter(|_| !image.tags.is_empty()) else { return Ok(None) };
        let layers = || image.layers.iter().map(|index| &foresight.layers[*index]);
        let own =
            layers().flat_map(|layer| &layer.blobs).filter_map(|blob| Some(&blob.blob.as_ref()?.descriptor));
        let mut blobs: BTreeMap<Digest, Descriptor> = BTreeMap::new();
        blobs.extend(own.chain(&image.base).map(|blob| (blob.digest, blob.clone())));
        let all: Vec<Descriptor> = blobs.into_values().collect();
        let mut places: Vec<(Repository, BTreeSet<Digest>)> = Vec::new();
        for repository in image.tags.iter().map(Reference::repository) {
            if places.iter().any(|(known, _)| known == repository) {
                continue;
            }
            match registry.repository(repository).missing(&all) {
                Ok(missing) => {
                    places.push((repository.clone(), missing.iter().map(|blob| blob.digest).collect()));
                }
                Err(fault @ BlobError::Cancelled(_)) => return Err(Failure::place(fault, Origin::Registry)),
                Err(fault) => {
                    let message = format!("what `{repository}` has is not known: {}", chain(&fault));
                    reporter.event(&Event::Warning(Warning::new(message)));
                    return Ok(None);
                }
            }
        }
        let source = foresight.source();
        let origins =
            |blob: &Descriptor| source.fetch(blob).map_or(Vec::new(), |found| found.origins().to_vec());
        let origins = all.iter().map(|blob| (blob.digest, origins(blob))).collect();
        let base = image.base.iter().map(|blob| (blob.digest, blob.size)).collect();
        let mut upload = Self { places, origins, base, total: Fate::NOTHING };
        let own = layers().map(|layer| upload.of_layer(layer)).fold(Fate::NOTHING, Fate::add);
        upload.total = own + upload.of_blobs(image.base.iter().map(|blob| blob.digest));
        Ok(Some(upload))
    }

    /// The repositories, for people.
    pub(super) fn places(&self) -> Vec<String> {
        self.places.iter().map(|(repository, _)| format!("`{repository}`")).collect()
    }

    pub(super) fn total(&self) -> Amount {
        self.total.sent
    }

    /// What becomes of a layer.
    pub(super) fn of_layer(&self, layer: &ForeseenLayer) -> Fate {
        layer.blobs.iter().map(|blob| self.of_blob(blob)).fold(Fate::NOTHING, Fate::add)
    }

    /// What becomes of a blob of a layer.
    pub(super) fn of_blob(&self, blob: &ForeseenBlob) -> Fate {
        self.fate(blob.blob.as_ref().map(|built| &built.descriptor.digest), size_of(blob))
    }

    /// What becomes of layers of the base.
    pub(super) fn of_blobs(&self, blobs: impl Iterator<Item = Digest>) -> Fate {
        let size = |blob: &Digest| Amount::exactly(self.base.get(blob).copied().unwrap_or_default());
        blobs.map(|blob| self.fate(Some(&blob), size(&blob))).fold(Fate::NOTHING, Fate::add)
    }

    /// A registry is sent a blob once, and takes it over from there into its other repositories.
    fn fate(&self, blob: Option<&Digest>, size: Amount) -> Fate {
        let mut all = Fate::NOTHING;
        for (at, (repository, missing)) in self.places.iter().enumerate() {
            let is_here = |other: &Repository| other.registry() == repository.registry();
            let comes_first = self.places[..at].iter().any(|(other, _)| is_here(other));
            let has_other =
                blob.and_then(|blob| self.origins.get(blob)).is_some_and(|all| all.iter().any(is_here));
            let bytes = size.bytes;
            all = all
                + match blob.is_none_or(|blob| missing.contains(blob)) {
                    false => Fate { present: bytes, ..Fate::NOTHING },
                    true if comes_first || has_other => Fate { mounted: bytes, ..Fate::NOTHING },
                    true => Fate { sent: size, ..Fate::NOTHING },
                };
        }
        all
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = self.total.to_json();
        value["repositories"] =
            json!(self.places.iter().map(|(repository, _)| repository.to_string()).collect::<Vec<_>>());
        value
    }
}

/// A fault with its causes.
fn chain(fault: &BlobError) -> String {
    let first: &dyn std::error::Error = fault;
    let mut all: Vec<String> =
        std::iter::successors(Some(first), |fault| fault.source()).map(ToString::to_string).collect();
    all.dedup();
    all.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_as_well_known_as_its_worst_part() {
        let sum = |all: &[Amount]| all.iter().copied().sum::<Amount>().to_string();
        let (exact, about, most) = (Amount::exactly(1000), Amount::about(2000), Amount::at_most(3000));
        assert_eq!(sum(&[]), "0 B");
        assert_eq!(sum(&[exact, exact]), "2.00 kB");
        assert_eq!(sum(&[exact, about]), "about 3.00 kB");
        assert_eq!(sum(&[most, about]), "at most 5.00 kB");
        assert_eq!(sum(&[exact, Amount::unknown()]), "unknown");
    }
}
