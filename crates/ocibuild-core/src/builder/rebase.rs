//! Moving images to other bases, with what a builder has been told.

use crate::build::{BuildError, Built, Shelf};
use crate::builder::Builder;
use crate::cache::RecordStore;
use crate::rebase::{Rebase, RebaseContext, RebaseError, rebase};

impl Builder<'_> {
    /// Moves an image to another base without rebuilding it; see [`rebase`](crate::rebase::rebase()).
    ///
    /// Of the builder its cache counts, where the listings of bases are kept, its time, registry,
    /// observer and cancellation; the root is not looked at.
    ///
    /// # Errors
    /// [`RebaseError`].
    pub fn rebase(&self, job: &Rebase) -> Result<Built, RebaseError> {
        let hold = self.enter_cache().map_err(BuildError::Blob)?;
        let (store, records) = (self.store(), self.local_records());
        let records: Option<&dyn RecordStore> = if self.use_records { Some(&records) } else { None };
        let (observer, cancel) = (self.observer, &self.cancel);
        let shelf = Shelf { store: &store, records, told: &[], tiers: &[], observer, cancel };
        let bases = &self.places(&store, true);
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = Some(self.pool.threads()).filter(|threads| *threads > 0).unwrap_or_else(processors);
        let created = self.created;
        Ok(rebase(job, RebaseContext { bases, shelf, threads, created })?.holding(hold))
    }
}
