//! What would become of a layer, found out without writing any of it.

use crate::base::Listing;
use crate::files::Entry;
use crate::key::Key;
use crate::layer::difference::Holding;
use crate::layer::{Answer, LayerError, Workshop, block, examine, gather, inputs, parts, whole_key};
use crate::plan::{PlannedLayer, Split};

/// What a layer's files come to, before any of them is compressed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Foreseen {
    /// The number of entries.
    pub entries: u64,
    /// The length of the tar bytes.
    pub tar_size: u64,
    /// The key of what it holds; none where nothing could answer, as files weren't read then.
    pub content: Option<Key>,
    /// What answers for all of it.
    pub answer: Option<Answer>,
    /// Of a split layer that nothing answers for as a whole, its parts.
    pub parts: Vec<ForeseenPart>,
    /// What it holds, where that was asked for.
    pub holding: Option<Holding>,
}

/// A part of a split layer.
#[derive(Debug)]
#[non_exhaustive]
pub struct ForeseenPart {
    /// The length of its tar bytes.
    pub tar_size: u64,
    /// What answers for it.
    pub answer: Option<Answer>,
}

/// Finds out what would become of a layer: walks its directories, reads those files that aren't known,
/// and asks for records of what they hold. Compresses and writes nothing; runs in the rayon pool that it
/// is called from.
///
/// # Errors
/// [`LayerError`], as a build would meet it.
pub fn foresee(
    layer: &PlannedLayer,
    listing: &Listing,
    lists: bool,
    workshop: Workshop<'_>,
) -> Result<Foreseen, LayerError> {
    let stat = workshop.stat.map(|tree| tree.of(&layer.label));
    if let Some(stat) = &stat {
        stat.start();
    }
    let foreseen = foresee_once(layer, listing, lists, Workshop { stat: stat.as_ref(), ..workshop });
    if let Some(stat) = &stat {
        // What was learned spares the build reading the same files.
        let _ = stat.save();
    }
    foreseen
}

fn foresee_once(
    layer: &PlannedLayer,
    listing: &Listing,
    lists: bool,
    workshop: Workshop<'_>,
) -> Result<Foreseen, LayerError> {
    let Workshop { tree, answers, .. } = workshop;
    let gathered = gather::gather(layer, workshop.sources(listing))?;
    let inputs = inputs::Inputs { layer, tree };
    let content = examine(inputs, &gathered, false, workshop)?;
    let entries: Vec<&Entry> = gathered.entries.iter().collect();
    let key = content.as_ref().map(|content| whole_key(layer, &content.root));
    let answer = match (key, answers) {
        (Some(key), Some(answers)) => answers(&key)?,
        _ => None,
    };
    let is_split = layer.split != Split::Whole && answer.is_none();
    let parts = match is_split {
        true => parts::foresee(inputs, listing, &gathered, content.as_ref(), workshop)?,
        false => Vec::new(),
    };
    Ok(Foreseen {
        entries: entries.len() as u64,
        tar_size: block::stream_len(&entries),
        content: key,
        answer,
        parts,
        holding: content.filter(|_| lists).map(|content| Holding::of(&gathered.entries, &content)),
    })
}
