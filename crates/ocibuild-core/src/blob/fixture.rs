//! Images for tests, and places with faults.

use std::io::{self, Read, Write as _};
use std::sync::Mutex;

use crate::blob::{BlobError, BytesContent, Content, Memory, Sink, Source};
use crate::digest::{DiffId, Digest};
use crate::event::{Cancel, Transfer};
use crate::oci::{Config, Descriptor, ImageConfig, Index, Manifest, MediaType, Platform, RootFs, to_json};

/// Puts a layer of one file into memory.
pub(crate) fn layer(memory: &Memory, name: &str, bytes: &[u8]) -> (Descriptor, DiffId) {
    let mut tar = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1);
    tar.append_data(&mut header, name, bytes).unwrap();
    let tar = tar.into_inner().unwrap();
    let diff_id = DiffId(Digest::of(&tar));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    (memory.insert(MediaType::LAYER_GZIP, gzip.finish().unwrap()), diff_id)
}

/// Puts an image with these layers into memory.
pub(crate) fn image_of(memory: &Memory, platform: &Platform, layers: &[(Descriptor, DiffId)]) -> Descriptor {
    let mut config = ImageConfig::new(platform.os.clone(), platform.architecture.clone());
    config.rootfs = RootFs::new(layers.iter().map(|(_, diff_id)| *diff_id).collect());
    config.config = Some(Config { cmd: Some(vec!["/hello".to_owned()]), ..Config::default() });
    let config = memory.insert(MediaType::CONFIG, to_json(&config));
    let layers = layers.iter().map(|(layer, _)| layer.clone()).collect();
    memory.insert(MediaType::MANIFEST, to_json(&Manifest::new(config, layers)))
}

/// Puts an image of one layer, which is made of `text`, into memory.
pub(crate) fn image(memory: &Memory, text: &str) -> Descriptor {
    let layers = [layer(memory, "hello", text.as_bytes())];
    image_of(memory, &Platform::linux_amd64(), &layers)
}

/// Puts an index of two images that share a layer into memory.
pub(crate) fn index(memory: &Memory) -> Descriptor {
    let shared = layer(memory, "shared", b"the same in both");
    let mut manifests = Vec::new();
    for platform in [Platform::linux_arm64(), Platform::linux_amd64()] {
        let own = layer(memory, "hello", platform.architecture.as_bytes());
        let manifest = image_of(memory, &platform, &[shared.clone(), own]);
        manifests.push(manifest.with_platform(platform));
    }
    memory.insert(MediaType::INDEX, to_json(&Index::new(manifests)))
}

/// Writes down the digests of what is pushed, in order, and the questions asked.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) memory: Memory,
    pub(crate) pushed: Mutex<Vec<Digest>>,
    pub(crate) asked: Mutex<Vec<usize>>,
}

impl Recorder {
    pub(crate) fn pushed(&self) -> Vec<Digest> {
        self.pushed.lock().unwrap().clone()
    }
}

impl Sink for Recorder {
    fn place(&self) -> String {
        "the recorder".to_owned()
    }

    fn missing(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        self.asked.lock().unwrap().push(descriptors.len());
        self.memory.missing(descriptors)
    }

    fn push(&self, descriptor: &Descriptor, content: &dyn Content) -> Result<Transfer, BlobError> {
        let transfer = self.memory.push(descriptor, content)?;
        self.pushed.lock().unwrap().push(descriptor.digest);
        Ok(transfer)
    }
}

/// What befalls a blob on its way.
pub(crate) enum Mishap {
    /// It breaks off in the middle.
    Breaks,
    /// Somebody cancels the run in the middle of it.
    Cancelled(Cancel),
}

/// A source with whose one blob something happens.
pub(crate) struct Mishaps<'a> {
    pub(crate) inner: &'a Memory,
    pub(crate) digest: Digest,
    pub(crate) mishap: Mishap,
}

impl Source for Mishaps<'_> {
    fn place(&self) -> String {
        "the unreliable".to_owned()
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        self.inner.exists(descriptor)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        if descriptor.digest != self.digest {
            return self.inner.fetch(descriptor);
        }
        let bytes = crate::blob::read_whole(self.inner, descriptor, u64::MAX)?;
        match &self.mishap {
            Mishap::Breaks => Ok(Box::new(BreakingContent(bytes))),
            Mishap::Cancelled(cancel) => {
                cancel.cancel();
                Ok(Box::new(BytesContent::new(bytes)))
            }
        }
    }
}

struct BreakingContent(Vec<u8>);

impl Content for BreakingContent {
    fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
        let half = self.0[..self.0.len() / 2].to_vec();
        Ok(Box::new(io::Cursor::new(half).chain(Failing)))
    }
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ConnectionReset.into())
    }
}
