//! What is compressed comes back.

use std::io::Read as _;

use ocibuild_deflate::Encoder;

fn inflate(stream: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut whole = stream.to_vec();
    whole.extend([3, 0]);
    flate2::read::DeflateDecoder::new(&whole[..]).read_to_end(&mut out).unwrap();
    out
}

fn check(block: &[u8]) {
    for level in 1..=9 {
        let mut out = Vec::new();
        Encoder::new(level).encode(block, &mut out);
        assert!(inflate(&out) == block, "level {level}, {} bytes", block.len());
        out.extend([3, 0]);
        assert!(miniz_oxide::inflate::decompress_to_vec(&out).unwrap() == block);
    }
}

#[test]
fn small_blocks() {
    check(b"");
    check(b"a");
    check(b"hello hello hello hello");
    check(&[0; 100_000]);
    check(&(0..=255).collect::<Vec<u8>>());
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    check(&noise);
}
