//! What a build came to: the lines of standard output, and the summary.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ocibuild_core::Built;
use ocibuild_core::blob::BlobError;
use ocibuild_core::build::FinishedLayer;
use ocibuild_core::copy::Tally;
use ocibuild_core::event::{LayerOutcome, Warning};
use ocibuild_core::oci::MediaType;
use ocibuild_core::plan::Plan;
use serde_json::{Value, json};

use crate::commands::build::Told;
use crate::commands::build::report::{self, ImageReport};
use crate::commands::run::step_to_json;
use crate::failure::Failure;
use crate::progress::Reporter;
use crate::progress::json::seconds;
use crate::publish::Traffic;
use crate::usage::Usage;
use crate::{graph, text};

/// The version of the metadata: a field may be added within it, none changed or taken away.
pub(crate) const METADATA_VERSION: u64 = 1;

/// How much of all bytes these are, from 0 to 1; of none there is no share.
fn share(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| some as f64 / all as f64)
}

/// Writes a share, rounded down, so that what isn't all is never said to be.
fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).floor() / 10.0;
    if tenths >= 100.0 { "100%".to_owned() } else { format!("{tenths:.1}%") }
}

/// What is told in the end.
pub(super) struct Outcome {
    images: Vec<ImageReport>,
    size: u64,
    has_zstd: bool,
    /// What went to registries, if anything was to.
    pub(super) traffic: Option<Traffic>,
    /// What registries were asked, if any were.
    pub(super) usage: Option<Usage>,
    elapsed: Duration,
    layers: Tally,
    reused: Tally,
    /// Layers that aren't a base's, and what of them was reused.
    own: (Tally, Tally),
    /// What of all that each place beside the machine's cache answered for.
    places: BTreeMap<(LayerOutcome, String), Tally>,
    /// The steps that were needed, for programs; and how many of them ran.
    steps: (Vec<Value>, usize),
    /// What a cache was told.
    pub(super) told: Option<Told>,
    /// Where images were written on disk.
    pub(super) outputs: Vec<String>,
}

impl Outcome {
    /// Counts what was built.
    ///
    /// # Errors
    /// [`BlobError`] if a manifest can't be read.
    pub(super) fn new(built: &Built, plan: &Plan, started: Instant) -> Result<Self, BlobError> {
        let [mut layers, mut reused] = [Tally::default(); 2];
        let (mut own, own_layers) = (<(Tally, Tally)>::default(), plan.own_layers().collect::<Vec<_>>());
        for layer in built.layers.iter().filter(|layer| own_layers.contains(&layer.index)) {
            for (built, outcome) in layer.blobs() {
                own.0.add(built.descriptor.size);
                if outcome.is_reused() {
                    own.1.add(built.descriptor.size);
                }
            }
        }
        let mut places: BTreeMap<_, Tally> = BTreeMap::new();
        let blobs = |layer| FinishedLayer::blobs(layer).zip(layer.places());
        for ((built, outcome), place) in built.layers.iter().flat_map(blobs) {
            let size = built.descriptor.size;
            layers.add(size);
            if outcome.is_reused() {
                reused.add(size);
            }
            if let Some(place) = place {
                places.entry((outcome, place.to_owned())).or_default().add(size);
            }
        }
        let images = report::images(built, plan)?;
        let roots = built.images.iter().map(|image| &image.root);
        let parts = graph::parts(&built.source(), roots)?;
        Ok(Self {
            images,
            has_zstd: parts.values().any(|part| part.media_type == MediaType::LAYER_ZSTD),
            size: parts.values().map(|part| part.size).sum(),
            traffic: None,
            usage: None,
            elapsed: started.elapsed(),
            layers,
            reused,
            own,
            places,
            steps: (
                built.steps.iter().map(step_to_json).collect(),
                built.steps.iter().filter(|step| !step.outcome.is_reused()).count(),
            ),
            told: None,
            outputs: Vec::new(),
        })
    }

    /// Tells of a reader of archives that these images are too new for.
    pub(super) fn warn_of_archive(&self, reporter: &Reporter) {
        if self.has_zstd {
            let warning = Warning::new("the archive has layers in zstd, which docker before 23.0 can't load");
            reporter.warn(&warning.hint(
                "for such a docker build with `--compression gzip`; podman, `ctr` and skopeo take both",
            ));
        }
    }

    /// The images that were built.
    pub(super) fn images(&self) -> &[ImageReport] {
        &self.images
    }

    /// Writes the results to standard output, or to standard error where an archive has that, and
    /// the summary to standard error.
    pub(super) fn tell(&self, reporter: &Reporter, stdout_is_taken: bool) -> Result<(), Failure> {
        reporter.clear();
        reporter.summary(&self.summary(), &self.to_json());
        let lines: String = self.images.iter().map(|image| format!("{}\n", image.reference)).collect();
        if stdout_is_taken && reporter.is_for_programs() {
            // The summary has them already, and lines of text would be no JSON.
            return Ok(());
        }
        if stdout_is_taken {
            // Nobody is there to be told if that fails.
            let _ = std::io::stderr().write_all(lines.as_bytes());
            return Ok(());
        }
        text::print(&lines)
    }

    /// What the machine's cache answered for.
    fn local(&self) -> Tally {
        let mut local = self.reused;
        for place in self.places.values() {
            local.blobs -= place.blobs;
            local.bytes -= place.bytes;
        }
        local
    }

    /// What places of a kind answered for.
    fn tier(&self, outcome: LayerOutcome) -> Tally {
        let mut sum = Tally::default();
        let own = self.places.iter().filter(|((kind, _), _)| *kind == outcome);
        own.for_each(|(_, tally)| sum += *tally);
        sum
    }

    fn hits(&self) -> Value {
        let tally = |tally: &Tally| json!({ "count": tally.blobs, "bytes": tally.bytes });
        let place = |((tier, place), tally): (&(LayerOutcome, String), &Tally)| json!({ "tier": tier, "place": place, "count": tally.blobs, "bytes": tally.bytes });
        json!({
            "local": tally(&self.local()),
            "registry": tally(&self.tier(LayerOutcome::Shared)),
            "store": tally(&self.tier(LayerOutcome::Stored)),
            "places": self.places.iter().map(place).collect::<Vec<_>>(),
        })
    }

    /// The same for programs.
    fn to_json(&self) -> Value {
        let tally = |tally: &Tally| json!({ "count": tally.blobs, "bytes": tally.bytes });
        json!({
            "images": self.images.iter().map(|image| &image.reference).collect::<Vec<_>>(),
            "bytes": self.size,
            "seconds": seconds(self.elapsed),
            "layers": tally(&self.layers),
            "reused": tally(&self.reused),
            "own_layers": {
                "count": self.own.0.blobs,
                "bytes": self.own.0.bytes,
                "reused_count": self.own.1.blobs,
                "reused_bytes": self.own.1.bytes,
                "reused_share_of_bytes": share(self.own.1.bytes, self.own.0.bytes),
            },
            "hits": self.hits(),
            "steps": self.steps.0,
            "uploaded": self.traffic.as_ref().map(|traffic| tally(&traffic.uploaded)),
            "skipped": self.traffic.as_ref().map(|traffic| tally(&traffic.skipped)),
            "mounted": self.traffic.as_ref().map(|traffic| tally(&traffic.mounted)),
            "registry": self.usage.map(Usage::to_json),
            "cached": self.told.as_ref().map(Told::to_json),
            "outputs": self.outputs,
        })
    }

    /// All that is known, for programs that come later.
    pub(super) fn metadata(&self) -> Value {
        let pushed = self.images.iter().filter(|_| self.traffic.is_some()).flat_map(|image| &image.tags);
        let mut value = self.to_json();
        value["version"] = json!(METADATA_VERSION);
        value["ocibuild"] = json!(env!("CARGO_PKG_VERSION"));
        value["images"] = json!(self.images);
        value["pushed"] = json!(pushed.collect::<Vec<_>>());
        value
    }

    /// One line: size, time, and what the cache saved.
    fn summary(&self) -> String {
        let mut size = text::bytes(self.size);
        if self.images.len() > 1 {
            size = format!("{} images, {size}", self.images.len());
        }
        if let Some(traffic) = &self.traffic {
            size = format!("{size} ({} uploaded)", text::bytes(traffic.uploaded.bytes));
        }
        if !self.outputs.is_empty() {
            size = format!("{size} in {}", self.outputs.join(", "));
        }
        let steps = match &self.steps {
            (all, _) if all.is_empty() => String::new(),
            (all, ran) => format!("; {ran} of {} ran", text::count(all.len(), "step")),
        };
        let (own, reused) = &self.own;
        let cache = format!(
            "cache: {} of {} ({} of {}{})",
            reused.blobs,
            text::count(usize::try_from(own.blobs).unwrap_or(usize::MAX), "layer"),
            text::bytes(reused.bytes),
            text::bytes(own.bytes),
            share(reused.bytes, own.bytes).map(|share| format!(", {}", percent(share))).unwrap_or_default(),
        );
        let by = |((_, place), tally): (&(LayerOutcome, String), &Tally)| {
            format!(", {} by `{place}` ({})", tally.blobs, text::bytes(tally.bytes))
        };
        let mut cache = self.places.iter().map(by).fold(cache, |all, one| all + &one);
        if let Some(told) = self.told.as_ref().filter(|told| told.kept.records > 0) {
            let records = usize::try_from(told.kept.records).unwrap_or(usize::MAX);
            cache = format!("{cache}; {} to `{}`", text::count(records, "record"), told.place);
        }
        let trouble = self.usage.as_ref().map(Usage::trouble).unwrap_or_default();
        format!("{size}; {}{steps}; {cache}{trouble}", text::time(self.elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_all_is_never_said_to_be() {
        let told = |some, all| share(some, all).map(percent);
        assert_eq!(told(0, 0), None);
        assert_eq!(told(0, 7).as_deref(), Some("0.0%"));
        assert_eq!(told(999_999, 1_000_000).as_deref(), Some("99.9%"));
        assert_eq!(told(7, 7).as_deref(), Some("100%"));
    }
}
