//! The floor: what reading, packing, compressing and hashing a tree costs at the least.
//!
//! `floor TREE OUTPUT [LEVEL]`: pieces of about 1 MiB are read, packed and compressed with
//! libdeflate as a whole by any core, and hashed and written in order by one. No caching, no
//! options, no rules, nothing of the product.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use libdeflater::{CompressionLvl, Compressor};
use ocibuild_benches::stream::{header, padding};
use ocibuild_benches::walk::{Entry, Kind, walk};
use sha2::{Digest, Sha256};

const PIECE: u64 = 1 << 20;
/// Pieces that may wait to be written, for each thread.
const AHEAD: usize = 4;

type Failure = Box<dyn Error + Send + Sync>;
/// Tar bytes and their gzip member.
type Packed = Result<(Vec<u8>, Vec<u8>), Failure>;

/// A range of one entry's content, with its header where it begins the entry.
struct Part<'a> {
    entry: &'a Entry,
    from: u64,
    to: u64,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (Some(tree), Some(output)) = (arguments.first(), arguments.get(1)) else {
        return Err("usage: floor TREE OUTPUT [LEVEL]".into());
    };
    let level: i32 = match arguments.get(2) {
        Some(level) => level.to_str().ok_or("level is a number")?.parse()?,
        None => 1,
    };
    let level = CompressionLvl::new(level).map_err(|_| "level is 1 to 12")?;
    let begun = Instant::now();
    let (tar, blob) = floor(&PathBuf::from(tree), &PathBuf::from(output), level)?;
    println!(
        "{:.3} s, {tar} bytes in, {blob} bytes out, peak memory {} MB",
        begun.elapsed().as_secs_f64(),
        peak()? / 1_000_000
    );
    Ok(())
}

fn floor(tree: &Path, output: &Path, level: CompressionLvl) -> Result<(u64, u64), Failure> {
    let threads = thread::available_parallelism()?.get();
    let entries = walk(tree)?;
    let pieces = cut(&entries);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (sender, receiver) = channel();
    let (permit, permits) = channel();
    for _ in 0..AHEAD * threads {
        permit.send(())?;
    }
    thread::scope(|scope| {
        let writer = scope.spawn(move || write(&receiver, output, || permit.send(()).is_ok()));
        pool.in_place_scope_fifo(|scope| {
            for (number, piece) in pieces.iter().enumerate() {
                if permits.recv().is_err() {
                    break;
                }
                let sender = sender.clone();
                scope.spawn_fifo(move |_| {
                    // A writer that failed is gone, and says why itself.
                    let _ = sender.send((number, pack(tree, piece, level)));
                });
            }
        });
        drop(sender);
        writer.join().map_err(|_| "the writer panicked")?
    })
}

/// Groups the entries into pieces of about 1 MiB; large files are several.
fn cut(entries: &[Entry]) -> Vec<Vec<Part<'_>>> {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        let size = if let Kind::File { size, .. } = entry.kind { size } else { 0 };
        let mut from = 0;
        loop {
            let to = size.min(from + PIECE);
            bytes += 512 + to - from;
            piece.push(Part { entry, from, to });
            if bytes >= PIECE {
                pieces.push(std::mem::take(&mut piece));
                bytes = 0;
            }
            if to == size {
                break;
            }
            from = to;
        }
    }
    pieces.push(piece);
    pieces
}

fn pack(tree: &Path, piece: &[Part<'_>], level: CompressionLvl) -> Packed {
    let mut tar = Vec::with_capacity(2 << 20);
    for part in piece {
        if part.from == 0 {
            header(part.entry, &mut tar)?;
        }
        if part.from < part.to {
            let start = tar.len();
            tar.resize(start + (part.to - part.from) as usize, 0);
            let file = File::open(tree.join(OsStr::from_bytes(&part.entry.path)))?;
            file.read_exact_at(&mut tar[start..], part.from)?;
        }
        if let Kind::File { size, .. } = part.entry.kind
            && part.to == size
        {
            tar.resize(tar.len() + padding(size), 0);
        }
    }
    let blob = compress(&tar, level)?;
    Ok((tar, blob))
}

fn compress(bytes: &[u8], level: CompressionLvl) -> Result<Vec<u8>, Failure> {
    let mut compressor = Compressor::new(level);
    let mut blob = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut blob)?;
    blob.truncate(length);
    Ok(blob)
}

fn write(
    pieces: &Receiver<(usize, Packed)>,
    output: &Path,
    permit: impl Fn() -> bool,
) -> Result<(u64, u64), Failure> {
    let mut file = File::create(output)?;
    let (mut diff_id, mut digest) = (Sha256::new(), Sha256::new());
    let (mut tar_bytes, mut blob_bytes, mut next) = (0, 0, 0);
    let mut waiting = BTreeMap::new();
    let mut put = |tar: &[u8], blob: &[u8]| -> Result<(), Failure> {
        diff_id.update(tar);
        digest.update(blob);
        tar_bytes += tar.len() as u64;
        blob_bytes += blob.len() as u64;
        Ok(file.write_all(blob)?)
    };
    for (number, packed) in pieces {
        waiting.insert(number, packed?);
        while let Some((tar, blob)) = waiting.remove(&next) {
            put(&tar, &blob)?;
            next += 1;
            // The reader of permits may have handed out its last piece.
            let _ = permit();
        }
    }
    put(&[0; 1024], &compress(&[0; 1024], CompressionLvl::fastest())?)?;
    let _ = (diff_id.finalize(), digest.finalize());
    Ok((tar_bytes, blob_bytes))
}

/// Peak resident memory of this process in bytes.
fn peak() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}
