//! Where images go on disk, and on standard output.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use ocibuild_core::Built;
use ocibuild_core::archive::ArchiveWriter;
use ocibuild_core::blob::BlobError;
use ocibuild_core::copy::CopyOptions;
use ocibuild_core::layout::Layout;
use ocibuild_core::plan::Plan;

use crate::failure::{Failure, Origin};
use crate::file;
use crate::parse::Output;

/// Where the images of a run go, beside a registry.
#[derive(Debug)]
pub(crate) enum Destinations {
    /// Where the user said, all images to each.
    Given(Vec<Output>),
    /// A layout of its own for each image, in this directory.
    Beside(PathBuf),
}

/// The layout an image goes to where nobody says otherwise.
fn own_layout(directory: &Path, image: &str) -> PathBuf {
    directory.join(format!("{image}.oci"))
}

impl Destinations {
    /// Settles where images go: `given`, or, unless they are pushed, a layout for each `beside`.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what can't be meant.
    pub(crate) fn resolve(given: Vec<Output>, push: bool, beside: &Path) -> Result<Self, Failure> {
        if given.is_empty() && !push {
            return Ok(Self::Beside(beside.to_owned()));
        }
        let mut places = BTreeSet::new();
        for output in &given {
            // Standard output is `None`, and is but one place as well.
            if !places.insert(output.path().map(file::normalised)) {
                return Err(Failure::usage("two `--output` have one destination"));
            }
        }
        if given.contains(&Output::Stdout) && io::stdout().is_terminal() {
            let failure = Failure::usage("an archive would fill the terminal");
            return Err(failure.with_hint("redirect standard output, or name a file: `dest=FILE`"));
        }
        Ok(Self::Given(given))
    }

    /// The places on disk that the user named.
    fn given(&self) -> impl Iterator<Item = &Path> {
        let outputs: &[Output] = if let Self::Given(outputs) = self { outputs } else { &[] };
        outputs.iter().filter_map(Output::path)
    }

    /// Tells whether standard output is taken by an archive.
    pub(crate) fn uses_stdout(&self) -> bool {
        matches!(self, Self::Given(outputs) if outputs.contains(&Output::Stdout))
    }

    /// Tells whether anything is written to disk or down a stream.
    pub(crate) fn is_on_disk(&self) -> bool {
        match self {
            Self::Given(outputs) => !outputs.is_empty(),
            Self::Beside(_) => true,
        }
    }

    /// Tells whether an archive is among them.
    pub(crate) fn has_archive(&self) -> bool {
        let is_archive = |output: &Output| matches!(output, Output::Archive(_) | Output::Stdout);
        matches!(self, Self::Given(outputs) if outputs.iter().any(is_archive))
    }

    /// Names everything that this run or another like it writes, so that it isn't read as input.
    pub(crate) fn paths(&self, beside: &Path, images: &[String]) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = images.iter().map(|image| own_layout(beside, image)).collect();
        paths.extend(self.given().map(Path::to_owned));
        paths
    }

    /// Names what was written, for the summary.
    pub(crate) fn names(&self, plan: &Plan) -> Vec<String> {
        match self {
            Self::Beside(directory) => {
                let path = |name: &str| own_layout(directory, name).display().to_string();
                plan.images.iter().map(|image| tidy(&path(&image.name)).to_owned()).collect()
            }
            Self::Given(_) => self.given().map(|path| path.display().to_string()).collect(),
        }
    }

    /// Makes sure, before anything is built, that no two images would share a name in a layout or
    /// archive.
    ///
    /// # Errors
    /// [`Failure::Usage`] if they would.
    pub(crate) fn check_names(&self, plan: &Plan) -> Result<(), Failure> {
        if !matches!(self, Self::Given(outputs) if !outputs.is_empty()) {
            return Ok(());
        }
        let mut owners: BTreeMap<String, &str> = BTreeMap::new();
        for image in &plan.images {
            for name in image.ref_names() {
                if let Some(other) = owners.insert(name.clone(), &image.name) {
                    let message = format!(
                        "the images `{other}` and `{}` would both be called `{name}` in one output",
                        image.name
                    );
                    let hint =
                        "give them tags that differ after the `:`, or build one at a time: `build IMAGE`";
                    return Err(Failure::usage(message).with_hint(hint));
                }
            }
        }
        Ok(())
    }

    /// Looks at every destination, so that one that can't be used is told before anything is built.
    ///
    /// # Errors
    /// [`Failure::Place`] if a directory is something else than a layout, or an archive can't be
    /// written.
    pub(crate) fn check_places(&self, plan: &Plan) -> Result<(), Failure> {
        let check = |path: PathBuf| {
            Layout::open_or_create(path).map(drop).map_err(|error| Failure::place(error, Origin::Files))
        };
        match self {
            Self::Beside(directory) => {
                plan.images.iter().try_for_each(|image| check(own_layout(directory, &image.name)))
            }
            Self::Given(outputs) => outputs.iter().try_for_each(|output| match output {
                Output::Layout(path) => check(path.clone()),
                Output::Archive(path) => file::check(path).map_err(|source| {
                    let error = BlobError::File { action: "write", path: path.clone(), source };
                    Failure::place(error, Origin::Files)
                }),
                Output::Stdout => Ok(()),
            }),
        }
    }

    /// Writes images everywhere.
    ///
    /// # Errors
    /// [`BlobError`] of the first destination that fails.
    pub(crate) fn write(&self, built: &Built, options: &CopyOptions<'_>) -> Result<(), BlobError> {
        match self {
            Self::Beside(directory) => built.images.iter().try_for_each(|image| {
                let layout = Layout::open_or_create(own_layout(directory, &image.name))?;
                built.write_layout(std::slice::from_ref(image), &layout, options).map(drop)
            }),
            Self::Given(outputs) => outputs.iter().try_for_each(|output| write(output, built, options)),
        }
    }
}

/// Leaves away the `./` of the working directory.
fn tidy(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path)
}

fn write(output: &Output, built: &Built, options: &CopyOptions<'_>) -> Result<(), BlobError> {
    let archive = match output {
        Output::Layout(path) => {
            let layout = Layout::open_or_create(path)?;
            return built.write_layout(&built.images, &layout, options).map(drop);
        }
        Output::Archive(path) => ArchiveWriter::to_file(path)?,
        Output::Stdout => ArchiveWriter::to_stream("standard output", io::stdout()),
    };
    built.write_archive(&built.images, archive, options).map(drop)
}
