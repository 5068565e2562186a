//! Layers and their copies, as written.

use std::sync::Arc;

use super::{Located, Mode, OnBaseSymlink, Owner, Policy, Size, Span, Split, Template, Trust};
use crate::oci::Compression;

/// A layer: a named set of files with destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layer {
    /// The name images list it by.
    pub name: Located<String>,
    /// The lockfiles that vouch for its content, as paths from the root; empty where none do.
    pub manifests: Vec<Located<Template>>,
    /// What it may be known by without a look at its files; the lockfiles unless said.
    pub trust: Option<Located<Trust>>,
    /// What else belongs to its key, in the order of writing.
    pub key: Vec<Located<String>>,
    /// What it consists of, in the order of writing. A validated spec has at least one copy, or
    /// something to remove.
    pub copies: Vec<CopyRule>,
    /// How files of the host are taken over, where a copy doesn't say so itself.
    pub policy: Policy,
    /// What it takes away from the base: absolute paths or globs.
    pub remove: Vec<Located<Template>>,
    /// A remark for the image's history; part of no layer and no key.
    pub comment: Option<Located<Template>>,
    /// How its blob is compressed; `None` leaves it to the build.
    pub compression: Option<Located<Compression>>,
    /// Into how many blobs it goes; `None` is one.
    pub split: Option<Located<Split>>,
    /// How large its blobs may be together; part of no layer and no key.
    pub max_size: Option<Located<Size>>,
}

impl Layer {
    /// The steps it copies from, as its copies name them.
    pub fn steps(&self) -> impl Iterator<Item = &Located<String>> {
        self.copies.iter().filter_map(|rule| match &rule.what {
            CopyKind::From(from) => from.step.as_ref(),
            _ => None,
        })
    }
}

/// One part of a layer: what is copied, where to, and with which metadata.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyRule {
    /// What is copied.
    pub what: CopyKind,
    /// Where to: an absolute path in the image. One that ends in `/` is a directory that takes
    /// what is copied under its own name. For [`CopyKind::Directory`] the directory itself.
    pub to: Located<Template>,
    /// The mode of the files, or of the directory that [`CopyKind::Directory`] makes.
    pub mode: Option<Located<Mode>>,
    /// The mode of the directories.
    pub dir_mode: Option<Located<Mode>>,
    /// The owner of all of it.
    pub owner: Option<Located<Owner>>,
    /// What becomes of links of the base on the way to it; they are followed by default.
    pub on_base_symlink: Option<Located<OnBaseSymlink>>,
    /// How files of the host are taken over; empty for all other kinds.
    pub policy: Policy,
    /// Where the whole rule was written.
    pub span: Option<Span>,
}

impl PartialEq for CopyRule {
    /// Compares all but the place.
    fn eq(&self, other: &Self) -> bool {
        self.what == other.what
            && self.to == other.to
            && self.mode == other.mode
            && self.dir_mode == other.dir_mode
            && self.owner == other.owner
            && self.on_base_symlink == other.on_base_symlink
            && self.policy == other.policy
    }
}

impl Eq for CopyRule {}

/// What one copy copies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyKind {
    /// Files and directories of the host, or of what a step made.
    From(FromRule),
    /// A file with this text.
    Content(Located<Template>),
    /// A file with these bytes; only builders make one, as a spec file is text.
    Bytes(Arc<[u8]>),
    /// A symbolic link to this target, which is kept as it is.
    Symlink(Located<Template>),
    /// An empty directory.
    Directory,
}

/// Files and directories of the host, or of what a step made: a path or a glob, and what of it is
/// taken.
///
/// Paths and patterns are templates as written, to be parsed by [`Pattern`](crate::pattern::Pattern)
/// once they are expanded; what stands for a name is then read as a part of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FromRule {
    /// The step whose outputs are copied; `None` for files of the host.
    pub step: Option<Located<String>>,
    /// A path from the root, or a glob if an unescaped `*`, `?` or `[` is in it.
    pub path: Located<Template>,
    /// Only what matches one of these is taken; all, if there are none.
    pub include: Vec<Located<Template>>,
    /// What matches one of these is left out.
    pub exclude: Vec<Located<Template>>,
    /// Whether it may select nothing.
    pub allow_empty: bool,
    /// Whether programs for another machine than the image's are let through.
    pub allow_foreign: bool,
}

impl FromRule {
    /// Everything at and below `path`.
    pub fn new(path: impl Into<Located<Template>>) -> Self {
        Self {
            step: None,
            path: path.into(),
            include: Vec::new(),
            exclude: Vec::new(),
            allow_empty: false,
            allow_foreign: false,
        }
    }
}
