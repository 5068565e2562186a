//! What a layer came to the last time that its copies found just this: so that a tree in which
//! nothing changed costs a look at it, and nothing more.
//!
//! The fingerprint is of all that a layer's bytes are made of before any file is read: the rules
//! of its copies, what the base has, and of everything found its name and metadata. What files hold
//! isn't in it. A memo is therefore made under the condition under which the stat cache learns of a file,
//! held by all of them.

use std::collections::BTreeSet;

use rayon::iter::ParallelIterator as _;
use rayon::slice::ParallelSlice as _;
use serde::{Deserialize, Serialize};

use crate::files::{Child, FileKind, FileTree, Metadata, StatCache, WalkedDirectory};
use crate::key::Key;
use crate::layer::LayerError;
use crate::layer::draft::Sources;
use crate::layer::gather::Notes;
use crate::layer::key::rules_key;
use crate::layer::look::{Seen, Sight};
use crate::plan::PlannedLayer;

/// As many directories are hashed in one go.
const RUN: usize = 256;

/// What a layer came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memo {
    /// The key that its record stood under.
    pub(super) key: Key,
    /// The number of its entries.
    pub(super) entries: u64,
    pub(super) machines: BTreeSet<String>,
    pub(super) stale_pyc: u64,
    pub(super) notes: Notes,
}

/// Names what a layer's copies found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint {
    digest: [u8; 32],
    /// Whether no file could have changed without a trace since.
    is_settled: bool,
}

impl Fingerprint {
    /// Makes it in the rayon pool this is called from; none where not all that counts was looked
    /// at.
    pub(super) fn of(
        layer: &PlannedLayer,
        sights: &[Result<Option<Sight>, LayerError>],
        (sources, stat): (Sources<'_>, &StatCache),
    ) -> Option<Self> {
        // A directory's attributes are read later.
        if layer.copies.iter().any(|copy| copy.preserve.xattrs) || sights.iter().any(Result::is_err) {
            return None;
        }
        let rules = rules_key(layer, sources.listing, sources.latest).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(rules.hex().as_bytes());
        let mut is_settled = true;
        for (sight, copy) in sights.iter().flatten().zip(&layer.copies) {
            let Some(Sight { start, what, .. }) = sight else {
                hasher.update(b"-");
                continue;
            };
            let looker = Looker { tree: sources.tree, stat, keeps_times: copy.preserve.mtime };
            let (tag, single, directories) = match what {
                Seen::Ours => (b"o", None, &[][..]),
                Seen::Single(metadata) => (b"s", Some(metadata), &[][..]),
                Seen::Directory(metadata, walked) => (b"d", Some(metadata), walked.directories()),
                Seen::Glob(walked) => (b"g", None, walked.directories()),
            };
            let mut head = tag.to_vec();
            text(&mut head, start);
            single.into_iter().for_each(|metadata| looker.metadata(&mut head, metadata));
            number(&mut head, directories.len() as u64);
            hasher.update(&head);
            let runs = directories.par_chunks(RUN).map(|run| looker.run(run));
            for (digest, settled) in runs.collect::<Vec<(blake3::Hash, bool)>>() {
                hasher.update(digest.as_bytes());
                is_settled &= settled;
            }
            is_settled &= single.is_none_or(|metadata| looker.is_settled(metadata));
        }
        Some(Self { digest: *hasher.finalize().as_bytes(), is_settled })
    }

    /// Returns what the layer came to when its copies found the same.
    pub(super) fn recall(&self, stat: &StatCache) -> Option<Memo> {
        serde_json::from_slice(&stat.recall(&self.digest)?).ok()
    }

    /// Notes what the layer came to.
    pub(super) fn keep(&self, stat: &StatCache, memo: &Memo) {
        if self.is_settled {
            let memo = serde_json::to_vec(memo).expect("a memo has string keys");
            stat.keep(self.digest, memo);
        }
    }
}

#[derive(Clone, Copy)]
struct Looker<'a> {
    tree: &'a dyn FileTree,
    stat: &'a StatCache,
    /// Whether times of directories count.
    keeps_times: bool,
}

impl Looker<'_> {
    fn run(self, directories: &[WalkedDirectory]) -> (blake3::Hash, bool) {
        let mut bytes = Vec::with_capacity(directories.len() * 1024);
        let mut is_settled = true;
        for directory in directories {
            text(&mut bytes, &directory.path);
            number(&mut bytes, directory.children.len() as u64);
            for Child { name, metadata, target, is_selected } in &directory.children {
                text(&mut bytes, name);
                bytes.push(u8::from(*is_selected));
                self.metadata(&mut bytes, metadata);
                text(&mut bytes, target.as_deref().unwrap_or_default());
                is_settled &= self.is_settled(metadata);
            }
        }
        (blake3::hash(&bytes), is_settled)
    }

    fn metadata(self, out: &mut Vec<u8>, metadata: &Metadata) {
        let Metadata { kind, mode, uid, gid, size, id, links, mtime, ctime } = *metadata;
        out.push(kind as u8);
        [mode, uid, gid].into_iter().for_each(|part| out.extend_from_slice(&part.to_le_bytes()));
        // A directory is other than it was after every file that came and went.
        if kind != FileKind::Directory {
            [size, id.device, id.inode, u64::from(links > 1)].into_iter().for_each(|part| number(out, part));
        }
        let times = if kind == FileKind::Directory { &[mtime][..] } else { &[mtime, ctime] };
        for time in times.iter().filter(|_| kind != FileKind::Directory || self.keeps_times) {
            out.extend_from_slice(&time.seconds.to_le_bytes());
            out.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
    }

    fn is_settled(self, metadata: &Metadata) -> bool {
        metadata.kind != FileKind::Regular
            || (self.stat.is_settled(metadata) && self.tree.has_our_clock(metadata.id.device))
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
