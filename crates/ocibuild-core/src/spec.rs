//! The spec file as written: parsed and validated from a string.
//!
//! It collects every fault of a file, each with its place, instead of stopping at the first. It
//! knows no file system, no environment and no platform of the host: what a value means (whether
//! a path exists, what a pattern selects) is found out further down the route, which is why the
//! values carry their places along. Embedders and flags make the same [`Spec`] by builders, which
//! validate by the same functions.

mod builder;
pub mod check;
mod checks;
mod fault;
mod image;
mod layer;
mod located;
mod log;
mod place;
pub(crate) mod places;
mod policy;
mod read;
mod render;
mod sources;
mod step;
mod suggest;
mod template;
mod validate;
mod value;
mod vars;

pub use builder::{ImageSpec, LayerSpec, StepSpec};
pub use checks::{Allowed, Checks, FailOn, Level, Size};
pub use fault::{Fault, SpecError, ValueError};
pub use image::{Annotations, Base, Config, Field, Healthcheck, Image, Inherit, Pairs, Scope, set_pair};
pub use layer::{CopyKind, CopyRule, FromRule, Layer};
pub use located::{Located, Span};
pub use place::{CacheMode, CachePlace, has_credentials};
pub use policy::{IgnoreFile, OnBaseSymlink, Policy, Preserve, Pyc};
pub use sources::{Loader, MAX_EXTENDED, Position, SourceFile, Sources};
pub use step::{PassEnv, Run, Secret, SecretForm, SecretSource, Step, StepPlatforms};
pub(crate) use suggest::closest;
pub use template::{ExpandError, Segment, Template};
pub use value::{Account, Mode, Owner, Port, Protocol, Split, Trust};
pub use vars::{Lookup, Vars};

use std::collections::BTreeMap;

/// The version of the format that is read and written.
pub const VERSION: u32 = 1;

/// The [JSON schema](https://json-schema.org/draft-07) of a spec file, for editors: as strict as a
/// schema can be. What it can't know, such as whether a layer that is named is there, is left to
/// [`Spec::read`].
pub const SCHEMA: &str = include_str!("../schema/ocibuild.schema.json");

/// A spec: everything one file says, or the same made by a builder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spec {
    /// The version of the format.
    pub version: u32,
    /// The name that is part of every manifest key; `None` leaves it to the caller.
    pub name: Option<Located<String>>,
    /// The context of all paths, relative to the spec file or absolute; `None` is its directory.
    pub root: Option<Located<String>>,
    /// Variables.
    pub vars: Vars,
    /// Where layers are looked for before they are made.
    pub cache: Cache,
    /// The steps, in the order of writing.
    pub steps: Vec<Step>,
    /// What is made of what is found in images.
    pub checks: Checks,
    /// The layers, in the order of writing.
    pub layers: Vec<Layer>,
    /// The images, in the order of writing; without steps there is one at least.
    pub images: Vec<Image>,
    /// What its writer should be told although it can be built, in the order of the file.
    pub warnings: Vec<Fault>,
}

/// Where layers are looked for before they are made, and recorded, beside the cache of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cache {
    /// Places that answer for the layers they know. Check the expanded text with
    /// [`check::cache_place`].
    pub from: Vec<Located<Template>>,
    /// The one place that is told of what was built, as above.
    pub to: Option<Located<Template>>,
    /// How much it is given.
    pub mode: Option<Located<CacheMode>>,
}

impl Spec {
    /// Parses and validates a spec that extends no other. `given` are variables from outside
    /// (`--var NAME=VALUE`), which count before those of the file.
    ///
    /// Fails with all faults of the file. Strings with names in braces are checked only for their
    /// syntax and for known names.
    pub fn parse(source: &str, given: &BTreeMap<String, String>) -> Result<Self, SpecError> {
        Self::read(&Sources::of("spec", source), given)
    }

    /// Parses and validates a spec from its file and those it extends, which count as if their
    /// tables stood first and the file's came over them: see `docs/spec.md`.
    ///
    /// Fails with all faults of all files, those of loading them included.
    pub fn read(sources: &Sources, given: &BTreeMap<String, String>) -> Result<Self, SpecError> {
        read::parse(sources, given)
    }

    /// Validates a spec that was changed after it was made, and returns the warnings. Paths, names
    /// and config fields are checked; that every layer copies something isn't.
    pub fn validate(&self) -> Result<Vec<Fault>, SpecError> {
        let mut log = log::Log::default();
        validate::spec(self, &mut log);
        log.finish()
    }

    /// The step of that name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name.value == name)
    }

    /// The layer of that name.
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name.value == name)
    }

    /// The image of that name.
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.name.value == name)
    }
}

#[cfg(test)]
mod tests;
