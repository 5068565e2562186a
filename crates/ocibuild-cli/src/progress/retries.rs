//! How often what is under way was tried again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ocibuild_core::Event;

use crate::progress::plain::SHORT;

/// Counts retries by what is tried.
#[derive(Default)]
pub(super) struct Retries(Mutex<BTreeMap<String, u32>>);

impl Retries {
    /// Takes note of an event; of a retry its number is returned, counted from 1.
    pub(super) fn note(&self, event: &Event) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Retry { .. } => {
                let count = counts.entry(subject(event)).or_default();
                *count += 1;
                *count
            }
            Event::PushFinished { .. } => counts.remove(&subject(event)).unwrap_or_default(),
            _ => 0,
        }
    }
}

/// What an event is about, for people.
pub(super) fn subject(event: &Event) -> String {
    match event {
        Event::Retry { digest: Some(digest), .. } | Event::PushFinished { digest, .. } => {
            format!("blob {}", digest.hex().chars().take(SHORT).collect::<String>())
        }
        Event::Retry { method, url, .. } => format!("{method} {}", shown(url)),
        _ => String::new(),
    }
}

/// An address, of which servers may have chosen any part, without what would steer a terminal.
pub(super) fn shown(url: &str) -> String {
    url.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
