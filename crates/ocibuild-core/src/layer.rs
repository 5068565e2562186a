//! One planned layer to a blob: its files gathered, written through the pipeline, and recorded.

mod block;
mod budget;
mod check;
mod content;
mod draft;
mod facts;
mod gather;
mod ignored;
mod inputs;
mod inventory;
mod keep;
mod key;
mod links;
mod machine;
mod merge;
mod near;
mod ordered;
mod outline;
mod owners;
mod pipeline;
mod places;
mod previous;
mod pyc;
mod removal;

use std::fmt;
use std::time::Duration;

use crate::base::{Listing, ListingError};
use crate::blob::{BlobError, Store};
use crate::cache::{BlockIndexes, BuiltLayer, CacheError, Material, Record};
use crate::compress::{Encoder, codec_id};
use crate::event::{Cancel, Cancelled, Event, LayerOutcome, Observer, Warning};
use crate::files::{FileError, FileId, FileKind, FileTree, StatCache, display};
use crate::key::Key;
use crate::layer::content::Content;
use crate::layer::previous::Previous;
use crate::oci::Descriptor;
use crate::pattern::IgnoreError;
use crate::plan::PlannedLayer;
use crate::spec::Span;

pub use budget::Budget;
pub use check::check;
pub use key::{COMPAT, Circumstances, ManifestKeys, content_key, manifest_keys, trace_key};
pub use near::Nearby;
pub use outline::{DirectoryOwner, Outline, WrittenDirectory, leads_to, may_disagree, outline};

/// A layer can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A copy's source isn't there.
    #[error("`{from}` doesn't exist")]
    Missing {
        /// The source as the spec names it.
        from: String,
        /// What is there instead.
        nearby: Box<Nearby>,
        /// Where the spec names it.
        span: Option<Span>,
    },
    /// A copy selects nothing.
    #[error("`{from}` selects no files")]
    Empty {
        /// The source as the spec names it.
        from: String,
        /// The ignore file, if it left anything out.
        ignored_by: Option<String>,
        /// Where the spec names it.
        span: Option<Span>,
    },
    /// Two copies want different things at one path.
    #[error("{} `/{path}`, {difference}", writers(*.one, *.other))]
    Conflict {
        /// The path in the image.
        path: String,
        /// What they don't agree on, in words that follow a comma.
        difference: String,
        /// The first copy, counted from 1.
        one: usize,
        /// The second.
        other: usize,
        /// Where the spec has the second.
        span: Option<Span>,
    },
    /// A file that no layer can hold.
    #[error("`{path}` is a {}, which no layer can hold", kind_name(*.kind))]
    Unsupported {
        /// The file.
        path: String,
        /// What it is.
        kind: FileKind,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A name that would take away a file instead of adding one.
    #[error("`/{path}` would take files away instead of adding one, as names that begin with `.wh.` do")]
    Whiteout {
        /// The path in the image.
        path: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// What should be a directory is none in the base.
    #[error("`/{path}` cannot be written: `/{obstacle}` is a file of the base")]
    NotDirectory {
        /// The path in the image.
        path: String,
        /// What is in its way.
        obstacle: String,
        /// Where the spec has the copy.
        span: Option<Span>,
    },
    /// A link of the base is on the way, and the copy wants none there.
    #[error("`/{path}` goes through `/{link}`, which the base has as a symbolic link to `{target}`")]
    BaseSymlink {
        /// The path in the image.
        path: String,
        /// The link.
        link: String,
        /// Where it points.
        target: String,
        /// Where the spec has the copy.
        span: Option<Span>,
    },
    /// A single file would take the place of a directory with all that is in it.
    #[error("`/{path}` is a directory of the base, and a file would take its place")]
    OverDirectory {
        /// The path in the image.
        path: String,
        /// Where the spec has the copy.
        span: Option<Span>,
    },
    /// An ignore file that is named isn't there, or can't be read.
    #[error("cannot read the ignore file `{path}`")]
    IgnoreFile {
        /// The file.
        path: String,
        /// Where the spec names it, or the copy that it is for.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A line of an ignore file is no rule.
    #[error("the ignore file `{path}` cannot be used")]
    IgnoreRule {
        /// The file.
        path: String,
        /// Where the spec has the copy that it is for.
        span: Option<Span>,
        /// Which line, and why.
        #[source]
        source: IgnoreError,
    },
    /// What should be taken away isn't there.
    #[error("`{path}` cannot be removed: {}", if *.empty { "the base is empty" } else { "the base has nothing of that name" })]
    NothingToRemove {
        /// The path or glob as the spec has it.
        path: String,
        /// What the base has that is named most like it, without a leading `/`.
        closest: Option<String>,
        /// Whether the base has nothing at all.
        empty: bool,
        /// Where the spec has it.
        span: Option<Span>,
    },
    /// A name so long that no whiteout can say it.
    #[error("`/{path}` cannot be removed: its name is too long for a whiteout")]
    Unremovable {
        /// The path in the base.
        path: String,
        /// Where the spec removes it.
        span: Option<Span>,
    },
    /// A layer takes away what it writes.
    #[error("`/{path}` is removed and written by one layer")]
    RemovedAndWritten {
        /// The path in the image.
        path: String,
        /// Where the spec removes it.
        span: Option<Span>,
    },
    /// A user or group that the base doesn't have.
    #[error("the base has no {kind} `{name}`")]
    UnknownAccount {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The names that it has, in order.
        known: Vec<String>,
        /// Where the spec says it.
        span: Option<Span>,
    },
    /// An extended attribute whose name no archive can hold: readers end a name at its first `=`,
    /// and some at a line's end.
    #[error("`{path}` has an extended attribute `{}`, and no archive can hold one with `=` or a line break in its name", .name.escape_debug())]
    Attribute {
        /// The file.
        path: String,
        /// The attribute.
        name: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A file's extended attributes take more than readers of archives allow.
    #[error(
        "the extended attributes of `{path}` take {size} bytes in an archive, and readers allow {limit}; `{name}` is the largest of them"
    )]
    Attributes {
        /// The file.
        path: String,
        /// Its largest attribute.
        name: String,
        /// What all of them take, in bytes.
        size: u64,
        /// What they may take, in bytes.
        limit: u64,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A program for another machine or system than the image's.
    #[error("`/{path}` is a program for {machine}, and the image is for {platform}")]
    Foreign {
        /// The path in the image.
        path: String,
        /// What it is for.
        machine: String,
        /// The platform of the image.
        platform: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A file changed while the layer was built, each time it was tried.
    #[error("`{path}` keeps changing while it is read")]
    Changed {
        /// The file.
        path: String,
        /// Where the spec has the copy that takes it.
        span: Option<Span>,
    },
    /// A lockfile can't be read.
    #[error("cannot read the manifest `{path}`")]
    Manifest {
        /// The lockfile.
        path: String,
        /// Where the spec names it.
        span: Option<Span>,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An input can't be read, or lies out of reach.
    #[error(transparent)]
    File(InputFault),
    /// A path can't be followed through the base.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The records failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// An input can't be had, and the copy that wants it.
///
/// Says what the fault says, and has its cause.
#[derive(Debug)]
pub struct InputFault {
    /// What went wrong.
    pub fault: FileError,
    /// Where the spec has the copy.
    pub span: Option<Span>,
}

impl fmt::Display for InputFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for InputFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.fault.source()
    }
}

impl From<FileError> for LayerError {
    fn from(fault: FileError) -> Self {
        Self::File(InputFault { fault, span: None })
    }
}

fn writers(one: usize, other: usize) -> String {
    if one == other {
        return format!("copy {one} writes twice, through a link of the base,");
    }
    format!("copies {one} and {other} both write")
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Fifo => "named pipe",
        FileKind::Socket => "socket",
        FileKind::Device => "device",
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symbolic link",
    }
}

impl LayerError {
    fn read(path: &[u8], source: std::io::Error) -> Self {
        Self::walked(FileError::Io { action: "read", path: display(path), source })
    }

    /// A fault of what was there when it was found: if it is no longer, it has changed.
    fn walked(fault: FileError) -> Self {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        match fault {
            FileError::Io { path, source, .. }
                if matches!(source.kind(), NotFound | NotADirectory | IsADirectory) =>
            {
                Self::Changed { path, span: None }
            }
            FileError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            fault => fault.into(),
        }
    }

    fn changed(path: &[u8]) -> Self {
        Self::Changed { path: display(path), span: None }
    }

    fn at(mut self, place: Option<Span>) -> Self {
        if let Self::Missing { span, .. }
        | Self::Empty { span, .. }
        | Self::Unsupported { span, .. }
        | Self::Attribute { span, .. }
        | Self::Attributes { span, .. }
        | Self::Whiteout { span, .. }
        | Self::NotDirectory { span, .. }
        | Self::BaseSymlink { span, .. }
        | Self::OverDirectory { span, .. }
        | Self::IgnoreFile { span, .. }
        | Self::IgnoreRule { span, .. }
        | Self::Foreign { span, .. }
        | Self::Changed { span, .. }
        | Self::File(InputFault { span, .. }) = &mut self
        {
            *span = span.or(place);
        }
        self
    }

    /// Returns where in the spec the fault lies, where that is known.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Missing { span, .. }
            | Self::Empty { span, .. }
            | Self::Conflict { span, .. }
            | Self::Unsupported { span, .. }
            | Self::Attribute { span, .. }
            | Self::Attributes { span, .. }
            | Self::Whiteout { span, .. }
            | Self::NotDirectory { span, .. }
            | Self::BaseSymlink { span, .. }
            | Self::OverDirectory { span, .. }
            | Self::IgnoreFile { span, .. }
            | Self::IgnoreRule { span, .. }
            | Self::NothingToRemove { span, .. }
            | Self::Unremovable { span, .. }
            | Self::RemovedAndWritten { span, .. }
            | Self::UnknownAccount { span, .. }
            | Self::Foreign { span, .. }
            | Self::Changed { span, .. }
            | Self::File(InputFault { span, .. })
            | Self::Manifest { span, .. } => *span,
            _ => None,
        }
    }
}

/// What a layer is built from and with.
#[derive(Clone, Copy)]
pub struct Workshop<'a> {
    /// The input files.
    pub tree: &'a dyn FileTree,
    /// What is never taken for input: our own outputs, caches and locks.
    pub skip: &'a [FileId],
    /// Where blobs are written.
    pub store: &'a Store,
    /// The memory that blocks share.
    pub budget: &'a Budget,
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// Stops the work.
    pub cancel: &'a Cancel,
    /// The latest time that a file may keep, in seconds since 1970-01-01T00:00:00Z; none is unbounded.
    pub latest: Option<i64>,
    /// What is known of the tree's files since they were last read.
    pub stat: Option<&'a StatCache>,
    /// Asks for the record of a content key. Without it nothing is hashed before it is written, as
    /// nothing could answer.
    pub answers: Option<&'a Answers<'a>>,
    /// What blocks of large blobs were made of, where that is kept.
    pub blocks: Option<&'a BlockIndexes>,
    /// The layer as it was built last: what is the same is taken from its blob. Looked at only where
    /// something may answer, as it has to be known what the layer is to hold.
    pub last: Option<&'a Descriptor>,
}

/// Returns the record of a content key, if there is one and its blobs are at hand.
pub type Answers<'a> = dyn Fn(&Key) -> Result<Option<Record>, BlobError> + Sync + 'a;

/// How often a layer is started again because a file changed under it.
const ATTEMPTS: u32 = 3;

/// Builds a layer: gathers its files and writes its blob and inventory into the store, unless a
/// record answers for what they hold.
///
/// The record that is returned stands under the layer's content key. Runs in the rayon pool that
/// it is called from. A file that changes while it is read starts the layer again, a few times.
///
/// # Errors
/// [`LayerError`]; nothing of the layer is then in the store.
pub fn build(
    layer: &PlannedLayer,
    listing: &Listing,
    materials: Vec<Material>,
    mut workshop: Workshop<'_>,
) -> Result<(Record, LayerOutcome), LayerError> {
    if let Some(stat) = workshop.stat {
        stat.start();
    }
    let mut attempt = 1;
    loop {
        match build_once(layer, listing, &materials, workshop) {
            Err(LayerError::Changed { .. }) if attempt < ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(20 << attempt));
                attempt += 1;
                // What was known may be what is wrong.
                workshop.last = None;
            }
            result => return result,
        }
    }
}

fn build_once(
    layer: &PlannedLayer,
    listing: &Listing,
    materials: &[Material],
    workshop: Workshop<'_>,
) -> Result<(Record, LayerOutcome), LayerError> {
    let Workshop { tree, skip, observer, cancel, latest, stat, .. } = workshop;
    observer.event(&Event::LayerStarted { layer: layer.label.clone() });
    let sources = draft::Sources { tree, listing, skip, cancel, latest, stat };
    let gathered = gather::gather(layer, sources)?;
    let inputs = inputs::Inputs { layer, tree };
    let last = workshop.blocks.zip(workshop.last).filter(|_| workshop.answers.is_some());
    let previous = last.and_then(|(blocks, last)| Previous::open(blocks, workshop.store, last));
    let Some(content) = examine(inputs, &gathered, previous.is_some(), workshop)? else {
        return Ok((write(inputs, &gathered, materials, None, workshop)?, LayerOutcome::Built));
    };
    if let Some(record) = answered(inputs, &gathered, materials, &content, workshop)? {
        return Ok((record, LayerOutcome::Reused));
    }
    let previous = previous.as_ref().map(|previous| (previous, &content));
    Ok((write(inputs, &gathered, materials, previous, workshop)?, LayerOutcome::Built))
}

/// Finds out what was gathered holds, if something may answer for it.
fn examine(
    inputs: inputs::Inputs<'_>,
    gathered: &gather::Gathered,
    keeps_lines: bool,
    workshop: Workshop<'_>,
) -> Result<Option<Content>, LayerError> {
    let Workshop { budget, cancel, stat, answers, .. } = workshop;
    if answers.is_none() {
        return Ok(None);
    }
    let entries = &gathered.entries[..];
    content::Examiner { inputs, entries, stat, budget, cancel, keeps_lines }.run().map(Some)
}

/// Finds the record that answers for what was gathered. It is as a build would have made it: which
/// machines a layer holds depends on what its copies let through.
fn answered(
    inputs: inputs::Inputs<'_>,
    gathered: &gather::Gathered,
    materials: &[Material],
    content: &Content,
    workshop: Workshop<'_>,
) -> Result<Option<Record>, LayerError> {
    let Workshop { observer, answers: Some(answers), .. } = workshop else {
        return Ok(None);
    };
    let layer = inputs.layer;
    let key = content_key(&content.root, &codec_id(layer.compression));
    let record = answers(&key)?.filter(|record| record.entries == gathered.entries.len() as u64);
    Ok(record.map(|record| {
        warn(layer, &gathered.notes, content.stale_pyc, observer);
        let machines = content.machines.clone();
        Record { key, machines, materials: materials.to_vec(), ..record }
    }))
}

fn write(
    inputs: inputs::Inputs<'_>,
    gathered: &gather::Gathered,
    materials: &[Material],
    previous: Option<(&Previous, &Content)>,
    workshop: Workshop<'_>,
) -> Result<Record, LayerError> {
    let Workshop { store, budget, observer, cancel, stat, blocks, .. } = workshop;
    let layer = inputs.layer;
    let encoder = Encoder::new(layer.compression);
    let entries = &gathered.entries[..];
    let pipeline = pipeline::Pipeline {
        inputs,
        entries,
        encoder: &encoder,
        stat,
        store,
        budget,
        observer,
        cancel,
        previous,
        keeps_index: blocks.is_some(),
    };
    let written = pipeline.run()?;
    if let (Some(blocks), Some(index)) = (blocks, &written.index) {
        // Where it can't be kept, the next build makes all blocks: of a cache that can't be written
        // to, its records tell.
        let _ = blocks.put(index);
    }
    warn(layer, &gathered.notes, written.stale_pyc, observer);
    Ok(Record {
        version: Record::VERSION,
        key: content_key(&written.inventory.root, &codec_id(layer.compression)),
        layers: vec![BuiltLayer::new(written.descriptor, written.diff_id)],
        materials: materials.to_vec(),
        inventory: written.inventory.descriptor,
        machines: written.machines,
        entries: gathered.entries.len() as u64,
        tar_size: written.tar_size,
    })
}

fn warn(layer: &PlannedLayer, notes: &gather::Notes, stale_pyc: u64, observer: &dyn Observer) {
    let label = &layer.label;
    let say = |message: String, hint: &str| {
        observer.event(&Event::Warning(Warning::new(format!("layer `{label}`: {message}")).hint(hint)));
    };
    if let Some((count, path)) = &notes.special_modes {
        let others = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        say(
            format!("setuid, setgid or sticky is dropped from `{path}`{others}"),
            "what needs the bit needs a copy of its own that says so: a file with `mode = \"4755\"`, a directory with `dir-mode`",
        );
    }
    if notes.linked.0 > 0 {
        say(
            match notes.linked {
                (1, bytes) => format!("a file is a hard link of another: {bytes} bytes are in it twice"),
                (count, bytes) => {
                    format!("{count} files are hard links of others: {bytes} bytes are in it twice")
                }
            },
            "links between inputs are not kept, because package managers make them as the file system allows; `preserve = [\"hardlinks\"]` keeps them",
        );
    }
    if stale_pyc > 0 {
        say(
            match stale_pyc {
                1 => "a compiled Python file checks a timestamp that images don't keep".to_owned(),
                count => {
                    format!("{count} compiled Python files check a timestamp that images don't keep")
                }
            },
            "compile with `SOURCE_DATE_EPOCH` set, keep times by `preserve = [\"mtime\"]`, or leave them out with `pyc = \"drop\"` on the copy: Python recompiles them at every start",
        );
    }
}

/// Tells whether the programs in a layer run on all platforms it is planned for.
#[must_use]
pub fn suits(record: &Record, layer: &PlannedLayer) -> bool {
    let runs = |platform| record.machines.iter().all(|machine| machine::runs(platform, machine));
    layer.platforms.iter().all(runs)
}

#[cfg(test)]
mod tests;
