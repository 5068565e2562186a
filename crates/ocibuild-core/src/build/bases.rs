//! The bases of a plan, opened and listed.

use std::sync::Arc;

use crate::base::{Base, BaseError, Listed, ListedKind, Listing, ListingBuilder, ListingLimits};
use crate::blob::{BlobError, Source};
use crate::build::built::LayersElsewhere;
use crate::build::{BuildError, Context, listings};
use crate::cache::Record;
use crate::event::{Event, Observer, Warning};
use crate::oci::Descriptor;
use crate::plan::{BaseName, Foundation, Plan, PlannedLayer, PlannedVariant, What};
use crate::spec::{Inherit, Span};

/// A base's place: where its blobs are, and which of them is its root.
#[derive(Clone)]
pub struct OpenBase {
    /// The blobs.
    pub source: Arc<dyn Source>,
    /// The manifest or index.
    pub root: Descriptor,
}

/// Opens bases.
pub trait Bases: Send + Sync {
    /// Opens the image of a name that the spec has. Within one build a name means one image.
    ///
    /// # Errors
    /// [`BlobError`] if there is none, or it is ambiguous.
    fn open(&self, base: &BaseName) -> Result<OpenBase, BlobError>;

    /// Tells whether something beside its name says which image a base is.
    fn is_pinned(&self, _: &BaseName) -> bool {
        false
    }
}

/// A base that was found.
pub(super) struct Found {
    foundation: Foundation,
    base: Base,
    listing: Listing,
    /// What others are told of the listing.
    record: Option<Record>,
    source: Arc<dyn Source>,
}

impl Found {
    pub(super) fn base(&self) -> &Base {
        &self.base
    }
}

/// All foundations of a plan.
pub(super) struct Foundations {
    found: Vec<Found>,
    /// By the builtin's place in the plan.
    builtins: Vec<(usize, Listing)>,
    empty: Listing,
}

impl Foundations {
    pub(super) fn open(plan: &Plan, context: Context<'_>) -> Result<Self, BuildError> {
        let mut all = Self::none();
        for variant in plan.images.iter().flat_map(|image| &image.variants) {
            all.add(&variant.foundation, plan, context)?;
        }
        Ok(all)
    }

    /// Opens all that can be opened; returns the faults of the others, too.
    pub(super) fn open_all(plan: &Plan, context: Context<'_>) -> (Self, Vec<BuildError>) {
        let (mut all, mut faults, mut failed) = (Self::none(), Vec::new(), Vec::new());
        for variant in plan.images.iter().flat_map(|image| &image.variants) {
            if failed.contains(&&variant.foundation) {
                continue;
            }
            if let Err(fault) = all.add(&variant.foundation, plan, context) {
                failed.push(&variant.foundation);
                faults.push(fault);
            }
        }
        (all, faults)
    }

    fn none() -> Self {
        Self { found: Vec::new(), builtins: Vec::new(), empty: Listing::empty() }
    }

    fn add(&mut self, foundation: &Foundation, plan: &Plan, context: Context<'_>) -> Result<(), BuildError> {
        match foundation {
            Foundation::Scratch => Ok(()),
            Foundation::Builtin(index) => self.add_builtin(plan, *index),
            foundation => self.add_base(foundation, context),
        }
    }

    pub(super) fn base(&self, foundation: &Foundation) -> Option<&Found> {
        self.found.iter().find(|found| found.foundation == *foundation)
    }

    /// What a foundation holds, unless it couldn't be opened.
    pub(super) fn known(&self, foundation: &Foundation) -> Option<&Listing> {
        let is_open = match foundation {
            Foundation::Image { .. } => self.base(foundation).is_some(),
            _ => true,
        };
        is_open.then(|| self.listing(foundation))
    }

    pub(super) fn listing(&self, foundation: &Foundation) -> &Listing {
        match foundation {
            Foundation::Builtin(index) => self
                .builtins
                .iter()
                .find(|(known, _)| known == index)
                .map_or(&self.empty, |(_, listing)| listing),
            _ => self.base(foundation).map_or(&self.empty, |found| &found.listing),
        }
    }

    /// Tells of triggers in bases that docker would run in this very build, once for each image.
    /// Whoever says what the image inherits has said that it isn't them.
    pub(super) fn warn_of_triggers(&self, plan: &Plan, observer: &dyn Observer) {
        for image in &plan.images {
            let asked = |variant: &&PlannedVariant| variant.inherit == Inherit::All;
            let configs = image.variants.iter().filter(asked).map(|variant| {
                let base = self.base(&variant.foundation).and_then(|found| found.base.config.config.as_ref());
                base.unwrap_or(&variant.builtin)
            });
            let mut triggers: Vec<String> = Vec::new();
            for line in configs.flat_map(|config| config.on_build.iter().flatten()) {
                let line = format!("`{}`", line.escape_debug());
                if !triggers.contains(&line) {
                    triggers.push(line);
                }
            }
            if triggers.is_empty() {
                continue;
            }
            let message = format!(
                "the base of image `{}` has triggers, which are neither run nor inherited: {}",
                image.name,
                triggers.join(", ")
            );
            let hint = "docker would run them in this build: do by layers what they do, or set `inherit` to say that they aren't wanted";
            observer.event(&Event::Warning(Warning::new(message).hint(hint)));
        }
    }

    /// Names the layers of a foundation that is an image.
    pub(super) fn layers(&self, foundation: &Foundation) -> &[Descriptor] {
        self.base(foundation).map_or(&[], |found| &found.base.layers)
    }

    /// Returns the records of what bases hold, as far as others can be told of it.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.found.iter().filter_map(|found| found.record.clone()).collect();
        records.sort_by_key(|record| record.key);
        records.dedup_by_key(|record| record.key);
        records
    }

    pub(super) fn into_sources(self) -> Vec<LayersElsewhere> {
        let layers = |found: &Found| found.base.layers.iter().map(|layer| layer.digest).collect();
        self.found.into_iter().map(|found| LayersElsewhere::new(layers(&found), found.source)).collect()
    }

    fn add_builtin(&mut self, plan: &Plan, index: usize) -> Result<(), BuildError> {
        if self.builtins.iter().any(|(known, _)| *known == index) {
            return Ok(());
        }
        let layer = &plan.layers[index];
        let fault = |source| BuildError::Listing { base: layer.name.clone(), source: Box::new(source) };
        self.builtins.push((index, list_builtin(layer).map_err(fault)?));
        Ok(())
    }

    fn add_base(&mut self, foundation: &Foundation, context: Context<'_>) -> Result<(), BuildError> {
        let Foundation::Image { base: name, platform, span } = foundation else { return Ok(()) };
        if self.base(foundation).is_some() {
            return Ok(());
        }
        let opened = context.bases.open(name).map_err(|fault| base_fault(name, *span, fault.into()))?;
        let source = opened.source.as_ref();
        let base = Base::open(source, &opened.root, Some(platform))
            .map_err(|fault| base_fault(name, *span, fault))?;
        let fault = |fault| base_fault(name, *span, fault);
        let (listing, record) = listings::list(&base, source, context.shelf(), fault)?;
        let foundation = foundation.clone();
        self.found.push(Found { foundation, base, listing, record, source: opened.source });
        Ok(())
    }
}

fn base_fault(base: &BaseName, span: Option<Span>, fault: BaseError) -> BuildError {
    match fault {
        BaseError::Cancelled(cancelled) | BaseError::Blob(BlobError::Cancelled(cancelled)) => {
            BuildError::Cancelled(cancelled)
        }
        fault => BuildError::Base { base: base.to_string(), span, source: Box::new(fault) },
    }
}

/// A builtin base's directories and links, as its layer's rules have them.
fn list_builtin(layer: &PlannedLayer) -> Result<Listing, crate::base::ListingError> {
    let mut builder = ListingBuilder::new(&ListingLimits::default());
    for copy in &layer.copies {
        let (uid, gid) = copy.numeric_owner().unwrap_or_default();
        let (kind, mode) = match &copy.what {
            What::Directory => (ListedKind::Directory, copy.mode.or(copy.dir_mode).unwrap_or(0o755)),
            What::Symlink(target) => (ListedKind::Symlink { target }, 0o777),
            What::Content(bytes) => {
                (ListedKind::File { size: bytes.len() as u64 }, copy.mode.unwrap_or(0o644))
            }
            What::From(_) => continue,
        };
        let listed = Listed { kind, mode, uid, gid };
        match &copy.what {
            What::Content(bytes) if matches!(&copy.to[..], b"etc/passwd" | b"etc/group") => {
                builder.insert_with_content(&copy.to, listed, bytes.to_vec())?;
            }
            _ => builder.insert(&copy.to, listed)?,
        }
    }
    Ok(builder.finish())
}
