//! Events as bars on a terminal: one for each layer that is made and each large blob on its way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use ocibuild_core::Event;
use rustix::termios::tcgetwinsize;

use crate::progress::plain::waiting;
use crate::text;

/// Smaller blobs are sent before anybody could read of it.
const SMALLEST: u64 = 256 << 10;

/// The width of terminals that don't say it.
const USUAL: u16 = 80;

/// What a bar looks like, by what there is room for: each with the columns that its numbers and gaps
/// take at most, and the least its bar should have.
const STYLES: [(&str, u16, u16); 3] = [
    // `999.99 MB/999.99 MB 999.99 MB/s`
    ("{prefix} {wide_bar:.dim} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}", 34, 16),
    ("{prefix} {wide_bar:.dim} {decimal_bytes}/{decimal_total_bytes}", 22, 12),
    ("{prefix} {decimal_bytes}/{decimal_total_bytes}", 21, 0),
];

/// What stands where the size isn't known yet.
const SEARCH: &str = "{prefix} looking for files";
const SEARCH_WIDTH: u16 = 19;

/// What stands where a command runs.
const TIMER: &str = "{prefix} runs, {elapsed}";
const TIMER_WIDTH: u16 = 13;

/// What stands where something is tried again: there are words in place of a bar.
const AGAIN: &str = "{again}";

/// How often the time that is left to wait is shown anew.
const TICK: Duration = Duration::from_millis(250);

/// A name is given so many columns, if it has them, before it is cut for the sake of the bar; and
/// never more than the longest, which leave the rest to the bar.
const NAME: u16 = 20;
const LONGEST: u16 = 48;

/// The bars that are shown; none before there is something to show.
#[derive(Default)]
pub(super) struct Bars {
    screen: OnceLock<MultiProgress>,
    running: Mutex<BTreeMap<String, Running>>,
    /// The width of the terminal when bars were last drawn to fit it.
    width: AtomicU16,
}

/// A bar that is shown.
struct Running {
    bar: ProgressBar,
    name: String,
    is_sized: bool,
    /// Whether it says how long it takes, as nobody knows how far it is.
    is_timed: bool,
    /// How many go by the same name at once: a blob may be on its way to several places.
    count: u32,
    /// How often it was tried again.
    retries: u32,
    /// What it is tried again for, until more of it is on its way than ever before.
    again: Option<Again>,
}

/// Something that is going to be tried again.
#[derive(Clone)]
struct Again {
    retry: u32,
    reason: String,
    until: Instant,
}

impl Running {
    /// Makes the bar fit into a line: one that doesn't is broken, and never taken away whole.
    fn fit(&self, width: u16) {
        // The last column is left free: some terminals break a line that fills it.
        if let Some(again) = self.again.clone() {
            let (name, columns) = (self.name.clone(), width.saturating_sub(1));
            let write = move |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                let left = again.until.saturating_duration_since(Instant::now());
                // Nobody is there to be told if that fails.
                let _ = to.write_str(&shortened(&again.words(&name, left, state), columns));
            };
            return self.bar.set_style(style(AGAIN).with_key("again", write));
        }
        let (template, taken) = match self {
            Self { is_timed: true, .. } => (TIMER, TIMER_WIDTH),
            Self { is_sized: true, .. } => template(width),
            _ => (SEARCH, SEARCH_WIDTH),
        };
        let name = match self.retries {
            0 => self.name.clone(),
            retries => format!("{}, retry {retries}", self.name),
        };
        self.bar.set_style(style(template));
        self.bar.set_prefix(shortened(&name, width.saturating_sub(taken + 1).min(LONGEST)));
    }

    /// Moves the bar on; what is sent again doesn't take it beyond its end.
    fn advance(&mut self, bytes: u64) {
        let position = self.bar.position().saturating_add(bytes);
        let end = self.bar.length().filter(|_| self.is_sized).unwrap_or(u64::MAX);
        self.bar.set_position(position.min(end));
        // What was read before it broke may be told after that.
        if self.again.take_if(|again| again.until <= Instant::now()).is_some() {
            self.bar.disable_steady_tick();
            self.fit(columns());
        }
    }
}

impl Again {
    fn words(&self, name: &str, left: Duration, state: &ProgressState) -> String {
        if left.is_zero() {
            let (done, all) = (DecimalBytes(state.pos()), DecimalBytes(state.len().unwrap_or_default()));
            return format!("{name}, retry {}: {done}/{all}", self.retry);
        }
        // In whole seconds, or the words would dance.
        let left = Duration::from_secs((left.as_secs_f64()).ceil() as u64);
        format!("{name}: {}", waiting(self.retry, left, &self.reason))
    }
}

impl Bars {
    /// Shows an event; `retry` is the number of one. Tells whether there is a bar for it.
    pub(super) fn event(&self, event: &Event, retry: u32) -> bool {
        match event {
            Event::LayerStarted { layer } => self.start(layer_key(layer), format!("layer {layer}"), None),
            Event::LayerWalked { layer, bytes, .. } => self.walked(&layer_key(layer), *bytes),
            Event::LayerProgress { layer, bytes } => self.advance(&layer_key(layer), *bytes),
            Event::LayerFinished { layer, .. } => self.end(&layer_key(layer)),
            Event::StepStarted { step, .. } => self.time(step_key(step), format!("step {step}")),
            Event::StepFinished { step, .. } | Event::StepFailed { step, .. } => self.end(&step_key(step)),
            Event::PushStarted { digest, size, .. } if *size >= SMALLEST => {
                self.send(digest.to_string(), format!("send {}", text::short(&digest.hex())), *size);
            }
            Event::PushProgress { digest, bytes } => self.advance(&digest.to_string(), *bytes),
            Event::PushFinished { digest, .. } => self.end(&digest.to_string()),
            Event::Retry { digest: Some(digest), reason, wait, .. } => {
                return self.again(&digest.to_string(), retry, reason, *wait);
            }
            _ => return false,
        }
        true
    }

    /// Writes something between the bars.
    pub(super) fn suspend(&self, write: impl FnOnce()) {
        match self.screen.get() {
            Some(screen) => screen.suspend(write),
            None => write(),
        }
    }

    /// Takes all bars away.
    pub(super) fn clear(&self) {
        for (_, running) in std::mem::take(&mut *self.running()) {
            running.bar.finish_and_clear();
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a bar; without a size, one that knows no end.
    pub(super) fn start(&self, key: String, name: String, size: Option<u64>) {
        self.add(key, name, size, false);
    }

    /// Shows how long something takes.
    fn time(&self, key: String, name: String) {
        self.add(key.clone(), name, None, true);
        if let Some(running) = self.running().get(&key) {
            running.bar.enable_steady_tick(TICK);
        }
    }

    fn add(&self, key: String, name: String, size: Option<u64>, is_timed: bool) {
        let screen = self.screen.get_or_init(MultiProgress::new);
        // Two of one name would be seen for a moment.
        if let Some(before) = self.running().remove(&key) {
            before.bar.finish_and_clear();
        }
        let bar = screen.add(ProgressBar::new(size.unwrap_or_default()));
        let is_sized = size.is_some();
        let running = Running { bar, name, is_sized, is_timed, count: 1, retries: 0, again: None };
        running.fit(columns());
        self.running().insert(key, running);
    }

    /// Shows a bar for a blob, or makes the one it has that of one more place.
    fn send(&self, key: String, name: String, size: u64) {
        if let Some(running) = self.running().get_mut(&key) {
            running.count += 1;
            return running.bar.inc_length(size);
        }
        self.start(key, name, Some(size));
    }

    /// Shows why something is tried again, and when; tells whether there is a bar for it.
    fn again(&self, key: &str, retry: u32, reason: &str, wait: Duration) -> bool {
        let mut all = self.running();
        let Some(running) = all.get_mut(key) else { return false };
        running.retries = retry;
        let again = Again { retry, reason: reason.to_owned(), until: Instant::now() + wait };
        // What asks a host to wait longer holds for all that is asked of it.
        running.again = Some(match running.again.take() {
            Some(before) if before.until > again.until => Again { retry, ..before },
            _ => again,
        });
        running.fit(columns());
        running.bar.enable_steady_tick(TICK);
        true
    }

    fn walked(&self, key: &str, bytes: u64) {
        if let Some(running) = self.running().get_mut(key) {
            running.is_sized = true;
            running.bar.set_length(bytes);
            running.fit(columns());
            running.bar.reset_eta();
        }
    }

    /// Moves a bar on.
    pub(super) fn advance(&self, key: &str, bytes: u64) {
        let mut all = self.running();
        let width = columns();
        if self.width.swap(width, Ordering::Relaxed) != width {
            all.values().for_each(|running| running.fit(width));
        }
        if let Some(running) = all.get_mut(key) {
            running.advance(bytes);
        }
    }

    /// Takes a bar away.
    pub(super) fn end(&self, key: &str) {
        let mut all = self.running();
        match all.get_mut(key) {
            Some(running) if running.count > 1 => running.count -= 1,
            Some(running) => {
                running.bar.finish_and_clear();
                all.remove(key);
            }
            None => {}
        }
    }
}

/// The columns of the terminal.
fn columns() -> u16 {
    let size = tcgetwinsize(std::io::stderr()).ok();
    size.map(|size| size.ws_col).filter(|columns| *columns > 0).unwrap_or(USUAL)
}

/// The fullest template that a line has room for, and the columns that it takes beside the name.
fn template(width: u16) -> (&'static str, u16) {
    let fits = |(_, numbers, bar): &&(&str, u16, u16)| width > NAME + numbers + bar;
    let (template, numbers, bar) = STYLES.iter().find(fits).unwrap_or(&STYLES[STYLES.len() - 1]);
    (template, numbers + bar)
}

fn step_key(step: &str) -> String {
    format!("step {step}")
}

fn layer_key(layer: &str) -> String {
    format!("layer {layer}")
}

/// A name within so many columns. Of letters that may be wide it is assumed that they are.
fn shortened(name: &str, columns: u16) -> String {
    let width = |letter: char| if letter.is_ascii() { 1 } else { 2 };
    let columns = usize::from(columns);
    if name.chars().map(width).sum::<usize>() <= columns {
        return name.to_owned();
    }
    let mut taken = 1;
    let fits = |letter: &char| {
        taken += width(*letter);
        taken <= columns
    };
    let start: String = name.chars().take_while(fits).collect();
    format!("{start}…")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_the_columns_there_are() {
        assert_eq!(shortened("layer app", 9), "layer app");
        assert_eq!(shortened("layer app", 8), "layer a…");
        assert_eq!(shortened("層 app", 6), "層 app");
        assert_eq!(shortened("層層層", 5), "層層…");
        assert_eq!(shortened("abc", 0), "…");
    }

    #[test]
    fn what_goes_to_two_places_has_one_bar_and_what_is_sent_again_stays_within_it() {
        let (bars, digest, size) = (Bars::default(), ocibuild_core::Digest::of(b""), SMALLEST);
        let (place, key) = (String::from("there"), digest.to_string());
        let state = || {
            let all = bars.running();
            all.get(&key).map(|running| (running.bar.position(), running.bar.length(), running.retries))
        };
        let started = Event::PushStarted { place: place.clone(), digest, size };
        let transfer = ocibuild_core::event::Transfer::Sent;
        let finished = Event::PushFinished { place, digest, size, transfer };
        bars.event(&started, 0);
        bars.event(&started, 0);
        assert_eq!(state(), Some((0, Some(2 * size), 0)));
        for _ in 0..5 {
            bars.event(&Event::PushProgress { digest, bytes: size / 2 }, 0);
        }
        assert_eq!(state(), Some((2 * size, Some(2 * size), 0)));
        bars.event(&finished, 0);
        let again = |digest| Event::Retry {
            method: String::from("PUT"),
            url: String::from("http://r.io/"),
            digest,
            reason: String::from("503 Service Unavailable"),
            wait: Duration::ZERO,
        };
        assert!(bars.event(&again(Some(digest)), 3) && !bars.event(&again(None), 1));
        assert_eq!(state().map(|(_, _, retries)| retries), Some(3));
        bars.event(&finished, 0);
        assert!(state().is_none() && !bars.event(&again(Some(digest)), 1));
    }

    #[test]
    fn the_narrower_the_less_is_shown() {
        let shown =
            [30, 40, 60, 80, 200].map(|width| STYLES.iter().position(|style| style.0 == template(width).0));
        assert_eq!(shown, [Some(2), Some(2), Some(1), Some(0), Some(0)]);
    }
}
