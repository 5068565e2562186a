//! From a base, layers and a planned config to the bytes of config, manifest and index.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::base::{Base, MAX_LAYERS};
use crate::cache::{BuiltLayer, uncarried};
use crate::image::ImageError;
use crate::oci::{
    self, Descriptor, History, ImageConfig, Index, Manifest, MediaType, Platform, annotation, to_json,
};
use crate::plan::{BaseName, Foundation, PlannedVariant, inherited_config, merge_configs};
use crate::spec::{Field, Inherit};

/// What an image says of when it was made, in seconds since 1970-01-01T00:00:00Z.
///
/// Part of the image's config, never of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created(pub u64);

impl Default for Created {
    /// The constant that stands in images made without `SOURCE_DATE_EPOCH`: 1970-01-01T00:00:01Z.
    fn default() -> Self {
        Self(1)
    }
}

impl std::fmt::Display for Created {
    /// Writes the time as RFC 3339 has it, in UTC.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, rest) = (self.0 / 86_400, self.0 % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
///
/// Counts in eras of 400 years that begin with March, so that the leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// One of an image's own layers, with what its history says.
#[derive(Debug, Clone, Copy)]
pub struct OwnLayer<'a> {
    /// The layer's name in the spec.
    pub name: &'a str,
    /// The spec's remark on it.
    pub comment: Option<&'a str>,
    /// Its blob.
    pub built: &'a BuiltLayer,
    /// Where the layer is split: which of its parts this is, counted from 1, and of how many.
    pub part: Option<(usize, usize)>,
}

impl OwnLayer<'_> {
    /// What the history says of it.
    fn created_by(&self) -> String {
        let Self { name, part, .. } = self;
        match part {
            None => format!("{CREATED_BY}{name}"),
            Some((number, count)) => format!("{CREATED_BY}{name} ({number}/{count})"),
        }
    }
}

/// The bytes of an image for one platform.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Assembled {
    /// The config.
    pub config: Vec<u8>,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The manifest's descriptor, with the platform.
    pub descriptor: Descriptor,
    /// What the config says it runs on.
    pub platform: Platform,
}

/// What an image has over its base, beside what the plan says of its config.
#[derive(Debug, Clone, Default)]
pub struct Overlay {
    /// Its own layers, the lowest first.
    pub layers: Vec<BuiltLayer>,
    /// How these came to be.
    pub history: Vec<History>,
    /// Fields that this library doesn't know, beside those of the base that it takes over.
    pub other: BTreeMap<String, Value>,
}

impl Overlay {
    fn of(layers: &[OwnLayer<'_>], created: Created) -> Self {
        let entry = |layer: &OwnLayer<'_>| {
            let entry = History::of_layer(created.to_string(), layer.created_by());
            History { comment: layer.comment.map(str::to_owned), ..entry }
        };
        let history = layers.iter().map(entry).collect();
        let layers = layers.iter().map(|layer| layer.built.clone()).collect();
        Self { layers, history, other: BTreeMap::new() }
    }
}

/// The most layers that an image with split layers may have, those of its base among them: who
/// builds on it needs some as well.
pub const MAX_SPLIT_LAYERS: usize = 100;

/// What the history says of layers of ours, with the layer's name behind it.
pub(crate) const CREATED_BY: &str = "ocibuild layer ";

/// Puts an image together.
///
/// A base's history, layers and platform are inherited, and of its config what the image takes over;
/// its annotations are not, for they speak of the base.
///
/// # Errors
/// [`ImageError`] if the image would have more layers than can be run, or with split layers more
/// than [`MAX_SPLIT_LAYERS`].
pub fn assemble(
    variant: &PlannedVariant,
    base: Option<&Base>,
    layers: &[OwnLayer<'_>],
    created: Created,
) -> Result<Assembled, ImageError> {
    let below = base.map_or(0, |base| base.layers.len());
    let split = parts(layers);
    if !split.is_empty() && below + layers.len() > MAX_SPLIT_LAYERS {
        return Err(ImageError::TooManyParts { base: below, own: layers.len(), split });
    }
    assemble_over(variant, base, Overlay::of(layers, created), created)
}

/// The layers that are split, with the numbers of their parts.
fn parts(layers: &[OwnLayer<'_>]) -> Vec<(String, usize)> {
    let firsts = layers.iter().filter_map(|layer| match layer.part {
        Some((1, count)) => Some((layer.name.to_owned(), count)),
        _ => None,
    });
    firsts.collect()
}

/// Puts an image together whose layers were made elsewhere; else as [`assemble`]. Of the variant's
/// layers, which are places in a plan, none is looked at.
///
/// # Errors
/// As for [`assemble`].
pub fn assemble_over(
    variant: &PlannedVariant,
    base: Option<&Base>,
    own: Overlay,
    created: Created,
) -> Result<Assembled, ImageError> {
    let layers = &own.layers;
    let below = base.map_or(0, |base| base.layers.len());
    if below + layers.len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers { base: below, own: layers.len() });
    }
    let mut inherited = base.map(|base| base.layers.clone()).unwrap_or_default();
    inherited.iter_mut().for_each(uncarried);
    let layers = layers.iter().map(|layer| layer.descriptor.clone());
    let layers = inherited.into_iter().chain(layers).collect();
    let config = to_json(&config(variant, base, own, created));
    let config_descriptor = Descriptor::of(MediaType::CONFIG, &config);
    let mut manifest = Manifest::new(config_descriptor, layers);
    manifest.annotations = annotations(variant, base, created);
    let manifest = to_json(&manifest);
    let platform = base.map_or_else(|| variant.platform.clone(), |base| base.platform.clone());
    let mut descriptor = Descriptor::of(MediaType::MANIFEST, &manifest).with_platform(platform.clone());
    descriptor.annotations.clone_from(&variant.annotations.descriptor);
    Ok(Assembled { config, manifest, descriptor, platform })
}

fn config(variant: &PlannedVariant, base: Option<&Base>, own: Overlay, created: Created) -> ImageConfig {
    let platform = &variant.platform;
    let mut config = match base {
        Some(base) => base.config.clone(),
        None => {
            let mut config = ImageConfig::new(&platform.os, &platform.architecture);
            config.variant.clone_from(&platform.variant);
            config
        }
    };
    if let Some(base) = base {
        complete_history(&mut config.history, base.layers.len());
    }
    config.created = Some(created.to_string());
    if !variant.inherit.takes(Field::Author) {
        config.author = None;
    }
    if variant.inherit != Inherit::All {
        config.other.clear();
    }
    if variant.author.is_some() {
        config.author.clone_from(&variant.author);
    }
    let below = config.config.take().unwrap_or_else(|| variant.builtin.clone());
    let below = inherited_config(below, &variant.inherit);
    config.config =
        Some(merge_configs(below, variant.config.clone())).filter(|own| *own != oci::Config::default());
    config.other.extend(own.other);
    config.rootfs.diff_ids.extend(own.layers.iter().map(|layer| layer.diff_id));
    config.history.extend(own.history);
    config
}

/// A base may tell the history of fewer layers than it has; what comes after would then be taken
/// for that of others.
pub(crate) fn complete_history(history: &mut Vec<History>, layers: usize) {
    let told = history.iter().filter(|entry| !entry.empty_layer).count();
    for _ in told..layers {
        history.push(History { comment: Some("layer of the base".to_owned()), ..History::default() });
    }
}

fn annotations(variant: &PlannedVariant, base: Option<&Base>, created: Created) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if created != Created::default() {
        annotations.insert(annotation::CREATED.to_owned(), created.to_string());
    }
    if let Some(base) = base {
        annotations.insert(annotation::BASE_DIGEST.to_owned(), base.descriptor.digest.to_string());
    }
    if let Foundation::Image { base: BaseName::Remote(reference), .. } = &variant.foundation {
        annotations.insert(annotation::BASE_NAME.to_owned(), reference.without_digest().to_string());
    }
    annotations.extend(variant.annotations.common.clone());
    annotations.extend(variant.annotations.manifest.clone());
    annotations
}

/// Puts the index of several platforms together; it carries the annotations that all of them have
/// in common, and over them its own.
#[must_use]
pub fn assemble_index(images: &[(Assembled, &PlannedVariant)]) -> Vec<u8> {
    let mut index = Index::new(images.iter().map(|(image, _)| image.descriptor.clone()).collect());
    let pairs = |variant: &PlannedVariant| -> BTreeSet<(String, String)> {
        variant.annotations.common.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let common = images.iter().map(|(_, variant)| pairs(variant)).reduce(|one, other| &one & &other);
    index.annotations = common.unwrap_or_default().into_iter().collect();
    let own = images.iter().flat_map(|(_, variant)| variant.annotations.index.clone());
    index.annotations.extend(own);
    to_json(&index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:01Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Created(seconds).to_string(), text);
        }
    }
}
