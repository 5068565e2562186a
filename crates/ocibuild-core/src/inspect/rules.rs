//! What can be found, by id: with its group, how bad it is unless said otherwise, and what it means.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::inspect::secrets::SECRETS;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably a mistake.
    Warning,
    /// Almost certainly one.
    Error,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// Its id.
    pub id: &'static str,
    /// The group that it belongs to.
    pub group: &'static str,
    /// How bad it is unless a spec says otherwise.
    pub severity: Severity,
    /// What it means, as a lowercase phrase.
    pub title: &'static str,
}

/// The groups, in the order of [`RULES`].
pub const GROUPS: [&str; 5] = ["programs", "secrets", "budgets", "permissions", "configuration"];

const fn of(group: &'static str, id: &'static str, severity: Severity, title: &'static str) -> Rule {
    Rule { id, group, severity, title }
}

use Severity::{Error, Note, Warning};

const OWN: [Rule; 15] = [
    of("programs", "elf-interpreter-missing", Error, "the loader that a program names isn't in the image"),
    of("programs", "elf-library-missing", Error, "a library that a program needs isn't in the image"),
    of(
        "programs",
        "elf-wrong-architecture",
        Note,
        "the program that is started was let through for another machine",
    ),
    of("programs", "elf-wrong-libc", Error, "a program needs another C library than the image has"),
    of(
        "programs",
        "elf-not-static",
        Error,
        "a program of an image with `static = true` needs a loader or libraries",
    ),
    of("programs", "script-interpreter-missing", Error, "the program that a script names isn't in the image"),
    of("programs", "program-not-executable", Error, "the program that is started may not be executed"),
    of("programs", "contents-unknown", Warning, "nobody looked at the files of a reused layer"),
    of("budgets", "image-too-large", Error, "an image is larger than `max-size`"),
    of("budgets", "image-too-many-layers", Error, "an image has more layers than `max-layers`"),
    of("budgets", "layer-too-large", Error, "a layer is larger than `max-size`"),
    of("permissions", "world-writable", Warning, "anybody may write to a file or directory"),
    of("permissions", "setuid", Warning, "a program runs with the rights of its owner"),
    of("configuration", "root-user", Note, "the image's user is root"),
    of("configuration", "mutable-base", Note, "the base's tag may mean another image tomorrow"),
];

/// Secrets that many who have them show to everybody, as they are meant to be: keys that browsers and
/// telephones get, restricted in other ways.
const SHOWN: [&str; 1] = ["secret-gcp-api-key"];

/// All that can be found, sorted by groups.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let mut rules = OWN.to_vec();
    for secret in &SECRETS {
        if !rules.iter().any(|rule| rule.id == secret.id) {
            let severity = if SHOWN.contains(&secret.id) { Warning } else { Error };
            rules.push(of("secrets", secret.id, severity, secret.title));
        }
    }
    rules.sort_by_key(|rule| GROUPS.iter().position(|group| *group == rule.group));
    rules
});

/// Returns what an id stands for.
#[must_use]
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// Tells whether a word is an id or a group.
#[must_use]
pub fn is_known(name: &str) -> bool {
    GROUPS.contains(&name) || rule(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_ids_of_their_own_and_groups_that_are_listed() {
        let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), RULES.len());
        assert!(RULES.iter().all(|rule| GROUPS.contains(&rule.group)));
        assert!(RULES.iter().filter(|rule| rule.group == "secrets").count() >= 30);
        // Browsers get it.
        assert_eq!(rule("secret-gcp-api-key").unwrap().severity, Severity::Warning);
        assert!(is_known("secrets") && is_known("root-user") && !is_known("secret"));
    }

    /// The schema has all ids and groups, as reader and schema are to agree.
    #[test]
    fn the_schema_knows_them_all() {
        let schema = include_str!("../../schema/ocibuild.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let known = schema["definitions"]["finding"]["enum"].as_array().unwrap();
        let known: Vec<&str> = known.iter().map(|name| name.as_str().unwrap()).collect();
        let all: Vec<&str> = GROUPS.into_iter().chain(RULES.iter().map(|rule| rule.id)).collect();
        assert_eq!(known, all);
    }
}
