//! `ocibuild build`.

mod caches;
pub(crate) mod checks;
mod job;
mod outcome;
mod report;
mod results;

use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};
use ocibuild_core::oci::{Compression, Platform};
use ocibuild_core::reference::Reference;

use crate::failure::Failure;
use crate::lock_file::LockFlags;
use crate::options::Options;
use crate::parse::{self, Annotation, Output};
use crate::progress::Reporter;
use crate::source::ImageFlags;
use crate::step_flags::StepFlags;

pub(crate) use caches::{CacheFlags, Caches, Told};
use checks::ChecksFlags;
pub(crate) use job::Job;
pub(crate) use outcome::METADATA_VERSION;
use results::ResultFlags;

/// Build images and send them where they belong
///
/// Reads `ocibuild.toml`, or the file given, and builds its images, or those named. An image that
/// needs little can be described by flags instead, without any file.
///
/// Standard output gets one line an image and nothing else: `registry/repository@sha256:…` by its
/// first tag, or the bare digest.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG_EXAMPLES)]
pub(crate) struct BuildArgs {
    /// The images to build; all of the spec's if none is named
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    images: Vec<String>,

    #[command(flatten)]
    flags: BuildFlags,
}

/// How images are built: what `plan` and `explain` take as well, as they look ahead of such a build.
#[derive(Debug, Clone, Args)]
pub(crate) struct BuildFlags {
    /// The spec file [default: ocibuild.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,

    /// Give a variable of the spec a value
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    pub(super) var: Vec<(String, String)>,

    /// Call the image this, in place of the spec's tags; repeat it for more
    #[arg(short, long, value_name = "REFERENCE", value_parser = parse::tag)]
    tag: Vec<Reference>,

    /// Build for these platforms, in place of the spec's: `linux/amd64,linux/arm64`
    #[arg(long, value_name = "OS/ARCH", value_parser = parse::platform, value_delimiter = ',')]
    pub(super) platform: Vec<Platform>,

    /// Compress all layers like this, whatever the spec says: `gzip`, `gzip:1` to `gzip:9`, `zstd`,
    /// `zstd:1` to `zstd:19`, or `none`
    #[arg(long, value_name = "HOW", value_parser = parse::compression)]
    compression: Option<Compression>,

    /// Set a label of the images, whatever the spec says of it; repeat it for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse::label)]
    label: Vec<(String, String)>,

    /// Set an annotation of the images, whatever the spec says of it; repeat it for more
    ///
    /// Manifests carry it, and the index of several platforms. With `manifest:`, `index:` or
    /// `descriptor:` before the key only these do, the last being the manifests' descriptors in the
    /// index; `manifest,index:` names two.
    #[arg(long, value_name = "[SCOPE:]KEY=VALUE", value_parser = parse::annotation)]
    annotation: Vec<Annotation>,

    #[command(flatten)]
    image: ImageFlags,

    /// Push to the registries that the tags name
    #[arg(long, help_heading = "Destinations")]
    push: bool,

    /// Write an OCI layout, `type=oci,dest=DIR`, or an archive for docker and podman,
    /// `type=oci-archive,dest=FILE`; repeat it for more
    ///
    /// A layout keeps what else is in it. With `dest=-` the archive goes to standard output, and
    /// the digests to standard error. Without this and `--push`, each image becomes the layout
    /// IMAGE.oci beside the spec file, or by flags alone in the working directory.
    #[arg(long, value_name = "OUTPUT", value_parser = parse::output, help_heading = "Destinations")]
    output: Vec<Output>,

    #[command(flatten)]
    results: ResultFlags,

    #[command(flatten)]
    pub(super) lock: LockFlags,

    #[command(flatten)]
    pub(super) caches: CacheFlags,

    #[command(flatten)]
    checks: ChecksFlags,

    #[command(flatten)]
    pub(super) steps: StepFlags,

    /// Make every layer that a record answers for all the same, and fail if that gives another one
    ///
    /// Finds an installed tree that doesn't follow from its lockfile, and a cache that answers with
    /// what isn't made of these files: the paths that differ are named, and no tag is moved. All files
    /// are read, whatever is known of them, so it takes as long as with `--no-cache`.
    #[arg(long, help_heading = "Work", conflicts_with = "no_cache")]
    verify_cache: bool,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild build
  ocibuild build -f deploy/ocibuild.toml api --var tag=1.4.2 --push
  ocibuild build --copy target/app:/app --entrypoint /app -t registry.example.com/app:1 --push
  ocibuild build --output type=oci-archive,dest=- | docker load
  docker run \"$(ocibuild build --push)\"";

const LONG_EXAMPLES: &str = "\
Examples:
  Build all images of ./ocibuild.toml, each into a layout beside it:
    ocibuild build

  Build one image of another spec with a variable, and push it:
    ocibuild build -f deploy/ocibuild.toml api --var tag=1.4.2 --push

  Build without a spec:
    ocibuild build --base static@1 --copy target/release/app:/app --entrypoint /app \\
        --user 65532 --expose 8080 -t registry.example.com/app:1 --push

  A command of several words:
    ocibuild build --copy dist:/app --base oci:node --entrypoint node --entrypoint /app/index.js
    ocibuild build --copy dist:/app --base oci:node --entrypoint '[\"node\", \"/app/index.js\"]'

  Into docker, without a registry:
    ocibuild build -t app:1 --output type=oci-archive,dest=- | docker load

  Push, and run what was pushed:
    docker run \"$(ocibuild build --push)\"

  Push, and hand what was pushed to other programs:
    ocibuild build --push --metadata-file build.json --image-refs images.txt

Environment:
  OCIBUILD_…          like the option it stands beside
  SOURCE_DATE_EPOCH   when images are said to be made, in seconds since 1970; layers stay the same
  GITHUB_OUTPUT       if set, as GitHub Actions does, a file that gets `digest=` and `ref=` of the
                      image, and `digests=` and `refs=` of all, JSON objects by their names
  DOCKER_CONFIG       the directory of docker's config.json, which has the registries' credentials
  NO_COLOR            if set, no colours; CLICOLOR_FORCE, CLICOLOR=0 and TERM=dumb count as well

Exit codes:
  0 done; 1 something else; 2 command line or spec; 3 files; 4 registry; 5 credentials; 6 cache,
  or another layer than it has (`--verify-cache`); 7 a step failed; 8 the checks found something;
  130 interrupted. Ctrl-C stops steps with all they started, and leaves nothing half-written;
  a second one ends at once.";

/// Builds.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(args: BuildArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    Job::resolve(args.images, args.flags, options, reporter)?.run()
}
