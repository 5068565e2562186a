//! Images and their configs, as written.

use std::time::Duration;

use super::{Located, Port, Template};
use crate::oci::Platform;

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
    /// Annotations of its manifest, in the order of writing.
    pub annotations: Vec<(Located<String>, Located<Template>)>,
    /// The person or body that takes responsibility for the image.
    pub author: Option<Located<String>>,
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
            annotations: Vec::new(),
            author: None,
            config: Config::default(),
        }
    }
}
