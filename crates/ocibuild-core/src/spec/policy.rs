//! How the files of a copy are taken over: what of the host's metadata stays, what is left out.

use std::fmt;
use std::str::FromStr;

use super::{Located, Template, ValueError};
use crate::spec::suggest::closest;

/// What of the host's metadata a copy keeps, instead of the constants that make layers alike
/// everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Preserve {
    /// All permission bits, with setuid, setgid and sticky, of files and directories.
    pub mode: bool,
    /// The time of the last change, in whole seconds.
    pub mtime: bool,
    /// User and group, by number.
    pub owner: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// That several names are one file.
    pub hardlinks: bool,
}

impl Preserve {
    /// The words that stand for each in a spec, in the order they are written in.
    pub const NAMES: [&'static str; 5] = ["mode", "mtime", "owner", "xattrs", "hardlinks"];

    /// Nothing of it.
    pub const NOTHING: Self =
        Self { mode: false, mtime: false, owner: false, xattrs: false, hardlinks: false };

    /// All of it.
    pub const ALL: Self = Self { mode: true, mtime: true, owner: true, xattrs: true, hardlinks: true };

    /// Adds what a word of the spec stands for.
    pub fn add(&mut self, name: &str) -> Result<(), ValueError> {
        match name {
            "mode" => self.mode = true,
            "mtime" => self.mtime = true,
            "owner" => self.owner = true,
            "xattrs" => self.xattrs = true,
            "hardlinks" => self.hardlinks = true,
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// The words for what is kept, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let kept = [self.mode, self.mtime, self.owner, self.xattrs, self.hardlinks];
        Self::NAMES.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(name, _)| name)
    }
}

fn unknown(name: &str) -> ValueError {
    let error = ValueError::new(format!("`{}` can't be preserved", name.escape_debug()));
    match closest(name, Preserve::NAMES) {
        Some(known) => error.hint(format!("did you mean \"{known}\"?")),
        None => error.hint("what can be is \"mode\", \"mtime\", \"owner\", \"xattrs\" and \"hardlinks\""),
    }
}

/// What becomes of compiled Python files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pyc {
    /// They are files like others.
    #[default]
    Keep,
    /// Directories `__pycache__` are left out.
    Drop,
}

impl fmt::Display for Pyc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
        })
    }
}

impl FromStr for Pyc {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "keep" => Ok(Self::Keep),
            "drop" => Ok(Self::Drop),
            _ => {
                Err(ValueError::new(format!("`{}` is nothing to do with `.pyc` files", text.escape_debug()))
                    .hint("write \"keep\" or \"drop\""))
            }
        }
    }
}

/// What becomes of a symbolic link of the base on the way to a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnBaseSymlink {
    /// It is followed, inside the image's root: the base stays as it is.
    #[default]
    Follow,
    /// It is an error.
    Error,
    /// A directory takes its place.
    Replace,
}

impl fmt::Display for OnBaseSymlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follow => "follow",
            Self::Error => "error",
            Self::Replace => "replace",
        })
    }
}

impl FromStr for OnBaseSymlink {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "follow" => Ok(Self::Follow),
            "error" => Ok(Self::Error),
            "replace" => Ok(Self::Replace),
            _ => Err(ValueError::new(format!(
                "`{}` is nothing to do with a base's links",
                text.escape_debug()
            ))
            .hint("write \"follow\", \"error\" or \"replace\"")),
        }
    }
}

/// The file whose rules say what is left out of what lies below a copy's `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoreFile {
    /// None, also if there is a `.dockerignore`.
    None,
    /// This file, a path from the root.
    File(Template),
}

/// How files of the host are taken over. What isn't given is the layer's, and else the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Policy {
    /// What of their metadata is kept; nothing by default.
    pub preserve: Option<Located<Preserve>>,
    /// What becomes of compiled Python files; they are kept by default.
    pub pyc: Option<Located<Pyc>>,
    /// The ignore file; by default the root's `.dockerignore`, if there is one.
    pub ignore_file: Option<Located<IgnoreFile>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_named_in_one_order() {
        let mut preserve = Preserve::default();
        for name in ["hardlinks", "mode", "mode"] {
            preserve.add(name).unwrap();
        }
        assert_eq!(preserve.names().collect::<Vec<_>>(), ["mode", "hardlinks"]);
        assert_eq!(Preserve::ALL.names().collect::<Vec<_>>(), Preserve::NAMES);
        let error = preserve.add("xattr").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean \"xattrs\"?"));
    }
}
