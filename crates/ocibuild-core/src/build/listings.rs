//! What bases hold: from a record, of the cache or of another place, else out of their layers.
//!
//! A listing is kept as a layer's inventory is, under a key of the base's contents; but inside of the
//! record, so that whoever has the records needs nothing else of a base's layers. What another place
//! said is kept under a key that names the place: it answers runs that were told of that place, and no
//! others.

use std::collections::BTreeSet;
use std::iter;

use crate::base::{Base, BaseError, Listing, ListingLimits, listing_key};
use crate::blob::{BytesContent, Sink as _, Source, Store, read_whole};
use crate::build::find::{chain, known};
use crate::build::{BuildError, Tier, pool};
use crate::cache::{BuiltLayer, Record, RecordStore};
use crate::event::{Cancel, Cancelled, Event, Observer, Warning};
use crate::key::{Key, KeyWriter};
use crate::oci::{Descriptor, MediaType};

/// The largest listing that is read back, in bytes: far beyond what the limits of a listing allow.
const MAX_LISTING: u64 = 256 << 20;

/// The largest listing that stands inside its record, in bytes: that of a hundred thousand files.
/// Larger ones are blobs beside it, and stay in the cache they were made for: a record is in memory
/// several times over, as bytes and as text.
const MAX_EMBEDDED: usize = 1 << 20;

/// Where listings of bases are kept, and who hears of it.
#[derive(Clone, Copy)]
pub struct Shelf<'a> {
    /// Where blobs are kept.
    pub store: &'a Store,
    /// Where records are kept; without, every listing is made anew.
    pub records: Option<&'a dyn RecordStore>,
    /// The places beside it that may answer, by what they are called: what is kept of theirs counts.
    pub told: &'a [String],
    /// Those that are asked, before the layers of a base are read.
    pub tiers: &'a [Tier],
    /// Who is told.
    pub observer: &'a dyn Observer,
    /// Stops the reading of layers.
    pub cancel: &'a Cancel,
}

/// Finds out what a base holds: from a record where there is one, else from its layers, and then
/// it is recorded.
///
/// # Errors
/// [`BuildError`] if the layers can't be read, which `fault` makes of what is wrong with them; or if
/// the cache fails.
pub fn list_base(
    base: &Base,
    source: &dyn Source,
    shelf: Shelf<'_>,
    fault: impl FnOnce(BaseError) -> BuildError,
) -> Result<Listing, BuildError> {
    list(base, source, shelf, fault).map(|(listing, _)| listing)
}

/// The same, with the record that others can be told, if there is one that holds all of it.
pub(super) fn list(
    base: &Base,
    source: &dyn Source,
    shelf: Shelf<'_>,
    fault: impl FnOnce(BaseError) -> BuildError,
) -> Result<(Listing, Option<Record>), BuildError> {
    let key = listing_key(&base.diff_ids);
    let whole = |record: Record| Some(record.under(key)).filter(|record| record.kept().next().is_none());
    for key in iter::once(key).chain(shelf.told.iter().map(|place| key_at(place, &key))) {
        if let Some((listing, record)) = find(&key, shelf)? {
            return Ok((listing, whole(record)));
        }
    }
    if !shelf.tiers.is_empty()
        && let Some((listing, record)) = pool::aside(|| find_elsewhere(base, &key, shelf))?
    {
        return Ok((listing, whole(record)));
    }
    let listing = Listing::read(source, base, &ListingLimits::default(), shelf.cancel).map_err(fault)?;
    let Some(records) = shelf.records else { return Ok((listing, None)) };
    let bytes = listing.to_bytes();
    let record = record(base, key, &listing, &bytes);
    let pushed = match record.kept().next() {
        Some(blob) => shelf.store.push(blob, &BytesContent::new(bytes)).map(drop),
        None => Ok(()),
    };
    match pushed {
        Ok(()) => keep(records, &record, shelf.observer),
        Err(fault) => uncached(&fault, shelf.observer),
    }
    let told = whole(record);
    if told.is_none() && !shelf.tiers.is_empty() {
        untold(&listing, shelf.observer);
    }
    Ok((listing, told))
}

/// What a place said of a base, as the cache keeps it.
fn key_at(place: &str, listing: &Key) -> Key {
    let mut writer = KeyWriter::new("listing of a place", 1);
    writer.field("place", place).field("listing", listing.hex());
    writer.finish()
}

/// Asks the cache.
fn find(key: &Key, shelf: Shelf<'_>) -> Result<Option<(Listing, Record)>, BuildError> {
    let Some(records) = shelf.records else { return Ok(None) };
    let Some(record) = known(records, key, shelf.observer) else { return Ok(None) };
    let Some(inventory) = &record.inventory else { return Ok(None) };
    let bytes = match inventory.embedded() {
        Some(bytes) => bytes,
        // Damaged or gone, it is made again; what is damaged would be taken for it if it stayed.
        None => match read_whole(shelf.store, inventory, MAX_LISTING) {
            Ok(bytes) => bytes,
            Err(_) => {
                shelf.store.remove(&inventory.digest)?;
                return Ok(None);
            }
        },
    };
    records.used(key);
    Ok(Listing::from_bytes(&bytes).ok().map(|listing| (listing, record)))
}

/// Asks the other places in their order. Of what they answer with the listing alone is believed.
fn find_elsewhere(base: &Base, key: &Key, shelf: Shelf<'_>) -> Result<Option<(Listing, Record)>, Cancelled> {
    for tier in shelf.tiers {
        shelf.cancel.check()?;
        let found = known(&*tier.records, key, shelf.observer).filter(Record::is_listing);
        let Some(inventory) = found.and_then(|record| record.inventory) else { continue };
        match fetch(&inventory, &*tier.blobs) {
            Ok(Some((listing, bytes))) => {
                let record = record(base, *key, &listing, &bytes);
                if let Some(records) = shelf.records {
                    keep(records, &record.under(key_at(&tier.place, key)), shelf.observer);
                }
                return Ok(Some((listing, record)));
            }
            Ok(None) => {}
            Err(fault) => unused(&tier.place, &fault, shelf.observer),
        }
    }
    shelf.cancel.check()?;
    Ok(None)
}

/// Reads a listing where it is; none if it is gone. The error says what is wrong with it.
fn fetch(inventory: &Descriptor, blobs: &dyn Source) -> Result<Option<(Listing, Vec<u8>)>, String> {
    let bytes = match &inventory.data {
        Some(_) => inventory.embedded().ok_or("its bytes have another digest")?,
        None => match read_whole(blobs, inventory, MAX_EMBEDDED as u64) {
            Ok(bytes) => bytes,
            Err(fault) if fault.is_absence() => return Ok(None),
            Err(fault) => return Err(chain(&fault)),
        },
    };
    let listing = Listing::from_bytes(&bytes).map_err(|fault| chain(&fault))?;
    Ok(Some((listing, bytes)))
}

fn record(base: &Base, key: Key, listing: &Listing, bytes: &[u8]) -> Record {
    let mut inventory = Descriptor::of(MediaType::LISTING, bytes);
    if bytes.len() <= MAX_EMBEDDED {
        inventory = inventory.embed(bytes);
    }
    let layers = base.layers.iter().zip(&base.diff_ids);
    Record {
        inspection: None,
        version: Record::VERSION,
        key,
        content: None,
        layers: layers.map(|(layer, diff_id)| BuiltLayer::new(layer.clone(), *diff_id)).collect(),
        materials: Vec::new(),
        inventory: Some(inventory),
        machines: BTreeSet::new(),
        entries: listing.len() as u64,
        tar_size: 0,
        is_trace: false,
    }
}

fn keep(records: &dyn RecordStore, record: &Record, observer: &dyn Observer) {
    if let Err(fault) = records.put(record) {
        uncached(&fault, observer);
    }
}

fn uncached(fault: &dyn std::error::Error, observer: &dyn Observer) {
    let warning = Warning::new(format!("the base's listing is not cached: {fault}"));
    observer.event(&Event::Warning(warning.hint("check the cache directory")));
}

fn untold(listing: &Listing, observer: &dyn Observer) {
    let message = format!(
        "what the base holds is not told to other caches: of {} paths, it is too large",
        listing.len()
    );
    let hint = "each machine reads the base's layers once; keep the cache directory from run to run, or take a smaller base";
    observer.event(&Event::Warning(Warning::new(message).hint(hint)));
}

fn unused(place: &str, fault: &str, observer: &dyn Observer) {
    let message = format!("what `{place}` says of a base is not used: {fault}");
    observer.event(&Event::Warning(Warning::new(message).hint("the base's layers are read")));
}
