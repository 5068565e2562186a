//! Where images are and go, by the names users give them: layouts, archives and registries.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use ocibuild_core::archive::{Archive, ArchiveForm};
use ocibuild_core::blob::Target as _;
use ocibuild_core::copy::Referrers;
use ocibuild_core::layout::Layout;
use ocibuild_core::reference::{Reference, ReferenceError};
use ocibuild_core::{Cancel, Descriptor};

use crate::environment;
use crate::failure::{Failure, Origin};
use crate::options::Options;
use crate::progress::Reporter;
use crate::registry::Registries;

/// What names a stream of the program itself.
const STREAM: &str = "-";

/// Which image is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImageArgs {
    /// An OCI layout, `DIR` or `oci:DIR`; an archive, `FILE`, `oci-archive:FILE`,
    /// `docker-archive:FILE`, or `-` for standard input; with `:NAME` behind either where it holds
    /// several images; or an image in a registry, such as `registry.example.com/team/app:1`
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// An image that was found.
pub(crate) struct FoundImage {
    /// What the user called it.
    pub(crate) name: String,
    /// Where its blobs are.
    pub(crate) source: Box<dyn Referrers>,
    /// Its manifest or index.
    pub(crate) root: Descriptor,
    /// Who is to blame for its blobs.
    pub(crate) origin: Origin,
    /// Where it was found.
    pub(crate) place: Place,
}

impl ImageArgs {
    /// Finds the image.
    ///
    /// # Errors
    /// [`Failure`] if there is none by that name.
    pub(crate) fn find(&self, options: &Options, reporter: &Reporter) -> Result<FoundImage, Failure> {
        let named = registries([&Place::of_source(&self.image)?]);
        find(&self.image, &Registries::new(options, reporter, named, Cancel::new()))
    }
}

/// Returns the registries among places.
pub(crate) fn registries<'p>(places: impl IntoIterator<Item = &'p Place>) -> Vec<String> {
    let registry = |place: &Place| match place {
        Place::Registry(reference) => Some(reference.repository().registry().to_owned()),
        _ => None,
    };
    places.into_iter().filter_map(registry).collect()
}

/// Finds an image by what a user calls it: as in [`ImageArgs`].
///
/// # Errors
/// [`Failure`] if there is none by that name.
pub(crate) fn find(image: &str, registries: &Registries<'_>) -> Result<FoundImage, Failure> {
    let cancel = registries.cancel();
    let place = Place::of_source(image)?;
    let (source, root, origin): (Box<dyn Referrers>, _, _) = match &place {
        Place::Layout { directory, name } => {
            let layout = Layout::open(directory).map_err(files)?;
            let root = name.as_deref().map_or_else(|| layout.sole(), |name| layout.resolve(name));
            (Box::new(layout), root.map_err(files)?, Origin::Files)
        }
        Place::Archive { file, form, name } => {
            let spool = environment::temporary();
            let archive = match file {
                Some(file) => Archive::open(file, *form, &spool),
                None => {
                    let stream = Stdin(cancel.clone());
                    Archive::from_stream("standard input", stream, *form, &spool)
                }
            };
            let archive = archive.map_err(|error| match cancel.is_cancelled() {
                true => Failure::Interrupted,
                false => files(error),
            })?;
            let root = name.as_deref().map_or_else(|| archive.sole(), |name| archive.resolve(name));
            (Box::new(archive), root.map_err(files)?, Origin::Files)
        }
        Place::Registry(reference) => {
            let repository = registries.client()?.repository(reference.repository());
            let digest = reference.digest().map(ToString::to_string);
            let name = digest.as_deref().or(reference.tag()).unwrap_or_default();
            let root = repository.resolve(name).map_err(|error| Failure::place(error, Origin::Registry))?;
            (Box::new(repository), root, Origin::Registry)
        }
    };
    let name = match &place {
        Place::Registry(reference) => reference.to_string(),
        _ => image.to_owned(),
    };
    Ok(FoundImage { name, source, root, origin, place })
}

/// Standard input, until the run is stopped.
struct Stdin(Cancel);

impl io::Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.check().map_err(io::Error::other)?;
        io::stdin().read(buffer)
    }
}

fn files(error: ocibuild_core::blob::BlobError) -> Failure {
    Failure::place(error, Origin::Files)
}

/// Where an image is, or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A layout, and what the image is called in it.
    Layout {
        /// The layout's directory.
        directory: PathBuf,
        /// The image's name, if one was given.
        name: Option<String>,
    },
    /// An archive, and what the image is called in it.
    Archive {
        /// The file; none is a stream of the program itself.
        file: Option<PathBuf>,
        /// As what it is read.
        form: ArchiveForm,
        /// The image's name, if one was given.
        name: Option<String>,
    },
    /// A registry.
    Registry(Reference),
}

const FORMS: &str = "an image is named as `DIR` or `oci:DIR` (a layout), `FILE` or `oci-archive:FILE`, \
                     `docker-archive:FILE`, each with `:NAME` behind it where it holds several, or as \
                     in a registry: `registry.example.com/team/app:1`";

const DESTINATIONS: &str = "a destination is named as `DIR` or `oci:DIR`, with `:NAME` behind it for the image's \
                            name there, `oci-archive:FILE`, `-` for an archive on standard output, or as in \
                            a registry: `registry.example.com/team/app:1`";

impl Place {
    /// Understands where an image is.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it can't be meant.
    pub(crate) fn of_source(text: &str) -> Result<Self, Failure> {
        if let Some(place) = Self::explicit(text, FORMS)? {
            return Ok(place);
        }
        let (path, name) = match split_at(text, Path::is_file) {
            Some(parts) => parts,
            None => split(text, Path::exists),
        };
        // A mere word is sooner a mistyped directory than an image of Docker Hub.
        let is_path = text.starts_with(['.', '/']) || !text.contains(['/', ':', '@']);
        if Path::new(path).is_file() {
            return Ok(Self::archive(path, name, ArchiveForm::Any));
        }
        if is_path || Path::new(path).is_dir() {
            return Ok(Self::layout(path, name));
        }
        reference(text, FORMS)
    }

    /// Understands where an image goes to.
    ///
    /// # Errors
    /// [`Failure::Usage`] if it can't be meant.
    pub(crate) fn of_destination(text: &str) -> Result<Self, Failure> {
        if text.starts_with("docker-archive:") {
            let failure =
                Failure::usage("archives are written in one form only, and `docker-archive:` is read");
            return Err(failure.with_hint(
                "write `oci-archive:FILE`: docker and podman load it, as it has their `manifest.json` too",
            ));
        }
        if let Some(place) = Self::explicit(text, DESTINATIONS)? {
            return Ok(place);
        }
        let (path, _) = split(text, Path::exists);
        if Path::new(path).is_file() || path.ends_with(".tar") {
            let failure = Failure::usage(format!("`{text}` may mean an archive or a layout"));
            return Err(failure.with_hint(format!("write `oci-archive:{text}` or `oci:{text}`")));
        }
        if text.starts_with(['.', '/']) || Path::new(path).is_dir() || !text.contains('/') {
            let (path, name) = split(text, Path::is_dir);
            return Ok(Self::layout(path, name));
        }
        reference(text, DESTINATIONS)
    }

    /// Understands what says itself what it is.
    fn explicit(text: &str, forms: &'static str) -> Result<Option<Self>, Failure> {
        let some = |rest: &str| match rest {
            "" => Err(Failure::usage(format!("`{text}` names nothing")).with_hint(forms)),
            _ => Ok(()),
        };
        if text == STREAM {
            return Ok(Some(Self::Archive { file: None, form: ArchiveForm::Any, name: None }));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            some(rest)?;
            let (path, name) = split_at(rest, Path::is_dir).unwrap_or_else(|| split_once(rest));
            return Ok(Some(Self::layout(path, name)));
        }
        for (prefix, form) in [("oci-archive:", ArchiveForm::Oci), ("docker-archive:", ArchiveForm::Docker)] {
            if let Some(rest) = text.strip_prefix(prefix) {
                some(rest)?;
                let (path, name) = split_at(rest, Path::is_file).unwrap_or_else(|| split_once(rest));
                return Ok(Some(Self::archive(path, name, form)));
            }
        }
        if let Some(rest) = text.strip_prefix("docker://") {
            return reference(rest, forms).map(Some);
        }
        for (prefix, program) in [("docker-daemon:", "docker"), ("containers-storage:", "podman")] {
            if let Some(image) = text.strip_prefix(prefix) {
                let failure = Failure::usage(format!("what {program} keeps can't be reached directly"));
                return Err(failure.with_hint(format!(
                    "`{program} save {image} | ocibuild copy - DST` takes an image from there, \
                     `ocibuild save SRC - | {program} load` brings one"
                )));
            }
        }
        Ok(None)
    }

    fn layout(directory: &str, name: Option<&str>) -> Self {
        Self::Layout { directory: directory.into(), name: name.map(str::to_owned) }
    }

    fn archive(file: &str, name: Option<&str>, form: ArchiveForm) -> Self {
        let file = (file != STREAM).then(|| PathBuf::from(file));
        Self::Archive { file, form, name: name.map(str::to_owned) }
    }

    /// The tag of the image, or what stands for one.
    pub(crate) fn tag(&self) -> Option<&str> {
        match self {
            Self::Layout { name, .. } | Self::Archive { name, .. } => name.as_deref(),
            Self::Registry(reference) => reference.tag(),
        }
    }

    /// The file or directory that holds it.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Layout { directory, .. } => Some(directory),
            Self::Archive { file, .. } => file.as_deref(),
            Self::Registry(_) => None,
        }
    }
}

fn reference(text: &str, forms: &'static str) -> Result<Place, Failure> {
    let parsed = text.parse().map(Reference::or_latest);
    parsed.map(Place::Registry).map_err(|error: ReferenceError| {
        Failure::usage(format!("{error}, nor is there such a directory or file")).with_hint(forms)
    })
}

/// Parts `PATH:NAME`. A path's own name may have a colon.
fn split(text: &str, is_there: impl Fn(&Path) -> bool) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, name)) if !name.contains('/') && !path.is_empty() && !is_there(Path::new(text)) => {
            (path, Some(name))
        }
        _ => (text, None),
    }
}

/// Parts `PATH:NAME`, where the name may be a reference with slashes and colons: the path is the
/// shortest that is there.
fn split_at(text: &str, is_there: impl Fn(&Path) -> bool) -> Option<(&str, Option<&str>)> {
    if is_there(Path::new(text)) {
        return Some((text, None));
    }
    let at = text.match_indices(':').map(|(at, _)| at).find(|at| is_there(Path::new(&text[..*at])))?;
    Some((&text[..at], Some(&text[at + 1..])))
}

/// Parts the same where nothing is there yet.
fn split_once(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(file, name)| (file, Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(place: Result<Place, Failure>) -> String {
        match place {
            Ok(Place::Layout { directory, name }) => format!("layout {} {name:?}", directory.display()),
            Ok(Place::Archive { file, form, name }) => format!("archive {file:?} {form:?} {name:?}"),
            Ok(Place::Registry(reference)) => format!("registry {reference}"),
            Err(_) => "nothing".to_owned(),
        }
    }

    #[test]
    fn places_are_named_as_elsewhere() {
        for (text, source, destination) in [
            ("oci:a", "layout a None", "layout a None"),
            ("oci:a:1", "layout a Some(\"1\")", "layout a Some(\"1\")"),
            ("oci:a:r.io/b:1", "layout a Some(\"r.io/b:1\")", "layout a Some(\"r.io/b:1\")"),
            ("./a:b/c", "layout ./a:b/c None", "layout ./a:b/c None"),
            (
                "oci-archive:a.tar:1",
                "archive Some(\"a.tar\") Oci Some(\"1\")",
                "archive Some(\"a.tar\") Oci Some(\"1\")",
            ),
            ("oci-archive:-", "archive None Oci None", "archive None Oci None"),
            ("-", "archive None Any None", "archive None Any None"),
            ("docker-archive:a.tar:r.io/a:1", "archive Some(\"a.tar\") Docker Some(\"r.io/a:1\")", "nothing"),
            ("docker-archive:a.tar:@1", "archive Some(\"a.tar\") Docker Some(\"@1\")", "nothing"),
            ("docker://a", "registry docker.io/library/a:latest", "registry docker.io/library/a:latest"),
            ("r.io/a:1", "registry r.io/a:1", "registry r.io/a:1"),
            ("word", "layout word None", "layout word None"),
            ("word.oci:1", "registry docker.io/library/word.oci:1", "layout word.oci Some(\"1\")"),
            ("./x/y:1", "layout ./x/y Some(\"1\")", "layout ./x/y Some(\"1\")"),
            ("./x.tar", "layout ./x.tar None", "nothing"),
            ("oci:", "nothing", "nothing"),
            ("oci-archive:", "nothing", "nothing"),
            ("docker-daemon:a:1", "nothing", "nothing"),
            ("r.io/A:1", "nothing", "nothing"),
        ] {
            assert_eq!(shown(Place::of_source(text)), source, "{text}");
            assert_eq!(shown(Place::of_destination(text)), destination, "{text}");
        }
    }
}
