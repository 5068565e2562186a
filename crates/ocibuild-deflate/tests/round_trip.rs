//! What is compressed comes back, and is the same bytes for ever.
#![allow(clippy::unwrap_used, reason = "all of this is test")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use ocibuild_deflate::{Encoder, LAST_BLOCK};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

/// One level of each effort.
const LEVELS: [u8; 4] = [1, 3, 4, 6];

fn encode(block: &[u8], level: u8) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(level).encode(block, &mut out);
    out
}

#[track_caller]
fn check(block: &[u8]) {
    for level in LEVELS {
        let mut stream = encode(block, level);
        assert!(stream.ends_with(&[0, 0, 0xff, 0xff]), "no sync flush");
        assert!(stream.len() <= block.len() + block.len().div_ceil(65535) * 5 + 16, "too long");
        stream.extend(LAST_BLOCK);
        let mut out = Vec::new();
        flate2::read::DeflateDecoder::new(&stream[..]).read_to_end(&mut out).unwrap();
        assert!(out == block, "level {level}, {} bytes", block.len());
        assert!(miniz_oxide::inflate::decompress_to_vec(&stream).unwrap() == block);
        let mut out = vec![0; block.len()];
        let length = libdeflater::Decompressor::new().deflate_decompress(&stream, &mut out).unwrap();
        assert!(length == block.len() && out == block);
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Text, numbers, noise, zeros and repeats.
fn probe(length: usize) -> Vec<u8> {
    let random = noise(length + 4);
    let mut bytes = Vec::new();
    for four in random.windows(4) {
        let number = u32::from_le_bytes([four[0], four[1], four[2], 0]) as usize;
        match four[3] % 8 {
            0 => bytes.extend_from_slice(b"function(module, exports, require) { return "),
            1 => bytes.extend_from_slice(number.to_string().as_bytes()),
            2 => bytes.extend_from_slice(four),
            3 => bytes.resize(bytes.len() + number % 60, 0),
            4 => {
                bytes.extend_from_slice(&random[number % length..(number % length + number % 50).min(length)])
            }
            5 => bytes.extend_from_within(bytes.len() / 2..(bytes.len() / 2 + number % 90).min(bytes.len())),
            _ => bytes.extend_from_slice(b"\"node_modules/@scope/package\": {\n    \"version\": "),
        }
        if bytes.len() > length {
            break;
        }
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn small_blocks() {
    let all: Vec<u8> = (0..=255).collect();
    let probe = probe(1000);
    for length in (0..40).chain([100, 257, 258, 259, 300]) {
        check(&all[..length.min(256)]);
        check(&vec![0; length]);
        check(&probe[..length]);
    }
    check(b"hello hello hello hello");
}

#[test]
fn repeats_at_every_distance() {
    let noise = noise(40_000);
    let mut block = Vec::new();
    for distance in (1..100).chain([255, 256, 257, 4095, 4096, 16_384]).chain(32_760..32_775) {
        block.clear();
        block.extend_from_slice(&noise[..distance]);
        for length in (3..40).chain([257, 258, 259, 300]) {
            let start = block.len() - distance;
            (0..length).for_each(|index| block.push(block[start + index]));
            block.push(noise[length]);
        }
        check(&block);
    }
}

#[test]
fn long_blocks() {
    check(&vec![b'a'; 1 << 20]);
    check(&noise(700_000));
    check(&probe(5 << 20));
    let mixed = [probe(300_000), noise(300_000), vec![0; 400_000], probe(100_000)].concat();
    check(&mixed);
    check(&mixed[1..]);
}

#[test]
fn earlier_blocks_leave_no_trace() {
    let blocks = [probe(200_000), noise(100_000), Vec::new(), probe(70_000), vec![7; 66_000], probe(200_000)];
    for level in 1..=9 {
        let mut encoder = Encoder::new(level);
        let mut out = vec![1, 2, 3];
        let mut expected = out.clone();
        for block in &blocks {
            encoder.encode(block, &mut out);
            expected.extend(encode(block, level));
            assert!(out == expected, "level {level}");
        }
    }
}

#[test]
fn joined_blocks_are_one_gzip_member() {
    let blocks = [probe(300_000), Vec::new(), noise(1000), b"end".to_vec()];
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for (block, level) in blocks.iter().zip([1, 3, 6, 9]) {
        Encoder::new(level).encode(block, &mut member);
    }
    let whole = blocks.concat();
    member.extend(LAST_BLOCK);
    member.extend(libdeflater::crc32(&whole).to_le_bytes());
    member.extend((whole.len() as u32).to_le_bytes());
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&member[..]).read_to_end(&mut out).unwrap();
    assert!(out == whole);
    let gzip = Command::new("gzip").arg("-t").stdin(Stdio::piped()).spawn();
    let Ok(mut gzip) = gzip else { return eprintln!("skipped: no gzip here") };
    gzip.stdin.take().unwrap().write_all(&member).unwrap();
    assert!(gzip.wait().unwrap().success());
}

#[test]
fn bytes_never_change() {
    let block = probe(1 << 20);
    let mut digests = String::new();
    for level in LEVELS {
        let out = encode(&block, level);
        let digest: String = Sha256::digest(&out).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        writeln!(digests, "{level} {} {digest}", out.len()).unwrap();
    }
    assert_eq!(digests, include_str!("golden.txt"), "other bytes: raise `FRAMING`");
}

/// A stretch of a structured block.
fn stretch() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0_usize..5000).prop_map(|(byte, length)| vec![byte; length]),
        (0_usize..60_000).prop_map(probe),
        (proptest::collection::vec(any::<u8>(), 1..40), 1_usize..300)
            .prop_map(|(bytes, count)| bytes.repeat(count)),
        proptest::collection::vec(0_u8..4, 0..9000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn structured_blocks_come_back(stretches in proptest::collection::vec(stretch(), 0..12)) {
        let whole = stretches.concat();
        check(&whole);
        check(&[&whole[..], &whole[whole.len() / 3..]].concat());
    }
}
