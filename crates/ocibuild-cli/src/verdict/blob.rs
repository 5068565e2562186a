//! Failures of the places that blobs lie in: cache, layouts, archives, registries.

use std::path::Path;

use ocibuild_core::PullError;
use ocibuild_core::archive::ArchiveError;
use ocibuild_core::base::BaseError;
use ocibuild_core::blob::{BlobError, PlaceFault};
use ocibuild_core::layout::LayoutError;
use ocibuild_core::registry::{CredentialsError, Refusal, RegistryError};

use crate::exit;
use crate::failure::Origin;
use crate::verdict::Verdict;

/// Judges a place's failure. `cache` is the directory whose files are ours.
pub(super) fn judge(error: &BlobError, origin: Origin, cache: Option<&Path>) -> Verdict {
    let (code, hint) = match error {
        BlobError::File { path, .. } if cache.is_some_and(|cache| path.starts_with(cache)) => {
            return super::build::cache(error, cache.unwrap_or(path));
        }
        BlobError::File { .. } => (exit::FILES, Some(FILE_HINT.to_owned())),
        BlobError::Place { fault, source, .. } => return place(error, *fault, source.as_ref()),
        BlobError::UnknownName { .. } => (code(origin), Some(name_hint(origin).to_owned())),
        BlobError::Read { source, .. } if in_io(source).is_some() => {
            (exit::REGISTRY, in_io(source).map(|error| pull_hint(error).to_owned()))
        }
        BlobError::Corrupt { .. } | BlobError::Missing { .. } | BlobError::Read { .. } => {
            (code(origin), content_hint(origin))
        }
        _ => (exit::FAILURE, None),
    };
    Verdict::of_error(code, error).hint(hint)
}

/// Judges an image that can't be looked into.
pub(super) fn image(error: &BaseError, origin: Origin) -> Verdict {
    let (code, hint) = match error {
        BaseError::Blob(error) => return judge(error, origin, None),
        BaseError::SeveralPlatforms { available, .. } => {
            let first = available.first().map(|platform| format!("choose one: `--platform {platform}`"));
            (exit::USAGE, first)
        }
        BaseError::NoPlatform { .. } => (exit::USAGE, Some("choose another `--platform`".to_owned())),
        BaseError::Layer { .. } => {
            (code(origin), Some("`ocibuild validate IMAGE` tells all that is wrong with it".to_owned()))
        }
        _ => (code(origin), None),
    };
    Verdict::of_error(code, error).hint(hint)
}

const FILE_HINT: &str = "check that the path is right, may be written to, and that the disk isn't full";

fn name_hint(origin: Origin) -> &'static str {
    match origin {
        Origin::Registry => "check the tag, and the names of repository and registry",
        _ => "check the name after the last `:`",
    }
}

fn code(origin: Origin) -> u8 {
    match origin {
        Origin::Cache => exit::CACHE,
        Origin::Files => exit::FILES,
        Origin::Registry => exit::REGISTRY,
    }
}

fn content_hint(origin: Origin) -> Option<String> {
    match origin {
        Origin::Cache => Some("build again: what is damaged in the cache is then made anew".to_owned()),
        _ => None,
    }
}

fn place(error: &BlobError, fault: PlaceFault, source: &(dyn std::error::Error + 'static)) -> Verdict {
    if let Some(pull) = source.downcast_ref::<PullError>() {
        return Verdict::of_error(pull_code(pull), error).hint(Some(pull_hint(pull)));
    }
    let Some(registry) = source.downcast_ref::<RegistryError>() else {
        return Verdict::of_error(exit::FILES, error)
            .hint(layout_hint(source).or_else(|| archive_hint(source)));
    };
    let code = if fault == PlaceFault::Unauthorized { exit::AUTH } else { exit::REGISTRY };
    Verdict::of_error(code, error).hint(registry_hint(registry))
}

fn in_io(error: &std::io::Error) -> Option<&PullError> {
    error.get_ref()?.downcast_ref()
}

fn pull_code(error: &PullError) -> u8 {
    match error {
        PullError::NotLocked | PullError::Moved { .. } => exit::USAGE,
        _ => exit::REGISTRY,
    }
}

fn pull_hint(error: &PullError) -> &'static str {
    match error {
        PullError::NotLocked => "add it with `ocibuild lock`, or write the base with its digest",
        PullError::Moved { .. } => {
            "take what the tag means now with `ocibuild lock --update`, or leave `--locked` out to build \
             on what the lock has"
        }
        PullError::Unknown => {
            "run `ocibuild lock` while the registry can be asked, or write the base with its digest"
        }
        PullError::Offline { .. } => {
            "build once without `--offline`, for the same kind of output, so that the cache has it"
        }
        PullError::Gone { .. } => {
            "check the name; take what the tag means now with `ocibuild lock --update`; or, where the image \
             is still to be had elsewhere, copy it into a layout and write `base = { layout = \"DIR\" }`"
        }
        _ => "try again",
    }
}

/// What a layout's own message doesn't say.
fn layout_hint(source: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match source.downcast_ref::<LayoutError>() {
        Some(LayoutError::Absent) => {
            Some("name a layout's directory, or a registry's image in full: `docker.io/library/NAME:TAG`")
        }
        Some(LayoutError::Foreign { .. }) => {
            Some("name the directory of a layout; to write one, a new or an empty directory will do, too")
        }
        Some(LayoutError::NotOne { .. } | LayoutError::Ambiguous(_)) => {
            Some("put `:NAME` behind the directory or file")
        }
        _ => None,
    }
}

/// What an archive's own message doesn't say.
fn archive_hint(source: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match source.downcast_ref::<ArchiveError>()? {
        ArchiveError::NotOci { is_docker: true } => Some("read it as docker does: `docker-archive:FILE`"),
        ArchiveError::NotDocker { is_oci: true } => Some("read it as a layout: `oci-archive:FILE`"),
        ArchiveError::Tar(_)
        | ArchiveError::NoImages
        | ArchiveError::NotOci { .. }
        | ArchiveError::NotDocker { .. } => {
            Some("an archive is what `ocibuild save`, `docker save`, `podman save` or skopeo write")
        }
        ArchiveError::Write(_) => Some(FILE_HINT),
        _ => None,
    }
}

/// Tells whether what was taken for a layout is something else, or nothing.
pub(super) fn is_no_layout(error: &BlobError) -> bool {
    let BlobError::Place { source, .. } = error else { return false };
    matches!(
        source.downcast_ref(),
        Some(
            LayoutError::Absent
                | LayoutError::NotADirectory
                | LayoutError::Foreign { .. }
                | LayoutError::Unfinished(_)
        )
    )
}

/// The library's remedy in the words of the command line.
fn registry_hint(error: &RegistryError) -> Option<String> {
    match error.last_try() {
        RegistryError::Unauthorized(refusal) => unauthorized_hint(refusal).or_else(|| remedy(error)),
        RegistryError::Answer { .. } => Some(
            "registries don't answer like this: check its name and port, and whether something else answers \
             in its place"
                .to_owned(),
        ),
        RegistryError::Connect { source, .. } if is_unknown_authority(source.as_ref()) => Some(
            "give the CA certificate that the registry's certificate is signed by: `--ca FILE`".to_owned(),
        ),
        RegistryError::Connect { source, url, .. } if is_plain_http(source.as_ref()) => Some(format!(
            "the registry seems to speak plain http: allow that with `--insecure {}`",
            authority(url)
        )),
        RegistryError::Status { status: 400, url, .. } if url.starts_with("http://") => Some(https_hint(url)),
        // What speaks https only drops who doesn't, and so does what isn't a registry at all.
        RegistryError::Broken { method, url, .. } if url.starts_with("http://") && is_asking(method) => {
            Some(format!("try again; {}", https_hint(url)))
        }
        RegistryError::Connect { url, .. } if is_local_without_port(url) => Some(
            "without a port a registry is looked for at 80 or 443: did you mean `localhost:5000/…`?"
                .to_owned(),
        ),
        other => remedy(other),
    }
}

fn https_hint(url: &str) -> String {
    let host = authority(url);
    format!(
        "if it speaks https, `--insecure {host}` tries that; to have it verified, put its CA certificate \
         into `~/.config/containers/certs.d/{host}/ca.crt`"
    )
}

fn remedy(error: &RegistryError) -> Option<String> {
    error.remedy().map(str::to_owned)
}

/// What credentials are needed. Who has none may be refused with 403 as well, and who reads isn't told
/// of writing.
fn unauthorized_hint(refusal: &Refusal) -> Option<String> {
    let is_anonymous = refusal.credential == "without credentials";
    if refusal.status == 401 || is_anonymous {
        return Some(format!("log in: `ocibuild login {}`", refusal.registry));
    }
    is_asking(&refusal.method).then(|| {
        "use credentials for this repository, or check its name: registries don't tell what isn't yours from \
         what isn't there"
            .to_owned()
    })
}

/// A registry of this machine, which hardly ever listens on the web's own ports.
fn is_local_without_port(url: &str) -> bool {
    matches!(authority(url), "localhost" | "127.0.0.1" | "[::1]")
}

/// Host and port of an address.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn is_asking(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

/// A server that answers a TLS hello with plain text.
fn is_plain_http(error: &(dyn std::error::Error + 'static)) -> bool {
    super::chain(error).iter().any(|message| message.contains("InvalidContentType"))
}

/// A certificate that nobody we trust has signed.
fn is_unknown_authority(error: &(dyn std::error::Error + 'static)) -> bool {
    super::chain(error).iter().any(|message| message.contains("UnknownIssuer"))
}

/// Judges credentials that can't be had.
pub(super) fn credentials(error: &CredentialsError) -> Verdict {
    Verdict::of_error(exit::AUTH, error).hint(error.remedy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drops_who_speaks_plain_http_may_speak_https() {
        let hint = |method: &str, url: &str| {
            let source = "invalid HTTP version parsed".into();
            registry_hint(&RegistryError::Broken { method: method.to_owned(), url: url.to_owned(), source })
        };
        let told = hint("HEAD", "http://localhost:5000/v2/app/manifests/1").unwrap();
        assert!(told.contains("`--insecure localhost:5000`"), "{told}");
        assert!(told.contains("certs.d/localhost:5000/ca.crt"), "{told}");
        for (method, url) in [("PUT", "http://localhost:5000/v2/"), ("HEAD", "https://r.io/v2/")] {
            assert!(!hint(method, url).unwrap().contains("insecure"), "{method} {url}");
        }
    }

    #[test]
    fn a_registry_of_this_machine_without_its_port_is_known_by_its_address() {
        assert!(is_local_without_port("http://localhost/v2/app/blobs/x"));
        assert!(is_local_without_port("http://127.0.0.1/v2/"));
        assert!(!is_local_without_port("http://localhost:5000/v2/"));
        assert!(!is_local_without_port("https://example.com/v2/"));
    }
}
