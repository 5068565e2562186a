//! One planned layer to a blob: its files gathered, written through the pipeline, and recorded.

mod block;
mod budget;
mod check;
mod content;
mod difference;
mod draft;
mod facts;
mod foresee;
mod gather;
mod held;
mod ignored;
mod inputs;
mod inventory;
mod keep;
mod key;
mod links;
mod look;
mod machine;
mod memo;
mod merge;
mod near;
mod ordered;
mod outline;
mod owners;
mod package;
mod particulars;
mod parts;
mod pipeline;
mod places;
mod previous;
mod pyc;
mod removal;
mod split;

use std::fmt;
use std::time::Duration;

use crate::base::{Listing, ListingError};
use crate::blob::{BlobError, Store, read_whole};
use crate::cache::{BlockIndexes, BuiltLayer, CacheError, Material, Record};
use crate::compress::{Encoder, codec_id};
use crate::digest::Digest;
use crate::event::{Cancel, Cancelled, Event, Observer, Warning};
use crate::files::{Entry, FileError, FileId, FileKind, FileTree, StatCache, display};
use crate::key::Key;
use crate::layer::content::Content;
use crate::layer::previous::Previous;
use crate::oci::Descriptor;
use crate::pattern::IgnoreError;
use crate::plan::{PlannedLayer, Split};
use crate::spec::Span;

use memo::{Fingerprint, Memo};

pub use budget::Budget;
pub use check::check;
pub use difference::{FileChange, FileChanges, Holding, How, MAX_PATHS};
pub use foresee::{Foreseen, ForeseenPart, foresee};
pub use key::{COMPAT, Circumstances, ManifestKeys, content_key, manifest_keys, split_key, trace_key};
pub use near::Nearby;
pub use outline::{DirectoryOwner, Outline, WrittenDirectory, leads_to, may_disagree, outline};
pub use particulars::particulars;
pub use split::LARGE_FILES;

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
    /// Whether the inventory is wanted even of a layer that another place has.
    pub is_listed: bool,
    /// What blocks of large blobs were made of, where that is kept.
    pub blocks: Option<&'a BlockIndexes>,
    /// The layer as it was built last: what is the same is taken from its blob. Looked at only where
    /// something may answer, as it has to be known what the layer is to hold.
    pub last: Option<&'a Descriptor>,
}

/// Where a blob of a layer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was made, and is in the store.
    Made,
    /// It was in the store.
    Store,
    /// Another place has it, by a number of the caller's.
    Place(usize),
}

/// A record that answers for a layer, or for a part of one.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it says.
    pub record: Record,
    /// Where all its blobs are.
    pub origin: Origin,
}

/// Returns the record of a content key, if there is one and its blobs are at hand.
pub type Answers<'a> = dyn Fn(&Key) -> Result<Option<Answer>, BlobError> + Sync + 'a;

/// A layer that was built, or answered for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Made {
    /// The record, under the layer's content key.
    pub record: Record,
    /// Where each of the record's layers is from.
    pub origins: Vec<Origin>,
    /// Records to be kept under their content keys: of the layer unless a record answered for it, and
    /// of those of its parts that were made. None of them names a blob that isn't in the store.
    pub new: Vec<Record>,
}

/// How often a layer is started again because a file changed under it.
const ATTEMPTS: u32 = 3;

/// Builds a layer: gathers its files and writes its blob and inventory into the store, unless a
/// record answers for what they hold. Of a split layer, records may answer for some of its parts.
///
/// The record that is returned stands under the layer's content key. Runs in the rayon pool that
/// it is called from. A file that changes while it is read starts the layer again, a few times.
/// What was learned of files is kept, also where the layer fails.
///
/// # Errors
/// [`LayerError`]; nothing of the layer is then in the store.
pub fn build(
    layer: &PlannedLayer,
    listing: &Listing,
    materials: Vec<Material>,
    workshop: Workshop<'_>,
) -> Result<Made, LayerError> {
    let stat = workshop.stat.map(|tree| tree.of(&layer.label));
    if let Some(stat) = &stat {
        stat.start();
    }
    let made = attempts(layer, listing, Workshop { stat: stat.as_ref(), ..workshop });
    if let Some(stat) = &stat {
        // Where that can't be, files are read again the next time: of a cache that can't be written
        // to, its records have told.
        let _ = stat.save();
    }
    let made = made?;
    // No lockfile went into the keys of the content, nor into what is kept under them.
    Ok(Made { record: Record { materials, ..made.record }, ..made })
}

fn attempts(layer: &PlannedLayer, listing: &Listing, mut workshop: Workshop<'_>) -> Result<Made, LayerError> {
    let mut attempt = 1;
    loop {
        match build_once(layer, listing, workshop) {
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

fn build_once(layer: &PlannedLayer, listing: &Listing, workshop: Workshop<'_>) -> Result<Made, LayerError> {
    let Workshop { tree, skip, observer, cancel, latest, stat, .. } = workshop;
    observer.event(&Event::LayerStarted { layer: layer.label.clone() });
    let sources = draft::Sources { tree, listing, skip, cancel, latest, stat };
    let sights = look::look(layer, sources);
    let fingerprint = stat.and_then(|stat| Some((Fingerprint::of(layer, &sights, (sources, stat))?, stat)));
    let memo = fingerprint.and_then(|(fingerprint, stat)| fingerprint.recall(stat));
    if let Some(made) = memo.map(|memo| recall(memo, layer, workshop)).transpose()?.flatten() {
        return Ok(made);
    }
    let gathered = gather::gather_seen(layer, sights, sources)?;
    let (made, stale_pyc) = produce(inputs::Inputs { layer, tree }, listing, &gathered, workshop)?;
    warn(layer, &gathered.notes, stale_pyc, observer);
    if let Some((fingerprint, stat)) = fingerprint {
        let Record { key, machines, .. } = made.record.clone();
        let entries = gathered.entries.len() as u64;
        fingerprint.keep(stat, &Memo { key, entries, machines, stale_pyc, notes: gathered.notes });
    }
    Ok(made)
}

/// Finds the record that answered when the layer's copies found what they find now.
fn recall(memo: Memo, layer: &PlannedLayer, workshop: Workshop<'_>) -> Result<Option<Made>, LayerError> {
    let Some(answers) = workshop.answers else { return Ok(None) };
    let Memo { key, entries, machines, stale_pyc, notes } = memo;
    // A small inventory that is damaged is written anew out of the files, the longer way.
    let fits = |answer: &Answer| match &answer.record.inventory {
        Some(inventory) => answer.record.entries == entries && !is_damaged(inventory, workshop.store),
        None => !workshop.is_listed,
    };
    let Some(Answer { record, origin }) = answers(&key)?.filter(fits) else { return Ok(None) };
    warn(layer, &notes, stale_pyc, workshop.observer);
    let origins = vec![origin; record.layers.len()];
    Ok(Some(Made { record: Record { key, machines, ..record }, origins, new: Vec::new() }))
}

/// Gets a layer out of what was gathered, answered for or written; and the number of its stale
/// `.pyc` files.
fn produce(
    inputs: inputs::Inputs<'_>,
    listing: &Listing,
    gathered: &gather::Gathered,
    workshop: Workshop<'_>,
) -> Result<(Made, u64), LayerError> {
    let layer = inputs.layer;
    let last = workshop.blocks.zip(workshop.last).filter(|_| workshop.answers.is_some());
    let previous = last.and_then(|(blocks, last)| Previous::open(blocks, workshop.store, last));
    let content = examine(inputs, gathered, previous.is_some(), workshop)?;
    if let Some(content) = &content
        && let Some(made) = answered(layer, gathered, content, workshop)?
    {
        return Ok((made, content.stale_pyc));
    }
    if layer.split != Split::Whole {
        // What is the same is in other parts.
        let workshop = Workshop { blocks: None, last: None, ..workshop };
        return parts::build(inputs, listing, gathered, content.as_ref(), workshop);
    }
    let entries: Vec<&Entry> = gathered.entries.iter().collect();
    let (count, bytes) = (entries.len() as u64, block::stream_len(&entries));
    workshop.observer.event(&Event::LayerWalked { layer: layer.label.clone(), entries: count, bytes });
    let previous = previous.as_ref().zip(content.as_ref());
    let (record, written) = write(inputs, &entries, previous, false, workshop)?;
    let [blob, inventory] = written.blobs;
    // Syncing waits for the disk.
    let (blob, inventory) = rayon::join(|| blob.keep(), || inventory.keep());
    blob.and(inventory)?;
    if let (Some(blocks), Some(index)) = (workshop.blocks, &written.index) {
        // Where it can't be kept, the next build makes all blocks: of a cache that can't be written
        // to, its records tell.
        let _ = blocks.put(index);
    }
    Ok((Made { new: vec![record.clone()], record, origins: vec![Origin::Made] }, written.stale_pyc))
}

/// Finds out what a layer holds before any of it is written, if something could answer for it.
fn examine(
    inputs: inputs::Inputs<'_>,
    gathered: &gather::Gathered,
    keeps_lines: bool,
    workshop: Workshop<'_>,
) -> Result<Option<Content>, LayerError> {
    let Workshop { budget, cancel, stat, answers, .. } = workshop;
    let entries = &gathered.entries[..];
    let examiner = content::Examiner { inputs, entries, stat, budget, cancel, keeps_lines };
    answers.map(|_| examiner.run()).transpose()
}

/// Finds the record that answers for all that a layer holds. It is as a build would have made it:
/// which machines a layer holds depends on what its copies let through.
fn answered(
    layer: &PlannedLayer,
    gathered: &gather::Gathered,
    content: &Content,
    workshop: Workshop<'_>,
) -> Result<Option<Made>, LayerError> {
    let Some(answers) = workshop.answers else { return Ok(None) };
    let key = whole_key(layer, &content.root);
    let count = gathered.entries.len() as u64;
    let fits = |answer: &Answer| answer.record.inventory.is_none() || answer.record.entries == count;
    let Some(Answer { record, origin }) = answers(&key)?.filter(fits) else { return Ok(None) };
    let mut record = Record { key, machines: content.machines.clone(), ..record };
    let is_written = match &record.inventory {
        None => workshop.is_listed,
        Some(inventory) => is_damaged(inventory, workshop.store),
    };
    if is_written {
        let mut inventory = inventory::InventoryWriter::new(workshop.store)?;
        for (entry, content) in gathered.entries.iter().zip(&content.contents) {
            inventory.line(entry, *content)?;
        }
        record.inventory = Some(inventory.finish()?.descriptor);
        record.entries = count;
        if record.layers.len() == 1 {
            record.tar_size = block::stream_len(&gathered.entries);
        }
    }
    let origins = vec![origin; record.layers.len()];
    Ok(Some(Made { record, origins, new: Vec::new() }))
}

/// Tells whether an inventory's bytes aren't its own, if it is small: as everything is at hand that it
/// is made of, it costs little not to leave it so. A large one would cost a hit more than it is worth.
fn is_damaged(inventory: &Descriptor, store: &Store) -> bool {
    const SMALL: u64 = 1 << 20;
    inventory.size <= SMALL && matches!(read_whole(store, inventory, SMALL), Err(BlobError::Corrupt { .. }))
}

/// Makes the content key of a layer.
fn whole_key(layer: &PlannedLayer, inventory: &Digest) -> Key {
    let codec = codec_id(layer.compression);
    match layer.split {
        Split::Whole => content_key(inventory, &codec),
        split => split_key(inventory, &codec, split),
    }
}

/// Writes a blob of entries, with its inventory. Both have still to be kept.
fn write(
    inputs: inputs::Inputs<'_>,
    entries: &[&Entry],
    previous: Option<(&Previous, &Content)>,
    keeps_contents: bool,
    workshop: Workshop<'_>,
) -> Result<(Record, pipeline::Written), LayerError> {
    let Workshop { store, budget, observer, cancel, stat, blocks, .. } = workshop;
    let compression = inputs.layer.compression;
    let encoder = &Encoder::new(compression);
    let pipeline = pipeline::Pipeline {
        inputs,
        entries,
        encoder,
        stat,
        store,
        budget,
        observer,
        cancel,
        previous,
        keeps_index: blocks.is_some(),
        keeps_contents,
    };
    let written = pipeline.run()?;
    let key = content_key(&written.inventory.root, &codec_id(compression));
    let record = Record {
        version: Record::VERSION,
        key,
        content: Some(key),
        layers: vec![BuiltLayer::new(written.descriptor.clone(), written.diff_id)],
        materials: Vec::new(),
        inventory: Some(written.inventory.descriptor.clone()),
        machines: written.machines.clone(),
        entries: entries.len() as u64,
        tar_size: written.tar_size,
        is_trace: false,
    };
    Ok((record, written))
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
