//! Compares this encoder with others: `compare SIZE FILE... -- CODEC:LEVEL...`.
//!
//! Each file is cut into blocks of `SIZE` KiB, compressed one by one. Codecs take turns by blocks
//! of 16 MiB, so that whatever else the machine does falls on all of them.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::Duration;

/// Something that compresses a block and returns the bytes it takes.
type Codec = Box<dyn FnMut(&[u8]) -> usize>;

const ROUNDS: usize = 3;
const TURN: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let block = args.next().ok_or("no block size")?.parse::<usize>()? << 10;
    let files: Vec<String> = args.by_ref().take_while(|arg| arg != "--").collect();
    let names: Vec<String> = args.collect();
    for file in files {
        let bytes = std::fs::read(&file)?;
        println!("{file}: {} bytes", bytes.len());
        let mut times = vec![vec![Duration::ZERO; ROUNDS]; names.len()];
        let mut sizes = vec![0; names.len()];
        #[expect(clippy::needless_range_loop, reason = "`times` is by codec first")]
        for round in 0..ROUNDS {
            let mut codecs = names.iter().map(|name| codec(name)).collect::<Result<Vec<_>, _>>()?;
            for turn in bytes.chunks(TURN) {
                for (index, codec) in codecs.iter_mut().enumerate() {
                    let start = cpu();
                    let size: usize = turn.chunks(block).map(codec).sum();
                    times[index][round] += cpu().saturating_sub(start);
                    sizes[index] += if round == 0 { size } else { 0 };
                }
            }
        }
        for ((name, times), size) in names.iter().zip(&mut times).zip(sizes) {
            times.sort();
            let median = times[ROUNDS / 2].as_secs_f64();
            let speed = bytes.len() as f64 / 1e6 / median;
            let ratio = size as f64 / bytes.len() as f64;
            println!("{name:>14} {size:>11} bytes {ratio:.4} {speed:>7.1} MB/s {median:>6.3} s");
        }
    }
    Ok(())
}

/// Returns how long this thread has run.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

fn codec(name: &str) -> Result<Codec, Box<dyn Error>> {
    let (name, level) = name.split_once(':').ok_or("no level")?;
    let level: u8 = level.parse()?;
    let mut out = Vec::new();
    Ok(match name {
        "ours" => {
            let mut encoder = ocibuild_deflate::Encoder::new(level);
            Box::new(move |block| {
                out.clear();
                encoder.encode(block, &mut out);
                out.len()
            })
        }
        "libdeflate" => {
            let level = libdeflater::CompressionLvl::new(level.into()).map_err(|_| "no such level")?;
            let mut encoder = libdeflater::Compressor::new(level);
            Box::new(move |block| {
                out.resize(encoder.deflate_compress_bound(block.len()), 0);
                encoder.deflate_compress(block, &mut out).unwrap_or(0)
            })
        }
        "zlib-rs" => Box::new(move |block| {
            out.resize(zlib_rs::compress_bound(block.len()) + 64, 0);
            let mut encoder = zlib_rs::Deflate::new(level.into(), false, 15);
            let _ = encoder.compress(block, &mut out, zlib_rs::DeflateFlush::SyncFlush);
            encoder.total_out() as usize
        }),
        _ => return Err("no such codec".into()),
    })
}
