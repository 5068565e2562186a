//! Content digests: what a run of bytes is called, and how bytes are hashed on their way.
//!
//! Knows nothing of what the bytes mean. A [`Digest`] names stored bytes (a blob), a [`DiffId`]
//! names the uncompressed bytes of a layer; the two are never interchangeable.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// Says why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The text has no `algorithm:` in front.
    #[error("`{0}` is not a digest: it should read `sha256:` and 64 hexadecimal digits")]
    Malformed(String),
    /// The algorithm is not one this library can verify.
    #[error("`{0}` names a digest algorithm that cannot be verified here (sha256 and sha512 can)")]
    UnknownAlgorithm(String),
}

/// The digest of a run of bytes, as in `sha256:…`.
///
/// Only registered algorithms that can be verified are representable
/// ([image-spec, descriptor, digests](https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests)).
/// Everything written by this library is named by SHA-256; SHA-512 is understood in what it reads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Value);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digest {
    /// Computes the SHA-256 digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Value::Sha256(Sha256::digest(bytes).into()))
    }

    /// Takes the 32 bytes of a SHA-256 state as a digest.
    #[must_use]
    pub fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(Value::Sha256(bytes))
    }

    /// Returns the algorithm's registered name: `sha256` or `sha512`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.0 {
            Value::Sha256(_) => "sha256",
            Value::Sha512(_) => "sha512",
        }
    }

    /// Returns the encoded part: lowercase hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        to_hex(match &self.0 {
            Value::Sha256(bytes) => bytes,
            Value::Sha512(bytes) => bytes,
        })
    }

    /// Returns the first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }

    fn hasher(&self) -> Hasher {
        match self.0 {
            Value::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Value::Sha512(_) => Hasher::Sha512(Sha512::new()),
        }
    }
}

/// Writes bytes as lowercase hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads lowercase hexadecimal digits into exactly `N` bytes.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(bytes)
}

/// Reads lowercase hexadecimal digits into as many bytes as they are.
pub(crate) fn from_hex_any(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(*pair.get(1)?)?)).collect()
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.chars().take(200).collect());
        let (algorithm, encoded) = text.split_once(':').ok_or_else(malformed)?;
        let value = match algorithm {
            "sha256" => Value::Sha256(from_hex(encoded).ok_or_else(malformed)?),
            "sha512" => Value::Sha512(from_hex(encoded).ok_or_else(malformed)?),
            _ => return Err(DigestError::UnknownAlgorithm(text.chars().take(200).collect())),
        };
        Ok(Self(value))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The digest of a layer's uncompressed tar bytes, as it stands in an image's config
/// ([image-spec, config, layer DiffID](https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md#layer-diffid)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A running SHA-256 over bytes handed to it.
#[derive(Clone)]
pub struct Sha256Hasher {
    state: Sha256,
    length: u64,
}

impl Sha256Hasher {
    /// Starts over no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Sha256::new(), length: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Returns the digest and the number of bytes it is over.
    #[must_use]
    pub fn finish(self) -> (Digest, u64) {
        (Digest::from_sha256(self.state.finalize().into()), self.length)
    }
}

impl Default for Sha256Hasher {
    fn default() -> Self {
        Self::new()
    }
}

/// A running SHA-256 over runs of whole 64-byte blocks, which can be left and gone on with from its
/// state: nothing waits in a buffer at the end of a run.
#[derive(Clone)]
pub(crate) struct Sha256Blocks {
    state: [u32; 8],
    length: u64,
}

impl Sha256Blocks {
    /// The size of a block, in bytes.
    const BLOCK: usize = 64;

    /// What a hash begins with
    /// ([FIPS 180-4](https://csrc.nist.gov/pubs/fips/180-4/upd1/final), section 5.3.3).
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    /// Starts over no bytes.
    pub(crate) fn new() -> Self {
        Self::resume(Self::INITIAL, 0)
    }

    /// Goes on from a state that was reached after so many bytes.
    pub(crate) fn resume(state: [u32; 8], length: u64) -> Self {
        Self { state, length }
    }

    /// Adds bytes, a multiple of 64.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<{ Self::BLOCK }>();
        assert!(rest.is_empty(), "whole blocks are hashed");
        sha2::block_api::compress256(&mut self.state, blocks);
        self.length += bytes.len() as u64;
    }

    /// Returns what goes on from here.
    pub(crate) fn state(&self) -> [u32; 8] {
        self.state
    }

    /// Returns the number of bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the digest and the number of bytes it is over.
    pub(crate) fn finish(mut self) -> (Digest, u64) {
        let mut last = [0; Self::BLOCK];
        last[0] = 0x80;
        last[Self::BLOCK - 8..].copy_from_slice(&(self.length * 8).to_be_bytes());
        sha2::block_api::compress256(&mut self.state, &[last]);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        (Digest::from_sha256(digest), self.length)
    }
}

/// Hashes everything written through it.
pub struct HashingWriter<W> {
    inner: W,
    hasher: Sha256Hasher,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256Hasher::new() }
    }

    /// Gives the writer back, with the digest and number of the bytes that went through.
    pub fn finish(self) -> (W, Digest, u64) {
        let (digest, length) = self.hasher.finish();
        (self.inner, digest, length)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    fn value(&self) -> Digest {
        Digest(match self {
            Self::Sha256(state) => Value::Sha256(state.clone().finalize().into()),
            Self::Sha512(state) => Value::Sha512(state.clone().finalize().into()),
        })
    }
}

/// Says how bytes differ from what their descriptor promised; the cause inside an
/// [`io::Error`] of kind `InvalidData` that a [`VerifyingReader`] returns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// More or fewer bytes came than promised.
    #[error("`{digest}` should have {expected} bytes, but {}", if *.more { "has more".to_owned() } else { format!("has {actual}") })]
    Size {
        /// What was asked for.
        digest: Digest,
        /// The promised number of bytes.
        expected: u64,
        /// The number of bytes seen.
        actual: u64,
        /// Whether reading stopped because there were more bytes than promised.
        more: bool,
    },
    /// The bytes have another digest.
    #[error("bytes that should be `{expected}` are `{actual}`")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
}

/// Passes bytes through and, at their end, makes sure that they are what was asked for.
///
/// An error at the end means that nothing read so far may be trusted. Reading less than to the
/// end verifies nothing. At most one byte more than promised is ever read.
pub struct VerifyingReader<R> {
    inner: R,
    state: Verifying,
}

impl<R: Read> VerifyingReader<R> {
    /// Wraps a reader whose bytes should have this digest and this size in bytes.
    pub fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self::resume(inner, Verifying::new(digest, size))
    }

    /// Wraps a reader that begins where the state is.
    pub(crate) fn resume(inner: R, state: Verifying) -> Self {
        Self { inner, state }
    }

    /// How far verifying has come.
    #[cfg(feature = "registry")]
    pub(crate) fn state(&self) -> &Verifying {
        &self.state
    }
}

/// How far verifying has come: kept, it lets reading go on from there at another time.
#[derive(Clone)]
pub(crate) struct Verifying {
    digest: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
    verified: bool,
}

impl Verifying {
    /// Starts at the beginning.
    pub(crate) fn new(digest: Digest, size: u64) -> Self {
        Self { digest, size, seen: 0, hasher: digest.hasher(), verified: false }
    }

    /// The number of bytes that were read.
    #[cfg(feature = "registry")]
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    fn verify(&mut self) -> io::Result<()> {
        if self.verified {
            return Ok(());
        }
        let mismatch = if self.seen != self.size {
            Mismatch::Size {
                digest: self.digest,
                expected: self.size,
                actual: self.seen,
                more: self.seen > self.size,
            }
        } else {
            match self.hasher.value() {
                actual if actual == self.digest => {
                    self.verified = true;
                    return Ok(());
                }
                actual => Mismatch::Digest { expected: self.digest, actual },
            }
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, mismatch))
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let state = &mut self.state;
        let most = usize::try_from(state.size - state.seen.min(state.size)).unwrap_or(usize::MAX);
        let most = buffer.len().min(most.saturating_add(1));
        let count = self.inner.read(&mut buffer[..most])?;
        state.hasher.update(&buffer[..count]);
        state.seen += count as u64;
        if count == 0 || state.seen > state.size {
            state.verify()?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_digests_read_and_write_alike() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
        let long = format!("sha512:{}", "ab".repeat(64));
        assert_eq!(long.parse::<Digest>().unwrap().to_string(), long);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in ["", "sha256", "sha256:", "sha256:../../x", &EMPTY.to_uppercase(), &EMPTY[..70], "md5:00"]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    fn read_all(bytes: &[u8], digest: Digest, size: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        VerifyingReader::new(bytes, digest, size).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn a_verifying_reader_passes_what_is_right_and_nothing_else() {
        let digest = Digest::of(b"hello");
        assert_eq!(read_all(b"hello", digest, 5).unwrap(), b"hello");
        assert_eq!(read_all(b"", Digest::of(b""), 0).unwrap(), b"");
        for (bytes, size) in [(&b"hellO"[..], 5), (b"hell", 5), (b"hello!", 5), (b"hello", 4), (b"hello", 6)]
        {
            let error = read_all(bytes, digest, size).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_hash_goes_on_from_its_state() {
        let bytes: Vec<u8> = (0..64 * 40).map(|at: u32| (at * 7 / 3) as u8).collect();
        for length in (0..=bytes.len()).step_by(64) {
            for cut in (0..=length).step_by(64 * 5) {
                let mut first = Sha256Blocks::new();
                first.update(&bytes[..cut]);
                let mut second = Sha256Blocks::resume(first.state(), first.length());
                second.update(&bytes[cut..length]);
                assert_eq!(second.finish(), (Digest::of(&bytes[..length]), length as u64));
            }
        }
    }

    #[test]
    fn a_hashing_writer_counts_and_hashes() {
        let mut writer = HashingWriter::new(Vec::new());
        writer.write_all(b"hello").unwrap();
        assert_eq!(writer.finish(), (b"hello".to_vec(), Digest::of(b"hello"), 5));
    }
}
