//! Which libraries a program's loader wouldn't find.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::checks::loader::{Loaded, Loader};
use crate::checks::root::{Lookup, Root, last};
use crate::inspect::Elf;

/// A library that isn't found.
pub(super) struct Missing {
    pub(super) name: String,
    /// Who needs it.
    pub(super) by: Vec<u8>,
    /// What is in the image instead.
    pub(super) instead: Instead,
}

/// What is there of a library that isn't found.
pub(super) enum Instead {
    Nothing,
    /// It is where its loader doesn't look.
    Elsewhere(Vec<u8>),
    /// One for another machine has its place.
    Foreign(Vec<u8>),
}

/// What a program finds, and what it doesn't.
#[derive(Default)]
pub(super) struct Found {
    pub(super) missing: Vec<Missing>,
    /// Libraries of own layers that it loads.
    pub(super) loaded: Vec<Vec<u8>>,
}

/// How much is looked up yet, about in names of paths: packages bring what makes a search endless. What
/// isn't looked for is taken to be found.
pub(super) struct Effort {
    of_image: Cell<usize>,
    of_program: Cell<usize>,
}

impl Effort {
    /// A program with hundreds of libraries takes some ten thousand.
    const PROGRAM: usize = 1 << 20;
    const IMAGE: usize = 1 << 24;

    pub(super) fn new() -> Self {
        Self { of_image: Cell::new(Self::IMAGE), of_program: Cell::new(0) }
    }

    fn begin(&self) {
        self.of_program.set(Self::PROGRAM);
    }

    /// Tells whether so much may be done. Once it may not, nothing more is for this program.
    fn spend(&self, effort: usize) -> bool {
        let of = |left: &Cell<usize>| {
            let rest = left.get().checked_sub(effort);
            left.set(rest.unwrap_or(0));
            rest.is_some()
        };
        of(&self.of_program) && of(&self.of_image)
    }
}

/// How the libraries of a program are looked for.
pub(super) struct Search<'a> {
    pub(super) root: &'a Root<'a>,
    pub(super) effort: &'a Effort,
    pub(super) loader: Loader,
    /// The directories of `LD_LIBRARY_PATH`.
    pub(super) environment: &'a [String],
    /// Makes a path absolute.
    pub(super) absolute: Box<dyn Fn(&str) -> String + 'a>,
    /// Whether files say more of where its loader looks, which nobody reads.
    pub(super) may_know: Box<dyn Fn() -> bool + 'a>,
}

impl Search<'_> {
    /// Looks for all that a program needs, with what that needs, as a loader does: in the order of who
    /// asks first.
    pub(super) fn all(&self, path: &str, elf: &Elf) -> Found {
        let mut loaded = vec![Loaded { path: path.as_bytes().to_vec(), elf, by: None }];
        let (mut seen, mut found, mut at) = (BTreeSet::<&str>::new(), Found::default(), 0);
        self.effort.begin();
        while at < loaded.len() && self.effort.spend(Loader::effort(&loaded, at)) {
            let (elf, directories) = (loaded[at].elf, self.loader.directories(&loaded, at, self.environment));
            for name in elf.needed.iter().filter(|name| !self.loader.has(name)) {
                if !seen.insert(name) {
                    continue;
                }
                match self.library(name, elf, &directories) {
                    Err(Lookup::Missing) => found.missing.extend(self.missing(name, &loaded[at])),
                    Err(_) => {}
                    Ok((path, file)) => {
                        if let Some(own) = self.root.programs.get(&file).copied() {
                            // It answers to its own name as well, with glibc.
                            seen.extend(own.soname.as_deref().filter(|_| self.loader != Loader::Musl));
                            loaded.push(Loaded { path, elf: own, by: Some(at) });
                            found.loaded.push(file);
                        }
                    }
                }
            }
            at += 1;
        }
        found
    }

    /// Looks for a library. Returns the path by which it was found, and that of the file.
    fn library(&self, name: &str, by: &Elf, directories: &[String]) -> Result<(Vec<u8>, Vec<u8>), Lookup> {
        if !self.effort.spend(directories.len()) {
            return Err(Lookup::Unknown);
        }
        let paths: Vec<String> = match name.contains('/') {
            true => vec![(self.absolute)(name)],
            false => directories.iter().map(|path| format!("{}/{name}", (self.absolute)(path))).collect(),
        };
        let names = |path: &String| 1 + path.bytes().filter(|byte| *byte == b'/').count();
        if !self.effort.spend(paths.iter().map(names).sum()) {
            return Err(Lookup::Unknown);
        }
        let is_kin = |path: &[u8]| self.is_kin(path, by);
        // glibc passes over what is for another machine; musl takes the first there is, and fails.
        let is_musl = self.loader == Loader::Musl;
        let (index, file) = self.root.first_that(&paths, &|path| is_musl || is_kin(path))?;
        match is_kin(&file) {
            true => Ok((paths[index].trim_start_matches('/').as_bytes().to_vec(), file)),
            false => Err(Lookup::Missing),
        }
    }

    /// Tells whether a library may be loaded by a program. What isn't known may be.
    fn is_kin(&self, path: &[u8], by: &Elf) -> bool {
        let own = self.root.programs.get(path);
        own.is_none_or(|own| (own.machine, own.is_64) == (by.machine, by.is_64))
    }

    /// What is to be told of a library that wasn't found.
    fn missing(&self, name: &str, by: &Loaded<'_>) -> Option<Missing> {
        let anywhere = self.root.anywhere(last(name.as_bytes()));
        // The base's own configuration may lead its loader there.
        if anywhere.is_in_base || !self.effort.spend(anywhere.own.len()) {
            return None;
        }
        let (kin, foreign): (Vec<_>, Vec<_>) =
            anywhere.own.into_iter().partition(|path| self.is_kin(path, by.elf));
        let instead = match (kin.into_iter().next(), foreign.into_iter().next()) {
            (Some(_), _) if (self.may_know)() => return None,
            (Some(path), _) => Instead::Elsewhere(path),
            (None, Some(path)) => Instead::Foreign(path),
            (None, None) => Instead::Nothing,
        };
        Some(Missing { name: name.to_owned(), by: by.path.clone(), instead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_ends_for_a_program_and_for_an_image() {
        let effort = Effort::new();
        assert!(!effort.spend(1), "nothing has begun");
        effort.begin();
        assert!(effort.spend(Effort::PROGRAM) && !effort.spend(1));
        effort.begin();
        assert!(!effort.spend(Effort::PROGRAM + 1) && !effort.spend(1), "what is too much ends it");
        let runs = |_: &i32| {
            effort.begin();
            effort.spend(Effort::PROGRAM)
        };
        let programs = 1 + (0..100).take_while(runs).count();
        assert_eq!(programs, Effort::IMAGE / Effort::PROGRAM);
    }
}
