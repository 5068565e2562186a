//! Variables, and what the names in a template stand for on one platform.

use std::collections::BTreeMap;

use super::{ExpandError, Located};
use crate::oci::Platform;

/// The variables of a spec. Values are taken as they are: braces in them have no meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vars {
    /// Values for every platform: `[vars]`.
    pub plain: BTreeMap<String, Located<String>>,
    /// A platform's own values: `[vars."linux/arm64"]`.
    pub platforms: BTreeMap<Platform, BTreeMap<String, Located<String>>>,
    /// Values given from outside (`--var NAME=VALUE`), which count before all others.
    pub given: BTreeMap<String, String>,
}

impl Vars {
    /// What names stand for on `platform`.
    pub fn lookup<'a>(&'a self, platform: &'a Platform) -> Lookup<'a> {
        Lookup { vars: self, platform }
    }

    /// The value of a variable where no platform is meant.
    pub(crate) fn plain_value(&self, name: &str) -> Option<&str> {
        let written = || self.plain.get(name).map(|value| value.value.as_str());
        self.given.get(name).map(String::as_str).or_else(written)
    }

    /// Every known name, each once, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.platforms.values().flat_map(BTreeMap::keys);
        let all = self.given.keys().chain(self.plain.keys()).chain(own);
        all.map(String::as_str).collect::<std::collections::BTreeSet<_>>().into_iter()
    }
}

/// What the names of a template stand for on one platform.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    vars: &'a Vars,
    platform: &'a Platform,
}

impl<'a> Lookup<'a> {
    pub(super) fn os(&self) -> &'a str {
        &self.platform.os
    }

    pub(super) fn arch(&self) -> &'a str {
        &self.platform.architecture
    }

    pub(super) fn variant(&self) -> &'a str {
        self.platform.variant.as_deref().unwrap_or_default()
    }

    /// The value of a variable: the one given from outside, else that of the platform with its
    /// variant, else that of the platform without, else the plain one.
    pub fn var(&self, name: &str) -> Result<&'a str, ExpandError> {
        let vars = self.vars;
        let general = Platform { variant: None, ..self.platform.clone() };
        let of = |platform: &Platform| vars.platforms.get(platform).and_then(|own| own.get(name));
        let written = || of(self.platform).or_else(|| of(&general)).or_else(|| vars.plain.get(name));
        let given = vars.given.get(name).map(String::as_str);
        given
            .or_else(|| written().map(|value| value.value.as_str()))
            .ok_or_else(|| ExpandError { name: name.to_owned(), platform: self.platform.to_string() })
    }
}
