//! Files that tell programs what came of a build.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use ocibuild_core::plan::Plan;

use crate::commands::build::outcome::Outcome;
use crate::commands::build::report::ImageReport;
use crate::destination::Destinations;
use crate::failure::Failure;
use crate::{environment, file, parse};

/// The heading that the flags have in the help.
const HEADING: &str = "Results";

/// The files that are asked for.
#[derive(Debug, Clone, Args)]
pub(super) struct ResultFlags {
    /// Write what was built to this file, as JSON: images, platforms, layers, what was reused and
    /// what was sent
    ///
    /// docs/metadata.md has the fields. As with all files of results: it is written once everything
    /// else is done, whole or not at all, and never taken for input.
    #[arg(long, value_name = "FILE", value_parser = parse::result_file(), help_heading = HEADING)]
    metadata_file: Option<PathBuf>,

    /// Write the image's ID to this file
    ///
    /// As docker and buildah have it, `sha256:…` without a newline: the digest of the config, by
    /// which docker and podman know an image that they loaded; of several platforms that of the
    /// index, as each has a config of its own. Registries know an image by the digest that is on
    /// standard output. For one image only.
    #[arg(long, value_name = "FILE", value_parser = parse::result_file(), help_heading = HEADING)]
    iidfile: Option<PathBuf>,

    /// Write `REPOSITORY:TAG@DIGEST` to this file, a line for each tag of each image
    #[arg(long, value_name = "FILE", value_parser = parse::result_file(), help_heading = HEADING)]
    image_refs: Option<PathBuf>,
}

/// Where the results of a run go, beside standard output.
#[derive(Debug)]
pub(super) struct Results {
    flags: ResultFlags,
    /// The file of GitHub Actions that a step's outputs are added to.
    github: Option<PathBuf>,
}

/// What [`Results::github`] is called.
const GITHUB_OUTPUT: &str = "GITHUB_OUTPUT";

impl Results {
    /// Finds out where results go, from flags and environment.
    pub(super) fn new(flags: ResultFlags) -> Self {
        Self { flags, github: environment::variable(GITHUB_OUTPUT).map(PathBuf::from) }
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let ResultFlags { metadata_file, iidfile, image_refs } = &self.flags;
        let named = [
            ("--metadata-file", metadata_file),
            ("--iidfile", iidfile),
            ("--image-refs", image_refs),
            (GITHUB_OUTPUT, &self.github),
        ];
        named.into_iter().filter_map(|(what, path)| Some((what, path.as_deref()?)))
    }

    /// Names everything that is written, so that it isn't read as input.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files().map(|(_, path)| path.to_owned())
    }

    /// Refuses, before anything is built, what couldn't be written then.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a file that these images have nothing for, or that something else is
    /// in; [`Failure::Result`] for one that can't be written.
    pub(super) fn check(
        &self,
        plan: &Plan,
        destinations: &Destinations,
        spec: Option<&Path>,
    ) -> Result<(), Failure> {
        self.check_content(plan)?;
        self.check_collisions(&destinations.names(plan), spec)?;
        self.files().try_for_each(|(what, path)| {
            let checked = if what == GITHUB_OUTPUT { file::check_append(path) } else { file::check(path) };
            checked.map_err(|source| failure(what, path, source, false))
        })
    }

    fn check_collisions(&self, outputs: &[String], spec: Option<&Path>) -> Result<(), Failure> {
        let spec = spec.map(|path| ("the spec", path));
        let outputs = outputs.iter().map(|path| ("the image", Path::new(path)));
        let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
        for (what, path) in spec.into_iter().chain(outputs).chain(self.files()) {
            let Some(other) = owners.insert(file::normalised(path), what) else { continue };
            let message = format!("`{what}` names `{}`, which is for {other}", path.display());
            return Err(Failure::usage(message).with_hint("give each a file of its own"));
        }
        Ok(())
    }

    fn check_content(&self, plan: &Plan) -> Result<(), Failure> {
        if self.flags.iidfile.is_some() && plan.images.len() > 1 {
            let count = plan.images.len();
            let failure = Failure::usage(format!("`--iidfile` is for one image, and {count} would be built"));
            return Err(failure.with_hint(
                "name the image: `ocibuild build IMAGE --iidfile …`, or take `--metadata-file`, which has all",
            ));
        }
        let untagged = plan.images.iter().find(|image| image.tags.is_empty());
        if let (Some(_), Some(image)) = (&self.flags.image_refs, untagged) {
            let message = format!("the image `{}` has no tag to write with `--image-refs`", image.name);
            return Err(Failure::usage(message)
                .with_hint("name one: `-t registry.example.com/team/app:1`, or `tags` in the spec"));
        }
        Ok(())
    }

    /// Writes them all.
    ///
    /// # Errors
    /// [`Failure::Result`] for the first that can't be written.
    pub(super) fn write(&self, outcome: &Outcome) -> Result<(), Failure> {
        let ResultFlags { metadata_file, iidfile, image_refs } = &self.flags;
        let images = outcome.images();
        let text = |what, path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
            Some(path) => {
                file::write(path, text().as_bytes()).map_err(|source| failure(what, path, source, true))
            }
            None => Ok(()),
        };
        text("--metadata-file", metadata_file, &|| format!("{:#}\n", outcome.metadata()))?;
        text("--iidfile", iidfile, &|| images.iter().map(image_id).collect())?;
        text("--image-refs", image_refs, &|| images.iter().map(references).collect())?;
        let Some(path) = &self.github else { return Ok(()) };
        file::append(path, &step_outputs(images)).map_err(|source| failure(GITHUB_OUTPUT, path, source, true))
    }
}

fn failure(what: &'static str, path: &Path, source: io::Error, is_built: bool) -> Failure {
    Failure::Result { what, path: path.to_owned(), source, is_built }
}

fn image_id(image: &ImageReport) -> String {
    match &image.platforms[..] {
        [only] => only.config.digest.to_string(),
        _ => image.digest.to_string(),
    }
}

fn references(image: &ImageReport) -> String {
    image.tags.iter().map(|tag| format!("{tag}@{}\n", image.digest)).collect()
}

/// Writes the outputs of a step: `digest` and `ref` of an only image, and all by their names, as
/// JSON. No value has a line break in it, so none needs a delimiter.
fn step_outputs(images: &[ImageReport]) -> String {
    let digests: BTreeMap<&str, String> =
        images.iter().map(|image| (image.name.as_str(), image.digest.to_string())).collect();
    let refs: BTreeMap<&str, &str> =
        images.iter().map(|image| (image.name.as_str(), image.reference.as_str())).collect();
    let only = match images {
        [only] => format!("digest={}\nref={}\n", only.digest, only.reference),
        _ => String::new(),
    };
    format!("{only}digests={}\nrefs={}\n", serde_json::json!(digests), serde_json::json!(refs))
}
