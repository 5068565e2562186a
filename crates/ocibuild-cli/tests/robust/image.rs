//! Images to push: valid ones, of bytes that don't repeat, the same in every run.

use std::collections::BTreeMap;

use ocibuild_core::blob::{BytesContent, Memory, Sink as _, Target as _};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Descriptor, ImageConfig, Index, Manifest, MediaType, Platform, RootFs, to_json};
use ocibuild_core::{DiffId, Digest};

/// Blobs and manifests that belong together.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) root: Descriptor,
    /// Children before parents.
    pub(crate) blobs: Vec<(Descriptor, Vec<u8>)>,
}

impl Image {
    /// An image of these layers, told from others of the same by its mark.
    pub(crate) fn new(layers: &[Vec<u8>], mark: &str) -> Self {
        Self::of(Platform::linux_amd64(), layers, mark)
    }

    fn of(platform: Platform, layers: &[Vec<u8>], mark: &str) -> Self {
        let mut blobs: Vec<_> =
            layers.iter().map(|bytes| (Descriptor::of(MediaType::LAYER, bytes), bytes.clone())).collect();
        let mut config = ImageConfig::new(&platform.os, &platform.architecture);
        config.author = Some(mark.to_owned());
        config.rootfs = RootFs::new(layers.iter().map(|bytes| DiffId(Digest::of(bytes))).collect());
        let config = to_json(&config);
        let layers = blobs.iter().map(|(descriptor, _)| descriptor.clone()).collect();
        let manifest = Manifest::new(Descriptor::of(MediaType::CONFIG, &config), layers);
        blobs.push((manifest.config.clone(), config));
        let manifest = to_json(&manifest);
        let root = Descriptor::of(MediaType::MANIFEST, &manifest);
        blobs.push((root.clone(), manifest));
        Self { root, blobs }
    }

    /// An index of two images, which share their layers but the last.
    pub(crate) fn index(layers: &[Vec<u8>], mark: &str) -> Self {
        let arm = Platform::new("linux", "arm64");
        let (own, shared) = layers.split_last().unwrap();
        let mut blobs: BTreeMap<Digest, (usize, Descriptor, Vec<u8>)> = BTreeMap::new();
        let mut entries = Vec::new();
        for (platform, layers) in
            [(Platform::linux_amd64(), layers.to_vec()), (arm, [shared, &[relabelled(own)]].concat())]
        {
            let image = Self::of(platform.clone(), &layers, mark);
            let mut entry = image.root.clone();
            entry.platform = Some(platform);
            entries.push(entry);
            for (descriptor, bytes) in image.blobs {
                let rank = blobs.len();
                blobs.entry(descriptor.digest).or_insert((rank, descriptor, bytes));
            }
        }
        let index = to_json(&Index::new(entries));
        let root = Descriptor::of(MediaType::INDEX, &index);
        let mut blobs: Vec<_> = blobs.into_values().collect();
        blobs.sort_by_key(|(rank, ..)| *rank);
        let blobs = blobs.into_iter().map(|(_, descriptor, bytes)| (descriptor, bytes));
        Self { blobs: blobs.chain([(root.clone(), index)]).collect(), root }
    }

    /// The image as a place to copy from.
    pub(crate) fn memory(&self) -> Memory {
        let memory = Memory::new();
        for (descriptor, bytes) in &self.blobs {
            memory.insert(descriptor.media_type.clone(), bytes.clone());
        }
        memory
    }

    /// Puts the image into a layout, under a name.
    pub(crate) fn put(&self, layout: &Layout, name: &str) {
        for (descriptor, bytes) in &self.blobs {
            layout.push(descriptor, &BytesContent::new(bytes.clone())).unwrap();
        }
        layout.tag(&self.root, name).unwrap();
    }

    /// What is no manifest.
    pub(crate) fn data(&self) -> impl Iterator<Item = &Descriptor> {
        let is_data = |one: &&Descriptor| !one.media_type.is_manifest() && !one.media_type.is_index();
        self.blobs.iter().map(|(descriptor, _)| descriptor).filter(is_data)
    }

    /// Bytes of all that is no manifest.
    pub(crate) fn size(&self) -> u64 {
        self.data().map(|descriptor| descriptor.size).sum()
    }
}

/// A layer of one file, so that it has this many bytes in all.
pub(crate) fn layer(size: usize, seed: u64) -> Vec<u8> {
    let size = size.next_multiple_of(512).max(2048);
    let content = noise(size - 1536, seed);
    let mut header = tar::Header::new_ustar();
    header.set_path(format!("f{seed}")).unwrap();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1);
    header.set_cksum();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&content);
    bytes.resize(size, 0);
    bytes
}

/// The same layer for another platform.
fn relabelled(layer: &[u8]) -> Vec<u8> {
    let mut bytes = layer.to_vec();
    bytes[512] ^= 1;
    bytes
}

/// Bytes that don't repeat, the same in every run.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Numbers that follow from a seed
/// ([SplitMix64](https://doi.org/10.1145/2714064.2660195)).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn is_one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
