//! The hot path: entries to a blob, block by block.
//!
//! Every worker takes the next block, reads its files, and has its tar bytes; these are hashed
//! into the `diff_id` in order by whoever is there, while the worker compresses them; compressed
//! blocks are written in order in the same way. So each file is read once, no thread waits for
//! another but for memory, and the bytes don't depend on how many threads there are.
//!
//! Where it is known what the layer holds, and the same was in the layer before, blocks are taken
//! from its blob instead: see `layer/previous.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::blob::{BlobError, BlobWriter, SealedBlob, Store};
use crate::cache::{BlockIndex, KnownBlock};
use crate::compress::{EncodedBlock, Encoder, Framer};
use crate::digest::{DiffId, Sha256Blocks};
use crate::event::{Cancel, Cancelled, Event, Observer};
use crate::files::{Entry, EntryKind, FileSource, StatCache};
use crate::inspect::FileFacts;
use crate::layer::block::{self, Block, Limits, content_range};
use crate::layer::budget::{Budget, Room};
use crate::layer::content::Content;
use crate::layer::facts::{self, Facts};
use crate::layer::inputs::Inputs;
use crate::layer::inspect::{self, Findings, Look};
use crate::layer::inventory::{ChunkDigest, ContentDigest, Inventory, InventoryWriter};
use crate::layer::ordered::Ordered;
use crate::layer::previous::{KeyMaker, Known, LEAST, Previous, Reuse};
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
    /// The layer as it was built last, and what it is to hold now.
    pub(super) previous: Option<(&'a Previous, &'a Content)>,
    /// Whether it should be known of a large layer what its blocks were made of.
    pub(super) keeps_index: bool,
    /// Keeps the digests of the files' contents.
    pub(super) keeps_contents: bool,
    /// Whether files are looked at for programs and secrets.
    pub(super) inspects: bool,
    /// Where they were looked at before, whether there was anything to say.
    pub(super) looks: Option<&'a [Look]>,
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
    /// What was found in its files, and the digests of those in which something was; nothing where they
    /// weren't looked at.
    pub(super) findings: Findings,
    pub(super) names: BTreeMap<usize, ContentDigest>,
    /// What its blocks were made of, if that is wanted.
    pub(super) index: Option<BlockIndex>,
    /// The blob, and the inventory's, which still have to be kept.
    pub(super) blobs: [SealedBlob; 2],
}

/// A block's tar bytes, and where they come from.
enum Tar {
    /// Files were read.
    Rendered(Rendered),
    /// The layer as it was built last has them.
    Known(Known),
}

/// A block's tar bytes, and what was learned in reading them.
struct Rendered {
    block: Block,
    bytes: Vec<u8>,
    /// Of files' content in the block, in order, with the index of the entry.
    digests: Vec<(usize, ChunkDigest)>,
    /// Of files that begin in the block, where there is anything to say.
    facts: Vec<(usize, Facts)>,
    /// What was found in pieces of files, where there is anything to say.
    findings: Vec<(usize, FileFacts)>,
    machines: BTreeSet<&'static str>,
    stale_pyc: u64,
}

impl Tar {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Rendered(rendered) => &rendered.bytes,
            Self::Known(Known::Unpacked(bytes)) => bytes,
            Self::Known(Known::Hashed(_)) => &[],
        }
    }
}

struct Hashed {
    hasher: Sha256Blocks,
    /// None where the lines are known.
    inventory: Option<InventoryWriter>,
    /// What makes an index: states after each block, and keys.
    states: Vec<[u32; 8]>,
    keys: Option<KeyMaker>,
    /// Of a file that is known, and is being read again.
    chunks: Vec<ChunkDigest>,
    /// Of the file whose content is being hashed.
    facts: Facts,
    findings: Findings,
    names: BTreeMap<usize, ContentDigest>,
    machines: BTreeSet<String>,
    stale_pyc: u64,
}

struct Spool {
    framer: Framer,
    blob: BlobWriter,
    /// What an index says of the blocks, but for keys and states.
    rows: Vec<KnownBlock>,
    /// The tar bytes of blocks that were taken from the last layer.
    taken: u64,
}

impl Spool {
    fn write(&mut self, item: &Compressed<'_>) -> Result<(), BlobError> {
        let Compressed { block, digest, is_taken, length, .. } = item;
        if *is_taken {
            self.taken += *length as u64;
        }
        self.rows.extend(digest.map(|digest| KnownBlock {
            key: [0; 32],
            length: *length as u32,
            size: block.len() as u32,
            checksum: block.checksum(),
            digest,
            state: [0; 8],
        }));
        self.blob.write(self.framer.append(block, *length))
    }
}

struct Compressed<'a> {
    block: EncodedBlock,
    /// The BLAKE3 digest of its bytes, if an index is made.
    digest: Option<[u8; 32]>,
    is_taken: bool,
    length: usize,
    _room: Room<'a>,
}

/// An inventory and its blob.
type Lines = Result<(Inventory, SealedBlob), BlobError>;

/// What all workers of a layer share.
struct Shared<'a> {
    blocks: Vec<Block>,
    reuse: Option<Reuse<'a>>,
    keeps_index: bool,
    next: Mutex<usize>,
    hashed: Ordered<Arc<Tar>, Hashed>,
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
    /// Writes the layer, in the rayon pool this is called from.
    pub(super) fn run(&self) -> Result<Written, LayerError> {
        let shared = self.start()?;
        let mut lines = None;
        rayon::scope(|scope| {
            // Where it is known what the layer holds, its inventory waits for nothing.
            if let Some(reuse) = &shared.reuse {
                scope.spawn(|_| lines = Some(self.write_lines(reuse.content)));
            }
            for _ in 1..rayon::current_num_threads().min(shared.blocks.len()) {
                scope.spawn(|_| self.work(&shared));
            }
            self.work(&shared);
        });
        self.finish(shared, lines)
    }

    fn start(&self) -> Result<Shared<'a>, LayerError> {
        let compression = self.encoder.compression();
        let blocks = block::cut(self.entries, Limits::of(compression));
        let find = |(previous, content)| Reuse::find(previous, content, &blocks, compression);
        let reuse = self.previous.and_then(find);
        let bytes: u64 = blocks.iter().map(|block| block.len).sum();
        let keeps_index = self.keeps_index && bytes >= LEAST;
        let (framer, header) = Framer::start(compression);
        let mut blob = self.store.writer()?;
        blob.write(header)?;
        let inventory = match &reuse {
            Some(_) => None,
            None if self.keeps_contents => Some(InventoryWriter::new(self.store)?.keeping_contents()),
            None => Some(InventoryWriter::new(self.store)?),
        };
        let hashed = Hashed {
            hasher: Sha256Blocks::new(),
            inventory,
            states: Vec::new(),
            keys: (keeps_index && reuse.is_none()).then(|| KeyMaker::new(compression, &blocks)),
            chunks: Vec::new(),
            facts: Facts::default(),
            findings: Findings::new(),
            names: BTreeMap::new(),
            machines: BTreeSet::new(),
            stale_pyc: 0,
        };
        Ok(Shared {
            blocks,
            reuse,
            keeps_index,
            next: Mutex::new(0),
            hashed: Ordered::new(hashed),
            spool: Ordered::new(Spool { framer, blob, rows: Vec::new(), taken: 0 }),
            fault: Mutex::new(None),
        })
    }

    fn finish(&self, shared: Shared<'a>, lines: Option<Lines>) -> Result<Written, LayerError> {
        if let Some(fault) = shared.fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(fault);
        }
        let Shared { reuse, keeps_index, hashed, spool, .. } = shared;
        let Hashed { hasher, inventory, states, keys, findings, names, machines, stale_pyc, .. } =
            hashed.into_state();
        let Spool { framer, mut blob, rows, taken } = spool.into_state();
        if reuse.is_some() {
            let layer = self.inputs.layer.label.to_owned();
            self.observer.event(&Event::LayerTaken { layer, bytes: taken });
        }
        blob.write(&framer.finish())?;
        let blob = blob.seal();
        let (digest, size) = (blob.digest, blob.size);
        let lines = lines.or_else(|| inventory.map(InventoryWriter::seal));
        let (inventory, lines) = lines.expect("one of both was written")?;
        let (diff_id, tar_size) = hasher.finish();
        let content = reuse.as_ref().map(|reuse| reuse.content);
        let keys = keys.map(KeyMaker::finish).or_else(|| Some(reuse.as_ref()?.keys().to_vec()));
        let index = keys.filter(|_| keeps_index).map(|keys| {
            let rows = rows.into_iter().zip(keys).zip(states);
            let blocks = rows.map(|((row, key), state)| KnownBlock { key, state, ..row }).collect();
            let (_, header) = Framer::start(self.encoder.compression());
            BlockIndex { blob: digest, start: header.len() as u64, blocks }
        });
        let media_type = MediaType::layer(self.encoder.compression());
        Ok(Written {
            descriptor: Descriptor::new(media_type, digest, size),
            diff_id: DiffId(diff_id),
            inventory,
            machines: content.map_or(machines, |content| content.machines.clone()),
            tar_size,
            stale_pyc: content.map_or(stale_pyc, |content| content.stale_pyc),
            findings,
            names,
            index,
            blobs: [blob, lines],
        })
    }

    /// Writes the inventory of what is known.
    fn write_lines(&self, content: &Content) -> Lines {
        let mut inventory = InventoryWriter::new(self.store)?;
        if let Some(lines) = &content.lines {
            for index in 0..lines.ends.len() {
                inventory.add_line(lines.of(index..index + 1))?;
            }
        }
        inventory.seal()
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
        let length = shared.blocks[index].len as usize;
        let compressed = match shared.reuse.as_ref().and_then(|reuse| reuse.take(index)) {
            Some(taken) => {
                let tar = Arc::new(Tar::Known(taken.tar));
                shared.hashed.push(index, tar, |state, tar| self.hash(shared, state, &tar))?;
                let digest = Some(taken.digest);
                Compressed { block: taken.encoded, digest, is_taken: true, length, _room: room }
            }
            None => {
                let rendered = Arc::new(Tar::Rendered(self.render(&shared.blocks[index])?));
                let tar = Arc::clone(&rendered);
                shared.hashed.push(index, tar, |state, tar| self.hash(shared, state, &tar))?;
                let block = self.encoder.encode(rendered.bytes());
                drop(rendered);
                let digest = shared.keeps_index.then(|| *blake3::hash(block.bytes()).as_bytes());
                Compressed { block, digest, is_taken: false, length, _room: room }
            }
        };
        shared.spool.push(index, compressed, |state, item| state.write(&item))?;
        self.observer
            .event(&Event::LayerProgress { layer: self.inputs.layer.label.to_owned(), bytes: length as u64 });
        Ok(())
    }

    /// Takes a block's tar bytes into all that goes in order.
    fn hash(&self, shared: &Shared<'a>, state: &mut Hashed, tar: &Tar) -> Result<(), LayerError> {
        let index = state.states.len();
        let block = &shared.blocks[index];
        match tar {
            Tar::Known(Known::Hashed(known)) => {
                state.hasher = Sha256Blocks::resume(*known, state.hasher.length() + block.len);
            }
            Tar::Known(Known::Unpacked(bytes)) => state.hasher.update(bytes),
            Tar::Rendered(rendered) => {
                state.hasher.update(&rendered.bytes);
                match &shared.reuse {
                    Some(reuse) => self.compare(reuse.content, state, rendered)?,
                    None => self.learn_all(state, rendered)?,
                }
            }
        }
        let reached = state.hasher.state();
        state.states.push(reached);
        // A block was damaged, and came out as something else when it was made again.
        if shared.reuse.as_ref().and_then(|reuse| reuse.state(index)).is_some_and(|known| known != reached) {
            return Err(self.changed(block.start.entry));
        }
        Ok(())
    }

    /// Holds what was read against what it should be: what is taken from the last layer follows from
    /// that, and must be of the same files.
    fn compare(&self, content: &Content, state: &mut Hashed, rendered: &Rendered) -> Result<(), LayerError> {
        let mut digests = rendered.digests.iter().peekable();
        for index in rendered.block.entries() {
            let entry = &self.entries[index];
            let range = content_range(&rendered.block, index, entry);
            if range.start == 0 {
                state.chunks.clear();
            }
            while let Some((_, digest)) = digests.next_if(|(of, _)| *of == index) {
                state.chunks.push(*digest);
            }
            // Of a file that goes through blocks which were taken, not all was read.
            let is_all =
                range.end == entry.size() && state.chunks.len() as u64 == ChunkDigest::count(entry.size());
            let Some(known) = content.contents[index].filter(|_| is_all) else { continue };
            if ContentDigest::of(entry.size(), state.chunks.drain(..)) != known {
                return Err(self.changed(index));
            }
        }
        Ok(())
    }

    fn changed(&self, index: usize) -> LayerError {
        let entry = &self.entries[index];
        let path = match &entry.kind {
            EntryKind::File { source: FileSource::Tree { path, .. }, .. } => path,
            _ => &entry.path,
        };
        LayerError::changed(path).at(self.inputs.span(entry))
    }

    /// Takes down all that is learned from a block that was read.
    fn learn_all(&self, state: &mut Hashed, rendered: &Rendered) -> Result<(), LayerError> {
        state.stale_pyc += rendered.stale_pyc;
        for machine in &rendered.machines {
            if !state.machines.contains(*machine) {
                state.machines.insert((*machine).to_owned());
            }
        }
        inspect::add(&mut state.findings, rendered.findings.iter().cloned());
        let Some(inventory) = &mut state.inventory else { return Ok(()) };
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
            let content = inventory.add(entry, own.iter().map(|(_, digest)| *digest), last)?;
            if !last {
                continue;
            }
            if let Some(keys) = &mut state.keys {
                keys.add(index, inventory.last_line());
            }
            let found = state.findings.get(&index);
            let look = match self.looks {
                Some(looks) => looks[index],
                None if !self.inspects => Look::Unknown,
                None => Look::at(found),
            };
            if let Some(content) = content.filter(|_| found.is_some()) {
                state.names.insert(index, content);
            }
            let facts = Facts { look, ..std::mem::take(&mut state.facts) };
            self.learn(entry, content.zip(Some(facts)));
        }
        Ok(())
    }

    fn learn(&self, entry: &Entry, learned: Option<(ContentDigest, Facts)>) {
        let EntryKind::File { source: FileSource::Tree { path, seen, .. }, .. } = &entry.kind else { return };
        if let (Some(stat), Some(learned)) = (self.stat, learned) {
            facts::learn((stat, self.inputs.tree), (path, seen), entry, learned);
        }
    }

    /// Reads a block's files and writes its tar bytes.
    fn render(&self, block: &Block) -> Result<Rendered, LayerError> {
        let mut rendered = Rendered {
            block: *block,
            bytes: Vec::with_capacity(usize::try_from(block.len).unwrap_or_default()),
            digests: Vec::new(),
            facts: Vec::new(),
            findings: Vec::new(),
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
        if self.inspects {
            let found = inspect::look(self.inputs, entry, range.start, content);
            rendered.findings.extend(found.map(|facts| (index, facts)));
        }
        if range.start == 0 {
            let facts = Facts::of(content);
            if let (false, Some(machine)) = (allow_foreign, facts.machine) {
                rendered.machines.insert(self.inputs.check_machine(entry, machine)?);
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
