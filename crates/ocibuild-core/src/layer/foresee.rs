//! What would become of a layer, found out without writing any of it.

use crate::base::Listing;
use crate::key::Key;
use crate::layer::answer::{Found, Sought, attempts, learning, seek, whole_key};
use crate::layer::difference::Holding;
use crate::layer::inputs::Inputs;
use crate::layer::{Answer, LayerError, Workshop, block, parts};
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
    learning(layer, workshop, |workshop| attempts(|_| foresee_once(layer, listing, lists, workshop)))
}

fn foresee_once(
    layer: &PlannedLayer,
    listing: &Listing,
    lists: bool,
    workshop: Workshop<'_>,
) -> Result<Foreseen, LayerError> {
    let Found { gathered, content, answer, .. } = match seek(layer, listing, lists, workshop)? {
        Sought::Gathered(found) => *found,
        Sought::Recalled(recalled) => {
            let (memo, answer) = *recalled;
            let (entries, tar_size) = (memo.entries, answer.record.tar_size);
            let (content, answer, parts) = (Some(memo.key), Some(answer), Vec::new());
            return Ok(Foreseen { entries, tar_size, content, answer, parts, holding: None });
        }
    };
    let parts = match layer.split != Split::Whole && answer.is_none() {
        true => {
            let inputs = Inputs { layer, tree: workshop.tree };
            parts::foresee(inputs, listing, &gathered, content.as_ref(), workshop)?
        }
        false => Vec::new(),
    };
    Ok(Foreseen {
        entries: gathered.entries.len() as u64,
        tar_size: block::stream_len(&gathered.entries),
        content: content.as_ref().map(|content| whole_key(layer, &content.root)),
        answer,
        parts,
        holding: content.filter(|_| lists).map(|content| Holding::of(&gathered.entries, &content)),
    })
}
