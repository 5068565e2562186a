//! The files of one image, read for the commands that show them.

use std::thread;

use clap::Args;
use ocibuild_core::Cancel;
use ocibuild_core::base::{Base, BaseError};
use ocibuild_core::contents::{Contents, ContentsOptions};
use ocibuild_core::oci::Platform;

use crate::failure::Failure;
use crate::image_place::FoundImage;
use crate::options::Options;
use crate::parse;

/// As many layers as are read side by side at most: each has a decoder with its window.
const MAX_THREADS: usize = 8;

/// Which of several images is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlatformArgs {
    /// Which image of an index, such as `linux/arm64`; needed where it has several
    #[arg(long, value_name = "OS/ARCH", value_parser = parse::platform)]
    pub(crate) platform: Option<Platform>,
}

impl PlatformArgs {
    /// Reads manifest and config.
    ///
    /// # Errors
    /// [`Failure::Image`] if there is no such image, or more than one.
    pub(crate) fn open(&self, found: &FoundImage) -> Result<Base, Failure> {
        let source = found.source.as_ref();
        let base = match &self.platform {
            Some(_) => Base::open(source, &found.root, self.platform.as_ref()),
            None => Base::sole(source, &found.root),
        };
        base.map_err(|error| failure(error, found))
    }
}

/// Reads the layers, but those that are known already; with digests of files if that is asked for.
///
/// # Errors
/// [`Failure::Image`] if they can't be read.
pub(crate) fn read(
    found: &FoundImage,
    base: &Base,
    known: Option<&Contents>,
    digests: bool,
    options: &Options,
) -> Result<Contents, Failure> {
    let threads = match options.threads() {
        0 => thread::available_parallelism().map_or(1, Into::into),
        threads => threads,
    };
    let reading = ContentsOptions::default().digests(digests).threads(threads.min(MAX_THREADS));
    let source = found.source.as_ref();
    let contents = match known {
        Some(known) => Contents::read_knowing(source, base, known, &reading, &Cancel::new()),
        None => Contents::read(source, base, &reading, &Cancel::new()),
    };
    contents.map_err(|error| failure(error, found))
}

/// Blames an image's place.
pub(crate) fn failure(error: BaseError, found: &FoundImage) -> Failure {
    Failure::Image { error, origin: found.origin }
}
