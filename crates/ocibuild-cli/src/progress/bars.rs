//! Events as bars on a terminal: one for each layer that is made and each large blob on its way.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ocibuild_core::Event;

/// Smaller blobs are sent before anybody could read of it.
const SMALLEST: u64 = 256 << 10;

const STYLE: &str = "{prefix} {wide_bar:.dim} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
const SEARCH: &str = "{prefix} looking for files";

/// Longer names are cut, so that the numbers find a place on a terminal of 80 columns.
const LONGEST: usize = 32;

/// The bars that are shown; none before there is something to show.
#[derive(Default)]
pub(super) struct Bars {
    screen: OnceLock<MultiProgress>,
    running: Mutex<BTreeMap<String, ProgressBar>>,
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
        for (_, bar) in std::mem::take(&mut *self.running()) {
            bar.finish_and_clear();
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a bar; without a size, one that knows no end.
    pub(super) fn start(&self, key: String, prefix: String, size: Option<u64>) {
        let screen = self.screen.get_or_init(MultiProgress::new);
        let bar = ProgressBar::new(size.unwrap_or_default());
        bar.set_style(style(if size.is_some() { STYLE } else { SEARCH }));
        let bar = screen.add(bar);
        bar.set_prefix(shortened(prefix));
        if let Some(before) = self.running().insert(key, bar) {
            before.finish_and_clear();
        }
    }

    fn walked(&self, key: &str, bytes: u64) {
        if let Some(bar) = self.running().get(key) {
            bar.set_length(bytes);
            bar.set_style(style(STYLE));
            bar.reset_eta();
        }
    }

    /// Moves a bar on.
    pub(super) fn advance(&self, key: &str, bytes: u64) {
        if let Some(bar) = self.running().get(key) {
            bar.inc(bytes);
        }
    }

    /// Takes a bar away.
    pub(super) fn end(&self, key: &str) {
        if let Some(bar) = self.running().remove(key) {
            bar.finish_and_clear();
        }
    }
}

fn layer_key(layer: &str) -> String {
    format!("layer {layer}")
}

fn shortened(name: String) -> String {
    if name.chars().count() <= LONGEST {
        return name;
    }
    let start: String = name.chars().take(LONGEST - 1).collect();
    format!("{start}…")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
