//! Layers made by programs.

use std::sync::Arc;

use super::{literal, strings};
use crate::oci::Compression;
use crate::spec::log::Log;
use crate::spec::{
    CopyKind, CopyRule, FromRule, IgnoreFile, Layer, Located, Mode, OnBaseSymlink, Owner, Policy, Preserve,
    Pyc, SpecError, Split, Template, Trust, ValueError, validate,
};

/// One layer, in the making.
#[derive(Clone, Debug)]
pub struct LayerSpec {
    pub(super) layer: Layer,
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

    pub(super) fn gather(self, log: &mut Log) -> Layer {
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
