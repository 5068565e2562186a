//! Failures of building: what is wrong with the files, the bases, the cache.

use std::error::Error;
use std::path::Path;

use ocibuild_core::BuildError;
use ocibuild_core::base::BaseError;
use ocibuild_core::checks::Finding;
use ocibuild_core::image::{ImageError, MAX_SPLIT_LAYERS};
use ocibuild_core::layer::{DirectoryOwner, LARGE_FILES, LayerError};
use ocibuild_core::spec::{Fault, Sources, Split};

use crate::commands::build::checks;
use crate::exit;
use crate::failure::{BuildFailure, Origin};
use crate::verdict::{Verdict, blob, chain, layer, steps};

/// Judges a build's failure, and shows the line of the spec that it comes from.
pub(super) fn judge(failure: &BuildFailure) -> Verdict {
    let BuildFailure { error, file, root, cache: cache_dir, asks_caches } = failure;
    let (code, hint) = match error {
        BuildError::Layer { source, .. } => match source.as_ref() {
            LayerError::Missing { nearby, .. } if *asks_caches => {
                (exit::FILES, Some(format!("{}; {UNANSWERED}", layer::missing(nearby, root))))
            }
            LayerError::Blob(error) => return blob::judge(error, Origin::Cache, Some(cache_dir)),
            LayerError::Cache(error) => return cache(error, cache_dir),
            source => layer::judge(source, root),
        },
        BuildError::Steps(failures) => return steps::judge(failures, failure),
        BuildError::Base { source, .. } => base(source),
        BuildError::Listing { .. } => (exit::FILES, None),
        BuildError::Disagreement { path, first, .. } => (exit::USAGE, Some(disagreement(path, first))),
        BuildError::Attributes { .. } => {
            let hint = "the upper layer's would replace the lower one's: put the copies into one layer, \
                or leave \"xattrs\" out of `preserve`";
            (exit::USAGE, Some(hint.to_owned()))
        }
        BuildError::Kinds { .. } => {
            let hint = "what the upper layer has would take the place of the lower one's: \
                let the upper one name the path that is meant";
            (exit::USAGE, Some(hint.to_owned()))
        }
        BuildError::TakenAway { one, other, .. } => (exit::USAGE, Some(taken_away(one, other))),
        BuildError::Unlike { place, has_manifests, files, .. } => {
            (exit::CACHE, Some(unlike(place.is_some(), *has_manifests, files.count() == 0)))
        }
        BuildError::Unsound { findings } => return unsound(error, findings, file.as_ref()),
        BuildError::Image { source: ImageError::TooManyParts { base, own, split }, .. } => {
            (exit::USAGE, Some(fewer_parts(*base, *own, split)))
        }
        BuildError::Image { .. } => (exit::USAGE, Some("join layers into one".to_owned())),
        BuildError::Blob(error) => return blob::judge(error, Origin::Cache, Some(cache_dir)),
        BuildError::Cache(error) => return cache(error, cache_dir),
        BuildError::Threads(_) => (exit::FAILURE, Some(FEWER_THREADS.to_owned())),
        _ => (exit::FAILURE, None),
    };
    let hint = hint.map(|hint| if file.is_none() { without_file(&hint) } else { hint });
    at_line(error, file.as_ref(), code, hint)
}

/// Judges a fault that is one of several: its exit code alone, and the fault.
pub(crate) fn finding(failure: &BuildFailure) -> (u8, Fault) {
    let BuildFailure { error, root, .. } = failure;
    let (code, hint) = match error {
        BuildError::Layer { source, .. } => layer::judge(source, root),
        BuildError::Base { source, .. } => base(source),
        _ => {
            let verdict = judge(failure);
            (verdict.code, verdict.hint)
        }
    };
    let fault = Fault::new(chain(error).join(": "), error.span());
    (code, hint.into_iter().fold(fault, Fault::hint))
}

/// Tells all that was found, the worst first.
fn unsound(error: &BuildError, findings: &[Finding], file: Option<&Sources>) -> Verdict {
    let mut told: Vec<&Finding> = checks::told(findings).collect();
    told.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let one =
        |finding: &&Finding| format!("\n{}: {}", finding.severity.name(), checks::rendered(finding, file));
    let all: String = told.iter().map(one).collect();
    Verdict::new(exit::CHECKS, format!("{error}; nothing is published\n{all}"))
}

/// Says of what flags can't do that a spec file can.
pub(super) fn without_file(hint: &str) -> String {
    match hint {
        hint if hint == layer::OUTSIDE || hint.starts_with("set `root`") => {
            "nothing outside the working directory is read: build from a directory further up".to_owned()
        }
        // Flags have no lock.
        hint if hint.contains("with its digest") => {
            "write the base with its digest: `--base NAME@sha256:…`".to_owned()
        }
        hint if hint.contains("on the copy") => format!("{hint}, in a spec file"),
        hint => hint.replace("relative to the root", "relative to the working directory"),
    }
}

pub(super) const FEWER_THREADS: &str = "take fewer threads: `--threads 1`";

/// A directory that is only on the way to a destination counts, too: it is written 0755 and root's.
fn disagreement(path: &str, (mode, uid, gid): &DirectoryOwner) -> String {
    format!(
        "put the copies into one layer, or have both layers say what it is: \
         `{{ directory = \"/{path}\", mode = \"{mode:04o}\", owner = \"{uid}:{gid}\" }}`"
    )
}

/// What to do where `--verify-cache` finds another layer than what was recorded.
fn unlike(is_elsewhere: bool, has_manifests: bool, is_same: bool) -> String {
    let hint = match (is_elsewhere, has_manifests, is_same) {
        (_, true, false) => {
            "install from the lockfiles anew, and build again; or name what else the files depend on in the \
             layer's `manifests` or `key`; or leave `manifests` out, and the files alone count"
        }
        (true, ..) => {
            "what it has isn't made of these files: don't ask it, or make it anew with `--no-cache`"
        }
        (false, ..) => {
            "what was recorded isn't made of these files: remove it with `ocibuild cache prune --all`"
        }
    };
    hint.to_owned()
}

/// What is left for split layers is shared evenly, with room for single large files.
fn fewer_parts(base: usize, own: usize, split: &[(String, usize)]) -> String {
    let parts: usize = split.iter().map(|(_, parts)| parts).sum();
    let left = MAX_SPLIT_LAYERS.saturating_sub(base + own - parts) / split.len().max(1);
    match left.checked_sub(LARGE_FILES).filter(|parts| *parts >= usize::from(*Split::RANGE.start())) {
        Some(parts) => format!("ask for fewer parts: `split = {parts}`"),
        None => "leave `split` out of a layer".to_owned(),
    }
}

fn taken_away(one: &str, other: &str) -> String {
    format!(
        "`remove` is for what the base has: list `{other}` before `{one}` in the image's `layers`, \
         or leave the path out of one of them"
    )
}

/// A fault with a place in the spec is told there; any other with its causes below it.
fn at_line(error: &BuildError, file: Option<&Sources>, code: u8, hint: Option<String>) -> Verdict {
    let joined = chain(error).join(": ");
    match (error.span(), file) {
        (Some(span), Some(file)) => {
            let fault = Fault::new(joined, Some(span));
            Verdict::new(code, fault.render(file)).hint(hint)
        }
        _ => Verdict::new(code, joined).hint(hint),
    }
}

/// Judges a cache that can't be used.
pub(super) fn cache(error: &(dyn Error + 'static), directory: &Path) -> Verdict {
    let directory = directory.display();
    let hint = match is_full(error) {
        true => format!(
            "layers are kept in the cache directory `{directory}` while they are built, and its disk is full: \
             `ocibuild cache prune --max-size SIZE` makes room; or choose another: `--cache-dir DIR`"
        ),
        false => format!(
            "check that the cache directory `{directory}` may be written to, choose another (`--cache-dir DIR`), or only read it: `--cache-read-only`"
        ),
    };
    Verdict::of_error(exit::CACHE, error).hint(Some(hint))
}

/// Tells whether there was no room: on the disk, or for whoever runs this.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let is_one = |error: &std::io::Error| matches!(error.kind(), StorageFull | QuotaExceeded);
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref().is_some_and(is_one) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Why files are wanted of which nothing is there, in a run that was told of caches.
const UNANSWERED: &str = "no cache answers for the layer: what one knows counts where its blobs are, at a cache \
    that has them (`--cache-mode max`), at an image in `--cache-from`, or where `--push` sends the image";

fn base(error: &BaseError) -> (u8, Option<String>) {
    match error {
        BaseError::NoPlatform { .. } => {
            let hint = "build for a platform that the base has (`--platform`), or take another base";
            (exit::USAGE, Some(hint.to_owned()))
        }
        BaseError::Blob(error) if blob::is_no_layout(error) => {
            let hint = "`layout` is the directory of an OCI layout; a base in a registry is written by its reference";
            (exit::FILES, Some(hint.to_owned()))
        }
        BaseError::Blob(error) => {
            let verdict = blob::judge(error, Origin::Files, None);
            (verdict.code, verdict.hint)
        }
        _ => (exit::FILES, None),
    }
}
