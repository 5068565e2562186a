//! Images made by programs.

use std::time::Duration;

use super::{LayerSpec, StepSpec, literal, strings};
use crate::oci::{Compression, Platform};
use crate::reference::Reference;
use crate::spec::log::Log;
use crate::spec::{
    Base, Cache, Checks, Healthcheck, Image, Inherit, Located, Port, Protocol, Scope, Spec, SpecError,
    VERSION, ValueError, Vars, set_pair, validate,
};

/// One image with its layers, in the making.
///
/// ```
/// use ocibuild_core::oci::Platform;
/// use ocibuild_core::spec::{ImageSpec, LayerSpec};
///
/// let image = ImageSpec::scratch(Platform::linux_amd64())
///     .layer(LayerSpec::named("app").copy("target/release/server", "/app/server").mode(0o755))
///     .entrypoint(["/app/server"])
///     .user("65532");
/// let spec = image.into_spec()?;
/// assert_eq!(spec.layers.len(), 1);
/// # Ok::<(), ocibuild_core::spec::SpecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageSpec {
    image: Image,
    steps: Vec<StepSpec>,
    layers: Vec<LayerSpec>,
    spec_name: Option<String>,
    root: Option<String>,
    misuse: Vec<ValueError>,
}

impl ImageSpec {
    /// An image on `base`, for the base's platform, with the name `image`.
    pub fn on(base: Base) -> Self {
        let image = Image { base: base.into(), ..Image::new("image".to_owned()) };
        Self { image, steps: Vec::new(), layers: Vec::new(), spec_name: None, root: None, misuse: Vec::new() }
    }

    /// An image on nothing.
    pub fn scratch(platform: Platform) -> Self {
        Self::on(Base::Scratch).platform(platform)
    }

    /// Puts the image on an image in a registry.
    #[must_use]
    pub fn base(mut self, reference: Reference) -> Self {
        self.image.base = Base::Remote { reference: literal(reference.to_string()) }.into();
        self
    }

    /// Puts the image on the OCI layout in the directory `dir`.
    #[must_use]
    pub fn base_layout(mut self, dir: impl Into<String>) -> Self {
        self.image.base = Base::Layout { dir: literal(dir) }.into();
        self
    }

    /// Puts the image on a base made by the program itself, such as `static`, version 1.
    #[must_use]
    pub fn base_builtin(mut self, name: impl Into<String>, version: u32) -> Self {
        self.image.base = Base::Builtin { name: name.into(), version }.into();
        self
    }

    /// Names the image.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.image.name = name.into().into();
        self
    }

    /// Names the spec, which is part of every manifest key.
    #[must_use]
    pub fn spec_name(mut self, name: impl Into<String>) -> Self {
        self.spec_name = Some(name.into());
        self
    }

    /// Sets the context of all paths.
    #[must_use]
    pub fn root(mut self, root: impl Into<String>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Adds a step that layers copy from, or that other steps need.
    #[must_use]
    pub fn step(mut self, step: StepSpec) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds a layer on top of those before.
    #[must_use]
    pub fn layer(mut self, layer: LayerSpec) -> Self {
        self.image.layers.push(layer.layer.name.clone());
        self.layers.push(layer);
        self
    }

    /// Adds a platform.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.image.platforms.push(platform.into());
        self
    }

    /// Adds a reference to tag the image with.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.image.tags.push(literal(tag));
        self
    }

    /// Sets the command.
    #[must_use]
    pub fn entrypoint(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.image.config.entrypoint = Some(strings(words).into());
        self
    }

    /// Sets the arguments of the command.
    #[must_use]
    pub fn cmd(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.image.config.cmd = Some(strings(words).into());
        self
    }

    /// Sets an environment variable; the last value of a name counts.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        set_pair(&mut self.image.config.env, name, value);
        self
    }

    /// Sets the user, as `USER`, `UID`, `USER:GROUP` or `UID:GID`.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.image.config.user = Some(user.into().into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn workdir(mut self, directory: impl Into<String>) -> Self {
        self.image.config.workdir = Some(literal(directory));
        self
    }

    /// Adds a TCP port it listens on.
    #[must_use]
    pub fn expose(self, port: u16) -> Self {
        self.expose_port(Port::new(port, Protocol::Tcp))
    }

    /// Adds a port it listens on, or the fault of one: what [`Port::new`] and `str::parse` return.
    #[must_use]
    pub fn expose_port(mut self, port: Result<Port, ValueError>) -> Self {
        match port {
            Ok(port) => self.image.config.expose.push(port.into()),
            Err(error) => self.misuse.push(error),
        }
        self
    }

    /// Adds a directory to mount a volume at.
    #[must_use]
    pub fn volume(mut self, directory: impl Into<String>) -> Self {
        self.image.config.volumes.push(literal(directory));
        self
    }

    /// Sets a label; the last value of a key counts.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        set_pair(&mut self.image.config.labels, key, value);
        self
    }

    /// Sets an annotation of the manifests, and of the index where all platforms agree; the last
    /// value of a key counts.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.image.annotations.set(None, key, value);
        self
    }

    /// Sets an annotation of one scope alone; the last value of a key counts.
    #[must_use]
    pub fn annotation_of(mut self, scope: Scope, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.image.annotations.set(Some(scope), key, value);
        self
    }

    /// Sets how layers are compressed that don't say so themselves.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.image.compression = Some(compression.into());
        self
    }

    /// Says what of the base's config it takes over; all by default.
    #[must_use]
    pub fn inherit(mut self, inherit: Inherit) -> Self {
        self.image.inherit = inherit;
        self
    }

    /// Sets the author.
    #[must_use]
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.image.author = Some(author.into().into());
        self
    }

    /// Sets the signal that stops it.
    #[must_use]
    pub fn stop_signal(mut self, signal: impl Into<String>) -> Self {
        self.image.config.stop_signal = Some(signal.into().into());
        self
    }

    /// Sets the time it has to stop in, in whole seconds.
    #[must_use]
    pub fn stop_timeout(mut self, time: Duration) -> Self {
        self.image.config.stop_timeout = Some(time.into());
        self
    }

    /// Sets what docker's builder runs the shell form of commands with.
    #[must_use]
    pub fn shell(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.image.config.shell = Some(strings(words).into());
        self
    }

    /// Adds what docker's builder does in images built on this one: a line of a Dockerfile.
    #[must_use]
    pub fn on_build(mut self, instruction: impl Into<String>) -> Self {
        self.image.config.on_build.push(instruction.into().into());
        self
    }

    /// Sets the healthcheck.
    #[must_use]
    pub fn healthcheck(mut self, healthcheck: Healthcheck) -> Self {
        self.image.config.healthcheck = Some(healthcheck);
        self
    }

    /// Makes the spec of this one image. Fails with all its faults.
    pub fn into_spec(self) -> Result<Spec, SpecError> {
        let mut log = Log::default();
        for error in self.misuse {
            log.accept::<()>(Err(error), None);
        }
        if self.layers.is_empty() && self.image.base.value == Base::Scratch {
            log.absent(validate::no_layers(&self.image.name));
        }
        let layers = self.layers.into_iter().map(|layer| layer.gather(&mut log)).collect();
        let spec = Spec {
            version: VERSION,
            name: self.spec_name.map(Located::from),
            root: self.root.map(Located::from),
            vars: Vars::default(),
            cache: Cache::default(),
            steps: self.steps.into_iter().map(|step| step.step).collect(),
            checks: Checks::default(),
            layers,
            images: vec![self.image],
            warnings: Vec::new(),
        };
        validate::spec(&spec, &mut log);
        Ok(Spec { warnings: log.finish()?, ..spec })
    }
}
