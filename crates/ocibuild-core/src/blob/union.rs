//! Several sources as one.

use crate::blob::{BlobError, Content, Source};
use crate::oci::Descriptor;

/// Several sources that answer as one: the first that has a blob gives it.
///
/// A source that fails is passed over; its fault is told only where no other source has the blob.
#[derive(Clone)]
pub struct Union<'a>(Vec<&'a dyn Source>);

impl<'a> Union<'a> {
    /// Takes the sources in the order in which they are asked: the nearest first.
    #[must_use]
    pub fn new(sources: Vec<&'a dyn Source>) -> Self {
        Self(sources)
    }

    /// Returns the first answer that `accept` takes, else the first fault, else nothing.
    fn first<T>(
        &self,
        ask: impl Fn(&dyn Source) -> Result<Option<T>, BlobError>,
    ) -> Result<Option<T>, BlobError> {
        let mut fault = None;
        for source in &self.0 {
            match ask(*source) {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) | Err(BlobError::Missing { .. }) => {}
                Err(error @ BlobError::Cancelled(_)) => return Err(error),
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        fault.map_or(Ok(None), Err)
    }
}

impl Source for Union<'_> {
    fn place(&self) -> String {
        let places: Vec<String> = self.0.iter().map(|source| source.place()).collect();
        match places.split_last() {
            None => "nowhere".to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        }
    }

    fn exists(&self, descriptor: &Descriptor) -> Result<bool, BlobError> {
        let found = self.first(|source| Ok(source.exists(descriptor)?.then_some(())))?;
        Ok(found.is_some())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
        let missing = || BlobError::Missing { digest: descriptor.digest, place: self.place() };
        self.first(|source| source.fetch(descriptor).map(Some))?.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Memory, PlaceFault, read_whole};
    use crate::oci::MediaType;

    struct Broken;

    fn fault<T>() -> Result<T, BlobError> {
        let source = "no answer".into();
        Err(BlobError::Place { place: "it".to_owned(), fault: PlaceFault::Unavailable, source })
    }

    impl Source for Broken {
        fn place(&self) -> String {
            "the broken".to_owned()
        }

        fn exists(&self, _: &Descriptor) -> Result<bool, BlobError> {
            fault()
        }

        fn fetch(&self, _: &Descriptor) -> Result<Box<dyn Content>, BlobError> {
            fault()
        }
    }

    #[test]
    fn the_first_that_has_a_blob_gives_it() {
        let (near, far) = (Memory::new(), Memory::new());
        let one = near.insert(MediaType::LAYER, b"one".to_vec());
        let two = far.insert(MediaType::LAYER, b"two".to_vec());
        let three = Descriptor::of(MediaType::LAYER, b"three");
        let union = Union::new(vec![&near, &far]);
        assert_eq!(read_whole(&union, &one, 9).unwrap(), b"one");
        assert_eq!(read_whole(&union, &two, 9).unwrap(), b"two");
        assert!(!union.exists(&three).unwrap());
        assert!(matches!(union.fetch(&three), Err(BlobError::Missing { .. })));
        assert!(!Union::new(Vec::new()).exists(&three).unwrap());
    }

    #[test]
    fn a_broken_source_matters_only_if_no_other_has_the_blob() {
        let memory = Memory::new();
        let one = memory.insert(MediaType::LAYER, b"one".to_vec());
        let union = Union::new(vec![&Broken, &memory]);
        assert_eq!(read_whole(&union, &one, 9).unwrap(), b"one");
        let two = Descriptor::of(MediaType::LAYER, b"two");
        assert!(matches!(union.fetch(&two), Err(BlobError::Place { .. })));
        assert_eq!(union.place(), "the broken or memory");
    }
}
