//! What a layer would hold, found out without writing it: what a step reads, and what it made.

use crate::base::Listing;
use crate::digest::Digest;
use crate::files::Entry;
use crate::layer::answer::attempts;
use crate::layer::content::Examiner;
use crate::layer::gather::gather;
use crate::layer::inputs::Inputs;
use crate::layer::{LayerError, Workshop};
use crate::plan::PlannedLayer;

/// What a layer would hold.
#[derive(Debug)]
#[non_exhaustive]
pub struct Contents {
    /// The digest of its inventory's lines: of everything that is below.
    pub root: Digest,
    /// Its entries, in the order they would be written in.
    pub entries: Vec<Entry>,
    /// The BLAKE3 digests of their contents, in the same order; of a directory or link none.
    pub digests: Vec<Option<[u8; 32]>>,
}

/// Finds out what a layer would hold over a base that holds this, in the rayon pool it is called from.
/// Files are read only where the workshop's stat cache, which the caller starts and saves, knows nothing
/// of them.
///
/// # Errors
/// [`LayerError`], as a build of the layer would meet it.
pub fn contents(
    layer: &PlannedLayer,
    listing: &Listing,
    workshop: Workshop<'_>,
) -> Result<Contents, LayerError> {
    attempts(|_| {
        let Workshop { tree, budget, cancel, stat, .. } = workshop;
        let entries = gather(layer, workshop.sources(listing))?.entries;
        let inputs = Inputs { layer, tree };
        let examiner =
            Examiner { inputs, entries: &entries, stat, budget, cancel, keeps_lines: false, inspects: false };
        let content = examiner.run()?;
        let digests = content.contents.iter().map(|digest| digest.map(|digest| digest.0)).collect();
        Ok(Contents { root: content.root, entries, digests })
    })
}
