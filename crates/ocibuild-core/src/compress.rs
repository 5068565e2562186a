//! Compression of layers: tar bytes in blocks to a blob, and any layer's blob back to tar bytes.

mod decode;
mod encode;

pub use decode::{Bomb, Codec, DecodeError, DecodeLimits, Decoder, decoder};
pub use encode::{EncodedBlock, Encoder, Framer, codec_id, unpack};
