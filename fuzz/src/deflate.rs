//! Any bytes compressed and back, at any level and in any blocks.

use std::io::Read;

use ocibuild_core::compress::{DecodeLimits, Encoder, Framer, decoder};
use ocibuild_core::oci::Compression;
use ocibuild_deflate::LAST_BLOCK;

/// The first two bytes choose level and blocks, the others are compressed: they come back, from
/// another inflater too; an encoder writes the same whatever it wrote before; nothing grows by
/// more than is promised.
pub fn check(data: &[u8]) {
    let [level, cut, bytes @ ..] = data else { return };
    let level = level % 9 + 1;
    let (head, tail) = bytes.split_at(bytes.len() * usize::from(*cut) / 255);
    let mut used = ocibuild_deflate::Encoder::new(level);
    let mut stream = Vec::new();
    for block in [head, tail] {
        let start = stream.len();
        used.encode(block, &mut stream);
        let mut alone = Vec::new();
        ocibuild_deflate::Encoder::new(level).encode(block, &mut alone);
        assert!(stream[start..] == alone, "what was written before shows");
        assert!(alone.len() <= block.len() + block.len().div_ceil(65_535) * 5 + 16, "it grew");
        assert!(alone.ends_with(&[0, 0, 0xff, 0xff]), "no sync flush at the end");
    }
    stream.extend(LAST_BLOCK);
    let most = bytes.len() + 1;
    let inflated = miniz_oxide::inflate::decompress_to_vec_with_limit(&stream, most);
    assert!(inflated.expect("it is DEFLATE") == bytes, "other bytes came back");
    check_member(level, &[head, tail], bytes);
}

/// The same as one gzip member, by our own reader.
fn check_member(level: u8, blocks: &[&[u8]], bytes: &[u8]) {
    let compression = Compression::Gzip { level };
    let encoder = Encoder::new(compression);
    let (mut framer, header) = Framer::start(compression);
    let mut blob = header.to_vec();
    for block in blocks {
        blob.extend_from_slice(framer.append(&encoder.encode(block), block.len()));
    }
    blob.extend(framer.finish());
    let mut back = Vec::new();
    let mut decoder = decoder(&blob[..], &DecodeLimits::default()).expect("it is gzip");
    decoder.read_to_end(&mut back).expect("it is sound");
    assert!(back == bytes, "other bytes came back from gzip");
}
