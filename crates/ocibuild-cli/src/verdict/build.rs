//! Failures of building: what is wrong with the files, the bases, the cache.

use std::error::Error;
use std::path::Path;

use ocibuild_core::BuildError;
use ocibuild_core::base::BaseError;
use ocibuild_core::files::FileError;
use ocibuild_core::layer::LayerError;
use ocibuild_core::spec::Fault;

use crate::exit;
use crate::failure::{BuildFailure, Origin, SpecFile};
use crate::verdict::{Verdict, blob, chain};

/// Judges a build's failure, and shows the line of the spec that it comes from.
pub(super) fn judge(failure: &BuildFailure) -> Verdict {
    let BuildFailure { error, file, root, cache: cache_dir } = failure;
    let (code, hint) = match error {
        BuildError::Layer { source, .. } => match source.as_ref() {
            LayerError::Blob(error) => return blob::judge(error, Origin::Cache, Some(cache_dir)),
            LayerError::Cache(error) => return cache(error, cache_dir),
            source => layer(source, root),
        },
        BuildError::Base { source, .. } => base(source),
        BuildError::Listing { .. } => (exit::FILES, None),
        BuildError::Disagreement { .. } => (exit::USAGE, Some(DISAGREEMENT.to_owned())),
        BuildError::Image { .. } => (exit::USAGE, Some("join layers into one".to_owned())),
        BuildError::Blob(error) => return blob::judge(error, Origin::Cache, Some(cache_dir)),
        BuildError::Cache(error) => return cache(error, cache_dir),
        BuildError::Threads(_) => (exit::FAILURE, Some("take fewer threads: `--threads 1`".to_owned())),
        _ => (exit::FAILURE, None),
    };
    at_line(error, file.as_ref(), code, hint)
}

const DISAGREEMENT: &str = "give both the same `dir-mode` and `owner`, or put the copies into one layer";

/// A fault with a place in the spec is told there; any other with its causes below it.
fn at_line(error: &BuildError, file: Option<&SpecFile>, code: u8, hint: Option<String>) -> Verdict {
    let joined = chain(error).join(": ");
    match (error.span(), file) {
        (Some(span), Some(file)) => {
            let fault = Fault::new(joined, Some(span));
            Verdict::new(code, fault.render(&file.name, &file.text)).hint(hint)
        }
        _ => Verdict::new(code, joined).hint(hint),
    }
}

/// Judges a cache that can't be used.
pub(super) fn cache(error: &dyn Error, directory: &Path) -> Verdict {
    let hint = format!(
        "check that the cache directory `{}` may be written to, or choose another: `--cache-dir DIR`",
        directory.display()
    );
    Verdict::of_error(exit::CACHE, error).hint(Some(hint))
}

fn layer(error: &LayerError, root: &Path) -> (u8, Option<String>) {
    let hint = match error {
        LayerError::Missing { .. } => format!("paths are relative to the root, `{}`", root.display()),
        LayerError::Empty { .. } => "mend the pattern, or set `allow-empty = true` on the copy".to_owned(),
        LayerError::Conflict { .. } => {
            let hint = "leave one of the copies out, or give it another destination";
            return (exit::USAGE, Some(hint.to_owned()));
        }
        LayerError::Unsupported { path, .. } => format!("leave it out: `exclude = [\"{path}\"]` on the copy"),
        LayerError::Whiteout { .. } => {
            "rename the file, or leave it out: `exclude = [\"**/.wh.*\"]` on the copy".to_owned()
        }
        LayerError::Foreign { platform, .. } => format!(
            "build the program for {platform}, build the image for another `--platform`, \
             or set `allow-foreign = true` on the copy"
        ),
        LayerError::Changed { .. } => "wait for what writes to it, or stop it, and build again".to_owned(),
        LayerError::Manifest { .. } => {
            format!("`manifests` are files, relative to the root, `{}`", root.display())
        }
        LayerError::File(error) => return (exit::FILES, file(error)),
        _ => return (exit::FILES, None),
    };
    (exit::FILES, Some(hint))
}

fn file(error: &FileError) -> Option<String> {
    let hint = match error {
        FileError::Escapes { .. } => "nothing outside the root is read: set `root` further up",
        FileError::Loop { .. } => "mend the links",
        FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "check the permissions, or leave the file out with `exclude`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn base(error: &BaseError) -> (u8, Option<String>) {
    match error {
        BaseError::NoPlatform { .. } => {
            let hint = "build for a platform that the base has (`--platform`), or take another base";
            (exit::USAGE, Some(hint.to_owned()))
        }
        BaseError::Blob(_) => {
            let hint = "a base is an OCI layout: `skopeo copy docker://IMAGE oci:DIR` makes one";
            (exit::FILES, Some(hint.to_owned()))
        }
        _ => (exit::FILES, None),
    }
}
