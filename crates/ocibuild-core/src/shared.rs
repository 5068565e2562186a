//! Images that were pushed, as caches: each layer answers for the keys that its descriptor carries.
//!
//! An image is read when it is first asked, and costs a manifest and a config then, and a manifest
//! and a config more for each further platform of an index. No layer is read. What was said of a
//! layer is believed because of where it stands: whoever may push to that name may say what the
//! layers of our images are. Knows nothing of registries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{Base, BaseError};
use crate::blob::{BlobError, Content, Source, Target};
use crate::build::OpenBase;
use crate::cache::{CacheError, Record, RecordStore, records_of};
use crate::key::Key;
use crate::oci::{Descriptor, Platform};

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
        let mut records = BTreeMap::new();
        for platform in &self.platforms {
            match Base::open(&*source, &root, Some(platform)) {
                Ok(image) => {
                    for (key, record) in records_of(&image.layers, &image.diff_ids) {
                        records.entry(key).or_insert(record);
                    }
                }
                Err(BaseError::NoPlatform { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(Image::Read { records, source })
    }

    /// The place of a layer that answered.
    fn place_of(&self, descriptor: &Descriptor) -> Option<Arc<dyn Source>> {
        let image = self.image();
        let Image::Read { records, source } = &*image else { return None };
        let mut layers = records.values().flat_map(|record| &record.layers);
        layers.any(|layer| layer.descriptor.digest == descriptor.digest).then(|| Arc::clone(source))
    }
}

impl RecordStore for ImageRecords {
    /// Fails once where the image can't be read; asked again, it has no record.
    fn get(&self, key: &Key) -> Result<Option<Record>, CacheError> {
        let mut image = self.image();
        if matches!(*image, Image::Unread) {
            *image = Image::Unreadable;
            *image = self
                .read()
                .map_err(|source| CacheError::Image { image: self.name.clone(), source: Box::new(source) })?;
        }
        let Image::Read { records, .. } = &*image else { return Ok(None) };
        Ok(records.get(key).cloned())
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
        self.place_of(descriptor).map_or(Ok(false), |source| source.exists(descriptor))
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let missing = || BlobError::Missing { digest: descriptor.digest, place: self.place() };
        self.place_of(descriptor).ok_or_else(missing)?.fetch(descriptor)
    }
}
