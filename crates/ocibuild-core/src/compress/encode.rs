//! Blocks of tar bytes to one gzip member.
//!
//! Each block is compressed by itself, with a fresh encoder, so blocks can be done side by side
//! and in any order, and a block's bytes depend on nothing but its content. Joined, they are one
//! gzip member ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)), which every reader takes:
//! each block ends with a sync flush, which aligns it to a byte, and an empty last block closes
//! the stream.
//!
//! The encoder crate is called directly, not through `flate2`, whose backend is chosen by the
//! embedder's dependency graph. No encoder promises the same bytes over its versions, so each is
//! named by what it makes of a probe: see [`Encoder::id`].

use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::digest::Digest;
use crate::oci::{CodecId, Compression};

/// The version of how blocks are framed.
const FRAMING: u32 = 1;

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// An empty block that is the last one, by fixed codes.
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Compresses blocks.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    compression: Compression,
}

/// A block, compressed.
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    bytes: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl EncodedBlock {
    /// Returns the number of compressed bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether the block came to nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl Encoder {
    /// Makes the encoder of a compression.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self { compression }
    }

    /// Returns the compression.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Names the encoder to the point where two of the same name write the same bytes. Costs the
    /// compression of some thousand bytes.
    #[must_use]
    pub fn id(&self) -> CodecId {
        let name = match self.compression {
            Compression::None => return CodecId::new(format!("none;framing={FRAMING}")),
            Compression::Gzip { .. } => self.compression,
        };
        let probe = Digest::of(&self.encode(&probe()).bytes).short();
        CodecId::new(format!("{name};zlib-rs;framing={FRAMING};probe={probe}"))
    }

    /// Compresses a block.
    #[must_use]
    pub fn encode(&self, block: &[u8]) -> EncodedBlock {
        let mut checksum = crc32fast::Hasher::new();
        let bytes = match self.compression {
            Compression::None => block.to_vec(),
            Compression::Gzip { level } => {
                checksum.update(block);
                deflate(block, level)
            }
        };
        EncodedBlock { bytes, checksum }
    }
}

/// Deflates a block, up to and with a sync flush.
fn deflate(block: &[u8], level: u8) -> Vec<u8> {
    // The encoder's bytes depend on the room it is given, so that is a function of the block's
    // length alone, and always enough for one call.
    let mut bytes = vec![0; block.len() + block.len() / 8 + 1024];
    let mut encoder = Deflate::new(i32::from(level), false, 15);
    let status = encoder.compress(block, &mut bytes, DeflateFlush::SyncFlush);
    let whole = encoder.total_in() == block.len() as u64 && (encoder.total_out() as usize) < bytes.len();
    assert!(matches!(status, Ok(Status::Ok)) && whole, "an output beyond deflate's bound is never full");
    bytes.truncate(encoder.total_out() as usize);
    bytes.shrink_to_fit();
    bytes
}

/// Text, numbers and noise, so that another encoder is likely to betray itself.
fn probe() -> Vec<u8> {
    let mut state = 1_u32;
    let mut bytes = Vec::with_capacity(24 << 10);
    while bytes.len() < 24 << 10 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 30 {
            0 => bytes.extend_from_slice(b"function(module, exports, require) { return "),
            1 => bytes.extend_from_slice(state.to_string().as_bytes()),
            2 => bytes.extend_from_slice(&state.to_le_bytes()),
            _ => bytes.extend_from_slice(b"\"node_modules/@scope/package\": {\n    \"version\": "),
        }
    }
    bytes
}

/// Joins compressed blocks, in order, to a blob.
#[derive(Debug)]
pub struct Framer {
    compression: Compression,
    checksum: crc32fast::Hasher,
    length: u32,
}

impl Framer {
    /// Starts a blob, and returns what it begins with.
    #[must_use]
    pub fn start(compression: Compression) -> (Self, &'static [u8]) {
        let header: &[u8] = match compression {
            Compression::None => &[],
            Compression::Gzip { .. } => &GZIP_HEADER,
        };
        (Self { compression, checksum: crc32fast::Hasher::new(), length: 0 }, header)
    }

    /// Takes the next block, of `length` uncompressed bytes, and returns the blob's next bytes.
    pub fn append<'a>(&mut self, block: &'a EncodedBlock, length: usize) -> &'a [u8] {
        self.checksum.combine(&block.checksum);
        self.length = self.length.wrapping_add(length as u32);
        &block.bytes
    }

    /// Returns what the blob ends with.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.compression {
            Compression::None => Vec::new(),
            Compression::Gzip { .. } => {
                [&LAST_BLOCK[..], &self.checksum.finalize().to_le_bytes(), &self.length.to_le_bytes()]
                    .concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn blob(compression: Compression, blocks: &[&[u8]]) -> Vec<u8> {
        let encoder = Encoder::new(compression);
        let (mut framer, header) = Framer::start(compression);
        let mut blob = header.to_vec();
        for block in blocks {
            blob.extend_from_slice(framer.append(&encoder.encode(block), block.len()));
        }
        blob.extend(framer.finish());
        blob
    }

    fn gunzip(blob: &[u8]) -> Vec<u8> {
        // Not the multi-member reader: there must be one member.
        let mut out = Vec::new();
        flate2::bufread::GzDecoder::new(blob).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn blocks_join_to_one_member() {
        let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for level in 1..=9 {
            let blocks = [&b"hello "[..], b"", &noise, b"world"];
            let blob = blob(Compression::Gzip { level }, &blocks);
            assert_eq!(gunzip(&blob), blocks.concat(), "level {level}");
        }
        assert_eq!(gunzip(&blob(Compression::default(), &[])), b"");
        assert_eq!(blob(Compression::None, &[b"a", b"b"]), b"ab");
    }

    #[test]
    fn ids_tell_encoders_apart() {
        let ids: Vec<CodecId> = ["none", "gzip:1", "gzip:2", "gzip:3", "gzip:6", "gzip:9"]
            .map(|text| Encoder::new(text.parse().unwrap()).id())
            .to_vec();
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id), "{id:?}");
        }
    }
}
