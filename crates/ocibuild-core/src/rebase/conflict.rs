//! What the image's layers went by that the new base has otherwise.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{DirectoryMeta, Listed, ListedKind, Listing};
use crate::contents::{Item, ItemKind};
use crate::files::display;
use crate::oci::Platform;
use crate::rebase::own::Own;

/// What a base has at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stands {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Link {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A device or a named pipe.
    Other,
}

impl Stands {
    fn of(listed: Option<Listed<'_>>) -> Self {
        match listed.map(|listed| listed.kind) {
            None => Self::Nothing,
            Some(ListedKind::Directory) => Self::Directory,
            Some(ListedKind::File { .. }) => Self::File,
            Some(ListedKind::Symlink { target }) => Self::Link { target: target.to_vec() },
            Some(ListedKind::Other) => Self::Other,
        }
    }
}

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Directory => f.write_str("a directory"),
            Self::File => f.write_str("a file"),
            Self::Link { target } => write!(f, "a link to `{}`", display(target).escape_debug()),
            Self::Other => f.write_str("a device or pipe"),
        }
    }
}

/// Something that layers went by and that the new base has otherwise. Paths are raw bytes, without
/// a leading `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Conflict {
    /// A directory of the image's is something else in the new base: what the image writes into it
    /// belongs elsewhere, or nowhere.
    NotDirectory {
        /// The directory.
        path: Vec<u8>,
        /// What the old base has there.
        old: Stands,
        /// What the new one has.
        new: Stands,
    },
    /// A file of the image's would take the place of a directory of the new base.
    OverDirectory {
        /// The file.
        path: Vec<u8>,
        /// What the old base has there.
        old: Stands,
    },
    /// A link of the old base leads to where the image writes, and doesn't in the new base.
    Link {
        /// The link.
        path: Vec<u8>,
        /// Where it leads in the old base.
        to: Vec<u8>,
        /// What the new base has in its place.
        new: Stands,
        /// Where that leads.
        leads: Option<Vec<u8>>,
        /// A path there that the image writes.
        writes: Vec<u8>,
    },
    /// A directory has its metadata from the old base, and another one in the new base; where a base
    /// doesn't have it, it is 0755 and 0:0.
    Metadata {
        /// The directory.
        path: Vec<u8>,
        /// What it is in the old base, if it is there.
        old: Option<DirectoryMeta>,
        /// What it is in the new one, if it is there.
        new: Option<DirectoryMeta>,
    },
    /// A user that owns something of the image's is called otherwise in the new base.
    User {
        /// The user's name in the old base.
        name: String,
        /// The user's number and group in the old base.
        old: (u32, u32),
        /// And in the new one, if it has the name.
        new: Option<(u32, u32)>,
        /// Something that the user owns.
        owns: Vec<u8>,
    },
    /// A group that owns something of the image's is called otherwise in the new base.
    Group {
        /// The group's name in the old base.
        name: String,
        /// The group's number in the old base.
        old: u32,
        /// And in the new one, if it has the name.
        new: Option<u32>,
        /// Something that the group owns.
        owns: Vec<u8>,
    },
    /// A file is another name of one that only the old base has.
    HardLink {
        /// The file.
        path: Vec<u8>,
        /// What it is a name of.
        target: Vec<u8>,
    },
}

impl Conflict {
    /// The path that tells what it is about: something that the image has, or a link on the way to it.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::NotDirectory { path, .. }
            | Self::OverDirectory { path, .. }
            | Self::Link { path, .. }
            | Self::Metadata { path, .. }
            | Self::HardLink { path, .. } => path,
            Self::User { owns, .. } | Self::Group { owns, .. } => owns,
        }
    }
}

/// Says both sides in one line.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |path: &[u8]| {
            if path.is_empty() { "/".to_owned() } else { format!("/{}", display(path).escape_debug()) }
        };
        match self {
            Self::NotDirectory { path, old, new } => {
                write!(
                    f,
                    "`{}`: {old} in the old base, {new} in the new one, and a directory of the image's",
                    at(path)
                )
            }
            Self::OverDirectory { path, old } => {
                write!(
                    f,
                    "`{}`: {old} in the old base, a directory in the new one, and a file of the image's",
                    at(path)
                )
            }
            Self::Link { path, to, new, leads, writes } => {
                write!(f, "`{}`: led to `{}` in the old base, is {new} in the new one", at(path), at(to))?;
                if let Some(leads) = leads {
                    write!(f, ", which leads to `{}`", at(leads))?;
                }
                write!(f, "; the image writes `{}`", at(writes))
            }
            Self::Metadata { path, old, new } => {
                write!(f, "`{}`: {} in the old base, {} in the new one", at(path), meta(*old), meta(*new))
            }
            Self::User { name, old, new, owns } => {
                let number = |(uid, gid): (u32, u32)| format!("{uid}:{gid}");
                let new = new.map_or_else(|| "unknown".to_owned(), number);
                let old = number(*old);
                write!(f, "`{}`: owned by `{name}`, {old} in the old base, {new} in the new one", at(owns))
            }
            Self::Group { name, old, new, owns } => {
                let new = new.map_or_else(|| "unknown".to_owned(), |gid| gid.to_string());
                write!(
                    f,
                    "`{}`: of the group `{name}`, {old} in the old base, {new} in the new one",
                    at(owns)
                )
            }
            Self::HardLink { path, target } => {
                write!(
                    f,
                    "`{}`: a name of the old base's `{}`, which the new one doesn't have",
                    at(path),
                    at(target)
                )
            }
        }
    }
}

fn meta(meta: Option<DirectoryMeta>) -> String {
    match meta {
        Some(DirectoryMeta { mode, uid, gid }) => format!("{mode:04o} {uid}:{gid}"),
        None => "not there".to_owned(),
    }
}

/// All that was found, each once, in the order of paths.
#[derive(Default)]
pub(super) struct Conflicts(BTreeMap<(Vec<u8>, Conflict), Vec<Platform>>);

impl Conflicts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_list(self) -> Vec<(Conflict, Vec<Platform>)> {
        self.0.into_iter().map(|((_, conflict), platforms)| (conflict, platforms)).collect()
    }

    /// Holds own layers against two bases.
    pub(super) fn add(&mut self, own: &Own<'_>, old: &Listing, new: &Listing, platform: &Platform) {
        let mut found = Vec::new();
        let sides = Sides { own, old, new };
        sides.directories(&mut found);
        sides.leaves(&mut found);
        sides.links(&mut found);
        sides.accounts(&mut found);
        for conflict in found {
            self.0.entry((conflict.path().to_vec(), conflict)).or_default().push(platform.clone());
        }
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

struct Sides<'a> {
    own: &'a Own<'a>,
    old: &'a Listing,
    new: &'a Listing,
}

/// What a directory is that no base has.
const DEFAULT: DirectoryMeta = DirectoryMeta { mode: 0o755, uid: 0, gid: 0 };

impl Sides<'_> {
    fn directories(&self, found: &mut Vec<Conflict>) {
        let mut obstacle: Option<&[u8]> = None;
        for (path, written) in &self.own.directories {
            if obstacle.is_some_and(|obstacle| is_below(path, obstacle)) {
                continue;
            }
            let (old, new) = (Stands::of(self.old.get(path)), Stands::of(self.new.get(path)));
            let is_free = matches!(new, Stands::Nothing | Stands::Directory);
            if !is_free && old != new {
                obstacle = Some(path);
                found.push(Conflict::NotDirectory { path: path.to_vec(), old, new });
            } else if is_free && let Some(written) = written {
                found.extend(self.metadata(path, *written));
            }
        }
    }

    /// Mode and owner may each be the base's, or given by who wrote the directory.
    fn metadata(&self, path: &[u8], written: DirectoryMeta) -> Option<Conflict> {
        let (old, new) = (self.old.directory(path), self.new.directory(path));
        let (was, is) = (old.unwrap_or(DEFAULT), new.unwrap_or(DEFAULT));
        let owner = |meta: DirectoryMeta| (meta.uid, meta.gid);
        let mode_differs = written.mode == was.mode && was.mode != is.mode;
        let owner_differs = owner(written) == owner(was) && owner(was) != owner(is);
        (mode_differs || owner_differs).then(|| Conflict::Metadata { path: path.to_vec(), old, new })
    }

    fn leaves(&self, found: &mut Vec<Conflict>) {
        for path in &self.own.leaves {
            if self.new.directory(path).is_some() {
                let old = Stands::of(self.old.get(path));
                found.push(Conflict::OverDirectory { path: path.to_vec(), old });
            }
        }
        for (path, target) in &self.own.links {
            if !matches!(Stands::of(self.new.get(target)), Stands::File | Stands::Other) {
                found.push(Conflict::HardLink { path: path.to_vec(), target: target.to_vec() });
            }
        }
    }

    /// A spec's destination may have gone through every link that leads to where something is written.
    fn links(&self, found: &mut Vec<Conflict>) {
        for (path, listed) in self.old.entries(b"") {
            let ListedKind::Symlink { .. } = listed.kind else { continue };
            // Where links go in circles nothing was resolved.
            let Ok(to) = self.old.resolve(&path) else { continue };
            let Some(writes) = self.own.at_or_below(&to) else { continue };
            let leads = self.new.resolve(&path).ok();
            if leads.as_deref() == Some(&to[..]) {
                continue;
            }
            let is_directory = matches!(Stands::of(self.old.get(&to)), Stands::Nothing | Stands::Directory);
            if is_directory {
                let new = Stands::of(self.new.get(&path));
                let leads = leads.filter(|leads| *leads != path);
                found.push(Conflict::Link { path, to, new, leads, writes: writes.to_vec() });
            }
        }
    }

    fn accounts(&self, found: &mut Vec<Conflict>) {
        // Root is root, by whatever name.
        for name in self.old.account_names(false) {
            let Some(old) = self.old.user(&name).filter(|(uid, _)| *uid != 0) else { continue };
            let new = self.new.user(&name);
            let is_other = |item: &Item<'_>| {
                item.uid == old.0 && new.is_none_or(|new| new.0 != old.0 || (item.gid == old.1 && new != old))
            };
            if let Some(owns) = self.owned(is_other) {
                found.push(Conflict::User { name, old, new, owns });
            }
        }
        for name in self.old.account_names(true) {
            let Some(old) = self.old.group(&name).filter(|gid| *gid != 0) else { continue };
            let new = self.new.group(&name);
            if new == Some(old) {
                continue;
            }
            if let Some(owns) = self.owned(|item: &Item<'_>| item.gid == old) {
                found.push(Conflict::Group { name, old, new, owns });
            }
        }
    }

    /// Finds something that was given this owner: not a directory that has the old base's.
    fn owned(&self, is_so: impl Fn(&Item<'_>) -> bool) -> Option<Vec<u8>> {
        let is_inherited = |item: &Item<'_>| {
            let base = self.old.directory(item.path).filter(|_| item.kind == ItemKind::Directory);
            base.is_some_and(|base| (base.uid, base.gid) == (item.uid, item.gid))
        };
        let found = self.own.items.iter().find(|item| is_so(item) && !is_inherited(item));
        found.map(|item| item.path.to_vec())
    }
}
