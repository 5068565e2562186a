//! Names of images in registries, parsed once.
//!
//! Follows the grammar of the distribution project, with Docker's short forms: `alpine` means
//! `docker.io/library/alpine`. Knows nothing of how a registry is reached.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry that names without one belong to.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
#[non_exhaustive]
pub struct ReferenceError {
    /// The text at fault.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A repository of a registry: `registry.example.com:5000/team/app`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Returns the registry: a host name or address, with its port where one is named.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository's path within the registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// An image in a registry: `registry/repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the repository.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the tag, if one is named.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if one is named.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the same repository's image of this digest, without a tag: the form
    /// `registry/repository@digest`.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { repository: self.repository.clone(), tag: None, digest: Some(digest) }
    }

    /// Returns the reference without its digest, where it has a tag besides.
    #[must_use]
    pub fn without_digest(&self) -> Self {
        let digest = self.digest.filter(|_| self.tag.is_none());
        Self { digest, ..self.clone() }
    }

    /// Returns the reference with the tag `latest`, where it names neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.contains("://") {
        return Err("leave out what ends in `://`");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse().map_err(|_| "what follows `@` should be `sha256:` and 64 digits")?))
        }
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
        _ => (rest, None),
    };
    let repository = parse_repository(name)?;
    Ok(Reference { repository, tag, digest })
}

fn check_tag(tag: &str) -> Result<String, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.' || c == '-';
    if tag.is_empty() {
        return Err("the tag after `:` is missing");
    }
    if tag.len() > 128 {
        return Err("a tag has at most 128 characters");
    }
    if tag.starts_with(['.', '-']) || !tag.chars().all(fits) {
        return Err("a tag has letters, digits, `_`, `.` and `-`, and begins with a letter, digit or `_`");
    }
    Ok(tag.to_owned())
}

fn parse_repository(name: &str) -> Result<Repository, &'static str> {
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (first, path.to_owned()),
        _ if name.contains('/') => (DEFAULT_REGISTRY, name.to_owned()),
        _ => (DEFAULT_REGISTRY, format!("library/{name}")),
    };
    let path = match (registry, path.contains('/')) {
        (DEFAULT_REGISTRY, false) => format!("library/{path}"),
        _ => path,
    };
    check_registry(registry)?;
    check_path(&path)?;
    Ok(Repository { registry: registry.to_owned(), path })
}

/// Tells a registry from the first part of a path, as Docker does: by a dot, a port, capitals, or
/// the name `localhost`.
fn is_registry(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.chars().any(|c| c.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<std::net::Ipv6Addr>().map_err(|_| "the address in brackets is not IPv6")?;
            if !rest.is_empty() && !rest.starts_with(':') {
                return Err("only a port can follow the address in brackets");
            }
            (None, rest.strip_prefix(':'))
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if host.is_some_and(|host| !host.split('.').all(label)) {
        return Err("the registry is not a host name");
    }
    // Rust's parser would take a sign.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    match port {
        Some(port) if !is_port(port) => Err("the registry's port is not a number up to 65535"),
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > 255 {
        return Err("a repository's path has at most 255 characters");
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("a repository is written in lowercase");
    }
    if !path.split('/').all(is_component) {
        return Err(
            "a repository's parts have lowercase letters and digits, with single `.`, `_`, `__` or `-` between them",
        );
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(alphanumeric).filter(|run| !run.is_empty());
    part.starts_with(alphanumeric) && part.ends_with(alphanumeric) && { separators }
        .all(|run| matches!(run, "." | "_" | "__") || run.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, Option<String>, bool) {
        let reference: Reference = text.parse().unwrap();
        let Repository { registry, path } = reference.repository().clone();
        (registry, path, reference.tag().map(str::to_owned), reference.digest().is_some())
    }

    #[test]
    fn references_come_apart() {
        let digest = Digest::of(b"");
        let own = |registry: &str, path: &str, tag: Option<&str>, digest| {
            (registry.to_owned(), path.to_owned(), tag.map(str::to_owned), digest)
        };
        assert_eq!(parts("alpine"), own("docker.io", "library/alpine", None, false));
        assert_eq!(parts("docker.io/alpine:3"), own("docker.io", "library/alpine", Some("3"), false));
        assert_eq!(parts("team/app:1"), own("docker.io", "team/app", Some("1"), false));
        assert_eq!(parts("localhost/app"), own("localhost", "app", None, false));
        assert_eq!(parts("127.0.0.1:5000/a/b:T-1"), own("127.0.0.1:5000", "a/b", Some("T-1"), false));
        assert_eq!(parts("[::1]:5000/a"), own("[::1]:5000", "a", None, false));
        assert_eq!(parts(&format!("r.io/a__b/c-d:x@{digest}")), own("r.io", "a__b/c-d", Some("x"), true));
    }

    #[test]
    fn a_digest_is_left_out_beside_a_tag_only() {
        let digest = Digest::of(b"");
        let without = |text: &str| text.parse::<Reference>().unwrap().without_digest().to_string();
        assert_eq!(without(&format!("r.io/a:1@{digest}")), "r.io/a:1");
        assert_eq!(without(&format!("r.io/a@{digest}")), format!("r.io/a@{digest}"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["r.io/a:1", "localhost:5000/a/b", &format!("r.io/a@{}", Digest::of(b""))] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_port_has_no_sign_and_nothing_else_follows_an_address() {
        for text in ["r.io:+80/a", "[::1]r.io/a", "[::1]x:80/a", "[::1]:+80/a", "[::1]]/a"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!("[::1]/a".parse::<Reference>().is_ok());
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("", "parts"),
            ("https://r.io/a", "https"),
            ("r.io/Team/app", "lowercase"),
            ("r.io/a:", "missing"),
            ("r.io/a:.x", "begins"),
            ("r.io:99999/a", "port"),
            ("r.io:/a", "port"),
            ("-r.io/a", "host name"),
            ("r.io/a//b", "parts"),
            ("r.io/a@sha256:12", "64 digits"),
            ("r.io/a..b", "parts"),
            ("r.io/a___b", "parts"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
