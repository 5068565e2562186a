//! Events as bars on a terminal: one for each layer that is made and each large blob on its way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ocibuild_core::Event;
use rustix::termios::tcgetwinsize;

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
}

impl Running {
    /// Makes the bar fit into a line: one that doesn't is broken, and never taken away whole.
    fn fit(&self, width: u16) {
        let (template, taken) = match self.is_sized {
            true => template(width),
            false => (SEARCH, SEARCH_WIDTH),
        };
        self.bar.set_style(style(template));
        // The last column is left free: some terminals break a line that fills it.
        self.bar.set_prefix(shortened(&self.name, width.saturating_sub(taken + 1).min(LONGEST)));
    }
}

impl Bars {
    /// Shows an event.
    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::LayerStarted { layer } => self.start(layer_key(layer), format!("layer {layer}"), None),
            Event::LayerWalked { layer, bytes, .. } => self.walked(&layer_key(layer), *bytes),
            Event::LayerProgress { layer, bytes } => self.advance(&layer_key(layer), *bytes),
            Event::LayerFinished { layer, .. } => self.end(&layer_key(layer)),
            Event::PushStarted { digest, size, .. } if *size >= SMALLEST => {
                let short = digest.hex().chars().take(12).collect::<String>();
                self.start(digest.to_string(), format!("send {short}"), Some(*size));
            }
            Event::PushProgress { digest, bytes } => self.advance(&digest.to_string(), *bytes),
            Event::PushFinished { digest, .. } => self.end(&digest.to_string()),
            _ => {}
        }
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
        let screen = self.screen.get_or_init(MultiProgress::new);
        let bar = screen.add(ProgressBar::new(size.unwrap_or_default()));
        let running = Running { bar, name, is_sized: size.is_some() };
        running.fit(columns());
        if let Some(before) = self.running().insert(key, running) {
            before.bar.finish_and_clear();
        }
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
        let running = self.running();
        let width = columns();
        if self.width.swap(width, Ordering::Relaxed) != width {
            running.values().for_each(|running| running.fit(width));
        }
        if let Some(running) = running.get(key) {
            running.bar.inc(bytes);
        }
    }

    /// Takes a bar away.
    pub(super) fn end(&self, key: &str) {
        if let Some(running) = self.running().remove(key) {
            running.bar.finish_and_clear();
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
    fn the_narrower_the_less_is_shown() {
        let shown =
            [30, 40, 60, 80, 200].map(|width| STYLES.iter().position(|style| style.0 == template(width).0));
        assert_eq!(shown, [Some(2), Some(2), Some(1), Some(0), Some(0)]);
    }
}
