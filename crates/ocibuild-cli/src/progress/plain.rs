//! Events as lines.

use ocibuild_core::Event;
use ocibuild_core::event::{LayerOutcome, Transfer};

use crate::text;

/// The characters of a digest that are enough to tell it from others.
const SHORT: usize = 12;

/// Writes the line that an event is worth, if it is worth one.
pub(super) fn line(event: &Event, verbose: bool) -> Option<String> {
    match event {
        Event::LayerFinished { layer, size, outcome: LayerOutcome::Built, elapsed, .. } => {
            Some(format!("layer {layer}: built, {} in {}", text::bytes(*size), text::time(*elapsed)))
        }
        Event::LayerFinished { layer, size, outcome: LayerOutcome::Reused, .. } => {
            Some(format!("layer {layer}: reused, {}", text::bytes(*size)))
        }
        Event::LayerWalked { layer, entries, bytes } if verbose => {
            let entries = text::count(usize::try_from(*entries).unwrap_or(usize::MAX), "entry");
            Some(format!("layer {layer}: {}, {} to compress", plural(&entries), text::bytes(*bytes)))
        }
        Event::PushFinished { place, digest, size, transfer } => {
            let short = digest.hex().chars().take(SHORT).collect::<String>();
            let how = match transfer {
                Transfer::Sent if verbose || is_remote(place) => "sent",
                Transfer::Mounted => "mounted",
                Transfer::Present if verbose => "there already",
                _ => return None,
            };
            Some(format!("blob {short}: {how}, {}, {place}", text::bytes(*size)))
        }
        _ => None,
    }
}

fn plural(entries: &str) -> String {
    entries.replace("entrys", "entries")
}

/// Writing to a disk is told by the summary alone.
fn is_remote(place: &str) -> bool {
    place.starts_with("the repository ")
}
