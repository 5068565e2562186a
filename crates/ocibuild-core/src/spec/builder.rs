//! Specs made by programs and by flags instead of a file.
//!
//! Builders only gather; everything is checked when the spec is made, by the rules of the file.
//! Braces in their values have no meaning.

mod step;

use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
use super::{
    Base, Cache, Checks, CopyKind, CopyRule, FromRule, Healthcheck, IgnoreFile, Image, Inherit, Layer,
    Located, Mode, OnBaseSymlink, Owner, Policy, Port, Preserve, Protocol, Pyc, Scope, Spec, SpecError,
    Split, Template, Trust, VERSION, ValueError, Vars, set_pair, validate,
};
use crate::oci::{Compression, Platform};
use crate::reference::Reference;
pub use step::StepSpec;

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

fn literal(text: impl Into<String>) -> Located<Template> {
    Template::literal(text).into()
}

fn strings(words: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    words.into_iter().map(Into::into).collect()
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

/// One layer, in the making.
#[derive(Clone, Debug)]
pub struct LayerSpec {
    layer: Layer,
    misuse: Vec<ValueError>,
}

impl LayerSpec {
    /// A layer of this name that copies nothing yet.
    pub fn named(name: impl Into<String>) -> Self {
        let layer = Layer {
            name: name.into().into(),
            manifests: Vec::new(),
            key: Vec::new(),
            copies: Vec::new(),
            compression: None,
            split: None,
            max_size: None,
            trust: None,
            policy: Policy::default(),
            remove: Vec::new(),
            comment: None,
        };
        Self { layer, misuse: Vec::new() }
    }

    /// Copies a file, a directory or what a glob finds, relative to the root, to `to`.
    #[must_use]
    pub fn copy(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.rule(CopyKind::From(FromRule::new(literal(from))), to.into())
    }

    /// Copies what a step makes: `from` is a path or a glob of its outputs, relative to the root.
    #[must_use]
    pub fn copy_step(self, step: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Self {
        let step = Some(step.into().into());
        self.rule(CopyKind::From(FromRule { step, ..FromRule::new(literal(from)) }), to.into())
    }

    /// Makes a file with this text.
    #[must_use]
    pub fn content(self, to: impl Into<String>, text: impl Into<String>) -> Self {
        self.rule(CopyKind::Content(literal(text)), to.into())
    }

    /// Makes a file with these bytes.
    #[must_use]
    pub fn bytes(self, to: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.rule(CopyKind::Bytes(bytes.into()), to.into())
    }

    /// Makes a symbolic link at `to`.
    #[must_use]
    pub fn symlink(self, to: impl Into<String>, target: impl Into<String>) -> Self {
        self.rule(CopyKind::Symlink(literal(target)), to.into())
    }

    /// Makes an empty directory.
    #[must_use]
    pub fn directory(self, path: impl Into<String>) -> Self {
        self.rule(CopyKind::Directory, path.into())
    }

    /// Sets the mode of the files of the last copy, or of the directory it makes.
    #[must_use]
    pub fn mode(mut self, bits: u32) -> Self {
        match Mode::new(bits) {
            Ok(mode) => self.last("mode", |rule| rule.mode = Some(mode.into())),
            Err(error) => self.misuse.push(error),
        }
        self
    }

    /// Sets the mode of the directories of the last copy.
    #[must_use]
    pub fn dir_mode(mut self, bits: u32) -> Self {
        match Mode::new(bits) {
            Ok(mode) => self.last("dir_mode", |rule| rule.dir_mode = Some(mode.into())),
            Err(error) => self.misuse.push(error),
        }
        self
    }

    /// Sets the owner of the last copy.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.last("owner", |rule| rule.owner = Some(Owner::numeric(uid, gid).into()));
        self
    }

    /// Sets the owner of the last copy as the spec names it: `USER:GROUP`, `USER`, `UID:GID`. Names
    /// are those of the image's base.
    #[must_use]
    pub fn owned_by(mut self, owner: &str) -> Self {
        match owner.parse::<Owner>() {
            Ok(owner) => self.last("owner", |rule| rule.owner = Some(owner.into())),
            Err(error) => self.misuse.push(error),
        }
        self
    }

    /// Sets what becomes of symbolic links of the base on the way to where the last copy goes.
    #[must_use]
    pub fn on_base_symlink(mut self, what: OnBaseSymlink) -> Self {
        self.last("on_base_symlink", |rule| rule.on_base_symlink = Some(what.into()));
        self
    }

    /// Sets what of the host's metadata is kept: of the last copy's files, or before any copy of
    /// all the layer's.
    #[must_use]
    pub fn preserve(mut self, preserve: Preserve) -> Self {
        self.policy().preserve = Some(preserve.into());
        self
    }

    /// Sets what becomes of compiled Python files: of the last copy's, or before any copy of all
    /// the layer's.
    #[must_use]
    pub fn pyc(mut self, pyc: Pyc) -> Self {
        self.policy().pyc = Some(pyc.into());
        self
    }

    /// Sets the file whose rules say what the last copy leaves out, or before any copy all of the
    /// layer's; `None` switches `.dockerignore` off.
    #[must_use]
    pub fn ignore_file(mut self, path: Option<&str>) -> Self {
        let file = path.map_or(IgnoreFile::None, |path| IgnoreFile::File(Template::literal(path)));
        self.policy().ignore_file = Some(file.into());
        self
    }

    /// Takes a path, or what a glob finds, away from the base.
    #[must_use]
    pub fn remove(mut self, path: impl Into<String>) -> Self {
        self.layer.remove.push(literal(path));
        self
    }

    /// Sets the remark on the layer in the image's history.
    #[must_use]
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.layer.comment = Some(literal(text));
        self
    }

    /// Adds a pattern to the last copy: only what matches one of them is taken.
    #[must_use]
    pub fn include(mut self, pattern: impl Into<String>) -> Self {
        self.last_from("include", |from| from.include.push(literal(pattern)));
        self
    }

    /// Adds a pattern to the last copy: what matches is left out.
    #[must_use]
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.last_from("exclude", |from| from.exclude.push(literal(pattern)));
        self
    }

    /// Lets the last copy select nothing.
    #[must_use]
    pub fn allow_empty(mut self) -> Self {
        self.last_from("allow_empty", |from| from.allow_empty = true);
        self
    }

    /// Lets programs for another machine than the image's through in the last copy.
    #[must_use]
    pub fn allow_foreign(mut self) -> Self {
        self.last_from("allow_foreign", |from| from.allow_foreign = true);
        self
    }

    /// Adds lockfiles that vouch for the layer's content.
    #[must_use]
    pub fn manifests(mut self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.layer.manifests.extend(paths.into_iter().map(literal));
        self
    }

    /// Adds what else belongs to the layer's key.
    #[must_use]
    pub fn key(mut self, extras: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.layer.key.extend(strings(extras).into_iter().map(Located::from));
        self
    }

    /// Sets how the layer's blob is compressed.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.layer.compression = Some(compression.into());
        self
    }

    /// Says what the layer may be known by without a look at its files; the lockfiles unless said.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.layer.trust = Some(trust.into());
        self
    }

    /// Lets the layer go into several blobs, so that a change re-sends only those that it is in.
    #[must_use]
    pub fn split(mut self, split: Split) -> Self {
        match split {
            Split::Into(parts) => match Split::new(parts.into()) {
                Ok(split) => self.layer.split = Some(split.into()),
                Err(fault) => self.misuse.push(fault),
            },
            split => self.layer.split = Some(split.into()),
        }
        self
    }

    fn rule(mut self, what: CopyKind, to: String) -> Self {
        let to = literal(to);
        let policy = Policy::default();
        let rule = CopyRule {
            what,
            to,
            mode: None,
            dir_mode: None,
            owner: None,
            on_base_symlink: None,
            policy,
            span: None,
        };
        self.layer.copies.push(rule);
        self
    }

    fn policy(&mut self) -> &mut Policy {
        match self.layer.copies.last_mut() {
            Some(rule) => &mut rule.policy,
            None => &mut self.layer.policy,
        }
    }

    fn last(&mut self, what: &str, change: impl FnOnce(&mut CopyRule)) {
        match self.layer.copies.last_mut() {
            Some(rule) => change(rule),
            None => self.misuse.push(ValueError::new(format!("`{what}` comes before any copy"))),
        }
    }

    fn last_from(&mut self, what: &str, change: impl FnOnce(&mut FromRule)) {
        match self.layer.copies.last_mut().map(|rule| &mut rule.what) {
            Some(CopyKind::From(from)) => change(from),
            _ => self.misuse.push(ValueError::new(format!("`{what}` goes only with files"))),
        }
    }

    /// Makes the layer, for where one stands without an image: a builtin base. Fails with what
    /// was misused; paths are not checked.
    pub fn into_layer(self) -> Result<Layer, SpecError> {
        let mut log = Log::default();
        let layer = self.gather(&mut log);
        log.finish()?;
        Ok(layer)
    }

    fn gather(self, log: &mut Log) -> Layer {
        log.within(format!("layer `{}`", self.layer.name.value), |log| {
            for error in self.misuse {
                log.accept::<()>(Err(error), None);
            }
            if self.layer.copies.is_empty() && self.layer.remove.is_empty() {
                log.absent(validate::no_copies(&self.layer.name));
            }
        });
        self.layer
    }
}

impl Healthcheck {
    /// Sets the time between two checks.
    #[must_use]
    pub fn interval(mut self, time: Duration) -> Self {
        self.interval = Some(time.into());
        self
    }

    /// Sets the time a check may take.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time.into());
        self
    }

    /// Sets the time a container has to start, in which a failure doesn't count.
    #[must_use]
    pub fn start_period(mut self, time: Duration) -> Self {
        self.start_period = Some(time.into());
        self
    }

    /// Sets the time between two checks while it starts.
    #[must_use]
    pub fn start_interval(mut self, time: Duration) -> Self {
        self.start_interval = Some(time.into());
        self
    }

    /// Sets the failures in a row that make it unhealthy.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries.into());
        self
    }
}
