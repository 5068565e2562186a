//! What is to be built: the spec, from a file or from flags, and where it counts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ocibuild_core::ImageSpec;
use ocibuild_core::spec::{Base, LayerSpec, Port, SourceFile, Sources, Spec, ValueError};

use crate::failure::Failure;
use crate::parse::{self, Copy, Words};

/// The file that is looked for where none is named.
pub(crate) const DEFAULT_FILE: &str = "ocibuild.toml";

/// The layer that holds what `--copy` copies.
const FLAGS_LAYER: &str = "app";

/// An image described by flags alone.
#[derive(Debug, Default, Clone, Args)]
#[command(next_help_heading = "An image without a spec file")]
pub(crate) struct ImageFlags {
    /// Copy a file or directory, relative to the working directory, to an absolute path in the
    /// image; repeat it for more. All of them make one layer
    #[arg(long, value_name = "SRC:DST", value_parser = parse::copy)]
    copy: Vec<Copy>,

    /// What the image stands on: `scratch`, `static@1`, an OCI layout, `oci:DIR`, or an image in a
    /// registry, such as `docker.io/library/alpine:3` [default: scratch]
    #[arg(long, value_name = "BASE", value_parser = parse::base)]
    base: Option<Base>,

    /// The command: its first word, and again for each further one; or all of them as a JSON array
    #[arg(long, value_name = "WORD", value_parser = parse::words, allow_hyphen_values = true)]
    entrypoint: Vec<Words>,

    /// The command's default arguments, given like `--entrypoint`
    #[arg(long, value_name = "WORD", value_parser = parse::words, allow_hyphen_values = true)]
    cmd: Vec<Words>,

    /// Set an environment variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse::pair)]
    env: Vec<(String, String)>,

    /// The user it runs as: `USER`, `UID`, `USER:GROUP` or `UID:GID`
    #[arg(long, value_parser = parse::user)]
    user: Option<String>,

    /// The directory it runs in
    #[arg(long, value_name = "DIR", value_parser = parse::image_directory)]
    workdir: Option<String>,

    /// A port it listens on: `8080`, `53/udp`
    #[arg(long, value_name = "PORT", value_parser = parse::port)]
    expose: Vec<Port>,

    /// A directory to mount a volume at
    #[arg(long, value_name = "DIR", value_parser = parse::image_directory)]
    volume: Vec<String>,

    /// The signal that stops it: `SIGTERM`
    #[arg(long, value_name = "SIGNAL", value_parser = parse::signal)]
    stop_signal: Option<String>,

    /// The time it has to stop in, in whole seconds: `30s`
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    stop_timeout: Option<Duration>,

    /// Who takes responsibility for it
    #[arg(long, value_name = "NAME")]
    author: Option<String>,

    /// The image's name, which its output is called by [default: image]
    #[arg(long)]
    name: Option<String>,
}

impl ImageFlags {
    /// Returns the first of the flags that was given.
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("--copy", !self.copy.is_empty()),
            ("--base", self.base.is_some()),
            ("--entrypoint", !self.entrypoint.is_empty()),
            ("--cmd", !self.cmd.is_empty()),
            ("--env", !self.env.is_empty()),
            ("--user", self.user.is_some()),
            ("--workdir", self.workdir.is_some()),
            ("--expose", !self.expose.is_empty()),
            ("--volume", !self.volume.is_empty()),
            ("--stop-signal", self.stop_signal.is_some()),
            ("--stop-timeout", self.stop_timeout.is_some()),
            ("--author", self.author.is_some()),
            ("--name", self.name.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    fn into_spec(self) -> Result<Spec, Failure> {
        let mut image = ImageSpec::on(self.base.unwrap_or_default());
        if !self.copy.is_empty() {
            let layer = LayerSpec::named(FLAGS_LAYER);
            image =
                image.layer(self.copy.into_iter().fold(layer, |layer, copy| layer.copy(copy.from, copy.to)));
        }
        image = self.env.into_iter().fold(image, |image, (name, value)| image.env(name, value));
        image = self.volume.into_iter().fold(image, ImageSpec::volume);
        image = self.expose.into_iter().fold(image, |image, port| image.expose_port(Ok(port)));
        if let Some(words) = parse::join(&self.entrypoint) {
            image = image.entrypoint(words);
        }
        if let Some(words) = parse::join(&self.cmd) {
            image = image.cmd(words);
        }
        image = self.user.into_iter().fold(image, ImageSpec::user);
        image = self.workdir.into_iter().fold(image, ImageSpec::workdir);
        image = self.stop_signal.into_iter().fold(image, ImageSpec::stop_signal);
        image = self.stop_timeout.into_iter().fold(image, ImageSpec::stop_timeout);
        image = self.author.into_iter().fold(image, ImageSpec::author);
        image = self.name.into_iter().fold(image, ImageSpec::name);
        image.into_spec().map_err(|error| Failure::Spec { error, file: None })
    }
}

/// A spec, and where it counts.
pub(crate) struct Source {
    /// The spec.
    pub(crate) spec: Spec,
    /// The context of its paths.
    pub(crate) root: PathBuf,
    /// What it is called where it doesn't say so itself.
    pub(crate) name: Option<String>,
    /// The files it was read from.
    pub(crate) file: Option<Sources>,
    /// The directory that outputs go to which aren't told where to go.
    pub(crate) beside: PathBuf,
}

impl Source {
    /// Reads the spec file, or makes a spec of flags if there are any.
    ///
    /// # Errors
    /// [`Failure`] if both are given, or what is given is faulty.
    pub(crate) fn find(
        file: Option<PathBuf>,
        flags: ImageFlags,
        images: &[String],
        vars: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        match (file, flags.given()) {
            (None, None) => Self::read(Path::new(DEFAULT_FILE), vars).map_err(|failure| match failure {
                Failure::SpecFile { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    Failure::NoSpec
                }
                failure => failure,
            }),
            (Some(file), None) => Self::read(&file, vars),
            (Some(_), Some(flag)) => {
                let message =
                    format!("`{flag}` describes an image of its own, and `--file` names a spec with images");
                Err(Failure::usage(message).with_hint("write it into the spec file, or leave `--file` out"))
            }
            (None, Some(flag)) => Self::of_flags(flags, flag, images, vars),
        }
    }

    /// The root for people: absolute where that can be found out.
    pub(crate) fn shown_root(&self) -> PathBuf {
        self.root.canonicalize().unwrap_or_else(|_| self.root.clone())
    }

    fn of_flags(
        flags: ImageFlags,
        flag: &str,
        images: &[String],
        vars: &BTreeMap<String, String>,
    ) -> Result<Self, Failure> {
        if let Some(image) = images.first() {
            let message =
                format!("`{flag}` describes an image of its own, and `{image}` would be one of a spec file");
            return Err(Failure::usage(message).with_hint("`--name` names the image that flags describe"));
        }
        if !vars.is_empty() {
            let message = "`--var` gives values to a spec file, and there is none";
            return Err(
                Failure::usage(message).with_hint("flags are taken as they are: write the value itself")
            );
        }
        let empty = flags.copy.is_empty() && matches!(flags.base, None | Some(Base::Scratch));
        if empty {
            let message = format!("`{flag}` describes an image of its own, and nothing is in it");
            let hint = "give it files with `--copy SRC:DST`; what an image of a spec file needs is written in that file";
            return Err(Failure::usage(message).with_hint(hint));
        }
        let here = PathBuf::from(".");
        Ok(Self { spec: flags.into_spec()?, root: here.clone(), name: None, file: None, beside: here })
    }

    fn read(path: &Path, vars: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let file = open(path)?;
        let spec =
            Spec::read(&file, vars).map_err(|error| Failure::Spec { error, file: Some(file.clone()) })?;
        let beside = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let root = match &spec.root {
            Some(root) => beside.join(&root.value),
            None => beside.clone(),
        };
        let name = Some(spec_name(path, &root));
        Ok(Self { spec, root, name, file: Some(file), beside })
    }
}

/// Reads a spec file and those it extends.
pub(crate) fn open(path: &Path) -> Result<Sources, Failure> {
    let file = load(path).map_err(|source| Failure::SpecFile { path: path.to_owned(), source })?;
    Ok(Sources::load(file, &extended))
}

fn load(path: &Path) -> io::Result<SourceFile> {
    let text = fs::read_to_string(path)?;
    let identity = path.canonicalize()?;
    Ok(SourceFile::new(path.display().to_string(), text).identity(identity.display().to_string()))
}

/// Loads what a file extends, by a path from that file's directory.
fn extended(from: &SourceFile, path: &str) -> Result<SourceFile, ValueError> {
    let path = Path::new(from.name()).parent().unwrap_or(Path::new("")).join(path);
    load(&path).map_err(|source| {
        let error = ValueError::new(format!("cannot read the spec file `{}`: {source}", path.display()));
        match source.kind() {
            io::ErrorKind::NotFound => error.hint("the path counts from the directory of this file"),
            io::ErrorKind::InvalidData => error.hint("a spec file is TOML in UTF-8"),
            _ => error,
        }
    })
}

/// The file's path from the root, or its name where it lies outside.
fn spec_name(path: &Path, root: &Path) -> String {
    let below = || {
        let (path, root) = (path.canonicalize().ok()?, root.canonicalize().ok()?);
        path.strip_prefix(root).map(Path::to_owned).ok()
    };
    let name = below().or_else(|| path.file_name().map(PathBuf::from)).unwrap_or_default();
    name.display().to_string()
}
