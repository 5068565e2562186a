//! Images and their configs, as written.

use std::time::Duration;

use super::suggest::closest;
use super::{Located, Port, Size, Template, ValueError};
use crate::oci::{Compression, Platform};

/// An image: a base, layers, a config, platforms and tags.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The name it is built by.
    pub name: Located<String>,
    /// What it stands on; scratch where the spec says nothing.
    pub base: Located<Base>,
    /// The names of its layers, bottom first.
    pub layers: Vec<Located<String>>,
    /// The platforms it is built for; empty where the spec leaves it to the base.
    pub platforms: Vec<Located<Platform>>,
    /// References to tag it with. Check the expanded text with [`check::tag`](super::check::tag).
    pub tags: Vec<Located<Template>>,
    /// Annotations, by what carries them.
    pub annotations: Annotations,
    /// The person or body that takes responsibility for the image.
    pub author: Option<Located<String>>,
    /// How its layers are compressed that don't say so themselves; `None` leaves it to the build.
    pub compression: Option<Located<Compression>>,
    /// How large its layers may be together, compressed, those of the base included.
    pub max_size: Option<Located<Size>>,
    /// How many layers it may have, those of the base included.
    pub max_layers: Option<Located<u32>>,
    /// Whether its programs may need neither a loader nor libraries.
    pub is_static: Option<Located<bool>>,
    /// What of the base's config it takes over.
    pub inherit: Inherit,
    /// How a container of it is run.
    pub config: Config,
}

/// What an image stands on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Base {
    /// Nothing.
    #[default]
    Scratch,
    /// A base made by this program: `{ builtin = "static@1" }`.
    Builtin {
        /// Its name, such as `static`.
        name: String,
        /// Its version.
        version: u32,
    },
    /// An OCI layout on disk: `{ layout = "DIR" }`.
    Layout {
        /// The directory, from the root.
        dir: Located<Template>,
    },
    /// An image in a registry: `"registry/repository:tag@sha256:…"`.
    Remote {
        /// Its reference.
        reference: Located<Template>,
    },
}

/// Names and their values, in the order of writing.
pub type Pairs = Vec<(Located<String>, Located<Template>)>;

/// Annotations of an image, by what carries them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Annotations {
    /// Those of every manifest, and of the index where all platforms agree.
    pub common: Pairs,
    /// Those of every manifest alone; they count before the common ones.
    pub manifest: Pairs,
    /// Those of the index alone, the same for all platforms; they count before the common ones.
    pub index: Pairs,
    /// Those of the manifests' descriptors in the index; of an image for one platform, of its
    /// descriptor in a layout's `index.json`.
    pub descriptor: Pairs,
}

/// What carries an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// The manifests.
    Manifest,
    /// The index.
    Index,
    /// The manifests' descriptors.
    Descriptor,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Manifest, Self::Index, Self::Descriptor];

    /// The word the spec has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Index => "index",
            Self::Descriptor => "descriptor",
        }
    }

    /// The scope of this name; also `manifest-descriptor`, as buildx calls descriptors.
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "manifest-descriptor" { "descriptor" } else { name };
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl Annotations {
    /// Those of one scope alone, or the common ones.
    pub fn of(&self, scope: Option<Scope>) -> &Pairs {
        match scope {
            None => &self.common,
            Some(Scope::Manifest) => &self.manifest,
            Some(Scope::Index) => &self.index,
            Some(Scope::Descriptor) => &self.descriptor,
        }
    }

    /// Those of one scope alone, or the common ones, to be changed.
    pub fn of_mut(&mut self, scope: Option<Scope>) -> &mut Pairs {
        match scope {
            None => &mut self.common,
            Some(Scope::Manifest) => &mut self.manifest,
            Some(Scope::Index) => &mut self.index,
            Some(Scope::Descriptor) => &mut self.descriptor,
        }
    }

    /// Sets one, in place of all values it had for what carries it now: a common one also takes
    /// the place of those of manifests and index.
    pub fn set(&mut self, scope: Option<Scope>, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        if scope.is_none() {
            for scope in [Scope::Manifest, Scope::Index] {
                self.of_mut(Some(scope)).retain(|(other, _)| other.value != key);
            }
        }
        set_pair(self.of_mut(scope), key, value);
    }

    /// All of them, scope by scope.
    pub fn all(&self) -> impl Iterator<Item = &(Located<String>, Located<Template>)> {
        self.common.iter().chain(&self.manifest).chain(&self.index).chain(&self.descriptor)
    }
}

/// Sets a name to a value in which braces have no meaning, in place of the one it had.
pub fn set_pair(pairs: &mut Pairs, key: impl Into<String>, value: impl Into<String>) {
    let key = key.into();
    pairs.retain(|(other, _)| other.value != key);
    pairs.push((key.into(), Template::literal(value).into()));
}

/// What of the base's config an image takes over. Files, history and platform come with the base
/// in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inherit {
    /// All there is, also what this program doesn't know; but not the base's triggers (`OnBuild`).
    #[default]
    All,
    /// Nothing.
    Nothing,
    /// These fields and no others.
    Only(Vec<Located<Field>>),
}

impl Inherit {
    /// Tells whether a field is taken over.
    pub fn takes(&self, field: Field) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only(fields) => fields.iter().any(|known| known.value == field),
        }
    }
}

/// A field of a base's config that can be inherited, by the spec's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// `entrypoint`.
    Entrypoint,
    /// `cmd`.
    Cmd,
    /// `env`.
    Env,
    /// `user`.
    User,
    /// `workdir`.
    Workdir,
    /// `expose`.
    Expose,
    /// `volumes`.
    Volumes,
    /// `labels`.
    Labels,
    /// `stop-signal`.
    StopSignal,
    /// `stop-timeout`.
    StopTimeout,
    /// `shell`.
    Shell,
    /// `healthcheck`.
    Healthcheck,
    /// `author`.
    Author,
}

/// Fields by the spec's words.
const FIELDS: [(&str, Field); 13] = [
    ("entrypoint", Field::Entrypoint),
    ("cmd", Field::Cmd),
    ("env", Field::Env),
    ("user", Field::User),
    ("workdir", Field::Workdir),
    ("expose", Field::Expose),
    ("volumes", Field::Volumes),
    ("labels", Field::Labels),
    ("stop-signal", Field::StopSignal),
    ("stop-timeout", Field::StopTimeout),
    ("shell", Field::Shell),
    ("healthcheck", Field::Healthcheck),
    ("author", Field::Author),
];

impl std::fmt::Display for Field {
    /// Writes it as in the spec.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = FIELDS.iter().find(|(_, field)| field == self).map(|(name, _)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

impl std::str::FromStr for Field {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some((_, field)) = FIELDS.iter().find(|(name, _)| *name == text) {
            return Ok(*field);
        }
        let message = format!("`{}` is not a field that can be inherited", text.escape_debug());
        let names = || FIELDS.iter().map(|(name, _)| *name);
        Err(ValueError::new(message).hint(match (text, closest(text, names())) {
            ("on-build", _) => {
                "a base's triggers are never inherited: list the lines in `on-build`".to_owned()
            }
            ("annotations", _) => "annotations speak of the base alone: write them again".to_owned(),
            (_, Some(known)) => format!("did you mean `{known}`?"),
            (_, None) => {
                let names: Vec<String> = names().map(|name| format!("`{name}`")).collect();
                format!("the fields are {}", names.join(", "))
            }
        }))
    }
}

/// How a container of the image is run; what isn't given is the base's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The command; an empty one takes the base's away.
    pub entrypoint: Option<Located<Vec<String>>>,
    /// The arguments of the command; empty ones take the base's away.
    pub cmd: Option<Located<Vec<String>>>,
    /// Environment variables, in the order of writing.
    pub env: Vec<(Located<String>, Located<Template>)>,
    /// The user, as `USER`, `UID`, `USER:GROUP` or `UID:GID`.
    pub user: Option<Located<String>>,
    /// The working directory, an absolute path.
    pub workdir: Option<Located<Template>>,
    /// The ports it listens on.
    pub expose: Vec<Located<Port>>,
    /// Directories to mount volumes at, absolute paths.
    pub volumes: Vec<Located<Template>>,
    /// Labels, in the order of writing.
    pub labels: Vec<(Located<String>, Located<Template>)>,
    /// The signal that stops it, such as `SIGTERM`.
    pub stop_signal: Option<Located<String>>,
    /// The time it has to stop in, whole seconds.
    pub stop_timeout: Option<Located<Duration>>,
    /// What docker's builder runs the shell form of commands with; an empty one takes the base's
    /// away.
    pub shell: Option<Located<Vec<String>>>,
    /// What docker's builder does in images built on this one, as lines of a Dockerfile.
    pub on_build: Vec<Located<String>>,
    /// How to find out whether it is healthy.
    pub healthcheck: Option<Healthcheck>,
}

/// How to find out whether a container is healthy; what isn't given is left to the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Healthcheck {
    /// `["CMD", "program", …]`, `["CMD-SHELL", "command"]` or `["NONE"]`.
    pub test: Located<Vec<String>>,
    /// The time between two checks.
    pub interval: Option<Located<Duration>>,
    /// The time a check may take.
    pub timeout: Option<Located<Duration>>,
    /// The time a container has to start, in which a failure doesn't count.
    pub start_period: Option<Located<Duration>>,
    /// The time between two checks while it starts.
    pub start_interval: Option<Located<Duration>>,
    /// The failures in a row that make it unhealthy.
    pub retries: Option<Located<u32>>,
}

impl Healthcheck {
    /// A check by `test`, all else left to the runtime.
    pub fn new(test: impl Into<Located<Vec<String>>>) -> Self {
        Self {
            test: test.into(),
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        }
    }
}

impl Image {
    /// An image of nothing on scratch.
    pub fn new(name: impl Into<Located<String>>) -> Self {
        Self {
            name: name.into(),
            base: Located::from(Base::Scratch),
            layers: Vec::new(),
            platforms: Vec::new(),
            tags: Vec::new(),
            annotations: Annotations::default(),
            author: None,
            compression: None,
            max_size: None,
            max_layers: None,
            is_static: None,
            inherit: Inherit::default(),
            config: Config::default(),
        }
    }
}
