//! `ocibuild validate`.

use clap::Args;

use crate::failure::Failure;

/// Hold an image against the image specification
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The image
    image: String,
}

pub(crate) fn run(args: &ValidateArgs) -> Result<(), Failure> {
    Err(Failure::usage(args.image.clone()))
}
