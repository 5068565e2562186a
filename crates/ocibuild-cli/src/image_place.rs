//! Images that are there already, by the names users give them: layouts and references.

use std::path::Path;

use clap::Args;
use ocibuild_core::blob::{Source, Target};
use ocibuild_core::layout::Layout;
use ocibuild_core::reference::Reference;
use ocibuild_core::{Cancel, Descriptor};

use crate::failure::{Failure, Origin};
use crate::options::Options;
use crate::registry;

/// Which image is meant.
#[derive(Debug, Clone, Args)]
pub(crate) struct ImageArgs {
    /// An OCI layout, `DIR` or `oci:DIR`, with `:NAME` behind it where it holds several images;
    /// or an image in a registry, such as `registry.example.com/team/app:1`
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// An image that was found.
pub(crate) struct FoundImage {
    /// What the user called it.
    pub(crate) name: String,
    /// Where its blobs are.
    pub(crate) source: Box<dyn Source>,
    /// Its manifest or index.
    pub(crate) root: Descriptor,
    /// Who is to blame for its blobs.
    pub(crate) origin: Origin,
}

impl ImageArgs {
    /// Finds the image.
    ///
    /// # Errors
    /// [`Failure`] if there is none by that name.
    pub(crate) fn find(&self, options: &Options) -> Result<FoundImage, Failure> {
        ImageName { image: &self.image, options }.find()
    }
}

/// What a user calls an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageName<'a> {
    /// As in [`ImageArgs`].
    pub(crate) image: &'a str,
    /// How registries are reached.
    pub(crate) options: &'a Options,
}

impl ImageName<'_> {
    /// Finds the image.
    ///
    /// # Errors
    /// [`Failure`] if there is none by that name.
    pub(crate) fn find(&self) -> Result<FoundImage, Failure> {
        let text = self.image;
        if let Some(place) = text.strip_prefix("oci:") {
            return self.in_layout(split(place));
        }
        let (directory, name) = split(text);
        // A mere word is sooner a mistyped directory than an image of Docker Hub.
        let is_path = text.starts_with(['.', '/']) || !text.contains(['/', ':', '@']);
        if Path::new(text).is_file() {
            let failure = Failure::usage(format!(
                "`{text}` is a file, and only layouts and references can be looked into"
            ));
            return Err(failure.with_hint(format!(
                "an archive is a layout in a tar: `mkdir DIR && tar -xf {text} -C DIR`"
            )));
        }
        if let Some(failure) = foreign_transport(text) {
            return Err(failure);
        }
        if is_path || Path::new(directory).is_dir() {
            return self.in_layout((directory, name));
        }
        self.in_registry()
    }

    fn in_layout(&self, (directory, name): (&str, Option<&str>)) -> Result<FoundImage, Failure> {
        let place = |error| Failure::place(error, Origin::Files);
        let layout = Layout::open(directory).map_err(place)?;
        let root = match name {
            Some(name) => layout.resolve(name),
            None => layout.sole(),
        };
        Ok(FoundImage {
            name: self.image.to_owned(),
            root: root.map_err(place)?,
            source: Box::new(layout),
            origin: Origin::Files,
        })
    }

    fn in_registry(&self) -> Result<FoundImage, Failure> {
        let reference: Reference =
            self.image.parse().map_err(|error: ocibuild_core::reference::ReferenceError| {
                let failure = Failure::usage(format!("{error}, nor is there such a directory"));
                failure.with_hint("name an OCI layout, or an image such as `registry.example.com/team/app:1`")
            })?;
        let reference = reference.or_latest();
        let repository = reference.repository();
        let registry = registry::open(self.options, &[repository.registry()], &Cancel::new())?;
        let repository = registry.repository(repository);
        let digest = reference.digest().map(ToString::to_string);
        let name = digest.as_deref().or(reference.tag()).unwrap_or_default();
        let root = repository.resolve(name).map_err(|error| Failure::place(error, Origin::Registry))?;
        Ok(FoundImage {
            name: reference.to_string(),
            root,
            source: Box::new(repository),
            origin: Origin::Registry,
        })
    }
}

/// What other programs put before the names of images, and how what they mean is reached here.
const TRANSPORTS: [(&str, &str); 6] = [
    ("docker://", "leave that out: an image of a registry is called `registry.example.com/team/app:1`"),
    ("docker-daemon:", "`skopeo copy docker-daemon:IMAGE oci:DIR` makes a layout of it"),
    ("containers-storage:", "`skopeo copy containers-storage:IMAGE oci:DIR` makes a layout of it"),
    ("docker-archive:", "`skopeo copy docker-archive:FILE oci:DIR` makes a layout of it"),
    ("oci-archive:", "an archive is a layout in a tar: `mkdir DIR && tar -xf FILE -C DIR`"),
    ("dir:", "`skopeo copy dir:PATH oci:DIR` makes a layout of it"),
];

fn foreign_transport(text: &str) -> Option<Failure> {
    let (prefix, hint) = TRANSPORTS.into_iter().find(|(prefix, _)| text.starts_with(prefix))?;
    let message = format!("`{prefix}` can't be looked into, only layouts and images of registries");
    (!Path::new(text).exists()).then(|| Failure::usage(message).with_hint(hint))
}

/// Parts `DIR:NAME`. A directory's own name may have a colon.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((directory, name)) if !name.contains('/') && !Path::new(text).is_dir() => {
            (directory, Some(name))
        }
        _ => (text, None),
    }
}
