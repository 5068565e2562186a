//! A layer made: what no record answers for is written through the pipeline.

use crate::base::Listing;
use crate::cache::{BlockIndexes, BuiltLayer, Record};
use crate::compress::{Encoder, codec_id};
use crate::event::Event;
use crate::files::Entry;
use crate::inspect::Inspection;
use crate::layer::answer::{Found, Sought, attempts, lacks_inventory, learning, seek, whole_key};
use crate::layer::content::Content;
use crate::layer::gather::Gathered;
use crate::layer::inputs::Inputs;
use crate::layer::inspect::Look;
use crate::layer::inventory::InventoryWriter;
use crate::layer::memo::Memo;
use crate::layer::previous::Previous;
use crate::layer::warn::warn;
use crate::layer::{
    Answer, LayerError, Made, ManifestKeys, Origin, Workshop, block, content_key, inspect, manifest_keys,
    parts, pipeline,
};
use crate::plan::{PlannedLayer, Split};

/// Builds a layer: gathers its files and writes its blob and inventory into the store, unless a
/// record answers for what they hold. Of a split layer, records may answer for some of its parts.
///
/// The record that is returned stands under the layer's content key. Runs in the rayon pool that
/// it is called from. A file that changes while it is read starts the layer again, a few times; so
/// does one that its manifest keys were made of, and then they are made again as well: those that are
/// returned hold of the layer. What was learned of files is kept, also where the layer fails.
///
/// # Errors
/// [`LayerError`]; nothing names then what the store may have of the layer.
pub fn build(
    layer: &PlannedLayer,
    listing: &Listing,
    mut keys: ManifestKeys,
    workshop: Workshop<'_>,
) -> Result<(Made, ManifestKeys), LayerError> {
    let made = learning(layer, workshop, |mut workshop| {
        attempts(|attempt| {
            if attempt > 1 {
                // What was known may be what is wrong.
                workshop.last = None;
                let again = manifest_keys(layer, listing, workshop.tree, workshop.circumstances)?;
                keys = again.unwrap_or_default();
            }
            let made = build_once(layer, listing, workshop)?;
            // Of files that came with another lockfile the keys would say what isn't so.
            keys.check(layer, listing, workshop).map(|()| made)
        })
    })?;
    // No lockfile went into the keys of the content, nor into what is kept under them.
    let record = Record { materials: keys.materials.clone(), ..made.record };
    Ok((Made { record, ..made }, keys))
}

fn build_once(layer: &PlannedLayer, listing: &Listing, workshop: Workshop<'_>) -> Result<Made, LayerError> {
    let Workshop { tree, observer, stat, .. } = workshop;
    observer.event(&Event::LayerStarted { layer: layer.label.clone() });
    let found = match seek(layer, listing, false, workshop)? {
        Sought::Gathered(found) => found,
        Sought::Recalled(recalled) => {
            let (Memo { key, machines, stale_pyc, notes, .. }, Answer { record, origin }) = *recalled;
            warn(layer, &notes, stale_pyc, observer);
            let record = Record { key, machines, ..record };
            return Ok(Made::answered(Answer { record, origin }));
        }
    };
    let inputs = Inputs { layer, tree };
    let (mut made, stale_pyc) = match (&found.answer, &found.content) {
        (Some(answer), Some(content)) => {
            (complete(layer, &found.gathered, content, answer, workshop)?, content.stale_pyc)
        }
        _ => produce(inputs, listing, &found, workshop)?,
    };
    if let Some(content) = found.content.as_ref().filter(|_| workshop.inspects) {
        inspect(inputs, &found.gathered, content, &mut made, workshop)?;
    }
    warn(layer, &found.gathered.notes, stale_pyc, observer);
    let Record { key, machines, .. } = made.record.clone();
    found.keep(stat, |Gathered { entries, notes }| Memo {
        key,
        entries: entries.len() as u64,
        machines,
        stale_pyc,
        notes,
    });
    Ok(made)
}

/// Adds what is found in the files of a layer that were hashed first, unless its record has that.
fn inspect(
    inputs: Inputs<'_>,
    gathered: &Gathered,
    content: &Content,
    made: &mut Made,
    workshop: Workshop<'_>,
) -> Result<(), LayerError> {
    if made.record.inspection.as_ref().is_some_and(|known| known.unpack().is_some()) {
        return Ok(());
    }
    let inspection = inspect::complete(inputs, &gathered.entries, content, workshop)?;
    made.record.inspection = inspection.pack();
    let (key, packed) = (made.record.key, &made.record.inspection);
    made.new.iter_mut().filter(|new| new.key == key).for_each(|new| new.inspection.clone_from(packed));
    let is_here = made.origins.iter().all(|origin| !matches!(origin, Origin::Place(_)));
    if made.new.is_empty() && is_here && packed.is_some() {
        made.new.push(made.record.clone());
    }
    made.inspection = Some(inspection);
    Ok(())
}

/// Makes of an answer what a build would have made: which machines a layer holds depends on what its
/// copies let through, and its inventory may be wanted.
fn complete(
    layer: &PlannedLayer,
    gathered: &Gathered,
    content: &Content,
    answer: &Answer,
    workshop: Workshop<'_>,
) -> Result<Made, LayerError> {
    let (key, machines) = (whole_key(layer, &content.root), content.machines.clone());
    let mut record = Record { key, machines, ..answer.record.clone() };
    if lacks_inventory(answer, workshop) {
        let mut inventory = InventoryWriter::new(workshop.store)?;
        for (entry, content) in gathered.entries.iter().zip(&content.contents) {
            inventory.line(entry, *content)?;
        }
        record.inventory = Some(inventory.finish()?.descriptor);
        record.entries = gathered.entries.len() as u64;
        if record.layers.len() == 1 {
            record.tar_size = block::stream_len(&gathered.entries);
        }
    }
    Ok(Made::answered(Answer { record, origin: answer.origin }))
}

/// Writes what was gathered, or those parts of it that nothing answers for. Returns the number of stale
/// `.pyc` files as well.
fn produce(
    inputs: Inputs<'_>,
    listing: &Listing,
    found: &Found,
    workshop: Workshop<'_>,
) -> Result<(Made, u64), LayerError> {
    let (layer, content) = (inputs.layer, found.content.as_ref());
    if layer.split != Split::Whole {
        // What is the same is in other parts.
        let workshop = Workshop { blocks: None, last: None, ..workshop };
        return parts::build(inputs, listing, &found.gathered, content, workshop);
    }
    let entries: Vec<&Entry> = found.gathered.entries.iter().collect();
    let (count, bytes) = (entries.len() as u64, block::stream_len(&entries));
    workshop.observer.event(&Event::LayerWalked { layer: layer.label.clone(), entries: count, bytes });
    let looks = content.map(inspect::looks);
    let previous = found.previous.as_ref().zip(content);
    let (mut record, written) = write(inputs, &entries, (previous, looks.as_deref()), false, workshop)?;
    let [blob, inventory] = written.blobs;
    // Syncing waits for the disk.
    let (blob, inventory) = rayon::join(|| blob.keep(), || inventory.keep());
    blob.and(inventory)?;
    if let (Some(blocks), Some(index)) = (workshop.blocks, &written.index) {
        // Where it can't be kept, the next build makes all blocks: of a cache that can't be written
        // to, its records tell.
        let _ = blocks.put(index);
    }
    let name = |index: usize| written.names.get(&index).copied();
    let is_inspected = workshop.inspects && looks.is_none();
    let inspection = is_inspected.then(|| inspect::gather(&entries, &name, &written.findings));
    record.inspection = inspection.as_ref().and_then(Inspection::pack);
    let (new, origins) = (vec![record.clone()], vec![Origin::Made]);
    Ok((Made { new, record, origins, inspection }, written.stale_pyc))
}

/// Writes a blob of entries, with its inventory. Both have still to be kept. Beside the layer as it was
/// built last stands whether its files were looked at before, if they were.
pub(super) fn write(
    inputs: Inputs<'_>,
    entries: &[&Entry],
    (previous, looks): (Option<(&Previous, &Content)>, Option<&[Look]>),
    keeps_contents: bool,
    workshop: Workshop<'_>,
) -> Result<(Record, pipeline::Written), LayerError> {
    let Workshop { store, budget, observer, cancel, stat, blocks, .. } = workshop;
    let compression = inputs.layer.compression;
    let encoder = &Encoder::new(compression);
    let pipeline = pipeline::Pipeline {
        inputs,
        entries,
        encoder,
        stat,
        store,
        budget,
        observer,
        cancel,
        previous,
        keeps_index: blocks.is_some_and(BlockIndexes::is_written),
        keeps_contents,
        inspects: workshop.inspects && looks.is_none(),
        looks,
    };
    let written = pipeline.run()?;
    let key = content_key(&written.inventory.root, &codec_id(compression));
    let record = Record {
        version: Record::VERSION,
        key,
        content: Some(key),
        layers: vec![BuiltLayer::new(written.descriptor.clone(), written.diff_id)],
        materials: Vec::new(),
        inventory: Some(written.inventory.descriptor.clone()),
        machines: written.machines.clone(),
        entries: entries.len() as u64,
        tar_size: written.tar_size,
        inspection: None,
        is_trace: false,
    };
    Ok((record, written))
}
