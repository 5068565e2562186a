//! Any layer's blob back to tar bytes: gzip (of any number of members), zstd, or none.
//!
//! What the bytes are is told by themselves: media types are known to lie. Bounded in memory and
//! in what it lets out, so that a small blob cannot keep anybody busy for ever.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::oci::MediaType;

/// How far decompression may go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// The most bytes that may come out.
    pub bytes: u64,
    /// The most bytes that may come out for each byte that went in, once more than
    /// [`DecodeLimits::free`] have come out.
    pub ratio: u64,
    /// Bytes that may come out whatever went in: long runs of zeros are legitimate.
    pub free: u64,
    /// The base-2 logarithm of the largest zstd window: what the decoder may hold in memory.
    pub window_log: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { bytes: 256 << 30, ratio: 200, free: 256 << 20, window_log: 25 }
    }
}

/// A codec, as the first bytes of a blob tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// Not compressed, or by nothing known here.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Codec {
    /// Tells the codec that a layer's media type claims; `None` if it is no layer's that is known.
    #[must_use]
    pub fn of_media_type(media_type: &MediaType) -> Option<Self> {
        let text = media_type.as_str();
        if !media_type.is_layer() {
            return None;
        }
        match text.rsplit(['+', '.']).next() {
            Some("tar") => Some(Self::None),
            Some("gzip") => Some(Self::Gzip),
            Some("zstd") => Some(Self::Zstd),
            _ => None,
        }
    }

    fn sniff(magic: &[u8]) -> Result<Self, DecodeError> {
        match magic {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // A frame, or a frame to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, ..] => Err(DecodeError::Unsupported { name: "bzip2" }),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(DecodeError::Unsupported { name: "xz" }),
            _ => Ok(Self::None),
        }
    }
}

/// A blob cannot be decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Its first bytes could not be had.
    #[error("cannot read the compressed bytes")]
    Read(#[source] io::Error),
    /// It is compressed by something that layers of images aren't.
    #[error("{name} is no compression of image layers")]
    Unsupported {
        /// The compression's name.
        name: &'static str,
    },
    /// The decoder refuses its settings.
    #[error("cannot set the decoder up")]
    Setup(#[source] io::Error),
}

/// More came out of a blob than its [`DecodeLimits`] allow: the cause inside an [`io::Error`] of
/// kind `InvalidData`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{input} compressed bytes have become more than {output} bytes: over the limit")]
#[non_exhaustive]
pub struct Bomb {
    /// Bytes that went in.
    pub input: u64,
    /// Bytes that came out.
    pub output: u64,
}

/// Decompressed bytes.
///
/// What is wrong with them shows while reading, as an [`io::Error`] of kind `InvalidData` or
/// `UnexpectedEof`; other kinds come from the reader they are taken from.
pub struct Decoder<'a> {
    codec: Codec,
    inner: Box<dyn Read + Send + 'a>,
    limits: DecodeLimits,
    input: Arc<Input>,
    output: u64,
}

/// What is known of the bytes that went in.
#[derive(Default)]
struct Input {
    count: AtomicU64,
    failed: AtomicBool,
}

/// Opens a blob's bytes for decompression, after looking at the first of them.
///
/// # Errors
/// [`DecodeError`]. What is wrong later on, and a [`Bomb`], shows as an error while reading.
pub fn decoder<'a>(reader: impl Read + Send + 'a, limits: &DecodeLimits) -> Result<Decoder<'a>, DecodeError> {
    let input = Arc::new(Input::default());
    let mut reader = reader;
    let magic = magic(&mut reader).map_err(DecodeError::Read)?;
    let codec = Codec::sniff(&magic)?;
    let whole = io::Cursor::new(magic).chain(reader);
    let counted = Counted { inner: BufReader::with_capacity(128 << 10, whole), input: Arc::clone(&input) };
    let inner: Box<dyn Read + Send + 'a> = match codec {
        Codec::None => Box::new(counted),
        Codec::Gzip => Box::new(MultiGzDecoder::new(counted)),
        Codec::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(counted).map_err(DecodeError::Setup)?;
            decoder.window_log_max(limits.window_log).map_err(DecodeError::Setup)?;
            Box::new(decoder)
        }
    };
    Ok(Decoder { codec, inner, limits: limits.clone(), input, output: 0 })
}

impl Decoder<'_> {
    /// Returns the codec that was found.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Gives what a decoder finds wrong one kind, whatever the decoder; what the reader below it
    /// met stays as it is.
    fn fault(&self, error: io::Error) -> io::Error {
        let of_reader = self.input.failed.load(Ordering::Relaxed);
        match error.kind() {
            io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => error,
            _ if of_reader => error,
            _ => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }

    fn check(&self) -> io::Result<()> {
        let input = self.input.count.load(Ordering::Relaxed);
        let by_ratio = input.saturating_mul(self.limits.ratio).max(self.limits.free);
        if self.output <= by_ratio.min(self.limits.bytes) {
            return Ok(());
        }
        let bomb = Bomb { input, output: self.output };
        Err(io::Error::new(io::ErrorKind::InvalidData, bomb))
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).map_err(|error| self.fault(error))?;
        self.output += count as u64;
        self.check()?;
        Ok(count)
    }
}

/// Reads up to six bytes: the longest magic there is.
fn magic(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut magic = Vec::with_capacity(6);
    reader.take(6).read_to_end(&mut magic)?;
    Ok(magic)
}

/// Counts what a decoder takes, and notes if there is no more to be had.
struct Counted<R> {
    inner: R,
    input: Arc<Input>,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer).inspect_err(|error| self.input.note(error))?;
        self.input.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf().inspect_err(|error| self.input.note(error))
    }

    fn consume(&mut self, amount: usize) {
        self.input.count.fetch_add(amount as u64, Ordering::Relaxed);
        self.inner.consume(amount);
    }
}

impl Input {
    fn note(&self, error: &io::Error) {
        if error.kind() != io::ErrorKind::Interrupted {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8], limits: &DecodeLimits) -> io::Result<(Codec, Vec<u8>)> {
        let mut decoder = decoder(bytes, limits).unwrap();
        let mut out = Vec::new();
        decoder.read_to_end(&mut out)?;
        Ok((decoder.codec(), out))
    }

    #[test]
    fn every_codec_is_found_and_read_to_its_end() {
        let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
        let skipped =
            [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], &zstd(b"one")[..], &zstd(b"two")].concat();
        for (bytes, codec, expected) in [
            (b"".to_vec(), Codec::None, &b""[..]),
            (b"tar".to_vec(), Codec::None, b"tar"),
            ([gzip(b"one"), gzip(b""), gzip(b"two")].concat(), Codec::Gzip, b"onetwo"),
            ([zstd(b"one"), zstd(b"two")].concat(), Codec::Zstd, b"onetwo"),
            (skipped, Codec::Zstd, b"onetwo"),
        ] {
            assert_eq!(decode(&bytes, &DecodeLimits::default()).unwrap(), (codec, expected.to_vec()));
        }
        for magic in [&b"BZh91AY&SY"[..], b"\xfd7zXZ\0\0"] {
            assert!(matches!(decoder(magic, &DecodeLimits::default()), Err(DecodeError::Unsupported { .. })));
        }
    }

    #[test]
    fn bombs_are_stopped() {
        let zeros = vec![0; 8 << 20];
        let limits = DecodeLimits { free: 1 << 20, ..DecodeLimits::default() };
        let few = DecodeLimits { bytes: 4 << 20, ..DecodeLimits::default() };
        for bomb in [gzip(&zeros), zstd::bulk::compress(&zeros, 3).unwrap()] {
            assert!(decode(&bomb, &DecodeLimits::default()).is_ok());
            for limits in [&limits, &few] {
                let error = decode(&bomb, limits).unwrap_err();
                assert!(error.get_ref().unwrap().is::<Bomb>());
            }
        }
    }

    #[test]
    fn a_large_window_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![1; 1 << 20]).unwrap();
        let error = decode(&encoder.finish().unwrap(), &DecodeLimits::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_the_reader_meets_is_told_from_what_is_wrong_with_the_bytes() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let whole = gzip(b"hello");
        let kind = |reader: Box<dyn Read + Send>| {
            let mut decoder = decoder(reader, &DecodeLimits::default()).unwrap();
            decoder.read_to_end(&mut Vec::new()).unwrap_err().kind()
        };
        let part = io::Cursor::new(whole[..12].to_vec());
        assert_eq!(kind(Box::new(part.clone().chain(Broken))), io::ErrorKind::ConnectionReset);
        assert_eq!(kind(Box::new(part)), io::ErrorKind::UnexpectedEof);
        let garbage = io::Cursor::new([&whole[..], b"this is garbage"].concat());
        assert_eq!(kind(Box::new(garbage)), io::ErrorKind::InvalidData);
    }

    #[test]
    fn media_types_claim_codecs() {
        for (media_type, codec) in [
            (MediaType::LAYER, Some(Codec::None)),
            (MediaType::LAYER_GZIP, Some(Codec::Gzip)),
            (MediaType::LAYER_ZSTD, Some(Codec::Zstd)),
            (MediaType::DOCKER_LAYER, Some(Codec::Gzip)),
            (MediaType::CONFIG, None),
        ] {
            assert_eq!(Codec::of_media_type(&media_type), codec);
        }
    }
}
