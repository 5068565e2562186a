//! The thread that requests run on, and how the caller waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ocibuild_core::Cancel;
use opendal_core::{Error, ErrorKind};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long a cancellation may go unnoticed.
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The run was cancelled.
    #[error(transparent)]
    Cancelled(#[from] ocibuild_core::event::Cancelled),
    /// The store said no, or nothing.
    #[error("{}", told(.0))]
    Failed(Error),
    /// It took too long.
    #[error("nothing came for {} seconds", .0.as_secs())]
    TooLong(Duration),
}

impl Stop {
    /// An object isn't there: in a place that is.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Failed(error) if is_absence(error))
    }

    /// There is nothing that objects could be in: who writes is told of an absence only by that.
    pub(crate) fn is_nowhere(&self) -> bool {
        let says = |error: &Error| error.kind() == ErrorKind::NotFound || says_nowhere(error);
        matches!(self, Self::Failed(error) if says(error))
    }

    /// Whoever has these credentials isn't let in, or may not do that. Redis's client has no kind for it.
    pub(crate) fn is_refusal(&self) -> bool {
        let says = |error: &Error| REFUSALS.iter().any(|word| told(error).contains(word));
        matches!(self, Self::Failed(error) if error.kind() == ErrorKind::PermissionDenied || says(error))
    }

    /// Nobody knows any: the services' clients say it in these words.
    pub(crate) fn lacks_credentials(&self) -> bool {
        matches!(self, Self::Failed(error) if told(error).contains("failed to load signing credential"))
    }

    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Failed(error) => Some(error.kind()),
            _ => None,
        }
    }
}

/// How Redis says that somebody isn't let in.
const REFUSALS: &[&str] = &["NOAUTH", "WRONGPASS", "NOPERM"];

/// How services say that there is no such bucket or container, in place of no such object.
const NOWHERE: &[&str] = &["NoSuchBucket", "ContainerNotFound", "bucket does not exist"];

fn says_nowhere(error: &Error) -> bool {
    NOWHERE.iter().any(|said| error.message().contains(said))
}

/// An object isn't there: in a place that is.
pub(crate) fn is_absence(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound && !says_nowhere(error)
}

/// The first words that say something: a library's own account is long, and names addresses with
/// all that is in their queries.
fn told(error: &Error) -> String {
    let mut text = error.message().trim().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let own = cause.to_string();
        if !text.contains(&own) {
            text = format!("{text}: {own}");
        }
        source = cause.source();
    }
    let text = said(&text).unwrap_or(text);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_WORDS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a service itself says, where a library tells it as it has it: `S3Error { code: "…", message: "…" }`.
fn said(text: &str) -> Option<String> {
    let field = |name: &str| text.split_once(name)?.1.split_once('"').map(|(value, _)| value);
    let code = field("code: \"").filter(|code| !code.is_empty())?;
    match field("message: \"").unwrap_or_default() {
        "" => Some(code.to_owned()),
        message => Some(format!("{code}: {message}")),
    }
}

/// How much is told of a fault, in characters.
const MAX_WORDS: usize = 300;

/// A thread for jobs, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Runtime {
    jobs: UnboundedSender<Job>,
    cancel: Cancel,
}

impl Runtime {
    pub(crate) fn start(cancel: Cancel) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, received) = unbounded_channel();
        thread::Builder::new().name("ocibuild-store".to_owned()).spawn(move || run(runtime, received))?;
        Ok(Self { jobs, cancel })
    }

    /// Starts a job that has so much time.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        time: Duration,
        job: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Pending<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let job = async move {
            let result = match tokio::time::timeout(time, job).await {
                Ok(result) => result.map_err(Stop::Failed),
                Err(_) => Err(Stop::TooLong(time)),
            };
            drop(sender.send(result));
        };
        // A thread that ended drops the job, and its sender with it.
        let _ = self.jobs.send(Box::pin(job));
        Pending { receiver, cancel: self.cancel.clone() }
    }

    /// Runs a job and blocks this thread until it is done.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        time: Duration,
        job: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Stop> {
        self.begin(time, job).wait()
    }
}

/// A job that was started.
pub(crate) struct Pending<T> {
    receiver: Receiver<Result<T, Stop>>,
    cancel: Cancel,
}

impl<T> Pending<T> {
    pub(crate) fn wait(self) -> Result<T, Stop> {
        loop {
            match self.receiver.recv_timeout(LOOK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => self.cancel.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    let error = Error::new(ErrorKind::Unexpected, "the thread of requests ended");
                    return Err(Stop::Failed(error));
                }
            }
        }
    }
}

fn run(runtime: tokio::runtime::Runtime, mut jobs: UnboundedReceiver<Job>) {
    runtime.block_on(async {
        while let Some(job) = jobs.recv().await {
            tokio::spawn(job);
        }
    });
    // A name look-up that hangs must not keep the thread.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_says_is_told_in_its_words() {
        let tell = |message: &str| told(&Error::new(ErrorKind::Unexpected, message));
        let of = |fields: &str| tell(&format!("S3Error {{ {fields}, resource: \"\", request_id: \"\" }}"));
        assert_eq!(of("code: \"AccessDenied\", message: \"Access Denied.\""), "AccessDenied: Access Denied.");
        assert_eq!(of("code: \"SignatureDoesNotMatch\", message: \"\""), "SignatureDoesNotMatch");
        assert_eq!(tell("no   connection"), "no connection");
        assert!(of("code: \"\", message: \"\"").starts_with("S3Error"));
        assert_eq!(tell(&"x".repeat(400)).chars().count(), MAX_WORDS + 1);
    }
}
