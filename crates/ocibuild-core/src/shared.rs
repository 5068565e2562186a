//! What lies in registries as a cache: images that were pushed, of which each layer answers for the
//! keys that its descriptor carries, and cache repositories, which hold records of many builds.
//!
//! An image is read when it is first asked, and costs a manifest and a config then, and a manifest
//! and a config more for each further platform of an index. No layer is read. What was said of a
//! layer is believed because of where it stands: whoever may push to that name may say what the
//! layers of our images are. Knows nothing of registries.

mod next;
mod pack;
mod parcel;
mod repository;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{Base, BaseError};
use crate::blob::{BlobError, Content, Memory, Source, Target, Union, read_whole};
use crate::build::OpenBase;
use crate::cache::{CacheError, Record, RecordStore, records_of};
use crate::digest::{Digest, VerifyingReader};
use crate::key::Key;
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE, Manifest, Platform, from_json};
use state::{State, is_cache, is_known, wrapped_at};

pub use repository::RepositoryCache;
pub use state::RepositoryLimits;

type Open = Box<dyn Fn() -> Result<OpenBase, BlobError> + Send + Sync>;

/// The layers of an image as records, and as a source of those that answered.
pub struct ImageRecords {
    name: String,
    platforms: Vec<Platform>,
    open: Open,
    image: Mutex<Image>,
}

/// What is known of the image.
#[derive(Default)]
enum Image {
    #[default]
    Unread,
    Read {
        records: BTreeMap<Key, Record>,
        source: Arc<dyn Source>,
        /// The blobs that are there, or should be.
        layers: BTreeSet<Digest>,
        /// The layers of a cache that inventories are in.
        inventories: BTreeMap<Digest, Descriptor>,
        /// What is wrong with records that can't be read, until it is told.
        lost: Option<BlobError>,
    },
    /// It was told why; from now on it just knows nothing.
    Unreadable,
}

impl ImageRecords {
    /// Names an image that `open` opens when it is first asked; of an index those manifests are read
    /// that are for the platforms.
    pub fn new(
        name: impl Into<String>,
        platforms: impl IntoIterator<Item = Platform>,
        open: impl Fn() -> Result<OpenBase, BlobError> + Send + Sync + 'static,
    ) -> Self {
        let platforms = platforms.into_iter().collect();
        Self { name: name.into(), platforms, open: Box::new(open), image: Mutex::default() }
    }

    /// Names an image of a place, by its name there.
    pub fn of<T: Target + 'static>(
        place: Arc<T>,
        name: &str,
        platforms: impl IntoIterator<Item = Platform>,
    ) -> Self {
        let own = name.to_owned();
        let full = format!("{}: {name}", Source::place(&*place));
        Self::new(full, platforms, move || {
            Ok(OpenBase { root: place.resolve(&own)?, source: Arc::clone(&place) as Arc<dyn Source> })
        })
    }

    fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Image, BaseError> {
        let OpenBase { source, root } = (self.open)()?;
        let known = Memory::new();
        if root.media_type.is_manifest() {
            let bytes = read_whole(&*source, &root, MAX_MANIFEST_SIZE)?;
            match from_json::<Manifest>(&bytes) {
                Ok(manifest) if is_cache(&manifest) => return read_cache(&manifest, &root, source),
                _ => known.insert(root.media_type.clone(), bytes),
            };
        }
        let whole = Union::new(vec![&known, &*source]);
        let mut records = BTreeMap::new();
        for platform in &self.platforms {
            match Base::open(&whole, &root, Some(platform)) {
                Ok(image) => {
                    for (key, record) in records_of(&image.layers, &image.diff_ids) {
                        records.entry(key).or_insert(record);
                    }
                }
                Err(BaseError::NoPlatform { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        let layers = records.values().flat_map(|record: &Record| &record.layers);
        let layers = layers.map(|layer| layer.descriptor.digest).collect();
        drop(whole);
        Ok(Image::Read { records, source, layers, inventories: BTreeMap::new(), lost: None })
    }

    /// The place of a layer that answered.
    fn place_of(&self, descriptor: &Descriptor) -> Option<(Arc<dyn Source>, Option<Descriptor>)> {
        let image = self.image();
        let Image::Read { source, layers, inventories, .. } = &*image else { return None };
        let wrapper = inventories.get(&descriptor.digest);
        let is_there = wrapper.is_some() || layers.contains(&descriptor.digest);
        is_there.then(|| (Arc::clone(source), wrapper.cloned()))
    }
}

/// Reads a cache repository.
fn read_cache(manifest: &Manifest, root: &Descriptor, source: Arc<dyn Source>) -> Result<Image, BaseError> {
    if !is_known(manifest) {
        return Err(BaseError::Unusable { digest: root.digest, reason: "it is a cache of another version" });
    }
    // What can't be read of it answers nothing, and what can be still does.
    let mut first = None;
    let mut lost = |fault| match fault {
        fault @ BlobError::Cancelled(_) => Err(fault),
        fault => {
            first.get_or_insert(fault);
            Ok(())
        }
    };
    let state = State::read(manifest, &*source, &mut BTreeMap::new(), &mut lost)?;
    let records = state.entries.keys().filter_map(|key| Some((*key, state.record(key)?)));
    let records = records.filter(|(_, record)| record.content.is_some() || record.is_listing()).collect();
    let layers = state.layers.keys().copied().collect();
    Ok(Image::Read { records, source, layers, inventories: state.inventories, lost: first })
}

/// A blob in a layer that holds nothing else.
struct Wrapped {
    layer: Box<dyn Content>,
    blob: Descriptor,
}

impl Content for Wrapped {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let at = wrapped_at(&self.blob);
        let bytes = self.layer.open(at.saturating_add(offset))?;
        let bytes = bytes.take(self.blob.size.saturating_sub(offset));
        if offset > 0 {
            return Ok(Box::new(bytes));
        }
        Ok(Box::new(VerifyingReader::new(bytes, self.blob.digest, self.blob.size)))
    }
}

impl RecordStore for ImageRecords {
    /// Fails once where the image can't be read; asked again, it has no record. Of a cache repository of
    /// which some records can't be read, it fails once, for a key that the others don't answer.
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError> {
        let mut image = self.image();
        if matches!(*image, Image::Unread) {
            *image = Image::Unreadable;
            let name = || self.name.clone();
            *image = self.read().map_err(|fault| match fault {
                BaseError::Blob(BlobError::UnknownName { .. }) => CacheError::NoImage { image: name() },
                fault => CacheError::Image { image: name(), source: Box::new(fault) },
            })?;
        }
        let Image::Read { records, lost, .. } = &mut *image else { return Ok(None) };
        match (records.get(key), lost.take()) {
            (Some(record), fault) => {
                *lost = fault;
                Ok(Some(record.clone()))
            }
            (None, None | Some(BlobError::Cancelled(_))) => Ok(None),
            (None, Some(fault)) => Err(CacheError::Records { place: self.place(), source: Box::new(fault) }),
        }
    }

    /// Refuses: what an image carries is written when it is made.
    fn put(&self, _: &Record) -> Result<(), CacheError> {
        Err(CacheError::ReadOnly { place: format!("the image `{}`", self.name) })
    }

    /// Has the image not answer any more in this run; it stays as it is.
    fn remove(&self, key: &Key) -> Result<(), CacheError> {
        if let Image::Read { records, .. } = &mut *self.image() {
            records.remove(key);
        }
        Ok(())
    }
}

impl Source for ImageRecords {
    fn place(&self) -> String {
        format!("the image `{}`", self.name)
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let Some((source, layer)) = self.place_of(descriptor) else { return Ok(false) };
        source.exists(layer.as_ref().unwrap_or(descriptor))
    }

    /// What turns out not to be there isn't asked for again.
    fn lacking(&self, descriptors: &[Descriptor]) -> Result<Vec<Descriptor>, BlobError> {
        let places: Vec<_> = descriptors.iter().map(|descriptor| self.place_of(descriptor)).collect();
        let Some(source) = places.iter().flatten().map(|(source, _)| Arc::clone(source)).next() else {
            return Ok(descriptors.to_vec());
        };
        let named = descriptors.iter().zip(&places);
        let asked =
            named.filter_map(|(blob, place)| Some(place.as_ref()?.1.as_ref().unwrap_or(blob).clone()));
        let lacking: BTreeSet<Digest> =
            source.lacking(&asked.collect::<Vec<_>>())?.iter().map(|blob| blob.digest).collect();
        let is_lacking = |(blob, place): &(&Descriptor, &Option<(_, Option<Descriptor>)>)| match place {
            Some((_, layer)) => lacking.contains(&layer.as_ref().unwrap_or(blob).digest),
            None => true,
        };
        let named = descriptors.iter().zip(&places);
        let gone: Vec<Descriptor> = named.filter(is_lacking).map(|(blob, _)| blob.clone()).collect();
        if let Image::Read { layers, inventories, .. } = &mut *self.image() {
            for blob in &gone {
                layers.remove(&blob.digest);
                inventories.remove(&blob.digest);
            }
        }
        Ok(gone)
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let missing = || BlobError::Missing { digest: descriptor.digest, place: self.place() };
        let (source, layer) = self.place_of(descriptor).ok_or_else(missing)?;
        let Some(layer) = layer else { return source.fetch(descriptor) };
        Ok(Box::new(Wrapped { layer: source.fetch(&layer)?, blob: descriptor.clone() }))
    }
}
