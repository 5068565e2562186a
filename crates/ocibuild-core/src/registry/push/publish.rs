//! What whoever publishes an image asks and tells a repository besides pushing: which tags are left to
//! be given, and what is there though it wasn't asked for.

use std::collections::BTreeSet;

use crate::blob::{BlobError, PlaceFault, Source, Target as _, read_whole};
use crate::copy::{CopyOptions, CopyReport, children, copy};
use crate::oci::{Descriptor, MAX_MANIFEST_SIZE};
use crate::registry::RemoteRepository;
use crate::registry::knowledge::Mark;

/// The most blobs that are taken to be below manifests.
const MAX_BELOW: usize = 10_000;

impl RemoteRepository {
    /// Returns those of the tags that may not mean a manifest or index yet, to be given to it once it
    /// is there ([`RemoteRepository::tag_all`]). Asks the registry one question for each
    /// tag that means it already, and one for the first that doesn't. Where one does, the image is
    /// known to be there, and a copy of it asks nothing.
    ///
    /// `source` has the manifest: giving the tags then needn't read it from the registry.
    ///
    /// # Errors
    /// [`BlobError`] if the registry can't be asked, or a tag can't be one.
    pub fn untagged(
        &self,
        descriptor: &Descriptor,
        tags: &[impl AsRef<str>],
        source: &dyn Source,
    ) -> Result<Vec<String>, BlobError> {
        let tags: Vec<String> = tags.iter().map(|tag| tag.as_ref().to_owned()).collect();
        let (remote, root) = (self.remote().clone(), descriptor.clone());
        let result = self.runtime().wait(async move { remote.untagged(&root, tags).await }, || ());
        let left = self.judge(result, descriptor)?;
        if !left.is_empty() {
            // Where the source hasn't got it, the registry's own will do.
            if let Ok(bytes) = read_whole(source, descriptor, MAX_MANIFEST_SIZE) {
                self.remote().keep(descriptor.digest, &bytes.into());
            }
        }
        Ok(left)
    }

    /// Finds out what the image has that a tag or digest stands for now, so that what another shares
    /// with it isn't asked for or sent. Of an index these are only its manifests: they are returned, to
    /// be asked for in turn where that is worth a question each. Asks one question.
    ///
    /// # Errors
    /// [`BlobError`] if the registry can't be asked; that it has no such thing, or doesn't tell, is
    /// none.
    pub fn recall(&self, name: &str) -> Result<Vec<Descriptor>, BlobError> {
        let (remote, name) = (self.remote().clone(), name.to_owned());
        let result = self.runtime().wait(async move { remote.recall(&name).await }, || ());
        result.map_err(|error| error.of_place(Source::place(self), None))
    }

    /// Gives tags to an image or index that is there. Where the registry turns out not to have what it
    /// said it had, that is brought first; tells what that came to.
    ///
    /// # Errors
    /// [`BlobError`]; tags that weren't given yet then mean what they meant before.
    pub fn tag_all(
        &self,
        descriptor: &Descriptor,
        tags: &[impl AsRef<str>],
        source: &dyn Source,
        options: &CopyOptions<'_>,
    ) -> Result<CopyReport, BlobError> {
        let mut report = CopyReport::default();
        for tag in tags.iter().map(AsRef::as_ref) {
            options.cancel.check()?;
            match self.tag(descriptor, tag) {
                Err(BlobError::Place { fault: PlaceFault::Lacking, .. }) => {
                    report += copy(std::slice::from_ref(descriptor), source, self, options)?;
                    self.tag(descriptor, tag)?;
                }
                result => result?,
            }
        }
        Ok(report)
    }

    /// Takes it that the repository has all that is below these manifests, which it has: so that other
    /// repositories of the registry mount it from here, where they lack it. Asks the registry nothing;
    /// `source` has the manifests, and what it can't tell is left out.
    pub fn assume(&self, roots: &[Descriptor], source: &dyn Source) {
        let known = self.remote().known();
        let mut seen = BTreeSet::new();
        let mut todo = roots.to_vec();
        while let Some(descriptor) = todo.pop() {
            if seen.len() >= MAX_BELOW || !seen.insert(descriptor.digest) {
                continue;
            }
            let media_type = &descriptor.media_type;
            if media_type.is_manifest() || media_type.is_index() {
                let bytes = read_whole(source, &descriptor, MAX_MANIFEST_SIZE).unwrap_or_default();
                todo.extend(children(media_type, &bytes).unwrap_or_default());
            } else {
                known.note(self.repository(), &descriptor, Mark::Assumed);
            }
        }
    }
}
