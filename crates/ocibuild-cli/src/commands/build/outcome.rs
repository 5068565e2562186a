//! What a build came to: the lines of standard output, and the summary.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use ocibuild_core::blob::{Source, read_whole};
use ocibuild_core::copy::{Tally, children};
use ocibuild_core::event::LayerOutcome;
use ocibuild_core::oci::MAX_MANIFEST_SIZE;
use ocibuild_core::{Built, Descriptor, Digest};
use serde_json::json;

use crate::failure::{Failure, Origin};
use crate::progress::Reporter;
use crate::progress::json::seconds;
use crate::text;

/// What is told in the end.
pub(super) struct Outcome {
    results: Vec<String>,
    images: usize,
    size: u64,
    /// What was uploaded, if anything was to be.
    sent: Option<Tally>,
    elapsed: Duration,
    layers: Tally,
    reused: Tally,
    outputs: Vec<String>,
}

impl Outcome {
    /// Counts what was built.
    pub(super) fn new(
        built: &Built,
        started: Instant,
        sent: Option<Tally>,
        outputs: Vec<String>,
    ) -> Result<Self, Failure> {
        let (mut layers, mut reused) = (Tally::default(), Tally::default());
        for layer in &built.layers {
            let size = layer.record.layers.iter().map(|built| built.descriptor.size).sum();
            layers.add(size);
            if layer.outcome == LayerOutcome::Reused {
                reused.add(size);
            }
        }
        let result = |image: &ocibuild_core::build::BuiltImage| match image.tags.first() {
            Some(tag) => tag.at(image.root.digest).to_string(),
            None => image.root.digest.to_string(),
        };
        Ok(Self {
            results: built.images.iter().map(result).collect(),
            images: built.images.len(),
            size: size(built)?,
            sent,
            elapsed: started.elapsed(),
            layers,
            reused,
            outputs,
        })
    }

    /// Writes the results to standard output, or to standard error where an archive has that, and
    /// the summary to standard error.
    pub(super) fn tell(&self, reporter: &Reporter, stdout_is_taken: bool) -> Result<(), Failure> {
        reporter.clear();
        reporter.summary(&self.summary(), &self.to_json());
        let lines: String = self.results.iter().map(|result| format!("{result}\n")).collect();
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

    /// The same for programs.
    fn to_json(&self) -> serde_json::Value {
        let tally = |tally: &Tally| json!({ "number": tally.blobs, "bytes": tally.bytes });
        json!({
            "images": self.results,
            "bytes": self.size,
            "seconds": seconds(self.elapsed),
            "layers": tally(&self.layers),
            "reused": tally(&self.reused),
            "uploaded": self.sent.as_ref().map(tally),
            "outputs": self.outputs,
        })
    }

    /// One line: size, time, and what the cache saved.
    fn summary(&self) -> String {
        let mut size = text::bytes(self.size);
        if self.images > 1 {
            size = format!("{} images, {size}", self.images);
        }
        if let Some(sent) = &self.sent {
            size = format!("{size} ({} uploaded)", text::bytes(sent.bytes));
        }
        if !self.outputs.is_empty() {
            size = format!("{size} in {}", self.outputs.join(", "));
        }
        let cache = format!(
            "cache: {} of {} ({} of {})",
            self.reused.blobs,
            text::count(usize::try_from(self.layers.blobs).unwrap_or(usize::MAX), "layer"),
            text::bytes(self.reused.bytes),
            text::bytes(self.layers.bytes),
        );
        format!("{size}; {}; {cache}", text::time(self.elapsed))
    }
}

/// The bytes of everything the images consist of, each blob once.
fn size(built: &Built) -> Result<u64, Failure> {
    let source = built.source();
    let mut blobs = BTreeMap::new();
    for image in &built.images {
        add(&source, &image.root, &mut blobs)?;
    }
    Ok(blobs.values().sum())
}

fn add(
    source: &dyn Source,
    descriptor: &Descriptor,
    blobs: &mut BTreeMap<Digest, u64>,
) -> Result<(), Failure> {
    let is_new = blobs.insert(descriptor.digest, descriptor.size).is_none();
    let media_type = &descriptor.media_type;
    if is_new && (media_type.is_manifest() || media_type.is_index()) {
        let bytes = read_whole(source, descriptor, MAX_MANIFEST_SIZE)
            .map_err(|error| Failure::place(error, Origin::Cache))?;
        for child in children(media_type, &bytes).unwrap_or_default() {
            add(source, &child, blobs)?;
        }
    }
    Ok(())
}
