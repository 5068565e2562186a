//! Layers: their bytes, and the entries of their tar.

use std::collections::HashSet;
use std::io::{self, Read};

use crate::base::{HashingReader, is_content_fault};
use crate::blob::{BlobError, Source, read_fault};
use crate::compress::{Codec, DecodeError, decoder};
use crate::digest::DiffId;
use crate::image::validate::{Report, ValidateError, ValidateOptions, blob_violation};
use crate::oci::Descriptor;
use crate::tar::{Entry, EntryKind, ReadError, Reader};

const LAYER: &str = "layer.md#image-layer-filesystem-changeset";
const CHANGES: &str = "layer.md#change-types";
const WHITEOUTS: &str = "layer.md#whiteouts";
const HARDLINKS: &str = "layer.md#hardlinks";

/// As many hard links as are kept in mind to tell those that come before their target.
const MAX_PENDING: usize = 10_000;

/// Reads a layer to its last byte and notes all that is wrong with it.
pub(super) fn check(
    source: &dyn Source,
    descriptor: &Descriptor,
    diff_id: DiffId,
    options: &ValidateOptions,
    report: &mut Report,
) -> Result<(), ValidateError> {
    if let Err(error) = verify(source, descriptor) {
        report.add("descriptor.md#verification", "", blob_violation(error)?);
        return Ok(());
    }
    let fault = |source| read_fault(descriptor.digest, source);
    let bytes = source.fetch(descriptor)?.open(0).map_err(fault)?;
    let decoder = match decoder(bytes, &options.decode) {
        Ok(decoder) => decoder,
        Err(DecodeError::Read(source)) => return Err(fault(source).into()),
        Err(error) => {
            report.add("media-types.md", "", error.to_string());
            return Ok(());
        }
    };
    check_codec(descriptor, decoder.codec(), report);
    let mut entries = Entries::new(options.advice);
    let result = read(HashingReader::new(decoder, diff_id), &mut entries, report);
    entries.finish(report);
    match result {
        Ok(actual) if actual == diff_id => {}
        Ok(actual) => {
            let message = format!("its tar bytes are `{actual}`, but the config has `{diff_id}`");
            report.add("config.md#layer-diffid", "", message);
        }
        Err(ReadError::Read(source)) if is_content_fault(&source) => {
            report.add(LAYER, "", format!("it cannot be read: {source}"));
        }
        Err(ReadError::Read(source)) => return Err(fault(source).into()),
        Err(error) => report.add(LAYER, "", error.to_string()),
    }
    Ok(())
}

/// Makes sure that the blob is what its descriptor says, before anything is concluded from it.
fn verify(source: &dyn Source, descriptor: &Descriptor) -> Result<(), BlobError> {
    let content = source.fetch(descriptor)?;
    let copied = content.open(0).and_then(|mut bytes| io::copy(&mut bytes, &mut io::sink()));
    copied.map(drop).map_err(|source| read_fault(descriptor.digest, source))
}

fn check_codec(descriptor: &Descriptor, found: Codec, report: &mut Report) {
    let media_type = &descriptor.media_type;
    if Codec::of_media_type(media_type).is_some_and(|claimed| claimed != found) {
        let found = match found {
            Codec::None => "not compressed",
            Codec::Gzip => "gzip",
            Codec::Zstd => "zstd",
        };
        report.add("media-types.md", "", format!("its type is `{media_type}`, but its bytes are {found}"));
    }
}

fn read<R: Read>(
    bytes: HashingReader<R>,
    entries: &mut Entries,
    report: &mut Report,
) -> Result<DiffId, ReadError> {
    let mut reader = Reader::new(bytes);
    while let Some(entry) = reader.next_entry()? {
        entries.check(&entry, report);
    }
    Ok(reader.finish()?.value())
}

/// Sixteen bytes in place of a path, so that a million of them fit into memory.
type Mark = [u8; 16];

/// The entries of a layer so far.
struct Entries {
    advice: bool,
    seen: HashSet<Mark>,
    /// Those of `seen` that can have nothing below them.
    leaves: HashSet<Mark>,
    links: HashSet<Mark>,
    /// Directories that something lies in, without an entry so far.
    implied: HashSet<Mark>,
    /// Hard links to what hasn't come yet, and may lie in a lower layer.
    pending: Vec<(Mark, String)>,
}

impl Entries {
    fn new(advice: bool) -> Self {
        let (seen, leaves, links, implied, pending) = Default::default();
        Self { advice, seen, leaves, links, implied, pending }
    }

    fn check(&mut self, entry: &Entry, report: &mut Report) {
        let at = entry.path.escape_ascii().to_string();
        let Some(names) = names(&entry.path) else {
            return report.add(LAYER, at, "the path leads out of the root");
        };
        if entry.path.starts_with(b"/") {
            report.add(LAYER, &at, "the path is absolute");
        }
        let path = mark(&names);
        if !self.seen.insert(path) {
            report.add(LAYER, &at, "the path stands twice in the layer");
        }
        self.check_kind(entry, path, &at, report);
        check_whiteout(entry, &names, &at, report);
        self.check_parents(&names, &at, report);
        if self.advice && self.implied.contains(&path) {
            report.add(LAYER, &at, "the directory comes after what lies in it");
        }
        if self.advice && entry.sparse {
            report.add("layer.md#file-attributes", &at, "the file is sparse");
        }
    }

    fn check_kind(&mut self, entry: &Entry, path: Mark, at: &str, report: &mut Report) {
        match &entry.kind {
            EntryKind::Directory => return,
            EntryKind::Symlink { target } => {
                self.links.insert(path);
                if target.is_empty() {
                    report.add(CHANGES, at, "the symbolic link has no target");
                }
                return;
            }
            EntryKind::Hardlink { target } => self.check_hard_link(target, at, report),
            EntryKind::Other(flag) => {
                let message = format!("entries of type `{}` have no place in a layer", flag.escape_ascii());
                report.add(CHANGES, at, message);
            }
            _ => {}
        }
        self.leaves.insert(path);
    }

    fn check_hard_link(&mut self, target: &[u8], at: &str, report: &mut Report) {
        let Some(names) = names(target) else {
            return report.add(HARDLINKS, at, "the hard link leads out of the root");
        };
        if target.starts_with(b"/") {
            report.add(HARDLINKS, at, "the hard link's target is absolute");
        }
        let target = mark(&names);
        if !self.seen.contains(&target) && self.pending.len() < MAX_PENDING {
            self.pending.push((target, at.to_owned()));
        }
    }

    fn check_parents(&mut self, names: &[&[u8]], at: &str, report: &mut Report) {
        for length in 1..names.len() {
            let parent = mark(&names[..length]);
            if self.leaves.contains(&parent) {
                report.add(LAYER, at, "it lies below what is no directory");
            }
            if !self.advice {
                continue;
            }
            if self.links.contains(&parent) {
                report.add(LAYER, at, "it lies below a symbolic link of the same layer");
            }
            if !self.seen.contains(&parent) {
                self.implied.insert(parent);
            }
        }
    }

    fn finish(self, report: &mut Report) {
        for (target, at) in self.pending {
            if self.seen.contains(&target) {
                report.add(HARDLINKS, at, "the hard link comes before its target");
            }
        }
    }
}

/// Splits a path; nothing if it leads out of where it starts.
fn names(path: &[u8]) -> Option<Vec<&[u8]>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.map(|name| (name != b"..").then_some(name)).collect()
}

fn mark(names: &[&[u8]]) -> Mark {
    let mut hasher = blake3::Hasher::new();
    for name in names {
        hasher.update(b"/");
        hasher.update(name);
    }
    let mut mark = Mark::default();
    hasher.finalize_xof().fill(&mut mark);
    mark
}

fn check_whiteout(entry: &Entry, names: &[&[u8]], at: &str, report: &mut Report) {
    let Some((name, parents)) = names.split_last() else { return };
    if parents.iter().any(|name| name.starts_with(b".wh.")) {
        report.add(WHITEOUTS, at, "a directory cannot be named like a whiteout");
    }
    let Some(hidden) = name.strip_prefix(b".wh.") else { return };
    if matches!(hidden, b"" | b"." | b"..") {
        report.add(WHITEOUTS, at, "the whiteout names nothing to hide");
    }
    if hidden.starts_with(b".wh.") && hidden != b".wh..opq" {
        report.add(WHITEOUTS, at, "the whiteout hides what cannot be there");
    }
    if entry.kind != EntryKind::Regular || entry.size != 0 {
        report.add(WHITEOUTS, at, "a whiteout should be an empty regular file");
    }
}
