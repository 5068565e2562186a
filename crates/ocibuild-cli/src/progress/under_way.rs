//! How far what is sent has come, for who sees no bars.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ocibuild_core::{Digest, Event};

use crate::text;

/// The blobs on their way, all of them together.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<State>);

#[derive(Default)]
struct State {
    /// Size, and how much of it is done.
    blobs: BTreeMap<Digest, (u64, u64)>,
    /// What was done since the last line, or since there is anything to do.
    bytes: u64,
    since: Option<Instant>,
}

impl UnderWay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an event.
    pub(super) fn note(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::PushStarted { digest, size, .. } => {
                if state.blobs.is_empty() {
                    (state.bytes, state.since) = (0, Some(Instant::now()));
                }
                state.blobs.insert(*digest, (*size, 0));
            }
            Event::PushProgress { digest, bytes } => {
                state.bytes += bytes;
                if let Some((_, done)) = state.blobs.get_mut(digest) {
                    *done += bytes;
                }
            }
            Event::PushFinished { digest, .. } => drop(state.blobs.remove(digest)),
            _ => {}
        }
    }

    /// Tells how far they are: `2 blobs under way: 12.3 MB of 41.9 MB, 6.10 MB/s`.
    pub(super) fn line(&self, now: Instant) -> Option<String> {
        let mut state = self.state();
        let (size, done) = state.blobs.values().fold((0, 0), |sum, blob| (sum.0 + blob.0, sum.1 + blob.1));
        let millis = now.saturating_duration_since(state.since?).as_millis().max(1);
        let rate = u64::try_from(u128::from(state.bytes) * 1000 / millis).unwrap_or(u64::MAX);
        (state.bytes, state.since) = (0, Some(now));
        let blobs = text::count(state.blobs.len(), "blob");
        let (done, size, rate) = (text::bytes(done), text::bytes(size), text::bytes(rate));
        Some(format!("{blobs} under way: {done} of {size}, {rate}/s"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ocibuild_core::event::Transfer;

    use super::*;

    #[test]
    fn all_that_is_under_way_is_told_in_one_line_with_the_rate_since_the_last() {
        let under_way = UnderWay::default();
        assert_eq!(under_way.line(Instant::now()), None);
        let [one, two] = [Digest::of(b"1"), Digest::of(b"2")];
        for (digest, size) in [(one, 3000), (two, 5000)] {
            under_way.note(&Event::PushStarted { place: String::new(), digest, size });
        }
        let start = under_way.state().since.unwrap();
        under_way.note(&Event::PushProgress { digest: one, bytes: 2000 });
        let told = under_way.line(start + Duration::from_secs(10)).unwrap();
        assert_eq!(told, "2 blobs under way: 2.00 kB of 8.00 kB, 200 B/s");
        under_way.note(&Event::PushProgress { digest: two, bytes: 1000 });
        let (place, size, transfer) = (String::new(), 3000, Transfer::Sent);
        under_way.note(&Event::PushFinished { place, digest: one, size, transfer });
        let told = under_way.line(start + Duration::from_secs(20)).unwrap();
        assert_eq!(told, "1 blob under way: 1.00 kB of 5.00 kB, 100 B/s");
    }
}
