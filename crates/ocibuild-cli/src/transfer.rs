//! Copying images from place to place, and telling of it.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use ocibuild_core::archive::{ArchiveImage, ArchiveWriter};
use ocibuild_core::base::Base;
use ocibuild_core::blob::{BlobError, Source, Target as _};
use ocibuild_core::copy::{self, CopyOptions, CopyReport, Listing, Tally};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::Platform;
use ocibuild_core::registry::RemoteRepository;
use ocibuild_core::{Cancel, Descriptor, Reference};
use serde_json::{Value, json};

use crate::failure::{Failure, Origin};
use crate::image_place::{self, FoundImage, Place};
use crate::options::Options;
use crate::progress::Reporter;
use crate::progress::json::seconds;
use crate::registry::Registries;
use crate::side_by_side::by_registry;
use crate::signals::Stop;
use crate::usage::Usage;
use crate::{file, image_files, parse, text};

/// The version of the metadata: a field may be added within it, none changed or taken away.
const METADATA_VERSION: u64 = 1;

/// What of an image is copied.
#[derive(Debug, Clone, Args)]
pub(crate) struct PartArgs {
    /// Copy only the image for this platform, without the index around it
    #[arg(long, value_name = "OS/ARCH", value_parser = parse::platform, conflicts_with = "all")]
    platform: Option<Platform>,

    /// Copy an index with the images for all its platforms, as is done without `--platform`
    #[arg(long)]
    all: bool,

    /// Copy what refers to the image, too: signatures, attestations and the like, and what refers
    /// to those
    #[arg(long)]
    referrers: bool,
}

/// What is told of a copy, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct ResultArgs {
    /// Write what was copied to this file, as JSON; docs/metadata.md has the fields
    #[arg(long, value_name = "FILE", value_parser = parse::result_file())]
    metadata_file: Option<PathBuf>,
}

/// A copy that is under way.
pub(crate) struct Transfer<'a> {
    reporter: &'a Reporter,
    started: Instant,
    cancel: Cancel,
    total: CopyReport,
    registries: Registries<'a>,
    _stop: Stop,
}

/// Where an image goes.
pub(crate) enum Destination {
    /// Into a layout, under a name or none.
    Layout { layout: Layout, name: Option<String> },
    /// Into an archive.
    Archive { writer: ArchiveWriter<'static>, name: String, references: Vec<Reference> },
    /// Into a repository, under any number of tags.
    Registry(Box<Repository>),
}

/// A repository that an image goes to.
pub(crate) struct Repository {
    remote: RemoteRepository,
    /// What the image is called there.
    references: Vec<Reference>,
    /// The tags that don't mean it yet.
    left: Vec<String>,
}

impl Destination {
    /// The place that blobs go to.
    pub(crate) fn sink(&self) -> &dyn Listing {
        match self {
            Self::Layout { layout, .. } => layout,
            Self::Archive { writer, .. } => writer,
            Self::Registry(repository) => &repository.remote,
        }
    }

    fn registry(&self) -> &str {
        match self {
            Self::Registry(repository) => repository.remote.repository().registry(),
            _ => "",
        }
    }

    /// A repository, and the tags that an image is given there.
    fn of(remote: RemoteRepository, references: Vec<Reference>) -> Self {
        let left = references.iter().filter_map(Reference::tag).map(str::to_owned).collect();
        Self::Registry(Box::new(Repository { remote, references, left }))
    }

    /// Asks which names mean the image already: with one that does it is there. Tells whether it is
    /// sure to be.
    ///
    /// # Errors
    /// [`BlobError`] if that can't be asked.
    pub(crate) fn ask(&mut self, root: &Descriptor, source: &dyn Source) -> Result<bool, BlobError> {
        let Self::Registry(repository) = self else { return Ok(false) };
        let left = repository.remote.untagged(root, &repository.left, source)?;
        let is_there = left.len() < repository.left.len();
        repository.left = left;
        Ok(is_there)
    }

    /// Gives the image its names there; last of all. Tells what had to be sent for that.
    fn name(
        self,
        root: &Descriptor,
        source: &dyn Source,
        options: &CopyOptions<'_>,
    ) -> Result<CopyReport, BlobError> {
        match self {
            Self::Layout { layout, name: Some(name) } => layout.tag(root, &name)?,
            Self::Layout { layout, name: None } => layout.list(root)?,
            Self::Archive { writer, name, references } => {
                let image = ArchiveImage::new(root.clone(), name);
                writer.finish(&[references.into_iter().fold(image, ArchiveImage::reference)])?;
            }
            Self::Registry(repository) => {
                return repository.remote.tag_all(root, &repository.left, source, options);
            }
        }
        Ok(CopyReport::default())
    }
}

impl<'a> Transfer<'a> {
    /// Begins to watch for signals. `named` are the registries of all images that the run is about.
    ///
    /// # Errors
    /// [`Failure`] if they can't be caught, or the file of results can't be written.
    pub(crate) fn begin(
        options: &'a Options,
        reporter: &'a Reporter,
        results: Option<&ResultArgs>,
        named: Vec<String>,
    ) -> Result<Self, Failure> {
        let stop = Stop::on_signals()?;
        if let Some(path) = results.and_then(|results| results.metadata_file.as_deref()) {
            file::check(path).map_err(|source| metadata_failure(path, source, false))?;
        }
        Ok(Self {
            reporter,
            started: Instant::now(),
            cancel: stop.cancel(),
            total: CopyReport::default(),
            registries: Registries::new(options, reporter, named, stop.cancel()),
            _stop: stop,
        })
    }

    /// Finds an image.
    ///
    /// # Errors
    /// [`Failure`] if there is none by that name.
    pub(crate) fn find(&self, image: &str) -> Result<FoundImage, Failure> {
        image_place::find(image, &self.registries)
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`Failure`] if credentials can't be had.
    pub(crate) fn repository(&self, reference: &Reference) -> Result<RemoteRepository, Failure> {
        Ok(self.registries.client()?.repository(reference.repository()))
    }

    /// Opens where an image goes to. Without a name of its own there, it keeps that of `source`.
    ///
    /// # Errors
    /// [`Failure`] if it can't be used.
    pub(crate) fn destination(&self, place: Place, source: Option<&Place>) -> Result<Destination, Failure> {
        let files = |error| Failure::place(error, Origin::Files);
        let kept = source.and_then(Place::tag).map(str::to_owned);
        match place {
            Place::Layout { directory, name } => {
                let layout = Layout::open_or_create(directory).map_err(files)?;
                Ok(Destination::Layout { layout, name: name.or_else(|| kept.and_then(short)) })
            }
            Place::Archive { file, name, .. } => {
                if let Some(path) = &file
                    && source.and_then(Place::path).is_some_and(|from| is_same(from, path))
                {
                    let message = format!("`{}` would be read and replaced at once", path.display());
                    return Err(Failure::usage(message).with_hint("name another file"));
                }
                let references = archive_references(name.as_deref(), source);
                let name = name.or(kept).unwrap_or_else(|| "latest".to_owned());
                let writer = match file {
                    Some(path) => ArchiveWriter::to_file(path).map_err(files)?,
                    None if io::stdout().is_terminal() => {
                        let failure = Failure::usage("an archive would fill the terminal");
                        return Err(
                            failure.with_hint("redirect standard output, or name a file: `oci-archive:FILE`")
                        );
                    }
                    None => ArchiveWriter::to_stream("standard output", io::stdout()),
                };
                Ok(Destination::Archive { writer, name, references })
            }
            Place::Registry(reference) => {
                let repository = self.repository(&reference)?;
                Ok(Destination::of(repository, vec![reference]))
            }
        }
    }

    /// The manifest or index that is to be copied.
    ///
    /// # Errors
    /// [`Failure`] if there is none for the platform.
    pub(crate) fn root(&self, found: &FoundImage, part: &PartArgs) -> Result<Descriptor, Failure> {
        let Some(platform) = &part.platform else { return Ok(found.root.clone()) };
        let base = Base::open(found.source.as_ref(), &found.root, Some(platform));
        base.map(|base| base.descriptor).map_err(|error| image_files::failure(error, found))
    }

    /// Opens the repositories that references name, each once.
    ///
    /// # Errors
    /// [`Failure`] if credentials can't be had.
    pub(crate) fn repositories(&self, references: &[Reference]) -> Result<Vec<Destination>, Failure> {
        let mut parts: Vec<(RemoteRepository, Vec<Reference>)> = Vec::new();
        for reference in references {
            let known = parts.iter_mut().find(|(known, _)| known.repository() == reference.repository());
            match known {
                Some((_, references)) => references.push(reference.clone()),
                None => parts.push((self.repository(reference)?, vec![reference.clone()])),
            }
        }
        Ok(parts.into_iter().map(|(remote, references)| Destination::of(remote, references)).collect())
    }

    /// Copies an image to all destinations, and what refers to it where that is asked for.
    ///
    /// # Errors
    /// [`Failure`]; no name was changed then.
    pub(crate) fn copy(
        &mut self,
        found: &FoundImage,
        root: &Descriptor,
        destinations: &mut [Destination],
        part: &PartArgs,
    ) -> Result<(), Failure> {
        let (roots, source) = (std::slice::from_ref(root), found.source.as_ref());
        let several = destinations.len() > 1;
        let reporter = self.reporter;
        let copy = |destination: &mut Destination, cancel: &Cancel| {
            destination.ask(root, source)?;
            let options = CopyOptions::new().observer(reporter).cancel(cancel.clone());
            let report = match part.referrers {
                true => copy::copy_referred(roots, source, destination.sink(), &options),
                false => copy::copy(roots, source, destination.sink(), &options),
            }?;
            if let Destination::Registry(repository) = destination
                && several
            {
                repository.remote.assume(roots, source);
            }
            Ok(report)
        };
        let reports = by_registry(destinations, |one| one.registry().to_owned(), &self.cancel, copy);
        for report in reports.map_err(|error| Failure::place(error, found.origin))? {
            self.total += report;
        }
        Ok(())
    }

    /// Copies parts of an index without naming them.
    ///
    /// # Errors
    /// [`Failure`]; no name was changed then.
    pub(crate) fn copy_parts(
        &mut self,
        parts: &[Descriptor],
        found: &FoundImage,
        sink: &dyn Listing,
    ) -> Result<(), Failure> {
        let report = copy::copy(parts, found.source.as_ref(), sink, &self.copy_options());
        self.total += report.map_err(|error| Failure::place(error, found.origin))?;
        Ok(())
    }

    /// Sends the index whose parts are there by now.
    ///
    /// # Errors
    /// [`Failure`]; no name was changed then.
    pub(crate) fn copy_index(
        &mut self,
        index: &Descriptor,
        source: &dyn Source,
        sink: &dyn Listing,
    ) -> Result<(), Failure> {
        let report = copy::copy(std::slice::from_ref(index), source, sink, &self.copy_options());
        let mut report = report.map_err(|error| Failure::place(error, Origin::Files))?;
        if report.sent.blobs > 0 {
            // Its parts were counted when they were copied.
            report.present = Tally::default();
        }
        self.total += report;
        Ok(())
    }

    fn copy_options(&self) -> CopyOptions<'a> {
        CopyOptions::new().observer(self.reporter).cancel(self.cancel.clone())
    }

    /// Names the image, which `source` has, and tells what came of it.
    ///
    /// # Errors
    /// [`Failure`]; names that weren't changed yet mean what they meant before.
    pub(crate) fn finish(
        mut self,
        root: &Descriptor,
        source: &dyn Source,
        destinations: Vec<Destination>,
        results: &ResultArgs,
    ) -> Result<(), Failure> {
        self.cancel.check().map_err(|_| Failure::Interrupted)?;
        let is_pushed =
            destinations.iter().all(|destination| matches!(destination, Destination::Registry { .. }));
        let mut references = Vec::new();
        let mut stdout_is_taken = false;
        for destination in destinations {
            let origin = match &destination {
                Destination::Registry(repository) => {
                    references.extend(repository.references.iter().cloned());
                    Origin::Registry
                }
                Destination::Archive { writer, .. } => {
                    stdout_is_taken |= ocibuild_core::blob::Sink::place(writer) == "standard output";
                    Origin::Files
                }
                Destination::Layout { .. } => Origin::Files,
            };
            let named = destination.name(root, source, &self.copy_options());
            self.total += named.map_err(|error| Failure::place(error, origin))?;
        }
        let usage = self.usage(is_pushed);
        self.tell(root, &references, stdout_is_taken, usage, results.metadata_file.as_deref())
    }

    fn tell(
        self,
        root: &Descriptor,
        references: &[Reference],
        stdout_is_taken: bool,
        usage: Option<Usage>,
        metadata: Option<&Path>,
    ) -> Result<(), Failure> {
        let line = match references.first() {
            Some(reference) => reference.at(root.digest).to_string(),
            None => root.digest.to_string(),
        };
        let mut summary = self.to_json(&line);
        summary["registry"] = json!(usage.map(Usage::to_json));
        if let Some(path) = metadata {
            let mut value = summary.clone();
            value["version"] = json!(METADATA_VERSION);
            value["ocibuild"] = json!(env!("CARGO_PKG_VERSION"));
            value["descriptor"] = json!(root);
            value["refs"] = json!(references.iter().map(ToString::to_string).collect::<Vec<_>>());
            file::write(path, format!("{value:#}\n").as_bytes())
                .map_err(|source| metadata_failure(path, source, true))?;
        }
        self.reporter.clear();
        let trouble = usage.as_ref().map(Usage::trouble).unwrap_or_default();
        self.reporter.summary(&format!("{}{trouble}", self.to_text()), &summary);
        match stdout_is_taken {
            false => text::print(&format!("{line}\n")),
            // Lines of text would be no JSON, and the summary has it.
            true if self.reporter.is_for_programs() => Ok(()),
            true => {
                // Nobody is there to be told if that fails.
                let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
                Ok(())
            }
        }
    }

    /// What registries were asked, if any were; and what they were spared where they are what was
    /// copied to.
    fn usage(&self, is_pushed: bool) -> Option<Usage> {
        let usage = Usage::of(self.registries.used()?);
        let CopyReport { present, mounted, .. } = self.total;
        let mut skipped = present;
        skipped += mounted;
        Some(if is_pushed { usage.spare(skipped, mounted) } else { usage })
    }

    fn to_json(&self, line: &str) -> Value {
        let tally = |tally: &Tally| json!({ "count": tally.blobs, "bytes": tally.bytes });
        json!({
            "images": [line],
            "seconds": seconds(self.started.elapsed()),
            "sent": tally(&self.total.sent),
            "present": tally(&self.total.present),
            "mounted": tally(&self.total.mounted),
            "foreign": tally(&self.total.foreign),
        })
    }

    /// One line: what was sent, what needn't be, and the time.
    fn to_text(&self) -> String {
        let CopyReport { sent, present, mounted, foreign, .. } = &self.total;
        let blobs = |tally: &Tally| text::count(usize::try_from(tally.blobs).unwrap_or(usize::MAX), "blob");
        let mut line = format!("{} ({}) copied", blobs(sent), text::bytes(sent.bytes));
        for (tally, what) in
            [(mounted, "mounted"), (present, "there already"), (foreign, "left where their licence has them")]
        {
            if tally.blobs > 0 {
                line.push_str(&format!(", {} {what}", blobs(tally)));
            }
        }
        format!("{line}; {}", text::time(self.started.elapsed()))
    }
}

/// A full name's tag: names in a layout have no slashes by the specification.
fn short(name: String) -> Option<String> {
    match name.parse::<Reference>() {
        _ if name.starts_with('@') => None,
        Ok(reference) if name.contains('/') || name.contains(':') => {
            reference.or_latest().tag().map(str::to_owned)
        }
        _ => Some(name),
    }
}

/// The full names that loaders give the image: its name, where that is one, else the source's.
fn archive_references(name: Option<&str>, source: Option<&Place>) -> Vec<Reference> {
    let full = |name: &str| {
        let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        name.parse::<Reference>().ok().filter(|reference| has_tag && reference.digest().is_none())
    };
    let own = match (name, source) {
        (Some(name), _) => full(name),
        (None, Some(Place::Registry(reference))) => {
            reference.tag().and_then(|tag| full(&format!("{}:{tag}", reference.repository())))
        }
        (None, source) => source.and_then(Place::tag).and_then(full),
    };
    own.into_iter().collect()
}

fn is_same(one: &Path, other: &Path) -> bool {
    file::normalised(one) == file::normalised(other)
}

fn metadata_failure(path: &Path, source: io::Error, is_built: bool) -> Failure {
    Failure::Result { what: "--metadata-file", path: path.to_owned(), source, is_built }
}
