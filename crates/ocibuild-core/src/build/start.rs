//! What would keep containers of an image from starting: a program that isn't in it, a user that it
//! doesn't know. Told where it is sure and costs little to find out, and else not at all.

use std::collections::BTreeSet;

use crate::base::Listing;
use crate::blob::Store;
use crate::build::FinishedLayer;
use crate::build::bases::{Found, Foundations};
use crate::layer;
use crate::oci::Config;
use crate::plan::{
    Foundation, Plan, PlannedCopy, PlannedImage, PlannedVariant, What, inherited_config, merge_configs,
};
use crate::spec::{Fault, Span};

/// The most entries of a reused layer that are looked through: a hit costs no more than it must.
const MAX_ENTRIES: u64 = 1_000;

/// As many names as a hint lists.
const MAX_NAMES: usize = 10;

/// Looks at the images of a plan, whose layers are all there.
pub(super) fn warnings(
    plan: &Plan,
    foundations: &Foundations,
    layers: &[FinishedLayer],
    store: &Store,
) -> Vec<Fault> {
    let mut warnings = Vec::new();
    for image in &plan.images {
        // What one platform alone lacks is told with its name.
        let of = |variant| Starter { plan, foundations, layers, store, variant }.faults();
        let faults: Vec<Vec<Fault>> = image.variants.iter().map(of).collect();
        for fault in faults.iter().flatten() {
            let fault = placed(fault, image, &faults);
            if !warnings.contains(&fault) {
                warnings.push(fault);
            }
        }
    }
    warnings
}

fn placed(fault: &Fault, image: &PlannedImage, faults: &[Vec<Fault>]) -> Fault {
    let mut fault = fault.clone().within(format!("image `{}`", image.name));
    let is_same = |other: &Fault| other.message == fault.message;
    let has = |(_, faults): &(_, &Vec<Fault>)| faults.iter().any(is_same);
    let all = image.variants.iter().zip(faults);
    let platforms: Vec<String> = all.filter(has).map(|(variant, _)| variant.platform.to_string()).collect();
    if platforms.len() < image.variants.len() {
        fault.message = format!("{} ({})", fault.message, platforms.join(", "));
    }
    fault
}

/// One image on one platform.
struct Starter<'a> {
    plan: &'a Plan,
    foundations: &'a Foundations,
    layers: &'a [FinishedLayer],
    store: &'a Store,
    variant: &'a PlannedVariant,
}

impl Starter<'_> {
    fn faults(&self) -> Vec<Fault> {
        // Other systems have other paths and users.
        if self.variant.platform.os != "linux" {
            return Vec::new();
        }
        self.program().into_iter().chain(self.user()).collect()
    }

    fn listing(&self) -> &Listing {
        self.foundations.listing(&self.variant.foundation)
    }

    /// Judges the program, if the spec names it itself. One without a path is looked for in `PATH`.
    fn program(&self) -> Option<Fault> {
        let (program, span) = self.own_program()?;
        if !program.starts_with('/') || self.may_have(program.as_bytes()) {
            return None;
        }
        let message = format!("containers are to start `{program}`, which isn't in the image");
        Some(Fault::new(message, span).hint(if self.listing().is_empty() && program == "/bin/sh" {
            "nothing but what is copied is in an image on `scratch`: run the program itself, without a shell"
        } else {
            "mend the path, or copy the program there"
        }))
    }

    fn own_program(&self) -> Option<(String, Option<Span>)> {
        let Self { variant, .. } = self;
        let base = self.foundations.base(&variant.foundation).map(Found::base);
        let below: Option<&Config> = base.map_or(Some(&variant.builtin), |base| base.config.config.as_ref());
        let below = inherited_config(below.cloned().unwrap_or_default(), &variant.inherit);
        let merged = merge_configs(below, variant.config.clone());
        // What is in a volume may come with the container.
        let volumes: Vec<String> = merged.volumes.iter().flat_map(|all| all.keys().cloned()).collect();
        let is_mounted = |program: &str| {
            volumes.iter().any(|volume| program.starts_with(&format!("{}/", volume.trim_end_matches('/'))))
        };
        let is_given = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|words| !words.is_empty());
        let (words, span) = match (merged.entrypoint, merged.cmd) {
            (Some(words), _) if is_given(&variant.config.entrypoint) => (words, variant.places.entrypoint),
            (None, Some(words)) if is_given(&variant.config.cmd) => (words, variant.places.cmd),
            _ => return None,
        };
        let program = words.into_iter().next().filter(|program| !is_mounted(program))?;
        Some((program, span))
    }

    /// Judges the user, if the spec names it itself.
    fn user(&self) -> Option<Fault> {
        let (user, group) = match self.variant.config.user.as_deref()?.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (self.variant.config.user.as_deref()?, None),
        };
        let listing = self.listing();
        let lacks_user = self.lacks(user, listing.user(user).is_some(), false);
        let group = group.filter(|group| self.lacks(group, listing.group(group).is_some(), true));
        let (kind, name, groups) = match (lacks_user, group) {
            (true, _) => ("user", user, false),
            (false, Some(group)) => ("group", group, true),
            (false, None) => return None,
        };
        let message = format!("containers are to run with the {kind} `{name}`, which the image doesn't have");
        let mut names = listing.account_names(groups);
        names.truncate(MAX_NAMES);
        let fault = Fault::new(message, self.variant.places.user);
        Some(fault.hint(match names.is_empty() {
            true => "it has no names at all: give numbers, such as `65532:65532`".to_owned(),
            false => format!("give a number, or a {kind} that it has, such as `{}`", names.join("`, `")),
        }))
    }

    /// Tells whether it is sure that an account's name isn't known.
    fn lacks(&self, name: &str, is_known: bool, groups: bool) -> bool {
        let file: &[u8] = if groups { b"/etc/group" } else { b"/etc/passwd" };
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if is_known || is_number || self.layers_may_have(file) {
            return false;
        }
        // A file without a name that is understood may be one that wasn't read.
        let is_there = self.listing().resolve(file).map_or(true, |path| self.listing().find(&path).is_some());
        !is_there || !self.listing().account_names(groups).is_empty()
    }

    /// Tells whether a path may lead to something in the image.
    fn may_have(&self, path: &[u8]) -> bool {
        let listing = self.listing();
        let is_in_base = listing.resolve(path).map_or(true, |path| listing.find(&path).is_some());
        is_in_base || self.layers_may_have(path)
    }

    /// Tells whether one of the image's own layers may have put something at a path, or a link on
    /// the way to it.
    fn layers_may_have(&self, path: &[u8]) -> bool {
        let listing = self.listing();
        if path.split(|byte| *byte == b'/').any(|name| name == b"..") {
            return true;
        }
        let (Ok(parents), Ok(whole)) = (listing.resolve_parents(path), listing.resolve(path)) else {
            return true;
        };
        let names: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
        let wanted = BTreeSet::from([names.join(&b'/'), parents, whole]);
        let builtin = match self.variant.foundation {
            Foundation::Builtin(index) => Some(index),
            _ => None,
        };
        let own = self.variant.layers.iter().filter(|index| Some(**index) != builtin);
        own.into_iter().any(|index| self.layer_may_have(*index, &wanted))
    }

    fn layer_may_have(&self, index: usize, wanted: &BTreeSet<Vec<u8>>) -> bool {
        let copies = &self.plan.layers[index].copies;
        // What doesn't read the host writes just what it says.
        let (files, given): (Vec<&PlannedCopy>, Vec<&PlannedCopy>) = copies
            .iter()
            .filter(|copy| copy.what != What::Directory && self.reaches(copy, wanted))
            .partition(|copy| matches!(copy.what, What::From(_)));
        if !given.is_empty() || files.iter().any(|copy| self.is_just(copy, wanted)) {
            return true;
        }
        if files.is_empty() {
            return false;
        }
        let layer = &self.layers[index];
        if layer.outcome.is_reused() && layer.record.entries > MAX_ENTRIES {
            return true;
        }
        layer::leads_to(&layer.record, self.store, wanted).unwrap_or(true)
    }

    /// Tells whether a copy may write one of these paths, or what is above it.
    fn reaches(&self, copy: &PlannedCopy, wanted: &BTreeSet<Vec<u8>>) -> bool {
        let resolved = self.listing().resolve(&copy.to);
        let Ok(resolved) = resolved else { return true };
        let is_above = |to: &[u8], path: &Vec<u8>| {
            path.strip_prefix(to).is_some_and(|rest| to.is_empty() || rest.is_empty() || rest[0] == b'/')
        };
        wanted.iter().any(|path| is_above(&copy.to, path) || is_above(&resolved, path))
    }

    fn is_just(&self, copy: &PlannedCopy, wanted: &BTreeSet<Vec<u8>>) -> bool {
        !copy.into && wanted.contains(&copy.to)
    }
}
