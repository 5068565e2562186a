//! Failures of moving an image to another base.

use std::fmt::Write as _;

use ocibuild_core::base::BaseError;
use ocibuild_core::blob::BlobError;
use ocibuild_core::rebase::RebaseError;
use ocibuild_core::{BuildError, PullError};

use crate::exit;
use crate::failure::{Origin, RebaseFailure};
use crate::verdict::{Verdict, blob, build};

const NAME_IT: &str = "name the base that it was built on: `--from BASE`";

/// Judges an image that can't be moved.
pub(super) fn judge(failure: &RebaseFailure) -> Verdict {
    let RebaseFailure { error, origins: [image, onto], cache, .. } = failure;
    let (code, hint) = match error {
        RebaseError::Image { source, .. } => of_base(source, *image),
        RebaseError::Base { source, .. } if is_gone(source) => {
            let hint =
                "if it is still to be had somewhere, name it: `--from BASE`; else build the image anew";
            (exit::REGISTRY, Some(hint.to_owned()))
        }
        RebaseError::Base { source, .. } => of_base(source, *onto),
        RebaseError::Build(BuildError::Base { source, .. }) => of_base(source, *onto),
        RebaseError::Build(BuildError::Blob(error)) => return blob::judge(error, Origin::Cache, Some(cache)),
        RebaseError::Build(BuildError::Cache(error)) => return build::cache(error, cache),
        RebaseError::NoBase { .. }
        | RebaseError::NoPlace { .. }
        | RebaseError::BadBase { .. }
        | RebaseError::NotBase { .. } => (exit::USAGE, Some(NAME_IT.to_owned())),
        RebaseError::NoPlatform { .. } => {
            let hint = "take a base for all platforms of the image, or build the image for fewer";
            (exit::USAGE, Some(hint.to_owned()))
        }
        RebaseError::Nested { .. } => (exit::USAGE, Some("move the images in it one by one".to_owned())),
        RebaseError::Assemble(_) => (exit::USAGE, Some("join layers into one".to_owned())),
        RebaseError::Conflicts { .. } => return conflicts(failure),
        _ => (exit::FAILURE, None),
    };
    Verdict::of_error(code, error).hint(hint)
}

fn of_base(error: &BaseError, origin: Origin) -> (u8, Option<String>) {
    let verdict = blob::image(error, origin);
    (verdict.code, verdict.hint)
}

/// Tells whether the base that the image says it stands on isn't in its registry any more.
fn is_gone(error: &BaseError) -> bool {
    matches!(error, BaseError::Blob(BlobError::Place { source, .. }) if source.is::<PullError>())
}

/// All that the new base has otherwise, a line each.
fn conflicts(failure: &RebaseFailure) -> Verdict {
    let RebaseError::Conflicts { conflicts, .. } = &failure.error else {
        return Verdict::of_error(exit::FAILURE, &failure.error);
    };
    let mut message = failure.error.to_string();
    for (conflict, platforms) in conflicts {
        let _ = write!(message, "\n  {conflict}");
        if failure.several {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            let _ = write!(message, " ({})", platforms.join(", "));
        }
    }
    let hint = "build the image on the new base: its files then go where that has them";
    Verdict::new(exit::FAILURE, message).hint(Some(hint))
}
