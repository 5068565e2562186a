//! Moving an image to another base without rebuilding it: its own layers stay as they are, and what
//! its config has over the old base's is laid over the new base's.
//!
//! What comes out is what a build on the new base gives, byte for byte; so where a layer of the image
//! would have come out otherwise, because its builder went by something that the new base has
//! otherwise, the image isn't moved. What can't be seen in an image counts as inherited: a value that
//! the old base has as well, and which files a pattern of `remove` would find in the new base.

mod conflict;
mod delta;
mod own;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::{Base, BaseError, Listing, is_image, read_index};
use crate::blob::{BlobError, Memory, Source};
use crate::build::{Bases, BuildError, Built, BuiltImage, LayersElsewhere, OpenBase, Shelf, list_base};
use crate::contents::{Contents, ContentsOptions};
use crate::digest::Digest;
use crate::event::{Cancelled, Event, Warning};
use crate::image::{Assembled, Created, ImageError, assemble_over};
use crate::oci::{Descriptor, Index, MediaType, Platform, annotation, to_json};
use crate::plan::BaseName;
use crate::reference::{Reference, ReferenceError};

pub use conflict::{Conflict, Stands};

use conflict::Conflicts;
use own::Own;

/// An image can't be moved to another base.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebaseError {
    /// The image can't be used.
    #[error("image `{image}`")]
    Image {
        /// What it is called.
        image: String,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// A base can't be used.
    #[error("base `{base}`")]
    Base {
        /// What it is called.
        base: String,
        /// Why not.
        #[source]
        source: Box<BaseError>,
    },
    /// An index leads to another index.
    #[error("the image `{image}` is an index of indexes")]
    Nested {
        /// What it is called.
        image: String,
    },
    /// Nothing says what the image stands on.
    #[error("the image `{image}` doesn't say what its base is")]
    NoBase {
        /// What it is called.
        image: String,
    },
    /// The image says what it stands on, but not where that is.
    #[error("the image `{image}` says that its base is `{digest}`, but not where that is")]
    NoPlace {
        /// What it is called.
        image: String,
        /// The base's manifest, as the image has it.
        digest: String,
    },
    /// What the image says of its base can't be understood.
    #[error("what the image `{image}` says of its base can't be understood")]
    BadBase {
        /// What it is called.
        image: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// The image doesn't stand on what is taken for its base.
    #[error("the image `{image}` doesn't stand on `{base}`: {difference}")]
    NotBase {
        /// What it is called.
        image: String,
        /// What isn't its base.
        base: String,
        /// In what that shows.
        difference: String,
    },
    /// The new base isn't there for all platforms of the image.
    #[error("`{base}` has no image for {}", list(platforms))]
    NoPlatform {
        /// The new base.
        base: String,
        /// The platforms it lacks.
        platforms: Vec<Platform>,
    },
    /// The image would come out otherwise if it were built on the new base.
    #[error("the image `{image}` isn't what a build on `{base}` would give")]
    Conflicts {
        /// What it is called.
        image: String,
        /// The new base.
        base: String,
        /// Why, each once, with the platforms that it is true of.
        conflicts: Vec<(Conflict, Vec<Platform>)>,
    },
    /// The new image can't be put together.
    #[error(transparent)]
    Assemble(#[from] ImageError),
    /// The new base's files can't be listed, or the cache failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(|platform| format!("`{platform}`")).collect();
    names.join(", ")
}

/// An image or base, and what it is called.
#[derive(Clone)]
pub struct Named {
    /// Where its blobs are, and which of them is its root.
    pub place: OpenBase,
    /// What it is called, for people.
    pub name: String,
    /// What it is called in a registry, if it is in one.
    pub reference: Option<Reference>,
}

/// What is to be moved where.
#[derive(Clone)]
pub struct Rebase {
    /// The image.
    pub image: Named,
    /// The new base.
    pub onto: Named,
    /// The base that the image stands on; without, the image has to say itself what that is.
    pub from: Option<Named>,
    /// What the image will be called.
    pub tags: Vec<Reference>,
    /// What it goes by in a layout or archive.
    pub ref_names: Vec<String>,
}

/// What an image is moved with.
#[derive(Clone, Copy)]
pub struct RebaseContext<'a> {
    /// Opens the base that an image says it stands on.
    pub bases: &'a dyn Bases,
    /// Where listings of bases are kept.
    pub shelf: Shelf<'a>,
    /// How many layers are read side by side.
    pub threads: usize,
    /// When the image says that it was made.
    pub created: Created,
}

/// One platform of an image, between its two bases.
struct Part {
    image: Base,
    old: Base,
    new: Base,
}

impl Part {
    /// How many of the image's layers are the old base's.
    fn below(&self) -> usize {
        self.old.layers.len()
    }

    /// The image's own layers, as an image.
    fn own(&self) -> Base {
        let mut own = self.image.clone();
        own.layers.drain(..self.below());
        own.diff_ids.drain(..self.below());
        own
    }

    /// The old base's layers as the image has them: where the image is, these are, too.
    fn old(&self) -> Base {
        let mut old = self.image.clone();
        old.layers.truncate(self.below());
        old.diff_ids.truncate(self.below());
        old
    }
}

/// Moves an image to another base: every platform of it to the same platform of the base.
///
/// The old base's layers must be the image's first ones, by their contents; that it is compressed
/// otherwise is no matter. Of layers, the image's own are read, and the bases' where the records
/// don't have their listing; none is made or written. Attestations and the like in the image's index
/// speak of the image as it was: they stay behind, with a warning.
///
/// # Errors
/// [`RebaseError`]; [`RebaseError::Conflicts`] with all that the new base has otherwise.
pub fn rebase(job: &Rebase, context: RebaseContext<'_>) -> Result<Built, RebaseError> {
    let (descriptors, index) = platforms(job, context)?;
    let parts = open(job, &descriptors, context)?;
    compare(job, &parts, context)?;
    let memory = Memory::new();
    let mut assembled = Vec::with_capacity(parts.len());
    for (part, descriptor) in parts.iter().zip(&descriptors) {
        context.shelf.cancel.check()?;
        let image = part.assemble(job, descriptor, context.created)?;
        memory.insert(MediaType::CONFIG, image.config);
        memory.insert(MediaType::MANIFEST, image.manifest);
        assembled.push(image.descriptor);
    }
    let root = match index {
        None => assembled.remove(0),
        Some(old) => {
            let mut index = Index::new(assembled);
            index.annotations = old.annotations;
            memory.insert(MediaType::INDEX, to_json(&index))
        }
    };
    let (tags, ref_names) = (job.tags.clone(), job.ref_names.clone());
    let name = ref_names.first().unwrap_or(&job.image.name).clone();
    let image = BuiltImage { name, tags, ref_names, root, layers: Vec::new() };
    let layers = |bases: Vec<Base>, place: &OpenBase| {
        let digests: BTreeSet<Digest> =
            bases.iter().flat_map(|base| &base.layers).map(|layer| layer.digest).collect();
        LayersElsewhere::new(digests, Arc::clone(&place.source))
    };
    let new = layers(parts.iter().map(|part| part.new.clone()).collect(), &job.onto.place);
    let own = layers(parts.iter().map(Part::own).collect(), &job.image.place);
    Ok(Built::elsewhere(image, memory, vec![new, own], context.shelf.store.clone()))
}

/// Finds the manifests of an image, and the index that they stand in.
fn platforms(
    job: &Rebase,
    context: RebaseContext<'_>,
) -> Result<(Vec<Descriptor>, Option<Index>), RebaseError> {
    let root = &job.image.place.root;
    if !root.media_type.is_index() {
        return Ok((vec![root.clone()], None));
    }
    let index =
        read_index(job.image.place.source.as_ref(), root).map_err(|fault| job.image.at_fault(fault))?;
    let (images, others): (Vec<Descriptor>, Vec<Descriptor>) =
        index.manifests.iter().cloned().partition(is_image);
    if images.iter().any(|image| image.media_type.is_index()) {
        return Err(RebaseError::Nested { image: job.image.name.clone() });
    }
    if images.is_empty() {
        let reason = "the index has no image";
        return Err(job.image.at_fault(BaseError::Unusable { digest: root.digest, reason }));
    }
    if !others.is_empty() {
        let what = if others.len() == 1 { "entry".to_owned() } else { format!("{} entries", others.len()) };
        let message = format!("the image's index has {what} that speak of it as it was, and stay behind");
        let hint = "attest and sign the new image anew";
        context.shelf.observer.event(&Event::Warning(Warning::new(message).hint(hint)));
    }
    Ok((images, Some(index)))
}

/// Opens image and bases for each platform.
fn open(job: &Rebase, images: &[Descriptor], context: RebaseContext<'_>) -> Result<Vec<Part>, RebaseError> {
    let (mut parts, mut lacking) = (Vec::with_capacity(images.len()), Vec::new());
    for descriptor in images {
        context.shelf.cancel.check()?;
        let source = job.image.place.source.as_ref();
        let image = Base::open(source, descriptor, None).map_err(|fault| job.image.at_fault(fault))?;
        let old = open_old(job, &image, context)?;
        let onto = &job.onto.place;
        match Base::open(onto.source.as_ref(), &onto.root, Some(&image.platform)) {
            Ok(new) => parts.push(Part { image, old, new }),
            Err(BaseError::NoPlatform { .. }) => lacking.push(image.platform),
            Err(fault) => return Err(job.onto.base_at_fault(fault)),
        }
    }
    match lacking.is_empty() {
        true => Ok(parts),
        false => Err(RebaseError::NoPlatform { base: job.onto.name.clone(), platforms: lacking }),
    }
}

/// Opens what an image stands on, and makes sure that it does.
fn open_old(job: &Rebase, image: &Base, context: RebaseContext<'_>) -> Result<Base, RebaseError> {
    let said;
    let from = match &job.from {
        Some(from) => from,
        None => {
            said = said_base(job, image, context)?;
            &said
        }
    };
    let place = &from.place;
    let old = Base::open(place.source.as_ref(), &place.root, Some(&image.platform))
        .map_err(|fault| from.base_at_fault(fault))?;
    let not_base = |difference| RebaseError::NotBase {
        image: job.image.name.clone(),
        base: from.name.clone(),
        difference,
    };
    let (has, needs) = (image.diff_ids.len(), old.diff_ids.len());
    if needs > has {
        return Err(not_base(format!("that has {needs} layers, and the image {has}")));
    }
    let mut pairs = old.diff_ids.iter().zip(&image.diff_ids).enumerate();
    match pairs.find(|(_, (old, own))| old != own) {
        None => Ok(old),
        Some((at, (old, own))) => {
            Err(not_base(format!("layer {} is `{old}` there, and `{own}` in the image", at + 1)))
        }
    }
}

/// Opens the base that an image says it stands on.
fn said_base(job: &Rebase, image: &Base, context: RebaseContext<'_>) -> Result<Named, RebaseError> {
    let said = |name: &str| image.manifest.annotations.get(name).cloned();
    let name = job.image.name.clone();
    let (base, digest) = match (said(annotation::BASE_NAME), said(annotation::BASE_DIGEST)) {
        (None, None) => return Err(RebaseError::NoBase { image: name }),
        (None, Some(digest)) => return Err(RebaseError::NoPlace { image: name, digest }),
        (Some(base), digest) => (base, digest),
    };
    let bad = |source| RebaseError::BadBase { image: name.clone(), source };
    let named: Reference = base.parse().map_err(bad)?;
    // The name may have moved on, or have the digest of an index.
    let reference: Reference = match digest {
        Some(digest) => format!("{}@{digest}", named.repository()).parse().map_err(bad)?,
        None => named.or_latest(),
    };
    let text = reference.to_string();
    let fault = |fault: BlobError| RebaseError::base(text.clone(), fault.into());
    let place = context.bases.open(&BaseName::Remote(reference.clone())).map_err(fault)?;
    Ok(Named { place, name: text.clone(), reference: Some(reference) })
}

/// Looks for all that a build on the new base would have come out otherwise for.
fn compare(job: &Rebase, parts: &[Part], context: RebaseContext<'_>) -> Result<(), RebaseError> {
    let mut found = Conflicts::default();
    // The same layers on several platforms are read once.
    let mut known = Contents { layers: Vec::new() };
    for part in parts {
        if part.old.diff_ids == part.new.diff_ids {
            continue;
        }
        let options = ContentsOptions::default().threads(context.threads);
        let source = job.image.place.source.as_ref();
        let contents = Contents::read_knowing(source, &part.own(), &known, &options, context.shelf.cancel)
            .map_err(|fault| job.image.at_fault(fault))?;
        let own = Own::of(&contents);
        let old = job.image.list(&part.old(), context)?;
        let new = job.onto.list(&part.new, context)?;
        found.add(&own, &old, &new, &part.image.platform);
        warn(part, &own, &old, &new, context);
        known.layers.extend(contents.layers);
    }
    if found.is_empty() {
        return Ok(());
    }
    let (image, base) = (job.image.name.clone(), job.onto.name.clone());
    Err(RebaseError::Conflicts { image, base, conflicts: found.into_list() })
}

/// Tells of what is no fault of the image's files, and may be one of its maker's intent.
fn warn(part: &Part, own: &Own<'_>, old: &Listing, new: &Listing, context: RebaseContext<'_>) {
    let platform = &part.image.platform;
    let tell = |message: String, hint: &str| {
        context.shelf.observer.event(&Event::Warning(Warning::new(message).hint(hint)));
    };
    if !own.removed.is_empty() {
        let idle = own.removed.iter().filter(|path| old.get(path).is_some() && new.get(path).is_none());
        let (all, idle) = (own.removed.len(), idle.count());
        let paths = if all == 1 { "a path".to_owned() } else { format!("{all} paths") };
        let message = format!(
            "the image for `{platform}` removes {paths} of its old base, and {idle} of them aren't in the new \
             one; what patterns would find in the new one stays"
        );
        tell(message, "build the image on the new base, if it removes by patterns");
    }
    let user =
        part.image.config.config.as_ref().and_then(|config| config.user.as_deref()).unwrap_or_default();
    let name = user.split(':').next().unwrap_or_default();
    if old.user(name).is_some() && new.user(name).is_none() {
        let message = format!("the image for `{platform}` runs as `{user}`, whom the new base doesn't have");
        tell(message, "build the image with a `user` that the new base has, or a number");
    }
}

impl Part {
    fn assemble(&self, job: &Rebase, root: &Descriptor, created: Created) -> Result<Assembled, ImageError> {
        let name = job.onto.reference.clone();
        let (mut variant, overlay) = delta::delta(self, name, created);
        let kept =
            |name: &&String| ![annotation::REF_NAME, annotation::CONTAINERD_NAME].contains(&name.as_str());
        let annotations = root.annotations.iter().filter(|(name, _)| kept(name));
        variant.annotations.descriptor =
            annotations.map(|(name, value)| (name.clone(), value.clone())).collect();
        assemble_over(&variant, Some(&self.new), overlay, created)
    }
}

impl Named {
    fn at_fault(&self, fault: BaseError) -> RebaseError {
        match cancelled(&fault) {
            Some(cancelled) => cancelled.into(),
            None => RebaseError::Image { image: self.name.clone(), source: Box::new(fault) },
        }
    }

    fn base_at_fault(&self, fault: BaseError) -> RebaseError {
        RebaseError::base(self.name.clone(), fault)
    }

    /// Finds out what layers of it hold.
    fn list(&self, base: &Base, context: RebaseContext<'_>) -> Result<Listing, RebaseError> {
        let fault = |fault| match cancelled(&fault) {
            Some(cancelled) => cancelled.into(),
            None => BuildError::Base { base: self.name.clone(), span: None, source: Box::new(fault) },
        };
        let source: &dyn Source = self.place.source.as_ref();
        Ok(list_base(base, source, context.shelf, fault)?)
    }
}

impl RebaseError {
    fn base(base: String, fault: BaseError) -> Self {
        match cancelled(&fault) {
            Some(cancelled) => cancelled.into(),
            None => Self::Base { base, source: Box::new(fault) },
        }
    }
}

fn cancelled(fault: &BaseError) -> Option<Cancelled> {
    let is_cancelled = matches!(fault, BaseError::Cancelled(_) | BaseError::Blob(BlobError::Cancelled(_)));
    is_cancelled.then_some(Cancelled)
}
