//! Any text read as an image's name, against the grammar of the distribution project
//! ([reference](https://github.com/distribution/reference/blob/v0.6.0/reference.go)).

use std::sync::LazyLock;

use ocibuild_core::oci::Platform;
use ocibuild_core::{Digest, Reference};
use regex::Regex;

/// The grammar's parts, written out from its description.
struct Grammar {
    domain: Regex,
    path: Regex,
    tag: Regex,
    digest: Regex,
    whole: Regex,
}

static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
    // More than the grammar has: an IPv6 address may end with an IPv4 one.
    let host = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:.]+\])");
    let domain = format!("{host}(?::[0-9]+)?");
    let part = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*";
    let path = format!("{part}(?:/{part})*");
    let tag = "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}";
    let digest = "sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}";
    let regex = |text: &str| Regex::new(&format!("^(?:{text})$")).expect("the grammar is sound");
    Grammar {
        domain: regex(&domain),
        path: regex(&path),
        tag: regex(tag),
        digest: regex(digest),
        whole: regex(&format!("(?:({domain})/)?({path})(?::({tag}))?(?:@({digest}))?")),
    }
});

/// Reads names of images, platforms and digests: what is read is written and read back the same,
/// every part keeps to the grammar, and what the grammar takes is taken.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Reference>() {
        Ok(reference) => check_reference(text, &reference),
        Err(error) => {
            assert!(!is_taken(text), "`{text}` was refused: {}", error.reason);
            assert!(!error.reason.is_empty() && error.text.chars().count() <= 300);
        }
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string(), text);
        assert_eq!(text.parse(), Ok(platform));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert!(GRAMMAR.digest.is_match(text));
    }
}

fn check_reference(text: &str, reference: &Reference) {
    let repository = reference.repository();
    assert!(GRAMMAR.domain.is_match(repository.registry()), "registry `{}`", repository.registry());
    assert!(GRAMMAR.path.is_match(repository.path()), "path `{}`", repository.path());
    assert!(repository.path().len() <= 255);
    assert!(reference.tag().is_none_or(|tag| GRAMMAR.tag.is_match(tag)));
    let written = reference.to_string();
    assert!(GRAMMAR.whole.is_match(&written), "`{text}` became `{written}`");
    assert_eq!(written.parse().as_ref(), Ok(reference), "`{text}` became `{written}`");
    // What was written out in full comes back letter for letter; of a short form the end stays.
    let short = text.strip_prefix("docker.io/").unwrap_or(text);
    assert!(written.ends_with(short), "`{text}` became `{written}`");
    let tagged = reference.clone().or_latest();
    assert!(tagged.tag().is_some() || tagged.digest().is_some());
    if let Some(digest) = reference.digest() {
        assert_eq!(reference.at(*digest).to_string(), format!("{repository}@{digest}"));
    }
}

/// Tells whether the grammar takes a text, with Docker's rule of what is a registry in it, and
/// without what is refused on purpose.
fn is_taken(text: &str) -> bool {
    let (first, rest) = text.split_once('/').unwrap_or(("", text));
    let is_domain = first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first;
    let (domain, name) = if is_domain { (first, rest) } else { ("docker.io", text) };
    let Some(parts) = GRAMMAR.whole.captures(name).filter(|parts| parts.get(1).is_none()) else {
        return false;
    };
    // A path has to fit into a repository's length, with `library/` where that is added.
    if !GRAMMAR.domain.is_match(domain) || parts[2].len() > 255 - "library/".len() {
        return false;
    }
    // Ports that no host has, and addresses that no host has.
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (domain, "0"),
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port.parse::<u16>().is_ok() && address.is_none_or(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
}
