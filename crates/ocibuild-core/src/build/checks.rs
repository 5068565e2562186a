//! What is wrong with a build's images, found before they are handed on: each layer by itself as soon as
//! it is there, the images once all layers are.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::build::bases::{Found, Foundations};
use crate::build::find::source;
use crate::build::lookups::Lookups;
use crate::build::pool::aside;
use crate::build::{Context, FinishedLayer};
use crate::checks::{
    self, BudgetView, ConfigView, Finding, Findings, ImageView, LayerView, Place, Start, alone, budgets,
    config, programs,
};
use crate::inspect::Inspection;
use crate::layer;
use crate::oci::Config;
use crate::plan::{
    BaseName, Foundation, ImageLimits, Plan, PlannedCopy, PlannedImage, PlannedVariant, inherited_config,
    merge_configs,
};
use crate::spec::Span;

/// The most paths that are named of what is too large.
const NAMED: usize = 10;

/// Checks what a plan comes to.
pub(super) struct Checker<'a> {
    plan: &'a Plan,
    own: Vec<usize>,
    context: Context<'a>,
    found: Mutex<Vec<Finding>>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(plan: &'a Plan, context: Context<'a>) -> Self {
        let own = if plan.checks.judges() { plan.own_layers().collect() } else { Vec::new() };
        Self { plan, own, context, found: Mutex::default() }
    }

    /// Checks a layer by itself. Tells whether it may be handed on.
    pub(super) fn layer(&self, layer: &FinishedLayer) -> bool {
        if !self.own.contains(&layer.index) {
            return true;
        }
        let policy = &self.plan.checks.policy;
        let images = self.images_with(layer.index);
        let place = Place { images: &images, ..Place::default() };
        let mut findings = Findings::new(policy, place);
        alone(self.view(layer), &|| biggest(&[layer], self.context), &mut findings);
        let findings = findings.finish();
        let is_sound = !checks::fails(policy, &findings);
        self.found.lock().unwrap_or_else(PoisonError::into_inner).extend(findings);
        is_sound
    }

    /// The names of the images that have a layer.
    fn images_with(&self, layer: usize) -> Vec<&'a str> {
        let has =
            |image: &&PlannedImage| image.variants.iter().any(|variant| variant.layers.contains(&layer));
        self.plan.images.iter().filter(has).map(|image| image.name.as_str()).collect()
    }

    fn view<'l>(&self, layer: &'l FinishedLayer) -> LayerView<'l> {
        let lets_foreign = |copy: &PlannedCopy| copy.from().is_some_and(|from| from.allow_foreign);
        LayerView {
            label: &layer.label,
            inspection: layer.inspection.as_deref(),
            size: layer.record.blob_size(),
            max_size: self.plan.checks.layers.get(&layer.name).copied(),
            lets_foreign: self.plan.layers[layer.index].copies.iter().any(lets_foreign),
        }
    }

    /// Checks the images, whose layers are all there. Returns all that was found, layers first.
    pub(super) fn images(self, foundations: &Foundations, layers: &[FinishedLayer]) -> Vec<Finding> {
        let mut all = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.plan.checks.judges() {
            return all;
        }
        all.sort_by(|one, other| (&one.layer, &one.path).cmp(&(&other.layer, &other.path)));
        let mut known: HashSet<Finding> = all.iter().cloned().collect();
        for image in &self.plan.images {
            let of = |variant| Checked { checker: &self, foundations, layers, image, variant }.findings();
            let found: Vec<Vec<Finding>> = image.variants.iter().map(of).collect();
            all.extend(merged(image, &found).into_iter().filter(|finding| known.insert(finding.clone())));
        }
        self.locate(&mut all, layers);
        all
    }

    /// Says of what is in a layer where the spec has that, if it doesn't follow from anything closer.
    fn locate(&self, findings: &mut [Finding], layers: &[FinishedLayer]) {
        for finding in findings.iter_mut().filter(|finding| finding.span.is_none()) {
            let layer = layers.iter().find(|layer| Some(&layer.label) == finding.layer.as_ref());
            finding.span = layer.and_then(|layer| self.plan.checks.places.get(&layer.name)).copied();
        }
    }
}

/// What holds of all platforms is told once.
fn merged(image: &PlannedImage, found: &[Vec<Finding>]) -> Vec<Finding> {
    let platforms = image.variants.iter().map(|variant| variant.platform.to_string());
    merged_of(&platforms.collect::<Vec<_>>(), found)
}

/// The same, by the names of the platforms. Thousands of programs may lack the same loader.
fn merged_of(platforms: &[String], found: &[Vec<Finding>]) -> Vec<Finding> {
    fn what(one: &Finding) -> (&str, Option<&str>, &str) {
        (&one.id, one.path.as_deref(), &one.message)
    }
    let told: Vec<HashSet<_>> = found.iter().map(|findings| findings.iter().map(what).collect()).collect();
    let (mut merged, mut known) = (Vec::new(), HashSet::new());
    for (platform, findings) in platforms.iter().zip(found) {
        for finding in findings {
            let is_everywhere = told.iter().all(|told| told.contains(&what(finding)));
            let platform = (!is_everywhere).then(|| platform.clone());
            let finding = Finding { platform, ..finding.clone() };
            if known.insert(finding.clone()) {
                merged.push(finding);
            }
        }
    }
    merged
}

/// One image on one platform.
struct Checked<'a> {
    checker: &'a Checker<'a>,
    foundations: &'a Foundations,
    layers: &'a [FinishedLayer],
    image: &'a PlannedImage,
    variant: &'a PlannedVariant,
}

impl Checked<'_> {
    fn findings(&self) -> Vec<Finding> {
        let Checker { plan, context, .. } = *self.checker;
        let place = Place { image: Some(&self.image.name), ..Place::default() };
        let mut findings = Findings::new(&plan.checks.policy, place);
        let none = ImageLimits::default();
        let limits = plan.checks.images.get(&self.image.name).unwrap_or(&none);
        let own: Vec<&FinishedLayer> = self.own().collect();
        let merged = self.config();
        budgets(self.budget(limits), &|| biggest(&own, context), &mut findings);
        let mutable_base = self.mutable_base();
        let view = ConfigView {
            user: merged.user.as_deref(),
            user_span: self.variant.places.user.or(limits.span),
            mutable_base: mutable_base.as_ref().map(|(name, _)| name.as_str()),
            base_span: mutable_base.as_ref().and_then(|(_, span)| *span),
        };
        config(view, &mut findings);
        let views: Vec<LayerView<'_>> = own.iter().map(|layer| self.checker.view(layer)).collect();
        let env = merged.env.clone().unwrap_or_default();
        let lookups = Lookups::new(&own, context);
        let listing = self.foundations.listing(&self.variant.foundation);
        let removed: Vec<_> =
            self.own().flat_map(|layer| layer::removed_paths(&plan.layers[layer.index], listing)).collect();
        let view = ImageView {
            platform: &self.variant.platform,
            listing,
            removed: &removed,
            layers: &views,
            contents: &lookups,
            env: &env,
            start: Start {
                entrypoint: merged.entrypoint.as_deref().unwrap_or_default(),
                command: merged.cmd.as_deref().unwrap_or_default(),
                directory: merged.working_dir.as_deref().unwrap_or_default(),
            },
            is_static: limits.is_static,
        };
        programs(view, &mut findings);
        lookups.keep();
        findings.finish()
    }

    /// Its own layers, but for a builtin base's.
    fn own(&self) -> impl Iterator<Item = &FinishedLayer> {
        let own = self.variant.layers.iter().filter(|index| self.checker.own.contains(index));
        own.map(|index| &self.layers[*index])
    }

    fn budget<'v>(&'v self, limits: &'v ImageLimits) -> BudgetView<'v> {
        let base = self.foundations.base(&self.variant.foundation).map(Found::base);
        let base: Vec<u64> = base.iter().flat_map(|base| &base.layers).map(|layer| layer.size).collect();
        let all = || self.variant.layers.iter().map(|index| &self.layers[*index].record);
        let own: u64 = all().map(crate::cache::Record::blob_size).sum();
        let base_size = base.iter().sum();
        let layers = base.len() + all().map(|record| record.layers.len()).sum::<usize>();
        BudgetView { image: &self.image.name, size: own + base_size, base_size, layers, limits }
    }

    /// How a container is run, with what it inherits.
    fn config(&self) -> Config {
        let base = self.foundations.base(&self.variant.foundation).map(Found::base);
        let below = base.map_or(Some(&self.variant.builtin), |base| base.config.config.as_ref());
        let below = inherited_config(below.cloned().unwrap_or_default(), &self.variant.inherit);
        merge_configs(below, self.variant.config.clone())
    }

    /// The base, if its name may stand for another image tomorrow.
    fn mutable_base(&self) -> Option<(String, Option<Span>)> {
        let Foundation::Image { base: name @ BaseName::Remote(reference), span, .. } =
            &self.variant.foundation
        else {
            return None;
        };
        let is_pinned = reference.digest().is_some() || self.checker.context.bases.is_pinned(name);
        (!is_pinned).then(|| (name.to_string(), *span))
    }
}

/// The largest files of layers.
fn biggest(layers: &[&FinishedLayer], context: Context<'_>) -> Vec<(String, u64)> {
    let mut all: Vec<(u64, String)> = Vec::new();
    for layer in layers {
        let take = |entry: layer::ListedEntry| {
            all.extend(entry.size.map(|size| (size, crate::files::display(&entry.path))));
            if all.len() > 1 << 16 {
                keep_largest(&mut all);
            }
        };
        // What can't be read isn't named: the sum is told anyway.
        let _ = aside_each(layer, context, take);
    }
    keep_largest(&mut all);
    all.into_iter().map(|(size, path)| (path, size)).collect()
}

fn keep_largest(all: &mut Vec<(u64, String)>) {
    all.sort_unstable_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    all.truncate(NAMED);
}

pub(super) fn aside_each(
    layer: &FinishedLayer,
    context: Context<'_>,
    take: impl FnMut(layer::ListedEntry) + Send,
) -> Result<bool, crate::blob::BlobError> {
    aside(|| layer::each_entry(&layer.record, &source(&layer.origins, context), take))
}

/// Returns what was found in a layer's files, by who made it or by its record.
pub(super) fn inspection(made: Option<Inspection>, record: &crate::cache::Record) -> Option<Inspection> {
    made.or_else(|| record.inspection.as_ref()?.unpack())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Severity;

    fn lacks_loader(index: usize) -> Finding {
        Finding {
            id: "elf-interpreter-missing".to_owned(),
            severity: Severity::Error,
            image: Some("app".to_owned()),
            platform: None,
            layer: Some("app".to_owned()),
            path: Some(format!("opt/bin/{index:05}")),
            line: None,
            message: "can't start".to_owned(),
            hint: None,
            allowed: None,
            span: None,
        }
    }

    #[test]
    fn what_all_platforms_have_is_told_once_however_much_it_is() {
        let platforms = ["linux/amd64".to_owned(), "linux/arm64".to_owned()];
        let many: Vec<Finding> = (0..20_000).map(lacks_loader).collect();
        assert_eq!(merged_of(&platforms, &[many.clone(), many.clone()]), many);
        // Twice told by one, and not at all by the other.
        let merged = merged_of(
            &platforms,
            &[many[..1].to_vec(), vec![many[0].clone(), many[1].clone(), many[1].clone()]],
        );
        let of_arm = Finding { platform: Some(platforms[1].clone()), ..many[1].clone() };
        assert_eq!(merged, [many[0].clone(), of_arm]);
    }
}
