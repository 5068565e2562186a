//! What is known of single hosts while a run lasts, and what is asked of each at once.
//!
//! A host is an origin: scheme, name and port. Requests wait for their turn, uploads for one of
//! their own: what feeds an upload may itself have to be read from the same registry, so no request
//! may ever wait for an upload.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::event::Cancelled;
use crate::registry::RegistryOptions;
use crate::registry::http::retry::MAX_WISH;
use crate::registry::http::url::Origin;
use crate::registry::http::watch::{Pulse, Stop, Watch};

/// All hosts that were met.
pub(crate) struct Hosts {
    requests: usize,
    uploads: usize,
    hosts: Mutex<BTreeMap<Origin, Arc<Host>>>,
}

impl Hosts {
    pub(crate) fn new(options: &RegistryOptions) -> Self {
        Self { requests: options.requests.max(1), uploads: options.uploads.max(1), hosts: Mutex::default() }
    }

    pub(crate) fn of(&self, origin: Origin) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Host::new(self.requests, self.uploads));
        Arc::clone(hosts.entry(origin).or_insert_with(new))
    }
}

/// One host.
pub(crate) struct Host {
    requests: Semaphore,
    uploads: Semaphore,
    /// When it wants to be asked again.
    open_at: Mutex<Option<Instant>>,
    is_reached: AtomicBool,
    successes: AtomicU64,
}

/// Signs of life of a host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signs {
    /// It was connected to in this run.
    pub(crate) is_reached: bool,
    /// How many requests went well.
    pub(crate) successes: u64,
}

impl Host {
    fn new(requests: usize, uploads: usize) -> Self {
        Self {
            requests: Semaphore::new(requests),
            uploads: Semaphore::new(uploads),
            open_at: Mutex::default(),
            is_reached: AtomicBool::new(false),
            successes: AtomicU64::new(0),
        }
    }

    /// Waits for a turn, and until the host wants to be asked; tells how long the latter took.
    pub(crate) async fn turn(
        &self,
        is_upload: bool,
        watch: &Watch,
    ) -> Result<(SemaphorePermit<'_>, Duration), Stop> {
        let turns = if is_upload { &self.uploads } else { &self.requests };
        let turn = watch.patient().over(&Pulse::default(), turns.acquire()).await?;
        let turn = turn.expect("no bound of a host is ever closed");
        Ok((turn, self.opening(watch).await.map_err(Stop::Cancelled)?))
    }

    /// Others may hear meanwhile that it takes longer.
    async fn opening(&self, watch: &Watch) -> Result<Duration, Cancelled> {
        let mut begun = None;
        while let Some(left) = self.held() {
            begun.get_or_insert_with(Instant::now);
            watch.pause(left).await?;
        }
        Ok(begun.map(|begun| begun.elapsed()).unwrap_or_default())
    }

    /// How long it wants to be left alone.
    fn held(&self) -> Option<Duration> {
        let open_at = *self.open_at.lock().unwrap_or_else(PoisonError::into_inner);
        open_at?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Asks nothing of it for this long. What nobody would wait for is left to those who hear of it.
    pub(crate) fn hold(&self, length: Duration) {
        if length <= MAX_WISH {
            let mut open_at = self.open_at.lock().unwrap_or_else(PoisonError::into_inner);
            *open_at = (*open_at).max(Instant::now().checked_add(length));
        }
    }

    pub(crate) fn reached(&self) {
        self.is_reached.store(true, Ordering::Relaxed);
    }

    pub(crate) fn succeeded(&self) {
        self.successes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn signs(&self) -> Signs {
        Signs {
            is_reached: self.is_reached.load(Ordering::Relaxed),
            successes: self.successes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wish_counts_unless_nobody_would_wait_for_it() {
        let host = Host::new(1, 1);
        assert!(host.held().is_none());
        host.hold(Duration::from_secs(60));
        host.hold(Duration::from_secs(5));
        host.hold(Duration::from_secs(3600));
        host.hold(Duration::MAX);
        let held = host.held().unwrap();
        assert!(held > Duration::from_secs(50) && held <= Duration::from_secs(60), "{held:?}");
    }
}
