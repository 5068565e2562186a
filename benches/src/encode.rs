//! The encoders on trial, one block at a time.

use std::fmt;
use std::str::FromStr;

use libdeflater::{CompressionLvl, Compressor};
use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::error::Error;
use crate::join::{SLACK, open_end};

/// Bytes of a block's predecessor that a dictionary holds: deflate's whole window.
pub const WINDOW: usize = 32 << 10;

/// An encoder and its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// Raw deflate by zlib-rs, each block ended by a sync flush, all of them one gzip member.
    ZlibRs {
        /// 1 to 9.
        level: i32,
        /// Whether a block may refer to the last 32 KiB of the one before.
        dictionary: bool,
    },
    /// Each block a gzip member of its own, by libdeflate.
    Libdeflate {
        /// 1 to 12.
        level: i32,
    },
    /// By libdeflate as well, the blocks' ends opened afterwards so that all are one gzip member.
    Joined {
        /// 1 to 12.
        level: i32,
    },
    /// As `ZlibRs`, by miniz_oxide.
    Miniz {
        /// 1 to 9.
        level: u8,
    },
    /// Each block a zstd frame of its own, by a context of its own.
    Zstd {
        /// 1 to 19.
        level: u8,
    },
}

impl Encoder {
    /// Says whether all blocks together are one gzip member, which then needs head and tail.
    #[must_use]
    pub fn one_member(&self) -> bool {
        !matches!(self, Encoder::Libdeflate { .. } | Encoder::Zstd { .. })
    }

    /// Says whether a block is compressed with the end of the one before.
    #[must_use]
    pub fn dictionary(&self) -> bool {
        matches!(self, Encoder::ZlibRs { dictionary: true, .. })
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encoder::ZlibRs { level, dictionary: false } => write!(formatter, "zlib-rs:{level}"),
            Encoder::ZlibRs { level, dictionary: true } => write!(formatter, "zlib-rs+dict:{level}"),
            Encoder::Libdeflate { level } => write!(formatter, "libdeflate:{level}"),
            Encoder::Joined { level } => write!(formatter, "libdeflate+join:{level}"),
            Encoder::Miniz { level } => write!(formatter, "miniz:{level}"),
            Encoder::Zstd { level } => write!(formatter, "zstd:{level}"),
        }
    }
}

impl FromStr for Encoder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Argument { what: "encoder", value: text.to_owned() };
        let (name, level) = text.split_once(':').ok_or_else(wrong)?;
        let level: u8 = level.parse().map_err(|_| wrong())?;
        match (name, level) {
            ("zlib-rs", 1..=9) => Ok(Encoder::ZlibRs { level: level.into(), dictionary: false }),
            ("zlib-rs+dict", 1..=9) => Ok(Encoder::ZlibRs { level: level.into(), dictionary: true }),
            ("libdeflate", 1..=12) => Ok(Encoder::Libdeflate { level: level.into() }),
            ("libdeflate+join", 1..=12) => Ok(Encoder::Joined { level: level.into() }),
            ("miniz", 1..=9) => Ok(Encoder::Miniz { level }),
            ("zstd", 1..=19) => Ok(Encoder::Zstd { level }),
            _ => Err(wrong()),
        }
    }
}

/// A compressed block.
#[derive(Debug)]
pub struct Piece {
    /// What goes into the blob.
    pub bytes: Vec<u8>,
    /// CRC-32 of the block, where the encoder's framing needs it.
    pub crc: crc32fast::Hasher,
    /// Bytes of the block before compression.
    pub length: usize,
}

/// What a thread keeps between blocks. Nothing in it can influence the bytes of the next block.
#[derive(Default)]
pub struct Scratch {
    output: Vec<u8>,
    compressor: Option<(i32, Compressor)>,
}

/// Compresses one block; `before` is the end of the previous one, and empty unless the encoder
/// wants a dictionary.
///
/// # Errors
/// If the encoder fails or the output doesn't fit into the bound it promised.
pub fn compress(
    encoder: Encoder,
    scratch: &mut Scratch,
    block: &[u8],
    before: &[u8],
) -> Result<Piece, Error> {
    let mut crc = crc32fast::Hasher::new();
    if encoder.one_member() {
        crc.update(block);
    }
    let written = match encoder {
        Encoder::ZlibRs { level, .. } => zlib(level, scratch, block, before),
        Encoder::Libdeflate { level } => libdeflate(level, scratch, block),
        Encoder::Joined { level } => joined(level, scratch, block),
        Encoder::Miniz { level } => miniz(level, scratch, block),
        Encoder::Zstd { level } => zstd(level, scratch, block),
    }
    .map_err(|reason| Error::Encode { encoder: encoder.to_string(), reason })?;
    Ok(Piece { bytes: scratch.output[..written].to_vec(), crc, length: block.len() })
}

/// Grows the output to hold `bound` bytes, and gives just these: the bytes zlib-rs writes may
/// depend on the room it is given, so the room follows from the block's length alone.
fn room(output: &mut Vec<u8>, bound: usize) -> &mut [u8] {
    if output.len() < bound {
        output.resize(bound, 0);
    }
    &mut output[..bound]
}

fn zlib(level: i32, scratch: &mut Scratch, block: &[u8], before: &[u8]) -> Result<usize, String> {
    // A fresh encoder each time: one that is reset keeps state that shows in the bytes.
    let mut deflate = Deflate::new(level, false, 15);
    if !before.is_empty() {
        deflate.set_dictionary(before).map_err(|error| error.as_str().to_owned())?;
    }
    let output = room(&mut scratch.output, zlib_rs::compress_bound(block.len()) + 64);
    let status = deflate
        .compress(block, output, DeflateFlush::SyncFlush)
        .map_err(|error| error.as_str().to_owned())?;
    let written = deflate.total_out() as usize;
    if status != Status::Ok || deflate.total_in() != block.len() as u64 || written >= output.len() {
        return Err(format!("{status:?} after {} of {} bytes", deflate.total_in(), block.len()));
    }
    Ok(written)
}

fn libdeflate(level: i32, scratch: &mut Scratch, block: &[u8]) -> Result<usize, String> {
    let compressor = kept(&mut scratch.compressor, level)?;
    let output = room(&mut scratch.output, compressor.gzip_compress_bound(block.len()));
    compressor.gzip_compress(block, output).map_err(|error| error.to_string())
}

fn joined(level: i32, scratch: &mut Scratch, block: &[u8]) -> Result<usize, String> {
    let compressor = kept(&mut scratch.compressor, level)?;
    let bound = compressor.deflate_compress_bound(block.len());
    let output = room(&mut scratch.output, bound + SLACK);
    let length =
        compressor.deflate_compress(block, &mut output[..bound]).map_err(|error| error.to_string())?;
    open_end(output, length).map_err(str::to_owned)
}

/// Gives the thread's compressor of that level; its calls don't know each other.
fn kept(slot: &mut Option<(i32, Compressor)>, level: i32) -> Result<&mut Compressor, String> {
    if slot.as_ref().is_none_or(|(kept, _)| *kept != level) {
        let wanted = CompressionLvl::new(level).map_err(|error| format!("{error:?}"))?;
        *slot = Some((level, Compressor::new(wanted)));
    }
    slot.as_mut().map(|(_, compressor)| compressor).ok_or_else(|| "no compressor".to_owned())
}

fn zstd(level: u8, scratch: &mut Scratch, block: &[u8]) -> Result<usize, String> {
    let output = room(&mut scratch.output, zstd::zstd_safe::compress_bound(block.len()));
    zstd::bulk::compress_to_buffer(block, output, level.into()).map_err(|error| error.to_string())
}

fn miniz(level: u8, scratch: &mut Scratch, block: &[u8]) -> Result<usize, String> {
    use miniz_oxide::deflate::core::{
        CompressorOxide, TDEFLFlush, TDEFLStatus, create_comp_flags_from_zip_params,
    };
    let flags = create_comp_flags_from_zip_params(level.into(), -15, 0);
    let mut compressor = CompressorOxide::new(flags);
    let output = room(&mut scratch.output, block.len() + block.len() / 8 + 1024);
    let (status, read, written) =
        miniz_oxide::deflate::core::compress(&mut compressor, block, output, TDEFLFlush::Sync);
    if status != TDEFLStatus::Okay || read != block.len() || written >= output.len() {
        return Err(format!("{status:?} after {read} of {} bytes", block.len()));
    }
    Ok(written)
}
