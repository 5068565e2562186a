//! `ocibuild inspect`.

use clap::Args;

use crate::failure::Failure;

/// Show what an image is made of
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The image
    image: String,
}

pub(crate) fn run(args: &InspectArgs) -> Result<(), Failure> {
    Err(Failure::usage(args.image.clone()))
}
