//! Blocks of tar bytes to one gzip member, or to zstd frames.
//!
//! Each block is compressed by itself, so blocks can be done side by side
//! and in any order, and a block's bytes depend on nothing but its content. Joined, they are one
//! gzip member ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)), which every reader takes:
//! each block ends with a sync flush, which aligns it to a byte, and an empty last block closes
//! the stream.
//!
//! The encoder of gzip is our own, `ocibuild-deflate`: no other gives one member out of independent blocks
//! at the speed that is wanted here, and none promises the same bytes over its versions.
//! `docs/performance.md` has the trial. Still an encoder is named by what it makes of a probe, so
//! that another version in an embedder's graph can never answer for this one: see [`codec_id`].
//!
//! By zstd each block is a frame ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878), section
//! 3.1), and a blob is frames one after the other, which the specification has decoders take. A
//! frame says how long its content is and has no checksum: every blob has a digest. Its window is
//! at most 8 MiB, what every decoder should grant. A frame is made in one call with a context of its
//! own: one that is used again keeps a salt for hashes, by which its next frame has other bytes.

use std::sync::{Mutex, PoisonError};

use ocibuild_deflate as deflate;

use crate::digest::Digest;
use crate::oci::{CodecId, Compression};

/// The version of how blocks are framed.
const FRAMING: u32 = 1;

/// A frame without content: what a zstd blob without blocks is, as no frame at all is no zstd.
const EMPTY_FRAME: [u8; 9] = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses blocks, on as many threads at once as like.
#[derive(Debug)]
pub struct Encoder {
    compression: Compression,
    /// Encoders that nobody uses just now; their tables are worth keeping.
    idle: Mutex<Vec<deflate::Encoder>>,
}

/// A block, compressed.
#[derive(Debug, Clone)]
pub struct EncodedBlock {
    bytes: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl EncodedBlock {
    /// Takes the bytes that a block of `length` bytes was compressed to before, by an encoder of the
    /// same [`codec_id`], and its checksum.
    #[must_use]
    pub fn known(bytes: Vec<u8>, checksum: u32, length: u64) -> Self {
        Self { bytes, checksum: crc32fast::Hasher::new_with_initial_len(checksum, length) }
    }

    /// Returns the compressed bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the checksum of the uncompressed bytes, where the compression has one: what
    /// [`EncodedBlock::known`] takes.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        self.checksum.clone().finalize()
    }

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
        Self { compression, idle: Mutex::default() }
    }

    /// Returns the compression.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Compresses a block.
    #[must_use]
    pub fn encode(&self, block: &[u8]) -> EncodedBlock {
        let mut checksum = crc32fast::Hasher::new();
        let bytes = match self.compression {
            Compression::None => block.to_vec(),
            Compression::Gzip { level } => {
                checksum.update(block);
                self.deflate(block, level)
            }
            Compression::Zstd { level } => frame(block, level),
        };
        EncodedBlock { bytes, checksum }
    }

    fn deflate(&self, block: &[u8], level: u8) -> Vec<u8> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let known = idle().pop();
        let mut encoder = known.unwrap_or_else(|| deflate::Encoder::new(level));
        let mut bytes = Vec::with_capacity(block.len() / 2);
        encoder.encode(block, &mut bytes);
        bytes.shrink_to_fit();
        idle().push(encoder);
        bytes
    }
}

/// Unpacks the bytes that a block of `length` bytes was compressed to. `None` if they are
/// something else.
#[must_use]
pub fn unpack(compression: Compression, bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    let unpacked = match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip { .. } => inflate(bytes, length)?,
        Compression::Zstd { .. } => zstd::bulk::decompress(bytes, length).ok()?,
    };
    (unpacked.len() == length).then_some(unpacked)
}

/// Inflates a block of known length. Its stream isn't ended, as others follow it: an empty last block
/// ([RFC 1951, section 3.2.4](https://www.rfc-editor.org/rfc/rfc1951#section-3.2.4)) is put behind.
fn inflate(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    const END: [u8; 5] = [0b001, 0, 0, 0xff, 0xff];
    let mut unpacked = vec![0; length];
    let ended = [bytes, &END].concat();
    let count = libdeflater::Decompressor::new().deflate_decompress(&ended, &mut unpacked).ok()?;
    unpacked.truncate(count);
    Some(unpacked)
}

/// Makes a zstd frame of a block; a level beyond zstd's own counts as the nearest.
fn frame(block: &[u8], level: u8) -> Vec<u8> {
    let level = level.clamp(1, Compression::MAX_ZSTD_LEVEL);
    let mut bytes = zstd::bulk::compress(block, level.into())
        .expect("a block fits into the bound that zstd gives for it");
    bytes.shrink_to_fit();
    bytes
}

/// Names an encoder to the point where two of the same name write the same bytes. Costs the
/// compression of some thousand bytes.
#[must_use]
pub fn codec_id(compression: Compression) -> CodecId {
    let version = match compression {
        Compression::None => return CodecId::new(format!("none;framing={FRAMING}")),
        Compression::Gzip { .. } => format!("deflate={}", deflate::FRAMING),
        // A probe can't reach all that a version may have changed.
        Compression::Zstd { .. } => format!("libzstd={}", zstd::zstd_safe::version_string()),
    };
    let probe = Digest::of(&Encoder::new(compression).encode(&probe()).bytes).short();
    CodecId::new(format!("{compression};{version};framing={FRAMING};probe={probe}"))
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
    is_empty: bool,
}

impl Framer {
    /// Starts a blob, and returns what it begins with.
    #[must_use]
    pub fn start(compression: Compression) -> (Self, &'static [u8]) {
        let header: &[u8] = match compression {
            Compression::None | Compression::Zstd { .. } => &[],
            Compression::Gzip { .. } => &GZIP_HEADER,
        };
        (Self { compression, checksum: crc32fast::Hasher::new(), length: 0, is_empty: true }, header)
    }

    /// Takes the next block, of `length` uncompressed bytes, and returns the blob's next bytes.
    pub fn append<'a>(&mut self, block: &'a EncodedBlock, length: usize) -> &'a [u8] {
        self.is_empty = false;
        self.checksum.combine(&block.checksum);
        self.length = self.length.wrapping_add(length as u32);
        &block.bytes
    }

    /// Returns what the blob ends with.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        match self.compression {
            Compression::Zstd { .. } if self.is_empty => EMPTY_FRAME.to_vec(),
            Compression::None | Compression::Zstd { .. } => Vec::new(),
            Compression::Gzip { .. } => [
                &deflate::LAST_BLOCK[..],
                &self.checksum.finalize().to_le_bytes(),
                &self.length.to_le_bytes(),
            ]
            .concat(),
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
    fn a_block_is_unpacked_by_itself_and_known_again() {
        for text in ["none", "gzip:1", "gzip:3", "gzip:9", "zstd:3", "zstd:19"] {
            let compression = text.parse().unwrap();
            let encoder = Encoder::new(compression);
            let large = probe().repeat(43);
            for block in [&b"hello"[..], &large, &probe()] {
                let encoded = encoder.encode(block);
                let unpack = |length| super::unpack(compression, encoded.bytes(), length);
                assert!(unpack(block.len()).as_deref() == Some(block), "{text}");
                assert!(unpack(block.len() + 1).is_none(), "{text}");
                let again =
                    EncodedBlock::known(encoded.bytes().to_vec(), encoded.checksum(), block.len() as u64);
                let join = |middle: &EncodedBlock| {
                    let (mut framer, header) = Framer::start(compression);
                    let mut blob = header.to_vec();
                    blob.extend_from_slice(framer.append(&encoder.encode(b"one"), 3));
                    blob.extend_from_slice(framer.append(middle, block.len()));
                    blob.extend_from_slice(framer.append(&encoder.encode(b"two"), 3));
                    blob.extend(framer.finish());
                    blob
                };
                assert!(join(&encoded) == join(&again), "{text}");
            }
        }
    }

    /// Cuts a blob into its frames.
    fn frames(mut blob: &[u8]) -> Vec<&[u8]> {
        let mut frames = Vec::new();
        while !blob.is_empty() {
            let (frame, rest) = blob.split_at(zstd::zstd_safe::find_frame_compressed_size(blob).unwrap());
            frames.push(frame);
            blob = rest;
        }
        frames
    }

    #[test]
    fn each_block_is_a_frame_that_says_its_length_and_has_no_checksum() {
        let large = probe().repeat(200);
        let blocks = [&b"hello "[..], b"", &large, b"world"];
        for level in [0, 1, 3, 7, 19, 255] {
            let blob = blob(Compression::Zstd { level }, &blocks);
            let frames = frames(&blob);
            assert_eq!(frames.len(), blocks.len(), "level {level}");
            for (frame, block) in frames.into_iter().zip(blocks) {
                let length = zstd::zstd_safe::get_frame_content_size(frame).unwrap();
                assert_eq!(length, Some(block.len() as u64), "level {level}");
                assert_eq!(frame[4] & 4, 0, "the flag of a checksum");
            }
            // A decoder that grants 8 MiB and no more.
            let mut decoder = zstd::Decoder::new(&blob[..]).unwrap();
            decoder.window_log_max(23).unwrap();
            let mut out = Vec::new();
            decoder.read_to_end(&mut out).unwrap();
            assert!(out == blocks.concat(), "level {level}");
        }
    }

    #[test]
    fn a_blob_without_blocks_is_zstd_all_the_same() {
        let blob = blob("zstd".parse().unwrap(), &[]);
        assert_eq!(blob, EMPTY_FRAME);
        assert_eq!(frames(&blob).len(), 1);
        assert_eq!(zstd::decode_all(&blob[..]).unwrap(), b"");
    }

    #[test]
    fn a_block_has_the_same_bytes_whatever_was_compressed_before() {
        for level in [1, 3, 6, 9, 12, 15] {
            let encoder = Encoder::new(Compression::Zstd { level });
            let (one, other) = (probe().repeat(12), probe()[7..].repeat(40));
            let first = encoder.encode(&one).bytes;
            let _ = encoder.encode(&other);
            assert!(encoder.encode(&one).bytes == first, "level {level}");
            let elsewhere = std::thread::spawn(move || encoder.encode(&one).bytes).join().unwrap();
            assert!(elsewhere == first, "level {level}");
        }
    }

    #[test]
    fn ids_tell_encoders_apart() {
        let texts = [
            "none", "gzip:1", "gzip:2", "gzip:3", "gzip:6", "gzip:9", "zstd:1", "zstd:3", "zstd:9", "zstd:19",
        ];
        let ids: Vec<CodecId> = texts.map(|text| codec_id(text.parse().unwrap())).to_vec();
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id), "{id:?}");
        }
    }
}
