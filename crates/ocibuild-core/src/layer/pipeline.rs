//! The hot path: entries to a blob, block by block.
//!
//! Every worker takes the next block, reads its files, and has its tar bytes; these are hashed
//! into the `diff_id` in order by whoever is there, while the worker compresses them; compressed
//! blocks are written in order in the same way. So each file is read once, no thread waits for
//! another but for memory, and the bytes don't depend on how many threads there are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::blob::{BlobWriter, Store};
use crate::compress::{EncodedBlock, Encoder, Framer};
use crate::digest::{DiffId, Sha256Hasher};
use crate::event::{Cancel, Cancelled, Event, Observer};
use crate::files::{Entry, EntryKind, FileSource, StatCache};
use crate::layer::block::{self, Block, Limits, content_range};
use crate::layer::budget::{Budget, Room};
use crate::layer::facts::{self, Facts};
use crate::layer::inputs::Inputs;
use crate::layer::inventory::{ChunkDigest, ContentDigest, Inventory, InventoryWriter};
use crate::layer::ordered::Ordered;
use crate::layer::{LayerError, pyc};
use crate::oci::{Descriptor, MediaType};
use crate::tar;

/// What a layer is written with.
#[derive(Clone, Copy)]
pub(super) struct Pipeline<'a> {
    pub(super) inputs: Inputs<'a>,
    pub(super) entries: &'a [&'a Entry],
    pub(super) encoder: &'a Encoder,
    pub(super) stat: Option<&'a StatCache>,
    pub(super) store: &'a Store,
    pub(super) budget: &'a Budget,
    pub(super) observer: &'a dyn Observer,
    pub(super) cancel: &'a Cancel,
    /// Keeps the digests of the files' contents.
    pub(super) keeps_contents: bool,
}

/// A layer's bytes, written.
pub(super) struct Written {
    pub(super) descriptor: Descriptor,
    pub(super) diff_id: DiffId,
    pub(super) inventory: Inventory,
    pub(super) machines: BTreeSet<String>,
    pub(super) tar_size: u64,
    /// The number of compiled Python files that check a timestamp.
    pub(super) stale_pyc: u64,
}

/// A block's tar bytes, and what was learned in reading them.
struct Rendered {
    block: Block,
    bytes: Vec<u8>,
    /// Of files' content in the block, in order, with the index of the entry.
    digests: Vec<(usize, ChunkDigest)>,
    /// Of files that begin in the block, where there is anything to say.
    facts: Vec<(usize, Facts)>,
    machines: BTreeSet<&'static str>,
    stale_pyc: u64,
}

struct Hashed {
    hasher: Sha256Hasher,
    inventory: InventoryWriter,
    /// Of the file whose content is being hashed.
    facts: Facts,
    machines: BTreeSet<String>,
    stale_pyc: u64,
}

struct Spool {
    framer: Framer,
    blob: BlobWriter,
}

struct Compressed<'a> {
    block: EncodedBlock,
    length: usize,
    _room: Room<'a>,
}

/// What all workers of a layer share.
struct Shared<'a> {
    blocks: Vec<Block>,
    next: Mutex<usize>,
    hashed: Ordered<Arc<Rendered>, Hashed>,
    spool: Ordered<Compressed<'a>, Spool>,
    fault: Mutex<Option<LayerError>>,
}

impl Shared<'_> {
    /// Lets everybody stop.
    fn end(&self, fault: LayerError) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        // What waits for the missing block in vain holds memory that others wait for.
        self.hashed.abandon();
        self.spool.abandon();
    }
}

/// A tree or observer of an embedder may panic; without this, others would wait for that thread's
/// block for ever, and the panic would never come through.
struct EndOnPanic<'s, 'a>(&'s Shared<'a>);

impl Drop for EndOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Cancelled.into());
        }
    }
}

impl<'a> Pipeline<'a> {
    /// Writes the layer into the store, in the rayon pool this is called from.
    pub(super) fn run(&self) -> Result<Written, LayerError> {
        let shared = self.start()?;
        rayon::scope(|scope| {
            for _ in 1..rayon::current_num_threads().min(shared.blocks.len()) {
                scope.spawn(|_| self.work(&shared));
            }
            self.work(&shared);
        });
        self.finish(shared)
    }

    fn start(&self) -> Result<Shared<'a>, LayerError> {
        let blocks = block::cut(self.entries, Limits::of(self.encoder.compression()));
        let (framer, header) = Framer::start(self.encoder.compression());
        let mut blob = self.store.writer()?;
        blob.write(header)?;
        let inventory = InventoryWriter::new(self.store)?;
        let inventory = if self.keeps_contents { inventory.keeping_contents() } else { inventory };
        let hashed = Hashed {
            hasher: Sha256Hasher::new(),
            inventory,
            facts: Facts::default(),
            machines: BTreeSet::new(),
            stale_pyc: 0,
        };
        Ok(Shared {
            blocks,
            next: Mutex::new(0),
            hashed: Ordered::new(hashed),
            spool: Ordered::new(Spool { framer, blob }),
            fault: Mutex::new(None),
        })
    }

    fn finish(&self, shared: Shared<'a>) -> Result<Written, LayerError> {
        if let Some(fault) = shared.fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(fault);
        }
        let Hashed { hasher, inventory, machines, stale_pyc, .. } = shared.hashed.into_state();
        let Spool { framer, mut blob } = shared.spool.into_state();
        blob.write(&framer.finish())?;
        let (diff_id, tar_size) = hasher.finish();
        let (digest, size) = blob.finish()?;
        let media_type = MediaType::layer(self.encoder.compression());
        Ok(Written {
            descriptor: Descriptor::new(media_type, digest, size),
            diff_id: DiffId(diff_id),
            inventory: inventory.finish()?,
            machines,
            tar_size,
            stale_pyc,
        })
    }

    /// Does block after block, until there are none, or one went wrong.
    fn work(&self, shared: &Shared<'a>) {
        let _guard = EndOnPanic(shared);
        while let Some((index, room)) = self.take(shared) {
            if let Err(fault) = self.block(shared, index, room) {
                shared.end(fault);
            }
        }
    }

    fn take(&self, shared: &Shared<'a>) -> Option<(usize, Room<'a>)> {
        let mut next = shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.fault.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return None;
        }
        let block = shared.blocks.get(*next)?;
        // The tar bytes, and at most as many compressed ones.
        let room = self.budget.take(block.len * 2);
        let index = *next;
        *next += 1;
        Some((index, room))
    }

    fn block(&self, shared: &Shared<'a>, index: usize, room: Room<'a>) -> Result<(), LayerError> {
        self.cancel.check()?;
        let rendered = Arc::new(self.render(&shared.blocks[index])?);
        shared.hashed.push(index, Arc::clone(&rendered), |state, item| self.hash(state, &item))?;
        let length = rendered.bytes.len();
        let block = self.encoder.encode(&rendered.bytes);
        drop(rendered);
        shared.spool.push(index, Compressed { block, length, _room: room }, |state, item| {
            state.blob.write(state.framer.append(&item.block, item.length))
        })?;
        self.observer
            .event(&Event::LayerProgress { layer: self.inputs.layer.label.to_owned(), bytes: length as u64 });
        Ok(())
    }

    fn hash(&self, state: &mut Hashed, rendered: &Rendered) -> Result<(), LayerError> {
        state.hasher.update(&rendered.bytes);
        state.stale_pyc += rendered.stale_pyc;
        for machine in &rendered.machines {
            if !state.machines.contains(*machine) {
                state.machines.insert((*machine).to_owned());
            }
        }
        let block = &rendered.block;
        let mut digests = &rendered.digests[..];
        let mut facts = rendered.facts.iter().peekable();
        for index in block.entries() {
            let entry = self.entries[index];
            let count = digests.iter().take_while(|(of, _)| *of == index).count();
            let (own, rest) = digests.split_at(count);
            digests = rest;
            let last = index != block.end.entry || content_range(block, index, entry).end == entry.size();
            if let Some((_, found)) = facts.next_if(|(of, _)| *of == index) {
                state.facts = *found;
            }
            let content = state.inventory.add(entry, own.iter().map(|(_, digest)| *digest), last)?;
            if last {
                self.learn(entry, content.zip(Some(std::mem::take(&mut state.facts))));
            }
        }
        Ok(())
    }

    fn learn(&self, entry: &Entry, learned: Option<(ContentDigest, Facts)>) {
        let EntryKind::File { source: FileSource::Tree { path, seen, .. }, .. } = &entry.kind else { return };
        if let (Some(stat), Some(learned)) = (self.stat, learned) {
            facts::learn(stat, (path, seen), entry, learned);
        }
    }

    /// Reads a block's files and writes its tar bytes.
    fn render(&self, block: &Block) -> Result<Rendered, LayerError> {
        let mut rendered = Rendered {
            block: *block,
            bytes: Vec::with_capacity(usize::try_from(block.len).unwrap_or_default()),
            digests: Vec::new(),
            facts: Vec::new(),
            machines: BTreeSet::new(),
            stale_pyc: 0,
        };
        for index in block.entries() {
            self.render_entry(&mut rendered, index)
                .map_err(|fault| fault.at(self.inputs.span(self.entries[index])))?;
        }
        if block.end.entry == self.entries.len() {
            rendered.bytes.extend_from_slice(&tar::TRAILER);
        }
        debug_assert_eq!(rendered.bytes.len() as u64, block.len);
        Ok(rendered)
    }

    fn render_entry(&self, rendered: &mut Rendered, index: usize) -> Result<(), LayerError> {
        let entry = self.entries[index];
        let range = content_range(&rendered.block, index, entry);
        if range.start == 0 {
            tar::write_header(entry, &mut rendered.bytes);
        }
        let EntryKind::File { source, .. } = &entry.kind else {
            return Ok(());
        };
        let at = rendered.bytes.len();
        let allow_foreign = match source {
            FileSource::Bytes(bytes) => {
                rendered.bytes.extend_from_slice(&bytes[range.start as usize..range.end as usize]);
                true
            }
            FileSource::Tree { path, seen, allow_foreign, .. } => {
                self.inputs.read(path, seen, range.clone(), &mut rendered.bytes)?;
                *allow_foreign
            }
        };
        let content = &rendered.bytes[at..];
        rendered.digests.extend(ChunkDigest::all(content).map(|digest| (index, digest)));
        if range.start == 0 {
            let facts = Facts::of(content);
            if let (false, Some(machine)) = (allow_foreign, facts.machine) {
                self.inputs.check_machine(entry, machine)?;
                rendered.machines.insert(machine);
            }
            if facts.pyc.is_some_and(|checked| pyc::is_stale(&entry.path, entry.mtime, checked)) {
                rendered.stale_pyc += 1;
            }
            if facts.is_any() {
                rendered.facts.push((index, facts));
            }
        }
        tar::pad(&mut rendered.bytes);
        Ok(())
    }
}
