//! What is presented with requests, and whether it was any good.
//!
//! A registry may take a token back at any moment, or let it count for a few requests only. So a
//! grant that is refused may be asked for anew as long as the one before it let anybody in; one that
//! never did is worth no second try.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::sync::Notify;

use crate::registry::Credential;

/// How long to wait for what becomes of others with the same grant. A token that is worthless is
/// refused sooner; where an upload takes longer, it was let in.
const DOUBT: Duration = Duration::from_secs(2);

/// What is presented with requests, and what of it can be told.
#[derive(Clone)]
pub(in crate::registry) struct Grant {
    pub(in crate::registry) header: Option<HeaderValue>,
    /// As `with …` or `without …`.
    pub(in crate::registry) credential: String,
    /// Counts what came of asking, to tell a grant from the one before it.
    turn: u64,
    worth: Arc<Worth>,
}

/// What came of presenting it.
#[derive(Default)]
struct Worth {
    let_in: AtomicBool,
    under_way: AtomicUsize,
    changed: Notify,
}

impl Default for Grant {
    fn default() -> Self {
        Self::told("without credentials".to_owned())
    }
}

impl Grant {
    pub(in crate::registry) fn told(credential: String) -> Self {
        Self { header: None, credential, turn: 0, worth: Arc::default() }
    }

    pub(in crate::registry) fn told_with(credential: &Credential) -> Self {
        Self::told(format!("with the credentials of {}", credential.source()))
    }

    pub(in crate::registry) fn with(header: HeaderValue, credential: &Credential) -> Self {
        Self::told_with(credential).showing(header)
    }

    pub(in crate::registry) fn showing(self, header: HeaderValue) -> Self {
        Self { header: Some(header), ..self }
    }

    pub(in crate::registry) fn of_turn(self, turn: u64) -> Self {
        Self { turn, ..self }
    }

    pub(in crate::registry) fn turn(&self) -> u64 {
        self.turn
    }

    /// What another host is presented with.
    pub(in crate::registry) fn elsewhere() -> Self {
        Self::told("without credentials, as it is not the registry's own address".to_owned())
    }

    /// Begins a request with it.
    pub(in crate::registry) fn present(&self) -> Presented {
        self.worth.under_way.fetch_add(1, Ordering::Relaxed);
        Presented(Arc::clone(&self.worth))
    }

    /// Tells, after a refusal, whether asking for another one is worth it: if it ever let anybody in.
    /// Others who presented it at the same time may be about to hear.
    pub(in crate::registry) async fn was_good(&self) -> bool {
        let worth = &self.worth;
        let settled = async {
            loop {
                let changed = worth.changed.notified();
                if self.header.is_none() || worth.let_in.load(Ordering::Relaxed) {
                    return true;
                }
                if worth.under_way.load(Ordering::Relaxed) == 0 {
                    return false;
                }
                changed.await;
            }
        };
        tokio::time::timeout(DOUBT, settled).await.unwrap_or(true)
    }
}

/// A request under way with a grant.
pub(in crate::registry) struct Presented(Arc<Worth>);

impl Presented {
    pub(in crate::registry) fn was_let_in(&self) {
        self.0.let_in.store(true, Ordering::Relaxed);
    }
}

impl Drop for Presented {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn token() -> Grant {
        Grant { header: Some(HeaderValue::from_static("Bearer t")), ..Grant::default() }
    }

    #[test]
    fn what_let_anybody_in_was_good() {
        run(async {
            let grant = token();
            assert!(!grant.was_good().await);
            grant.clone().present().was_let_in();
            assert!(grant.was_good().await);
            assert!(!token().was_good().await);
            // Nothing was presented: that is how it begins.
            assert!(Grant::default().was_good().await);
        });
    }

    #[test]
    fn others_may_be_about_to_hear() {
        for (is_let_in, expected) in [(true, true), (false, false)] {
            let grant = token();
            let other = grant.present();
            let waiting = grant.clone();
            let good = run(async {
                let waiting = tokio::spawn(async move { waiting.was_good().await });
                tokio::task::yield_now().await;
                if is_let_in {
                    other.was_let_in();
                }
                drop(other);
                waiting.await.unwrap()
            });
            assert_eq!(good, expected);
        }
    }
}
