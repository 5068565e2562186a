//! Waiting that ends: when a run is cancelled, and when nothing moves any more.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::{Cancel, Cancelled};

/// How often a waiting request looks up.
const TICK: Duration = Duration::from_millis(50);

/// Counts signs of life; shared by all its clones.
#[derive(Clone, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends waiting.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) cancel: Cancel,
    /// How long nothing may move.
    pub(crate) idle: Duration,
}

/// Why waiting ended early.
pub(crate) enum Stop {
    Cancelled(Cancelled),
    Idle,
}

impl Watch {
    /// The same, but without an end to patience: for waiting that is nobody's fault.
    pub(crate) fn patient(&self) -> Self {
        Self { cancel: self.cancel.clone(), idle: Duration::MAX }
    }

    /// Waits for a future, as long as the run isn't cancelled and the pulse keeps beating.
    pub(crate) async fn over<F: Future>(&self, pulse: &Pulse, future: F) -> Result<F::Output, Stop> {
        let mut future = pin!(future);
        let mut seen = pulse.count();
        let mut since = Instant::now();
        loop {
            self.cancel.check().map_err(Stop::Cancelled)?;
            if let Ok(output) = tokio::time::timeout(TICK, future.as_mut()).await {
                return Ok(output);
            }
            let count = pulse.count();
            if count != seen {
                (seen, since) = (count, Instant::now());
            } else if since.elapsed() >= self.idle {
                return Err(Stop::Idle);
            }
        }
    }

    /// Lets time pass.
    pub(crate) async fn pause(&self, length: Duration) -> Result<(), Cancelled> {
        let until = Instant::now() + length;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.cancel.check()?;
            tokio::time::sleep(left.min(TICK)).await;
        }
        self.cancel.check()
    }
}
