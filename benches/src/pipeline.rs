//! The whole way of a layer: walk, read, tar, cut, hash, compress, hash, write.
//!
//! One thread reads and forms blocks, one hashes them in order, the pool compresses them out of
//! order, one writes them in order; a budget of bytes in flight bounds the memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use rayon::ThreadPool;
use sha2::{Digest, Sha256};

use crate::blocks::{Former, Rule};
use crate::encode::{Encoder, Piece, Scratch, WINDOW, compress};
use crate::error::{Error, io_error};
use crate::stream::header;
use crate::walk::{Entry, Kind, walk};

/// How a run is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Where blocks end.
    pub rule: Rule,
    /// What compresses them.
    pub encoder: Encoder,
    /// Bytes of blocks that may be in flight between reading and writing; at least one block's.
    pub budget: usize,
}

/// What one run made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// Files, directories and links.
    pub entries: usize,
    /// Blocks the stream was cut into.
    pub blocks: usize,
    /// Bytes of the tar stream.
    pub tar: u64,
    /// Bytes of the compressed output.
    pub blob: u64,
    /// SHA-256 of the tar stream.
    pub diff_id: [u8; 32],
    /// SHA-256 of the output.
    pub digest: [u8; 32],
}

/// A block on its way, with the end of the one before where the encoder wants it.
struct Block {
    buffer: Vec<u8>,
    length: usize,
    before: Vec<u8>,
}

impl Block {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// Blocks until as many bytes are free as are asked for.
struct Budget {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    fn take(&self, bytes: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free < bytes {
            free = self.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
    }

    fn give(&self, bytes: usize) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.freed.notify_one();
    }
}

/// Makes one layer of the tree below `root` and writes it to `output`.
///
/// # Errors
/// If a file can't be read, changes meanwhile, or the output can't be written.
pub fn run(root: &Path, settings: Settings, pool: &ThreadPool, output: &Path) -> Result<Report, Error> {
    let Settings { rule, encoder, budget } = settings;
    let entries = pool.install(|| walk(root))?;
    let budget = Arc::new(Budget { free: Mutex::new(budget.max(rule.capacity())), freed: Condvar::new() });
    let (hash_sender, hash_receiver) = channel::<Arc<Block>>();
    let (piece_sender, piece_receiver) = channel();
    let (spare_sender, spare_receiver) = channel();
    thread::scope(|scope| {
        let spare = spare_sender.clone();
        let hasher = scope.spawn(move || hash(&hash_receiver, &spare));
        let writer = scope.spawn({
            let budget = Arc::clone(&budget);
            move || write(&piece_receiver, encoder, output, &budget)
        });
        let mut reader = Reader { encoder, pool, budget: &budget, count: 0, before: Vec::new() };
        let (blocks, tar) =
            reader.read(root, &entries, rule, &hash_sender, &piece_sender, &spare_sender, &spare_receiver)?;
        drop((hash_sender, piece_sender));
        let diff_id = hasher.join().map_err(|_| Error::Stage { stage: "hashing" })?;
        let (blob, digest) = writer.join().map_err(|_| Error::Stage { stage: "writing" })??;
        Ok(Report { entries: entries.len(), blocks, tar, blob, diff_id, digest })
    })
}

struct Reader<'a> {
    encoder: Encoder,
    pool: &'a ThreadPool,
    budget: &'a Budget,
    count: usize,
    before: Vec<u8>,
}

type Numbered = (usize, Result<Piece, Error>);

impl Reader<'_> {
    #[allow(clippy::too_many_arguments)]
    fn read(
        &mut self,
        root: &Path,
        entries: &[Entry],
        rule: Rule,
        hash_sender: &Sender<Arc<Block>>,
        piece_sender: &Sender<Numbered>,
        spare_sender: &Sender<Vec<u8>>,
        spare_receiver: &Receiver<Vec<u8>>,
    ) -> Result<(usize, u64), Error> {
        let capacity = rule.capacity();
        let mut tar = 0;
        let mut former = Former::new(rule, vec![0; capacity], |buffer, length| {
            tar += length as u64;
            self.budget.take(length);
            let before = std::mem::take(&mut self.before);
            if self.encoder.dictionary() {
                self.before = buffer[length.saturating_sub(WINDOW)..length].to_vec();
            }
            let block = Arc::new(Block { buffer, length, before });
            hash_sender.send(Arc::clone(&block)).map_err(|_| Error::Stage { stage: "hashing" })?;
            let (sender, spare, encoder, number) =
                (piece_sender.clone(), spare_sender.clone(), self.encoder, self.count);
            self.count += 1;
            self.pool.spawn_fifo(move || {
                let piece = in_scratch(|scratch| compress(encoder, scratch, block.bytes(), &block.before));
                recycle(block, &spare);
                // A writer that failed has left; its own error is the one that counts.
                let _ = sender.send((number, piece));
            });
            Ok(spare_receiver.try_recv().unwrap_or_else(|_| vec![0; capacity]))
        });
        feed(root, entries, &mut former)?;
        former.finish()?;
        Ok((self.count, tar))
    }
}

/// Reads every entry once and gives it to the former.
fn feed<F>(root: &Path, entries: &[Entry], former: &mut Former<F>) -> Result<(), Error>
where
    F: FnMut(Vec<u8>, usize) -> Result<Vec<u8>, Error>,
{
    let mut head = Vec::new();
    for entry in entries {
        head.clear();
        header(entry, &mut head)?;
        let Kind::File { size, .. } = entry.kind else {
            former.entry(&entry.path, &head, 0, |_| Ok(()))?;
            continue;
        };
        let path = root.join(std::ffi::OsStr::from_bytes(&entry.path));
        let mut file = File::open(&path).map_err(io_error("open", &path))?;
        former.entry(&entry.path, &head, size, |piece| {
            file.read_exact(piece).map_err(io_error("read", &path))
        })?;
        if file.read(&mut [0]).map_err(io_error("read", &path))? != 0 {
            return Err(Error::Changed { path });
        }
    }
    Ok(())
}

fn in_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local!(static SCRATCH: RefCell<Scratch> = RefCell::default());
    SCRATCH.with_borrow_mut(work)
}

/// Hands the block's buffer back, if nobody else still needs it.
fn recycle(block: Arc<Block>, spare: &Sender<Vec<u8>>) {
    if let Some(block) = Arc::into_inner(block) {
        // The reader may be done; then the buffer is just freed.
        let _ = spare.send(block.buffer);
    }
}

fn hash(blocks: &Receiver<Arc<Block>>, spare: &Sender<Vec<u8>>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for block in blocks {
        hasher.update(block.bytes());
        recycle(block, spare);
    }
    hasher.finalize().into()
}

fn write(
    pieces: &Receiver<Numbered>,
    encoder: Encoder,
    output: &Path,
    budget: &Budget,
) -> Result<(u64, [u8; 32]), Error> {
    let file = File::create(output).map_err(io_error("create", output))?;
    let mut blob = Blob { file: BufWriter::new(file), hasher: Sha256::new(), length: 0 };
    let failed = || io_error("write", output);
    let (mut crc, mut length) = (crc32fast::Hasher::new(), 0_u32);
    if encoder.one_member() {
        blob.put(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]).map_err(failed())?;
    }
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (number, piece) in pieces {
        waiting.insert(number, piece);
        while let Some(piece) = waiting.remove(&next) {
            next += 1;
            let outcome = piece.and_then(|piece| {
                crc.combine(&piece.crc);
                length = length.wrapping_add(piece.length as u32);
                budget.give(piece.length);
                blob.put(&piece.bytes).map_err(failed())
            });
            if outcome.is_err() {
                // Nobody may wait for bytes that will never be written.
                budget.give(usize::MAX / 4);
                outcome?;
            }
        }
    }
    if encoder.one_member() {
        // An empty last block with fixed codes, then the member's tail.
        blob.put(&[3, 0]).map_err(failed())?;
        blob.put(&crc.finalize().to_le_bytes()).map_err(failed())?;
        blob.put(&length.to_le_bytes()).map_err(failed())?;
    }
    blob.file.flush().map_err(failed())?;
    Ok((blob.length, blob.hasher.finalize().into()))
}

struct Blob {
    file: BufWriter<File>,
    hasher: Sha256,
    length: u64,
}

impl Blob {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}
