//! The one thread that requests run on, and how the other threads wait for it.
//!
//! Callers wait on channels of the standard library: unlike a runtime's own `block_on` these work
//! on every thread, also on one that happens to belong to somebody else's runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::registry::RegistryError;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs jobs on a thread of its own, which is started for the first of them and ends when this is
/// dropped.
#[derive(Default)]
pub(crate) struct Runtime {
    jobs: Mutex<Option<UnboundedSender<Job>>>,
}

impl Runtime {
    /// Starts a job whose result nobody waits for.
    pub(crate) fn start(&self, job: impl Future<Output = ()> + Send + 'static) -> Result<(), RegistryError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match &*jobs {
            Some(sender) => sender,
            None => jobs.insert(start_thread()?),
        };
        sender.send(Box::pin(job)).map_err(|_| RegistryError::Ended)
    }

    /// Runs a job and blocks this thread until it is done; meanwhile, `serve` runs here.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
        serve: impl FnOnce(),
    ) -> Result<T, RegistryError> {
        debug_assert!(
            rayon::current_thread_index().is_none(),
            "a thread of a rayon pool must not wait for a registry: the pool may need it to get on",
        );
        let (sender, receiver) = mpsc::sync_channel(1);
        self.start(async move { drop(sender.send(job.await)) })?;
        serve();
        receiver.recv().map_err(|_| RegistryError::Ended)?
    }

    /// Runs a job for a future of any executor; it is stopped when that future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let (sender, receiver) = oneshot::channel();
        self.start(until_unwanted(job, sender))?;
        receiver.await.map_err(|_| RegistryError::Ended)?
    }
}

async fn until_unwanted<T>(job: impl Future<Output = T>, mut sender: oneshot::Sender<T>) {
    let result = {
        let mut job = pin!(job);
        let mut unwanted = pin!(sender.closed());
        std::future::poll_fn(|context| {
            if unwanted.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            job.as_mut().poll(context).map(Some)
        })
        .await
    };
    if let Some(result) = result {
        // Nobody may be waiting any more: then nobody needs it.
        drop(sender.send(result));
    }
}

fn start_thread() -> Result<UnboundedSender<Job>, RegistryError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RegistryError::Thread)?;
    let (sender, receiver) = unbounded_channel();
    thread::Builder::new()
        .name("ocibuild-registry".to_owned())
        .spawn(move || run_jobs(runtime, receiver))
        .map_err(RegistryError::Thread)?;
    Ok(sender)
}

fn run_jobs(runtime: tokio::runtime::Runtime, mut jobs: UnboundedReceiver<Job>) {
    runtime.block_on(async {
        while let Some(job) = jobs.recv().await {
            tokio::spawn(job);
        }
    });
    // A name look-up that hangs must not keep the thread.
    runtime.shutdown_background();
}
