//! Layers, planned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::oci::{Compression, Platform};
use crate::pattern::{Pattern, Selection};
use crate::plan::expand::Expander;
use crate::plan::step::PlannedStep;
use crate::reference::Reference;
use crate::spec::places::{Places, Taken};
use crate::spec::{
    self, Account, CopyKind, CopyRule, Fault, FromRule, IgnoreFile, Located, OnBaseSymlink, Owner, Policy,
    Preserve, Pyc, Span, Spec, Template, Trust, places,
};

/// What an image's own layers stand on.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a plan has few of them")]
pub enum Foundation {
    /// Nothing.
    Scratch,
    /// A builtin base: a layer by its place in the plan.
    Builtin(usize),
    /// The image for a platform that is somewhere else.
    Image {
        /// What it is called.
        base: BaseName,
        /// The platform.
        platform: Platform,
        /// Where the spec names it.
        span: Option<Span>,
    },
}

/// What an image to build on is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BaseName {
    /// An OCI layout, by its directory, relative to the root or absolute.
    Layout(String),
    /// An image in a registry; with a tag or a digest.
    Remote(Reference),
}

/// As a spec names it.
impl fmt::Display for BaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(directory) => f.write_str(directory),
            Self::Remote(reference) => reference.fmt(f),
        }
    }
}

impl PartialEq for Foundation {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scratch, Self::Scratch) => true,
            (Self::Builtin(one), Self::Builtin(other)) => one == other,
            (
                Self::Image { base: one, platform: for_one, .. },
                Self::Image { base: other, platform: for_other, .. },
            ) => (one, for_one) == (other, for_other),
            _ => false,
        }
    }
}

impl Eq for Foundation {}

/// One layer, for one platform or several.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedLayer {
    /// Its name in the spec.
    pub name: String,
    /// What people are told it is: its name, with platforms where that alone would be ambiguous.
    pub label: String,
    /// The platforms it is for.
    pub platforms: Vec<Platform>,
    /// What it is written over.
    pub foundation: Foundation,
    /// How it is compressed.
    pub compression: Compression,
    /// Into how many blobs it goes.
    pub split: Split,
    /// The lockfiles that vouch for it.
    pub manifests: Vec<PlannedPath>,
    /// What it may be known by without a look at its files.
    pub trust: Trust,
    /// What else its key is made of.
    pub extras: Vec<String>,
    /// What it consists of.
    pub copies: Vec<PlannedCopy>,
    /// What it takes away from the base.
    pub remove: Vec<PlannedRemoval>,
    /// A remark for the image's history.
    pub comment: Option<String>,
}

/// Into how many blobs a layer goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Split {
    /// One.
    #[default]
    Whole,
    /// So many, beside those of single large files.
    Into(u8),
    /// As many as its size asks for, beside those of single large files.
    Auto {
        /// At most so many: a power of two.
        most: u8,
    },
}

impl Split {
    /// The most that a layer is split into where nobody says how many.
    pub const MOST: u8 = 64;

    /// As the spec has it. Of a split that is left to us, all those of an image share what one of
    /// them could have.
    fn of(split: Option<spec::Split>, sharing: usize) -> Self {
        match split {
            None => Self::Whole,
            Some(spec::Split::Into(parts)) => Self::Into(parts),
            Some(spec::Split::Auto) => {
                let shared = u8::try_from(sharing.next_power_of_two()).unwrap_or(Self::MOST);
                Self::Auto { most: (Self::MOST / shared).max(1) }
            }
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Into(parts) => write!(f, "into {parts}"),
            Self::Auto { most } => write!(f, "into {most} at most"),
        }
    }
}

/// Tells how many layers share an image with one, itself included, whose split is left to us; of
/// the image where they are most.
pub(super) fn sharing(spec: &Spec, layer: &spec::Layer) -> usize {
    let is_auto = |name: &Located<String>| {
        let layer = spec.layer(name).and_then(|layer| layer.split.as_ref());
        layer.is_some_and(|split| split.value == spec::Split::Auto)
    };
    let images = spec.images.iter().filter(|image| image.layers.iter().any(|name| **name == *layer.name));
    images.map(|image| image.layers.iter().filter(|name| is_auto(name)).count()).max().unwrap_or(1).max(1)
}

/// Something of the base that is taken away.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedRemoval {
    /// The path or glob as written: absolute.
    pub path: String,
    /// The same, parsed; relative to the image's root.
    pub pattern: Pattern,
    /// Its place in the spec.
    pub span: Option<Span>,
}

impl PartialEq for PlannedRemoval {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PlannedRemoval {}

/// A path below the root, and where the spec names it.
#[derive(Debug, Clone)]
pub struct PlannedPath {
    /// The path.
    pub path: String,
    /// Its place in the spec.
    pub span: Option<Span>,
}

impl PartialEq for PlannedPath {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for PlannedPath {}

/// One part of a layer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedCopy {
    /// What is copied.
    pub what: What,
    /// Where to, relative to the image's root, without slashes at either end.
    pub to: Vec<u8>,
    /// Whether the destination is a directory that takes what is copied under its own name.
    pub into: bool,
    /// The mode of files.
    pub mode: Option<u32>,
    /// The mode of directories.
    pub dir_mode: Option<u32>,
    /// The owner; names are those of what the layer is written over.
    pub owner: Option<Owner>,
    /// Where the spec says the owner, which may be among its defaults, in another file.
    pub owner_span: Option<Span>,
    /// What of the host's metadata is kept.
    pub preserve: Preserve,
    /// What becomes of compiled Python files.
    pub pyc: Pyc,
    /// What becomes of links of the base on the way to the destination.
    pub on_base_symlink: OnBaseSymlink,
    /// Where the spec says so.
    pub span: Option<Span>,
}

impl PartialEq for PlannedCopy {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            what,
            to,
            into,
            mode,
            dir_mode,
            owner,
            preserve,
            pyc,
            on_base_symlink,
            span: _,
            owner_span: _,
        } = self;
        (what, to, into, mode, dir_mode)
            == (&other.what, &other.to, &other.into, &other.mode, &other.dir_mode)
            && (owner, preserve) == (&other.owner, &other.preserve)
            && (pyc, on_base_symlink) == (&other.pyc, &other.on_base_symlink)
    }
}

impl Eq for PlannedCopy {}

impl PlannedCopy {
    /// Copies files to a path relative to the root, with nothing of its own to say of them.
    pub(crate) fn of_files(from: From, to: Vec<u8>, preserve: Preserve, span: Option<Span>) -> Self {
        Self {
            what: What::From(from),
            to,
            into: false,
            mode: None,
            dir_mode: None,
            owner: None,
            owner_span: None,
            preserve,
            pyc: Pyc::default(),
            on_base_symlink: OnBaseSymlink::default(),
            span,
        }
    }

    /// Returns the step that it copies from, by its place in [`Plan::steps`](super::Plan::steps).
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        self.from().and_then(|from| from.step)
    }

    /// Returns the files that it copies, if it does.
    #[must_use]
    pub fn from(&self) -> Option<&From> {
        match &self.what {
            What::From(from) => Some(from),
            _ => None,
        }
    }

    /// Returns the owner where it is given by numbers.
    #[must_use]
    pub fn numeric_owner(&self) -> Option<(u32, u32)> {
        match self.owner.as_ref()? {
            Owner { user: Account::Id(uid), group: Some(Account::Id(gid)) } => Some((*uid, *gid)),
            _ => None,
        }
    }
}

/// Which file says what is left out of what lies below a `from`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Ignore {
    /// The root's `.dockerignore`, if there is one.
    #[default]
    Default,
    /// None.
    Nothing,
    /// This file, which has to be there.
    File(PlannedPath),
    /// These lines, as such a file would have them.
    Given(Arc<[u8]>),
}

/// What one copy copies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "most copies are of files")]
pub enum What {
    /// Files of the host, or of what a step made.
    From(From),
    /// A file with these bytes.
    Content(Arc<[u8]>),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
}

/// Files of the host, or of what a step made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct From {
    /// The step, by its place in [`Plan::steps`](super::Plan::steps); `None` for files of the root.
    pub step: Option<usize>,
    /// The path or glob, relative to the root; a step's outputs lie where it made them.
    pub path: String,
    /// The path's bytes, without escapes; of a glob, the part before its first pattern.
    pub literal: Vec<u8>,
    /// The glob, where it is one.
    pub glob: Option<Pattern>,
    /// The texts of the patterns that select below it: included and excluded ones.
    pub patterns: [Vec<String>; 2],
    /// What is selected below it.
    pub selection: Selection,
    /// Which file says what is left out.
    pub ignore: Ignore,
    /// Whether it may select nothing.
    pub allow_empty: bool,
    /// Whether programs for other machines are let through.
    pub allow_foreign: bool,
    /// Whether a directory that is copied is there also where nothing in it is.
    pub whole: bool,
}

impl PlannedLayer {
    pub(super) fn is_same_but_for_platforms(&self, other: &Self) -> bool {
        self.name == other.name
            && self.foundation == other.foundation
            && self.compression == other.compression
            && self.split == other.split
            && self.manifests == other.manifests
            && self.trust == other.trust
            && self.extras == other.extras
            && self.copies == other.copies
            && self.remove == other.remove
            && self.comment == other.comment
    }

    /// Tells whether anything of it is read from the root.
    #[must_use]
    pub fn reads_host(&self) -> bool {
        self.froms().any(|from| from.step.is_none())
    }

    /// Tells whether anything of it is read from files: of the root, or of what steps made.
    #[must_use]
    pub fn reads_files(&self) -> bool {
        self.froms().next().is_some()
    }

    /// Returns the steps it copies from, by their places in [`Plan::steps`](super::Plan::steps): in
    /// order, each once.
    pub fn steps(&self) -> impl Iterator<Item = usize> {
        self.froms().filter_map(|from| from.step).collect::<BTreeSet<_>>().into_iter()
    }

    fn froms(&self) -> impl Iterator<Item = &From> {
        self.copies.iter().filter_map(PlannedCopy::from)
    }
}

/// What steps make for the platform a layer is planned for.
pub(super) struct Made<'a> {
    /// Their places, by their names.
    pub(super) by_name: &'a BTreeMap<&'a str, usize>,
    pub(super) steps: &'a [PlannedStep],
    /// Whether they could all be planned.
    pub(super) is_sound: bool,
}

/// Plans a layer, for no platform yet. `compression` is the image's, for a layer without one;
/// `sharing` is what [`sharing`] says.
pub(super) fn plan(
    layer: &spec::Layer,
    sharing: usize,
    compression: Option<Compression>,
    foundation: &Foundation,
    made: &Made<'_>,
    expander: &mut Expander<'_>,
) -> PlannedLayer {
    let manifests = layer.manifests.iter().filter_map(|manifest| {
        let path = expander.checked(manifest, spec::check::manifest)?;
        Some(PlannedPath { path, span: manifest.span })
    });
    let manifests = manifests.collect();
    PlannedLayer {
        name: layer.name.value.clone(),
        label: layer.name.value.clone(),
        platforms: Vec::new(),
        foundation: foundation.clone(),
        compression: layer.compression.map(|own| own.value).or(compression).unwrap_or_default(),
        split: Split::of(layer.split.as_ref().map(|split| split.value), sharing),
        manifests,
        trust: layer.trust.as_ref().map(|trust| trust.value).unwrap_or_default(),
        extras: layer.key.iter().map(|extra| extra.value.clone()).collect(),
        copies: layer.copies.iter().filter_map(|rule| copy(rule, &layer.policy, made, expander)).collect(),
        remove: layer.remove.iter().filter_map(|path| removal(path, expander)).collect(),
        comment: layer.comment.as_ref().and_then(|comment| expander.text(comment)),
    }
}

fn removal(path: &Located<Template>, expander: &mut Expander<'_>) -> Option<PlannedRemoval> {
    let span = path.span;
    let path = expander.checked(path, spec::check::removal)?;
    Some(PlannedRemoval { pattern: Pattern::parse(&path).ok()?, path, span })
}

fn ignore(policy: &Policy, expander: &mut Expander<'_>) -> Option<Ignore> {
    let Some(file) = &policy.ignore_file else { return Some(Ignore::Default) };
    let IgnoreFile::File(template) = &file.value else { return Some(Ignore::Nothing) };
    let path = expander.checked(&Located::new(template.clone(), file.span), spec::check::manifest)?;
    Some(Ignore::File(PlannedPath { path, span: file.span }))
}

/// What a copy says, and else its layer.
fn policy(own: &Policy, layer: &Policy) -> Policy {
    let mut policy = own.clone();
    policy.preserve = own.preserve.or(layer.preserve);
    policy.pyc = own.pyc.or(layer.pyc);
    policy.ignore_file = own.ignore_file.clone().or_else(|| layer.ignore_file.clone());
    policy
}

fn copy(
    rule: &CopyRule,
    layer: &Policy,
    made: &Made<'_>,
    expander: &mut Expander<'_>,
) -> Option<PlannedCopy> {
    let to = expander.checked(&rule.to, spec::check::destination);
    let is_from = matches!(rule.what, CopyKind::From(_));
    // What is made of nothing of the host's has nothing of its to keep.
    let mut policy = if is_from { policy(&rule.policy, layer) } else { Policy::default() };
    if matches!(&rule.what, CopyKind::From(from) if from.step.is_some()) {
        policy.preserve =
            policy.preserve.map(|kept| kept.map(|kept| Preserve { mode: kept.mode, ..Preserve::NOTHING }));
    }
    let what = match &rule.what {
        CopyKind::From(from) => What::From(plan_from(from, &policy, made, expander)?),
        CopyKind::Content(text) => What::Content(expander.text(text)?.into_bytes().into()),
        CopyKind::Bytes(bytes) => What::Content(Arc::clone(bytes)),
        CopyKind::Symlink(target) => What::Symlink(expander.text(target)?.into_bytes()),
        CopyKind::Directory => What::Directory,
    };
    let to = to?;
    Some(PlannedCopy {
        what,
        into: to.ends_with('/'),
        to: to.trim_matches('/').as_bytes().to_vec(),
        mode: rule.mode.as_ref().map(|mode| mode.bits()),
        dir_mode: rule.dir_mode.as_ref().map(|mode| mode.bits()),
        owner: rule.owner.as_ref().map(|owner| owner.value.clone()),
        owner_span: rule.owner.as_ref().and_then(|owner| owner.span),
        preserve: policy.preserve.map(|preserve| preserve.value).unwrap_or_default(),
        pyc: policy.pyc.map(|pyc| pyc.value).unwrap_or_default(),
        on_base_symlink: rule.on_base_symlink.map(|what| what.value).unwrap_or_default(),
        span: rule.span,
    })
}

fn plan_from(from: &FromRule, policy: &Policy, made: &Made<'_>, expander: &mut Expander<'_>) -> Option<From> {
    let path = expander.checked(&from.path, spec::check::source)?;
    let include = patterns(&from.include, expander)?;
    let exclude = patterns(&from.exclude, expander)?;
    let texts = |patterns: &[(String, Pattern)]| patterns.iter().map(|(text, _)| text.clone()).collect();
    let texts = [texts(&include), texts(&exclude)];
    let parsed =
        |patterns: Vec<(String, Pattern)>| patterns.into_iter().map(|(_, pattern)| pattern).collect();
    let pattern = Pattern::parse(&path).ok();
    let step = match &from.step {
        None => None,
        // One that couldn't be planned was told of.
        Some(name) => Some(*made.by_name.get(name.as_str())?),
    };
    if let (true, Some(step), Some(pattern)) = (made.is_sound, step, &pattern) {
        check_made(&path, from.path.span, pattern, &made.steps[step], expander);
    }
    Some(From {
        step,
        literal: pattern.as_ref().map_or_else(|| path.clone().into_bytes(), Pattern::literal_prefix),
        glob: pattern.filter(Pattern::is_glob),
        path,
        patterns: texts,
        selection: Selection::new(parsed(include), parsed(exclude)),
        ignore: if step.is_some() { Ignore::Nothing } else { ignore(policy, expander)? },
        allow_empty: from.allow_empty,
        allow_foreign: from.allow_foreign,
        whole: false,
    })
}

/// The faults of copies of what steps make in the root, now that all paths are known.
pub(super) fn taken_in_place(layers: &[PlannedLayer], in_place: &[(&str, &Places)]) -> Vec<Fault> {
    let mut seen = BTreeSet::new();
    let of = |copy: &PlannedCopy| {
        let What::From(from @ From { step: None, .. }) = &copy.what else { return None };
        let parsed = |texts: &[String]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
        let [include, exclude]: [Vec<Pattern>; 2] = [parsed(&from.patterns[0]), parsed(&from.patterns[1])];
        let (path, span) = (from.path.as_str(), copy.span);
        Taken { path, include: &include, exclude: &exclude, span }.in_place(in_place)
    };
    let faults = layers.iter().flat_map(|layer| &layer.copies).filter_map(of);
    // The same copy of two platforms.
    faults.filter(|fault| seen.insert((fault.span, fault.message.clone()))).collect()
}

/// Makes sure that a step makes what is copied from it.
fn check_made(
    path: &str,
    span: Option<Span>,
    pattern: &Pattern,
    step: &PlannedStep,
    expander: &mut Expander<'_>,
) {
    let outputs = || step.outputs.iter().map(|output| output.path.as_str());
    if !places::reaches(pattern, outputs()) {
        expander.faults.push(places::not_made(path, span, &step.name, outputs()));
    }
}

fn patterns(templates: &[Located<Template>], expander: &mut Expander<'_>) -> Option<Vec<(String, Pattern)>> {
    let mut patterns = Vec::with_capacity(templates.len());
    for template in templates {
        let text = expander.text(template)?;
        match Pattern::parse(&text) {
            Ok(pattern) => patterns.push((text, pattern)),
            Err(error) => {
                let fault = Fault::new(error.to_string(), template.span);
                expander.faults.push(match error.hint() {
                    Some(hint) => fault.hint(hint),
                    None => fault,
                });
                return None;
            }
        }
    }
    Some(patterns)
}

/// Tells layers of one name apart: by their platforms, their compression, what they stand on,
/// whatever differs.
pub(super) fn label(layers: &mut [PlannedLayer]) {
    let labels: Vec<String> = layers.iter().map(|layer| label_of(layer, layers)).collect();
    for (layer, label) in layers.iter_mut().zip(labels) {
        layer.label = label;
    }
}

fn label_of(layer: &PlannedLayer, layers: &[PlannedLayer]) -> String {
    let same: Vec<&PlannedLayer> = layers.iter().filter(|other| other.name == layer.name).collect();
    if same.len() == 1 {
        return layer.name.clone();
    }
    let mut marks = Vec::new();
    let differ = |one: fn(&PlannedLayer, &PlannedLayer) -> bool| same.iter().any(|other| !one(layer, other));
    if differ(|one, other| one.platforms == other.platforms) {
        marks.extend(layer.platforms.iter().map(Platform::to_string));
    }
    if differ(|one, other| one.compression == other.compression) {
        marks.push(layer.compression.to_string());
    }
    if differ(|one, other| one.foundation == other.foundation) {
        marks.push(match &layer.foundation {
            Foundation::Scratch => "on scratch".to_owned(),
            Foundation::Builtin(index) => format!("on {}", layers[*index].name),
            Foundation::Image { base, .. } => format!("on {base}"),
        });
    }
    format!("{} ({})", layer.name, marks.join(", "))
}
