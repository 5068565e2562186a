//! The names of repositories and tags, and how they stand in a layout's index.
//!
//! The grammar is the specification's
//! ([pulling manifests](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests));
//! a name that passes it is safe as a path: it has no empty parts, no dots alone, no leading `_`.

use std::collections::BTreeMap;
use std::path::Path;

use ocibuild_core::oci::{Descriptor, annotation};

/// The longest name of a repository, in bytes: what clients allow together with a host.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// Tells whether this names a repository.
pub(crate) fn is_repository(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('/').all(is_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(word)
        && text.ends_with(word)
        && text.split(word).all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
pub(crate) fn is_tag(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= MAX_TAG && text.starts_with(first) && text.chars().all(|c| first(c) || c == '.' || c == '-')
}

/// Makes the name of a repository from that of a directory: without `.oci`, in small letters, and a
/// `-` for whatever can't stand there.
pub(crate) fn repository_of(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".oci").unwrap_or(&name);
    let mut made = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | '0'..='9' => made.push(c),
            _ if made.is_empty() => {}
            '.' | '_' if made.ends_with(|last: char| last.is_ascii_alphanumeric()) => made.push(c),
            _ => {
                let kept = made.trim_end_matches(['.', '_', '-']).len();
                made.truncate(kept);
                made.push('-');
            }
        }
    }
    made.truncate(MAX_NAME);
    let made = made.trim_end_matches(['.', '_', '-']);
    if made.is_empty() { "image".to_owned() } else { made.to_owned() }
}

/// A tag, and how it stands in the index.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// What stands there: `team/api:1`, or `1` alone.
    pub(crate) raw: String,
    pub(crate) descriptor: Descriptor,
}

/// What a layout's index says, as repositories with tags.
#[derive(Debug, Default)]
pub(crate) struct Names {
    repositories: BTreeMap<String, BTreeMap<String, Named>>,
    /// Entries without a name that can be asked for: by digest, in the plain repository, or where
    /// what they refer to is.
    pub(crate) unnamed: Vec<Descriptor>,
}

impl Names {
    /// Reads entries; those under a plain name belong to the repository `plain`. Of entries with one
    /// name the first counts, and a full name comes before a plain one.
    pub(crate) fn of(entries: Vec<Descriptor>, plain: &str) -> Self {
        let mut names = Self::default();
        let mut plains = Vec::new();
        for mut descriptor in entries {
            let Some(raw) = descriptor.annotations.remove(annotation::REF_NAME) else {
                names.unnamed.push(descriptor);
                continue;
            };
            match split(&raw) {
                Some((repository, tag)) => {
                    let (repository, tag) = (repository.to_owned(), tag.to_owned());
                    names.put(repository, tag, Named { raw, descriptor });
                }
                None if is_tag(&raw) => plains.push(Named { raw, descriptor }),
                None => names.unnamed.push(descriptor),
            }
        }
        for named in plains {
            names.put(plain.to_owned(), named.raw.clone(), named);
        }
        names
    }

    fn put(&mut self, repository: String, tag: String, named: Named) {
        self.repositories.entry(repository).or_default().entry(tag).or_insert(named);
    }

    pub(crate) fn repositories(&self) -> impl Iterator<Item = &String> {
        self.repositories.keys()
    }

    pub(crate) fn tags(&self, repository: &str) -> impl Iterator<Item = (&String, &Named)> {
        self.repositories.get(repository).into_iter().flatten()
    }

    pub(crate) fn get(&self, repository: &str, tag: &str) -> Option<&Named> {
        self.repositories.get(repository)?.get(tag)
    }
}

/// Splits `team/api:1`. A registry with a port in front is left out, as it can't be asked for here.
fn split(raw: &str) -> Option<(&str, &str)> {
    let (repository, tag) = raw.rsplit_once(':')?;
    let path = match repository.split_once('/') {
        Some((host, path)) if host.contains(':') => path,
        _ => repository,
    };
    (is_repository(path) && is_tag(tag)).then_some((path, tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocibuild_core::oci::MediaType;

    #[test]
    fn names_keep_to_the_grammar() {
        for good in ["a", "a/b", "library/a.b-c__d", "a---b", "0/1/2", &"a".repeat(255)] {
            assert!(is_repository(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in
            ["", "/", "a/", "/a", "a//b", "A", "..", "a/../b", "_a", "a_", "a___b", "a..b", ".a", &long]
        {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(is_tag("1") && is_tag("_.-") && is_tag(&"a".repeat(128)));
        for bad in ["", ".", "-a", "a b", "a/b", "a:b", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }

    #[test]
    fn a_directory_gives_a_name_that_can_be_asked_for() {
        let cases = [
            ("x/api.oci", "api"),
            ("My App", "my-app"),
            ("__a..b__.oci", "a.-b"),
            ("ü", "image"),
            ("/", "image"),
            ("a_b", "a_b"),
        ];
        for (directory, name) in cases {
            let made = repository_of(Path::new(directory));
            assert!(is_repository(&made), "{made}");
            if directory != "__a..b__.oci" {
                assert_eq!(made, name);
            }
        }
    }

    #[test]
    fn entries_become_tags() {
        let entry = |name: &str, bytes: &[u8]| {
            Descriptor::of(MediaType::MANIFEST, bytes).with_annotation(annotation::REF_NAME, name)
        };
        let entries = vec![
            entry("1", b"plain"),
            entry("api:1", b"full"),
            entry("api:1", b"again"),
            entry("127.0.0.1:5000/team/api:2", b"host"),
            entry("no tag", b"odd"),
            Descriptor::of(MediaType::MANIFEST, b"bare"),
        ];
        let names = Names::of(entries, "api");
        assert_eq!(names.repositories().collect::<Vec<_>>(), ["api", "team/api"]);
        assert_eq!(names.get("api", "1").unwrap().descriptor, Descriptor::of(MediaType::MANIFEST, b"full"));
        assert_eq!(names.get("team/api", "2").unwrap().raw, "127.0.0.1:5000/team/api:2");
        assert_eq!(names.unnamed.len(), 2);
    }
}
