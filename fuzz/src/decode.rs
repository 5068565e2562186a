//! Any bytes decompressed: gzip, zstd or neither, within bounds.

use std::io::{self, ErrorKind, Read};

use ocibuild_core::compress::{Codec, DecodeLimits, decoder};

use crate::Trickle;

/// Bytes that may come out whatever goes in, small enough for the fuzzer to run into it.
const FREE: u64 = 1 << 16;
const MOST: u64 = 1 << 20;

/// Decompresses: what comes out keeps within the limits, doesn't depend on how the bytes come in,
/// and a failure is one of the bytes, never of another kind.
pub fn check(data: &[u8]) {
    let mut limits = DecodeLimits::default();
    (limits.bytes, limits.free, limits.window_log) = (MOST, FREE, 20);
    let whole = decode(data, &limits);
    let trickled = decode(Trickle(data), &limits);
    match (&whole, &trickled) {
        (Some((codec, Ok(bytes))), Some((other, Ok(again)))) => {
            assert!(codec == other && bytes == again, "it matters how the bytes come in");
            let most = (data.len() as u64 * limits.ratio).clamp(FREE, MOST);
            assert!(bytes.len() as u64 <= most, "over the limit");
            assert!(*codec != Codec::None || bytes == data, "changed without compression");
        }
        (Some((_, Err(one))), Some((_, Err(other)))) => {
            for kind in [one, other] {
                assert!(matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof), "{kind:?}");
            }
        }
        (None, None) => {}
        // How much of a bomb's input is read before it is found depends on how it comes in.
        (Some((_, Err(ErrorKind::InvalidData))), Some(_))
        | (Some(_), Some((_, Err(ErrorKind::InvalidData)))) => {}
        (one, other) => panic!("{:?} but {:?}", told(one), told(other)),
    }
}

type Outcome = Option<(Codec, Result<Vec<u8>, ErrorKind>)>;

fn decode(reader: impl Read + Send, limits: &DecodeLimits) -> Outcome {
    let mut decoder = decoder(reader, limits).ok()?;
    let mut bytes = Vec::new();
    let result = decoder.read_to_end(&mut bytes).map_err(|error: io::Error| error.kind());
    Some((decoder.codec(), result.map(|_| bytes)))
}

fn told(outcome: &Outcome) -> Option<(Codec, Result<usize, ErrorKind>)> {
    outcome.as_ref().map(|(codec, result)| (*codec, result.as_ref().map(Vec::len).map_err(|kind| *kind)))
}
