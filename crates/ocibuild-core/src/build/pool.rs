//! The threads that work runs on.

use std::sync::{Arc, OnceLock};

use rayon::{Scope, ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A rayon pool: one that is given, or one that is started when there is work for it.
///
/// The global pool is never used: it is the program's, not ours.
#[derive(Debug)]
pub struct Pool {
    threads: usize,
    started: OnceLock<Arc<ThreadPool>>,
}

impl Pool {
    /// Plans a pool of so many threads; 0 means as many as there are processors.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads, started: OnceLock::new() }
    }

    /// Takes a pool that is there.
    #[must_use]
    pub fn given(pool: Arc<ThreadPool>) -> Self {
        Self { threads: pool.current_num_threads(), started: OnceLock::from(pool) }
    }

    /// Returns the number of its threads; 0 means as many as there are processors.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` in the pool.
    ///
    /// # Errors
    /// The system's, where it gives no threads.
    pub fn install<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, ThreadPoolBuildError> {
        Ok(self.started()?.install(work))
    }

    /// Runs `work` on this thread, which may wait, while what it spawns runs in the pool.
    pub(super) fn in_place_scope<'s, T>(
        &self,
        work: impl FnOnce(&Scope<'s>) -> T,
    ) -> Result<T, ThreadPoolBuildError> {
        Ok(self.started()?.in_place_scope(work))
    }

    fn started(&self) -> Result<Arc<ThreadPool>, ThreadPoolBuildError> {
        if let Some(pool) = self.started.get() {
            return Ok(Arc::clone(pool));
        }
        let named = |index| format!("ocibuild-{index}");
        let pool = ThreadPoolBuilder::new().num_threads(self.threads).thread_name(named).build()?;
        Ok(Arc::clone(self.started.get_or_init(|| Arc::new(pool))))
    }
}

/// Runs what may wait for a registry. A thread of a pool must not do that itself: it waits here for a
/// thread of its own, which needs nothing of the pool to get on.
pub(super) fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    let result = std::thread::scope(|scope| scope.spawn(work).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(0)
    }
}
