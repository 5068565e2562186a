//! Failures of the places that blobs lie in: cache, layouts, archives, registries.

use std::path::Path;

use ocibuild_core::blob::{BlobError, PlaceFault};
use ocibuild_core::registry::{CredentialsError, RegistryError};

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
        BlobError::UnknownName { .. } => (code(origin), Some(NAME_HINT.to_owned())),
        BlobError::Corrupt { .. } | BlobError::Missing { .. } | BlobError::Read { .. } => {
            (code(origin), content_hint(origin))
        }
        _ => (exit::FAILURE, None),
    };
    Verdict::of_error(code, error).hint(hint)
}

const FILE_HINT: &str = "check that the path is right, may be written to, and that the disk isn't full";
const NAME_HINT: &str = "check the name after the last `:`; `inspect` without it lists those there are";

fn code(origin: Origin) -> u8 {
    match origin {
        Origin::Cache => exit::CACHE,
        Origin::Files => exit::FILES,
        Origin::Registry => exit::REGISTRY,
    }
}

fn content_hint(origin: Origin) -> Option<String> {
    match origin {
        Origin::Cache => Some("build again with `--no-cache`".to_owned()),
        _ => None,
    }
}

fn place(error: &BlobError, fault: PlaceFault, source: &(dyn std::error::Error + 'static)) -> Verdict {
    let Some(registry) = source.downcast_ref::<RegistryError>() else {
        return Verdict::of_error(exit::FILES, error);
    };
    let code = if fault == PlaceFault::Unauthorized { exit::AUTH } else { exit::REGISTRY };
    Verdict::of_error(code, error).hint(registry_hint(registry))
}

/// The library's remedy in the words of the command line.
fn registry_hint(error: &RegistryError) -> Option<String> {
    match error {
        RegistryError::Unauthorized { status: 401, .. } => Some(
            "log in, so that docker's config file has the credentials: `docker login REGISTRY` \
             (or `skopeo login --compat-auth-file`); `DOCKER_CONFIG` names its directory"
                .to_owned(),
        ),
        RegistryError::Connect { source, .. } if is_plain_http(source.as_ref()) => Some(
            "the registry seems to speak plain http: allow that with `--insecure HOST[:PORT]`".to_owned(),
        ),
        other => other.remedy().map(str::to_owned),
    }
}

/// A server that answers a TLS hello with plain text.
fn is_plain_http(error: &(dyn std::error::Error + 'static)) -> bool {
    super::chain(error).iter().any(|message| message.contains("InvalidContentType"))
}

/// Judges credentials that can't be had.
pub(super) fn credentials(error: &CredentialsError) -> Verdict {
    let hint = match error {
        CredentialsError::Helper { .. } => {
            Some("put the registry's user name and password into the file's `auths`")
        }
        CredentialsError::Syntax { .. } => Some("mend the file, or log in again so that it is written anew"),
        _ => None,
    };
    Verdict::of_error(exit::AUTH, error).hint(hint)
}
