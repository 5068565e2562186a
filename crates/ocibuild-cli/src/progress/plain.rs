//! Events as lines.

use std::time::Duration;

use ocibuild_core::Event;
use ocibuild_core::event::{LayerOutcome, Transfer};

use crate::progress::retries::{shown, subject};
use crate::text;

/// Who waits longer wonders why.
const LONG: Duration = Duration::from_secs(2);

/// Writes the line that an event is worth, if it is worth one; `retry` is a retry's number.
pub(super) fn line(event: &Event, verbosity: u8, retry: u32) -> Option<String> {
    let verbose = verbosity > 0;
    match event {
        Event::LayerFinished { layer, size, outcome, elapsed, .. } => {
            let size = text::bytes(*size);
            Some(match outcome {
                LayerOutcome::Built => format!("layer {layer}: built, {size} in {}", text::time(*elapsed)),
                outcome => format!("layer {layer}: {}, {size}", reused(*outcome)),
            })
        }
        Event::LayerWalked { layer, entries, bytes } if verbose => {
            let noun = if *entries == 1 { "entry" } else { "entries" };
            Some(format!("layer {layer}: {entries} {noun}, {} to compress", text::bytes(*bytes)))
        }
        Event::LayerTaken { layer, bytes } if verbose => Some(format!(
            "layer {layer}: {} of it are as they were, and are not compressed again",
            text::bytes(*bytes)
        )),
        Event::StepFinished { step, outcome, elapsed } => Some(match outcome {
            LayerOutcome::Built => format!("step {step}: ran in {}", text::time(*elapsed)),
            outcome => format!("step {step}: {}", reused(*outcome)),
        }),
        Event::StepRestored { step, size, elapsed } => {
            let (size, elapsed) = (text::bytes(*size), text::time(*elapsed));
            Some(format!("step {step}: what it made is brought back, {size} in {elapsed}"))
        }
        Event::StepRetry { step, reason } => Some(format!("step {step}: {reason}; it is run again")),
        Event::StepFailed { step, reason, elapsed } => {
            Some(format!("step {step}: failed after {}, {reason}", text::time(*elapsed)))
        }
        Event::StepSkipped { step, because } => Some(format!("step {step}: not run, as `{because}` failed")),
        Event::PushFinished { place, digest, size, transfer } => {
            let hex = digest.hex();
            let short = text::short(&hex);
            let how = match transfer {
                Transfer::Sent if verbose || is_remote(place) => "sent",
                Transfer::Mounted => "mounted",
                Transfer::Present if verbose => "there already",
                _ => return None,
            };
            Some(format!("blob {short}: {how}, {}, {place}", text::bytes(*size)))
        }
        Event::Request { method, url, status, elapsed } if verbosity > 1 => {
            let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            // The address comes last, as nobody knows how long it is.
            Some(format!("{method:<6} {status:<3} {:>7}  {}", text::time(*elapsed), shown(url)))
        }
        Event::Retry { method, url, digest, reason, wait } if verbose || *wait >= LONG => {
            let subject = subject(method, url, digest.as_ref());
            Some(format!("{subject}: {}", waiting(retry, *wait, reason)))
        }
        _ => None,
    }
}

/// Where what wasn't made is from.
fn reused(outcome: LayerOutcome) -> &'static str {
    match outcome {
        LayerOutcome::Built | LayerOutcome::Reused => "reused",
        LayerOutcome::Shared => "reused from a registry",
        _ => "reused from a cache",
    }
}

/// Tells what is waited for: `retry 2, waiting 5 s: 429 Too Many Requests`.
pub(super) fn waiting(retry: u32, wait: Duration, reason: &str) -> String {
    let wait = match wait.is_zero() {
        true => String::new(),
        false => format!(", waiting {}", text::pause(wait)),
    };
    format!("retry {retry}{wait}: {reason}")
}

/// Writing to a disk is told by the summary alone.
fn is_remote(place: &str) -> bool {
    place.starts_with("the repository ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_stand_in_columns_and_without_what_steers_a_terminal() {
        let request = |method: &str, url: &str, status, elapsed| {
            let (method, url) = (method.to_owned(), url.to_owned());
            line(&Event::Request { method, url, status, elapsed: Duration::from_millis(elapsed) }, 2, 0)
        };
        let lines = [
            request("HEAD", "http://h/v2/", Some(200), 7),
            request("DELETE", "http://h/\u{1b}[31mx", None, 12_340),
        ];
        assert_eq!(
            lines.map(Option::unwrap),
            ["HEAD   200    7 ms  http://h/v2/", "DELETE -    12.3 s  http://h/?[31mx"]
        );
    }

    #[test]
    fn a_long_wait_is_told_and_a_short_one_to_who_wants_to_know() {
        let retry = |millis, verbosity| {
            let event = Event::Retry {
                method: "PUT".to_owned(),
                url: "http://h/v2/a/manifests/1".to_owned(),
                digest: None,
                reason: "503 Service Unavailable".to_owned(),
                wait: Duration::from_millis(millis),
            };
            line(&event, verbosity, 3)
        };
        assert_eq!(retry(300, 0), None);
        let told = |wait: &str| {
            Some(format!("PUT http://h/v2/a/manifests/1: retry 3{wait}: 503 Service Unavailable"))
        };
        assert_eq!(retry(300, 1), told(", waiting 300 ms"));
        assert_eq!(retry(5000, 0), told(", waiting 5 s"));
        assert_eq!(retry(0, 1), told(""));
    }
}
