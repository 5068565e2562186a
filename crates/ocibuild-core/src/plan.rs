//! The plan: a spec with its names resolved and its variables filled in, for each platform.
//!
//! Pure: no file is read and no cache asked. What depends on files (globs, a base's content, the
//! bytes of lockfiles) is left as it is, for `layer` and `build` to look at. A layer that comes out
//! the same for several platforms is planned once.

mod caches;
mod checks;
mod config;
mod expand;
mod layer;
mod step;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::MAX_LAYERS;
use crate::oci::{self, Compression, Platform};
use crate::reference::Reference;
use crate::spec::{
    self, Base, CacheMode, CachePlace, Fault, Image, Inherit, Layer, Located, Segment, Span, Spec, SpecError,
    Step, StepPlatforms, Template,
};

pub use checks::{ImageLimits, PlannedChecks};
pub use config::{inherited as inherited_config, merge as merge_configs};
use expand::Expander;
pub use layer::{
    BaseName, Foundation, From, Ignore, PlannedCopy, PlannedLayer, PlannedPath, PlannedRemoval, Split, What,
};
pub use step::{Command, PassedVariable, PlannedInput, PlannedSecret, PlannedStep, SecretForm, SecretSource};
use steps::Steps;

/// A spec can't be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Its faults.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// An image was asked for that isn't in it.
    #[error("the spec has no image `{name}`")]
    UnknownImage {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A step was asked for that isn't in it.
    #[error("the spec has no step `{name}`")]
    UnknownStep {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

/// A base that a program brings along: files as a layer, and a config for images on it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BuiltinBase {
    /// Its files; no copy of it may read the host.
    pub layer: spec::Layer,
    /// What images on it inherit.
    pub config: oci::Config,
}

impl BuiltinBase {
    /// Puts the two together.
    #[must_use]
    pub fn new(layer: spec::Layer, config: oci::Config) -> Self {
        Self { layer, config }
    }
}

/// What a plan has to be told from outside, because it doesn't look for itself.
pub trait Surroundings {
    /// Returns a builtin base, if there is one of that name and version.
    fn builtin(&self, name: &str, version: u32) -> Option<BuiltinBase>;

    /// Returns the platform of the image in a layout (as it stands in the spec), where an image
    /// on it doesn't name one; `None` leaves it at linux/amd64, which an image on a registry's is
    /// for anyway: no registry is asked to make a plan.
    fn base_platform(&self, layout: &str) -> Option<Platform>;
}

/// What is to be built.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The name that is part of every manifest key.
    pub name: String,
    /// The steps that layers of the images copy from, or that were asked for, and those they need:
    /// each for each platform once, and after all it needs.
    pub steps: Vec<PlannedStep>,
    /// Every layer once.
    pub layers: Vec<PlannedLayer>,
    /// The images, in the order of the spec.
    pub images: Vec<PlannedImage>,
    /// Places that are asked for layers, in this order.
    pub cache_from: Vec<CachePlace>,
    /// The one place that is told of what was built.
    pub cache_to: Option<CachePlace>,
    /// How much it is given.
    pub cache_mode: CacheMode,
    /// What is made of what is found in its images.
    pub checks: PlannedChecks,
    /// What the spec's writer should be told.
    pub warnings: Vec<Fault>,
}

impl Plan {
    /// Returns the images of registries that its images stand on, with their platforms: those once
    /// that are named the same.
    #[must_use]
    pub fn remote_bases(&self) -> BTreeMap<Reference, BTreeSet<Platform>> {
        let mut bases: BTreeMap<Reference, BTreeSet<Platform>> = BTreeMap::new();
        for variant in self.images.iter().flat_map(|image| &image.variants) {
            if let Foundation::Image { base: BaseName::Remote(reference), platform, .. } = &variant.foundation
            {
                bases.entry(reference.clone()).or_default().insert(platform.clone());
            }
        }
        bases
    }

    /// Returns the places of those layers that aren't a builtin base's.
    pub fn own_layers(&self) -> impl Iterator<Item = usize> + '_ {
        let variants = || self.images.iter().flat_map(|image| &image.variants);
        let is_builtin = move |index: usize| {
            variants().any(|variant| matches!(variant.foundation, Foundation::Builtin(own) if own == index))
        };
        (0..self.layers.len()).filter(move |index| !is_builtin(*index))
    }
}

/// One image, for all its platforms.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedImage {
    /// Its name in the spec.
    pub name: String,
    /// What it will be called; each with a tag.
    pub tags: Vec<Reference>,
    /// What is built for each platform; never empty.
    pub variants: Vec<PlannedVariant>,
}

impl PlannedImage {
    /// Returns the names it goes by in a layout or archive: its tags, or its own name where it has
    /// none.
    #[must_use]
    pub fn ref_names(&self) -> Vec<String> {
        if self.tags.is_empty() {
            return vec![self.name.clone()];
        }
        let mut names: Vec<String> = Vec::new();
        for tag in self.tags.iter().filter_map(Reference::tag) {
            if !names.iter().any(|name| name == tag) {
                names.push(tag.to_owned());
            }
        }
        names
    }
}

/// One image for one platform.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedVariant {
    /// The platform.
    pub platform: Platform,
    /// What it stands on.
    pub foundation: Foundation,
    /// Its own layers, bottom first, by their place in [`Plan::layers`].
    pub layers: Vec<usize>,
    /// What the spec says of how a container of it runs.
    pub config: oci::Config,
    /// What a builtin base says of it; nothing where the foundation is another.
    pub builtin: oci::Config,
    /// What of the base's config it takes over.
    pub inherit: Inherit,
    /// Where the spec says how it is started.
    pub places: ConfigPlaces,
    /// Who takes responsibility for it.
    pub author: Option<String>,
    /// Its annotations.
    pub annotations: PlannedAnnotations,
}

/// Where a spec has the fields of a config that say how a container is started.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ConfigPlaces {
    /// The entrypoint.
    pub entrypoint: Option<Span>,
    /// The command, or its arguments.
    pub cmd: Option<Span>,
    /// The user.
    pub user: Option<Span>,
}

impl ConfigPlaces {
    fn of(config: &spec::Config) -> Self {
        Self {
            entrypoint: config.entrypoint.as_ref().and_then(|words| words.span),
            cmd: config.cmd.as_ref().and_then(|words| words.span),
            user: config.user.as_ref().and_then(|user| user.span),
        }
    }
}

/// Annotations, by what carries them; see [`spec::Annotations`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedAnnotations {
    /// Those of the manifest, and of the index where all platforms agree.
    pub common: BTreeMap<String, String>,
    /// Those of the manifest alone.
    pub manifest: BTreeMap<String, String>,
    /// Those of the index alone; the same for all platforms of an image.
    pub index: BTreeMap<String, String>,
    /// Those of the manifest's descriptor.
    pub descriptor: BTreeMap<String, String>,
}

/// Plans some images of a spec, or all of them where none is named.
///
/// # Errors
/// [`PlanError`], with all faults of the spec that show here.
pub fn plan(
    spec: &Spec,
    name: &str,
    images: &[String],
    surroundings: &dyn Surroundings,
) -> Result<Plan, PlanError> {
    let wanted = select(spec, images)?;
    let mut planner = Planner::new(spec, surroundings);
    let images: Vec<PlannedImage> = wanted.into_iter().map(|image| planner.image(image)).collect();
    planner.finish(name, images)
}

/// Plans some steps of a spec, and those they need, with no image. `platforms` are those they are
/// planned for. Where none is given, a step is planned for those it says itself, else for those of
/// the images that need it or what it needs, else for linux/amd64.
///
/// # Errors
/// [`PlanError`], with all faults of the spec that show here.
pub fn plan_steps(
    spec: &Spec,
    name: &str,
    steps: &[String],
    platforms: &[Platform],
    surroundings: &dyn Surroundings,
) -> Result<Plan, PlanError> {
    let by_name = steps::by_name(spec);
    if let Some(name) = steps.iter().find(|name| !by_name.contains_key(name.as_str())) {
        let known = spec.steps.iter().map(|step| step.name.value.clone()).collect();
        return Err(PlanError::UnknownStep { name: name.clone(), known });
    }
    let mut planner = Planner::new(spec, surroundings);
    let all = steps::closure(&by_name, steps.iter().map(String::as_str));
    let images = if platforms.is_empty() { planner.needed(&by_name, &all) } else { Vec::new() };
    for step in steps.iter().filter_map(|name| by_name.get(name.as_str())) {
        let platforms = match platforms {
            [] => platforms_of(step, &by_name, &images),
            given => given.to_vec(),
        };
        for platform in platforms {
            planner.steps.plan(&step.name, &platform, &[]);
        }
    }
    planner.finish(name, Vec::new())
}

fn image(base: BaseName, platform: &Platform, span: Option<Span>) -> Foundation {
    Foundation::Image { base, platform: platform.clone(), span }
}

fn select<'s>(spec: &'s Spec, names: &[String]) -> Result<Vec<&'s Image>, PlanError> {
    for name in names {
        if spec.image(name).is_none() {
            let known = spec.images.iter().map(|image| image.name.value.clone()).collect();
            return Err(PlanError::UnknownImage { name: name.clone(), known });
        }
    }
    let wanted = |image: &&Image| names.is_empty() || names.contains(&image.name.value);
    Ok(spec.images.iter().filter(wanted).collect())
}

/// Tells whether a text is another for another platform, as far as it says so itself.
fn depends_on_platform(template: &Template) -> bool {
    template
        .segments()
        .iter()
        .any(|segment| matches!(segment, Segment::Os | Segment::Arch | Segment::Variant))
}

/// What an image needs of steps, and its platforms.
type Needed<'s> = (BTreeSet<&'s str>, Vec<Platform>);

/// The platforms a step is planned for that nobody names one for.
fn platforms_of(step: &Step, steps: &BTreeMap<&str, &Step>, images: &[Needed<'_>]) -> Vec<Platform> {
    if let StepPlatforms::Only(platforms) = &step.platforms.value {
        return platforms.iter().map(|platform| platform.value.clone()).collect();
    }
    let related = steps::closure(steps, [step.name.as_str()]);
    let mut found: Vec<Platform> = Vec::new();
    for platform in
        images.iter().filter(|(needed, _)| !needed.is_disjoint(&related)).flat_map(|image| &image.1)
    {
        if !found.contains(platform) {
            found.push(platform.clone());
        }
    }
    if found.is_empty() {
        found.push(Platform::linux_amd64());
    }
    found
}

struct Planner<'s> {
    spec: &'s Spec,
    surroundings: &'s dyn Surroundings,
    /// The name of the image that is planned.
    image: String,
    steps: Steps<'s>,
    layers: Vec<PlannedLayer>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl<'s> Planner<'s> {
    fn new(spec: &'s Spec, surroundings: &'s dyn Surroundings) -> Self {
        Self {
            spec,
            surroundings,
            image: String::new(),
            steps: Steps::new(spec),
            layers: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn finish(mut self, name: &str, images: Vec<PlannedImage>) -> Result<Plan, PlanError> {
        let spec = self.spec;
        self.check_tags(&images, spec);
        let cache_from = self.cache_from(&images);
        let cache_to = self.cache_to(&images);
        let cache_mode = spec.cache.mode.as_ref().map(|mode| mode.value).unwrap_or_default();
        self.steps.finish(&self.layers);
        let of_steps = std::mem::take(&mut self.steps.faults);
        self.absorb(of_steps);
        if !self.faults.is_empty() {
            return Err(SpecError::new(self.faults).into());
        }
        let mut layers = self.layers;
        layer::label(&mut layers);
        let steps = self.steps.planned;
        let warnings = spec.warnings.iter().cloned().chain(self.warnings).collect();
        let checks = PlannedChecks::of(spec);
        let name = name.to_owned();
        Ok(Plan { name, steps, layers, images, cache_from, cache_to, cache_mode, checks, warnings })
    }

    /// The steps that each image needs, and its platforms, of images that need one of some steps.
    fn needed(&mut self, steps: &BTreeMap<&'s str, &'s Step>, some: &BTreeSet<&str>) -> Vec<Needed<'s>> {
        let spec = self.spec;
        let one = |image: &'s Image| {
            let copied = image.layers.iter().filter_map(|name| spec.layer(name)).flat_map(Layer::steps);
            let needed = steps::closure(steps, copied.map(|name| name.value.as_str()));
            if needed.is_disjoint(some) { None } else { Some((needed, self.platforms(image))) }
        };
        spec.images.iter().filter_map(one).collect()
    }

    fn image(&mut self, image: &Image) -> PlannedImage {
        self.image = image.name.value.clone();
        let platforms = self.platforms(image);
        let mut variants = Vec::with_capacity(platforms.len());
        let mut tags: Option<Vec<Reference>> = None;
        for platform in platforms {
            let own = self.tags(image, &platform);
            if tags.as_ref().is_some_and(|tags| *tags != own) {
                let span = image.tags.first().and_then(|tag| tag.span);
                self.fault(Fault::new("the tags differ between the platforms of one image", span).hint(
                    "platforms are told apart by the index under one tag; leave `{arch}` out of the tag",
                ));
            }
            tags = Some(own);
            variants.push(self.variant(image, platform));
        }
        self.check_index(image, &variants);
        PlannedImage { name: image.name.value.clone(), tags: tags.unwrap_or_default(), variants }
    }

    /// Makes sure that there is one index for its annotations, and that they are the same for it
    /// from every platform.
    fn check_index(&mut self, image: &Image, variants: &[PlannedVariant]) {
        let Some((_, value)) = image.annotations.index.first() else { return };
        let Some((first, others)) = variants.split_first() else { return };
        if others.is_empty() {
            let message = "nothing carries annotations of the index: an image for one platform has none";
            let place = image.annotations.index.first().and_then(|(key, _)| key.span);
            let fault = Fault::new(message, place).within(format!("image `{}`", image.name.value));
            self.warnings.push(fault.hint("write them as `annotations` without a scope"));
        } else if others.iter().any(|other| other.annotations.index != first.annotations.index) {
            let differs = |(key, _): &&(Located<String>, Located<Template>)| {
                let of = |variant: &PlannedVariant| variant.annotations.index.get(&key.value).cloned();
                others.iter().any(|other| of(other) != of(first))
            };
            let span =
                image.annotations.index.iter().find(differs).map_or(value.span, |(_, value)| value.span);
            let fault = Fault::new("an annotation of the index differs between the platforms", span);
            self.fault(fault.hint("write it under `annotations.manifest` or `annotations.descriptor`"));
        }
    }

    fn fault(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn expander(&self, platform: &Platform) -> Expander<'s> {
        Expander::new(&self.spec.vars, platform)
    }

    fn platforms(&mut self, image: &Image) -> Vec<Platform> {
        if !image.platforms.is_empty() {
            return image.platforms.iter().map(|platform| platform.value.clone()).collect();
        }
        let platform = match &image.base.value {
            Base::Layout { dir } if !depends_on_platform(dir) => {
                let text = self.expander(&Platform::linux_amd64()).text(dir);
                text.and_then(|dir| self.surroundings.base_platform(&dir))
            }
            _ => None,
        };
        vec![platform.unwrap_or_else(Platform::linux_amd64)]
    }

    fn tags(&mut self, image: &Image, platform: &Platform) -> Vec<Reference> {
        let mut expander = self.expander(platform);
        let mut tags = Vec::new();
        for tag in &image.tags {
            let Some(text) = expander.text(tag) else { continue };
            match spec::check::tag(&text) {
                Ok(reference) => tags.push(reference.or_latest()),
                Err(error) => expander.faults.push(Fault::of(error, tag.span)),
            }
        }
        self.absorb(expander.faults);
        tags
    }

    fn absorb(&mut self, faults: Vec<Fault>) {
        for fault in faults {
            self.fault(fault);
        }
    }

    fn variant(&mut self, image: &Image, platform: Platform) -> PlannedVariant {
        let default = image.compression.map(|compression| compression.value);
        let (foundation, mut layers, builtin) = self.base(&image.base, default, &platform);
        for name in &image.layers {
            match self.spec.layer(name) {
                Some(layer) => layers.push(self.layer(layer, default, &platform, &foundation)),
                None => self.fault(Fault::new(format!("there is no layer `{}`", name.value), name.span)),
            }
        }
        if layers.len() > MAX_LAYERS {
            self.fault(Fault::new(format!("the image has more than {MAX_LAYERS} layers"), image.name.span));
        }
        let mut expander = self.expander(&platform);
        let config = config::plan(&image.config, &mut expander);
        let annotations = config::annotations(&image.annotations, &mut expander);
        self.absorb(expander.faults);
        PlannedVariant {
            config,
            builtin,
            inherit: image.inherit.clone(),
            places: ConfigPlaces::of(&image.config),
            author: image.author.as_ref().map(|author| author.value.clone()),
            platform,
            foundation,
            layers,
            annotations,
        }
    }

    fn base(
        &mut self,
        base: &Located<Base>,
        compression: Option<Compression>,
        platform: &Platform,
    ) -> (Foundation, Vec<usize>, oci::Config) {
        match &base.value {
            Base::Builtin { name, version } => match self.surroundings.builtin(name, *version) {
                Some(builtin) => {
                    let index = self.layer(&builtin.layer, compression, platform, &Foundation::Scratch);
                    (Foundation::Builtin(index), vec![index], builtin.config)
                }
                None => {
                    let fault = Fault::new(format!("there is no builtin base `{name}@{version}`"), base.span);
                    self.fault(fault.hint("builtin bases are named with a version, such as `static@1`"));
                    (Foundation::Scratch, Vec::new(), oci::Config::default())
                }
            },
            Base::Layout { dir } => {
                let mut expander = self.expander(platform);
                let path = expander.text(dir).unwrap_or_default();
                self.absorb(expander.faults);
                (image(BaseName::Layout(path), platform, dir.span), Vec::new(), oci::Config::default())
            }
            Base::Remote { reference } => {
                let mut expander = self.expander(platform);
                let text = expander.text(reference);
                // A variable may say that there is none.
                let text = text.filter(|text| text != "scratch");
                let parsed = text.map(|text| spec::check::base(&text));
                let name = match parsed {
                    Some(Err(error)) => {
                        expander.faults.push(Fault::of(error, reference.span));
                        None
                    }
                    parsed => parsed.and_then(Result::ok).map(BaseName::Remote),
                };
                self.absorb(expander.faults);
                let foundation =
                    name.map_or(Foundation::Scratch, |name| image(name, platform, reference.span));
                (foundation, Vec::new(), oci::Config::default())
            }
            _ => (Foundation::Scratch, Vec::new(), oci::Config::default()),
        }
    }

    /// Plans a layer for a platform, as one with the same layer for another platform where that
    /// comes out the same.
    fn layer(
        &mut self,
        layer: &spec::Layer,
        compression: Option<Compression>,
        platform: &Platform,
        foundation: &Foundation,
    ) -> usize {
        let way = [format!("image `{}`", self.image), format!("layer `{}`", layer.name.value)];
        let steps: BTreeMap<&str, usize> = layer
            .steps()
            .filter_map(|name| Some((name.as_str(), self.steps.plan(name, platform, &way)?)))
            .collect();
        let is_sound = self.steps.faults.is_empty();
        let steps = layer::Made { by_name: &steps, steps: &self.steps.planned, is_sound };
        let mut expander = Expander::new(&self.spec.vars, platform);
        let sharing = layer::sharing(self.spec, layer);
        let planned = layer::plan(layer, sharing, compression, foundation, &steps, &mut expander);
        self.absorb(expander.faults);
        match self.layers.iter().position(|known| known.is_same_but_for_platforms(&planned)) {
            Some(index) => {
                let known = &mut self.layers[index].platforms;
                if !known.contains(platform) {
                    known.push(platform.clone());
                }
                index
            }
            None => {
                self.layers.push(PlannedLayer { platforms: vec![platform.clone()], ..planned });
                self.layers.len() - 1
            }
        }
    }

    fn check_tags(&mut self, images: &[PlannedImage], spec: &Spec) {
        for (index, image) in images.iter().enumerate() {
            for tag in &image.tags {
                if let Some(other) = images[..index].iter().find(|other| other.tags.contains(tag)) {
                    let span = spec.image(&image.name).and_then(|image| image.tags.first()?.span);
                    let message =
                        format!("the images `{}` and `{}` share the tag `{tag}`", other.name, image.name);
                    self.fault(Fault::new(message, span));
                }
            }
        }
    }
}
