//! How often what is under way was tried again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ocibuild_core::{Digest, Event};

use crate::text;

/// Counts retries by what is tried.
#[derive(Default)]
pub(super) struct Retries(Mutex<BTreeMap<String, u32>>);

impl Retries {
    /// Takes note of an event; of a retry its number is returned, counted from 1.
    pub(super) fn note(&self, event: &Event) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Retry { method, url, digest, .. } => {
                let count = counts.entry(subject(method, url, digest.as_ref())).or_default();
                *count += 1;
                *count
            }
            // Where it is on its way to other places, those begin anew: better than to grow for ever.
            Event::PushFinished { digest, .. } => {
                let blob = blob(digest);
                counts.retain(|subject, _| !subject.starts_with(&blob));
                0
            }
            _ => 0,
        }
    }
}

/// What is tried again, for people.
pub(super) fn subject(method: &str, url: &str, digest: Option<&Digest>) -> String {
    match digest {
        Some(digest) => format!("{} at {}", blob(digest), shown(place(url))),
        None => format!("{method} {}", shown(url)),
    }
}

fn blob(digest: &Digest) -> String {
    format!("blob {}", text::short(&digest.hex()))
}

/// The repository that an address is in; of a storage's address, its host.
fn place(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let name = path.strip_prefix("v2/").and_then(|path| {
        let end = ["/blobs/", "/manifests/"].iter().filter_map(|part| path.rfind(part)).max()?;
        Some(&path[..end])
    });
    name.map_or_else(|| host.to_owned(), |name| format!("{host}/{name}"))
}

/// An address, of which servers may have chosen any part, without what would steer a terminal.
pub(super) fn shown(url: impl AsRef<str>) -> String {
    url.as_ref().chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ocibuild_core::event::Transfer;

    use super::*;

    fn retry(url: &str, digest: Option<Digest>) -> Event {
        let (method, reason) = (String::from("PUT"), String::from("503 Service Unavailable"));
        Event::Retry { method, url: url.to_owned(), digest, reason, wait: Duration::ZERO }
    }

    #[test]
    fn what_is_tried_is_known_by_its_repository_whatever_its_address() {
        let retries = Retries::default();
        let digest = Digest::of(b"");
        let addresses = [
            ("http://h:1/v2/a/b/blobs/uploads/1", 1),
            ("http://h:1/v2/a/b/blobs/uploads/2", 2),
            ("http://h:1/v2/a/c/blobs/uploads/1", 1),
            ("http://h:1/v2/a/b/blobs/sha256:0", 3),
        ];
        for (url, number) in addresses {
            assert_eq!(retries.note(&retry(url, Some(digest))), number, "{url}");
        }
        assert_eq!(retries.note(&retry(addresses[0].0, None)), 1);
        let (place, size, transfer) = (String::new(), 0, Transfer::Sent);
        assert_eq!(retries.note(&Event::PushFinished { place, digest, size, transfer }), 0);
        assert_eq!(retries.note(&retry(addresses[0].0, Some(digest))), 1);
        assert_eq!(retries.note(&retry(addresses[0].0, None)), 2);
    }

    #[test]
    fn a_place_is_a_repository_or_a_host() {
        assert_eq!(place("https://r.io/v2/team/app/manifests/1"), "r.io/team/app");
        assert_eq!(place("https://r.io/v2/blobs/uploads/blobs/uploads/"), "r.io/blobs/uploads");
        assert_eq!(place("https://storage.r.io:1/bucket/x"), "storage.r.io:1");
        assert_eq!(place("https://r.io"), "r.io");
    }
}
