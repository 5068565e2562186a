//! One blob's way into a repository: an upload session, kept alive over whatever breaks.
//!
//! ```text
//!      ┌─────────▶ begin ── POST, or a mount that became an upload
//!      │             │
//!      │             ▼
//!      │  ┌──────▶ send ─── PUT of all: the cheapest, so the first choice
//!      │  │          │      PATCH of a chunk, and of the next, then PUT of nothing more
//!      │  │          │
//!      │  │          ├── 201 ────────────────────────────────────────▶ done
//!      │  │          ├── 202 ── the chunk is there ──────────────────▶ send
//!      │  │          ├── 413 ── half as much ────────────────────────▶ send
//!      │  │          ├── 404 ── the session is forgotten ────────────▶ begin
//!      │  │          ▼
//!      │  │   broke off, or passing faults, or 416
//!      │  │          │
//!      │  │          ▼
//!      │  └──────── ask ─── HEAD, if all was sent: the answer may be all that is lost ▶ done
//!      │             │      GET of the session: what the registry has isn't sent again
//!      └─────────────┘
//! ```
//!
//! A registry that keeps what came of a broken request gets the rest in one piece: the next break
//! costs as little. One that doesn't gets chunks of [`CHUNK`] bytes, so that a break costs one of
//! them, and half of that each time nothing gets through at all. Nothing is gone on with by guess: a
//! new session begins where the registry doesn't tell how much is there, or tells twice what it
//! doesn't stand by. One that makes something else of chunks gets blobs whole again.
//!
//! What makes the bytes right: [`feed`](crate::registry::http::feed) hashes them in order whatever is sent again, and
//! the registry holds all it got against the digest in the PUT that ends the session.
//!
//! A session that is given up is ended by DELETE, if that can be done at once.

use std::ops::Range;
use std::sync::Arc;

use hyper::Method;
use hyper::header::{self, HeaderValue};
use tokio::runtime::Handle;

use crate::oci::Descriptor;
use crate::registry::RegistryError;
use crate::registry::auth::{Access, Asking};
use crate::registry::client::{Call, Client};
use crate::registry::error::may_pass;
use crate::registry::http::feed::Feed;
use crate::registry::http::retry::Patience;
use crate::registry::http::transport::{Answer, Payload};
use crate::registry::http::url::Url;
use crate::registry::knowledge::{Bodies, LEAST_BODY};
use crate::registry::push::session::{Session, next_place, there};
use crate::registry::remote::{Remote, confirm, not, value};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The size of chunks for a registry that keeps nothing of a request that breaks, in bytes.
const CHUNK: u64 = 4 << 20;
/// Chunks are made no smaller because of breaks.
const LEAST_CHUNK: u64 = 1 << 20;

/// Why a request didn't bring the upload further.
enum Trouble {
    /// A part of it may have been done; if that is said, all of it.
    Unsure(RegistryError, bool),
    /// A body of this size is too large.
    TooLarge(u64, RegistryError),
    /// The registry has another number of bytes than was thought.
    OutOfStep(RegistryError),
    /// The session is no more.
    Gone(RegistryError),
    /// The registry doesn't take chunks, or makes something else of them.
    Chunks(RegistryError),
    Fatal(RegistryError),
}

/// An upload of one blob.
pub(super) struct Upload<'a> {
    remote: &'a Remote,
    descriptor: &'a Descriptor,
    feed: &'a Arc<Feed>,
    asking: &'a Asking<'a>,
    /// Whether a HEAD that says yes is to be believed.
    believes: bool,
    session: Option<Session>,
    /// The bound on a body that breaks have taught.
    chunk: Option<u64>,
    /// The most bytes that were ever confirmed.
    best: u64,
    patience: Patience,
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        remote: &'a Remote,
        descriptor: &'a Descriptor,
        feed: &'a Arc<Feed>,
        asking: &'a Asking<'a>,
    ) -> Self {
        let patience = remote.client().patience().about(descriptor.digest);
        let (believes, session, chunk, best) = (true, None, None, 0);
        Self { remote, descriptor, feed, asking, believes, session, chunk, best, patience }
    }

    /// Goes on with a session that was begun, if there is one.
    pub(super) fn session(mut self, session: Option<Session>) -> Self {
        self.session = session;
        self
    }

    /// Says whether a HEAD that says yes is to be believed.
    pub(super) fn believes(mut self, believes: bool) -> Self {
        self.believes = believes;
        self
    }

    /// Brings the blob there.
    pub(super) async fn run(mut self) -> Result<(), RegistryError> {
        let result = self.steps().await;
        match result {
            // It ended with the blob.
            Ok(()) => self.session = None,
            Err(_) => self.abandon().await,
        }
        result
    }

    async fn steps(&mut self) -> Result<(), RegistryError> {
        loop {
            let is_done = match self.step().await {
                Ok(is_done) => is_done,
                Err(trouble) => self.mend(trouble).await?,
            };
            if is_done {
                return Ok(());
            }
        }
    }

    /// Sends one request with bytes; tells whether it was the last.
    async fn step(&mut self) -> Result<bool, Trouble> {
        if self.session.is_none() {
            self.session = Some(Session::begin(self.remote, self.asking).await.map_err(Trouble::Fatal)?);
        }
        let bound = self.bound();
        let Session { offset, .. } = *self.opened();
        let rest = self.descriptor.size - offset;
        if rest == 0 || (offset == 0 && rest <= bound) {
            self.close().await.map(|()| true)
        } else {
            self.add(offset..offset + rest.min(bound)).await.map(|()| false)
        }
    }

    fn opened(&mut self) -> &mut Session {
        self.session.as_mut().expect("nothing is sent or asked without a session")
    }

    /// How large the next body may be.
    fn bound(&mut self) -> u64 {
        let bodies = self.bodies();
        match bodies.whole_only {
            true => u64::MAX,
            false => bodies.bound().min(self.chunk.unwrap_or(u64::MAX)).max(self.opened().least),
        }
    }

    /// PATCH of a chunk
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks)).
    async fn add(&mut self, range: Range<u64>) -> Result<(), Trouble> {
        let Range { start, end } = range;
        let place = self.opened().place.clone();
        let told = value(&format!("{start}-{}", end - 1)).map_err(Trouble::Fatal)?;
        let call = Call::new(self.asking, Method::PATCH, place)
            .header(header::CONTENT_TYPE, OCTETS)
            .header(header::CONTENT_RANGE, told)
            .payload(Payload::Feed(self.feed.part(range)));
        let answer = self.send(&call, end - start, true).await?;
        self.learn(|bodies| bodies.pass(end - start));
        let place = next_place(&answer).map_err(Trouble::Fatal)?;
        // One that says that it has none of a chunk it took doesn't know what it says.
        let taken = there(&answer).filter(|there| (start + 1..end).contains(there)).unwrap_or(end);
        self.reach(place, taken);
        Ok(())
    }

    /// PUT of all bytes, or of none if all are there
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#post-then-put)).
    async fn close(&mut self) -> Result<(), Trouble> {
        let Descriptor { digest, size, .. } = *self.descriptor;
        let Session { ref place, offset, .. } = *self.opened();
        let url = place.with_query("digest", &digest.to_string());
        let payload = match size {
            // There is nothing to send of an empty blob, but something to verify.
            0 => Payload::Bytes(self.feed.whole().await.map_err(Trouble::Fatal)?),
            _ if offset == size => Payload::none(),
            _ => Payload::Feed(self.feed.part(0..size)),
        };
        let call = Call::new(self.asking, Method::PUT, url);
        let call = call.header(header::CONTENT_TYPE, OCTETS).payload(payload);
        let answer = self.send(&call, size - offset, offset > 0).await?;
        self.learn(|bodies| bodies.pass(size - offset));
        confirm(answer, &digest).await.map_err(Trouble::Fatal)
    }

    /// Sends a request with so many bytes, and says what it means if it isn't done.
    async fn send(&self, call: &Call<'_>, length: u64, in_chunks: bool) -> Result<Answer, Trouble> {
        let answer = match self.client().send_once(call).await {
            Ok(answer) => answer,
            Err(error) if error.is_transient() => return Err(Trouble::Unsure(error, self.is_spent(call))),
            Err(error) => return Err(Trouble::Fatal(error)),
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status.as_u16();
        let error = not(answer, "a confirmation").await;
        Err(match status {
            404 | 410 => Trouble::Gone(error),
            400..=499 if error.code() == Some("BLOB_UPLOAD_UNKNOWN") => Trouble::Gone(error),
            409 | 416 => Trouble::OutOfStep(error),
            413 => Trouble::TooLarge(length, error),
            _ if may_pass(status) => Trouble::Unsure(error, self.is_spent(call)),
            400..=499 | 501 if in_chunks => Trouble::Chunks(error),
            _ => Trouble::Fatal(error),
        })
    }

    /// Tells whether a request was the last, and was handed all its bytes: it may have been done.
    fn is_spent(&self, call: &Call<'_>) -> bool {
        call.method == Method::PUT && self.feed.is_spent()
    }

    /// Does something about what went wrong, and tells whether the blob is there after all.
    async fn mend(&mut self, trouble: Trouble) -> Result<bool, RegistryError> {
        match trouble {
            Trouble::Fatal(error) => return Err(error),
            Trouble::TooLarge(size, error) => self.shrink(size, error)?,
            Trouble::Gone(error) => {
                self.session = None;
                self.failed(error).await?;
            }
            Trouble::Chunks(error) => self.give_chunks_up(error).await?,
            Trouble::OutOfStep(error) => {
                self.failed(error).await?;
                let before = self.opened().offset;
                if self.ask().await? == Some(before) {
                    self.abandon().await;
                }
            }
            Trouble::Unsure(error, is_spent) => return self.find_out(error, is_spent).await,
        }
        Ok(false)
    }

    /// Takes note that a body is too large, unless it was as small as any. Then there are chunks or
    /// nothing, whatever came of them before.
    fn shrink(&mut self, size: u64, error: RegistryError) -> Result<(), RegistryError> {
        self.learn(|bodies| bodies.refuse(size));
        if size <= self.opened().least.max(LEAST_BODY) {
            return Err(error.of_body(size));
        }
        Ok(())
    }

    /// Begins anew with the blob as a whole, unless that was too large.
    async fn give_chunks_up(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if self.bodies().bound() < self.descriptor.size {
            return Err(error);
        }
        self.learn(|bodies| bodies.whole_only = true);
        self.abandon().await;
        self.failed(error).await
    }

    /// Learns what came of a request without an answer, or with one that says nothing of that.
    async fn find_out(&mut self, error: RegistryError, is_spent: bool) -> Result<bool, RegistryError> {
        let is_break = matches!(error, RegistryError::Broken { .. } | RegistryError::TimedOut { .. });
        self.failed(error).await?;
        // The answer may be all that was lost.
        if is_spent && self.believes && self.remote.exists(self.descriptor, Access::Push).await? {
            return Ok(true);
        }
        let before = self.opened().offset;
        let there = self.ask().await?;
        if self.bodies().whole_only && there.is_some_and(|there| there > 0) {
            self.abandon().await;
        } else if is_break && there.is_none_or(|there| there <= before) {
            self.chunk = Some(self.chunk.map_or(CHUNK, |chunk| (chunk / 2).max(LEAST_CHUNK)));
        }
        Ok(false)
    }

    /// Asks how many bytes are there; if that can't be told, there is no session any more
    /// ([distribution-spec](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks)).
    async fn ask(&mut self) -> Result<Option<u64>, RegistryError> {
        let call = Call::new(self.asking, Method::GET, self.opened().place.clone());
        let answer = match self.client().send(&call).await {
            Err(RegistryError::Unauthorized(_)) => None,
            result => Some(result?).filter(|answer| answer.status.is_success()),
        };
        let told = answer.map(|answer| (there(&answer).unwrap_or_default(), answer));
        let Some((there, answer)) = told.filter(|(there, _)| *there <= self.descriptor.size) else {
            self.session = None;
            return Ok(None);
        };
        self.reach(next_place(&answer)?, there);
        Ok(Some(there))
    }

    /// Takes note of what the registry has.
    fn reach(&mut self, place: Option<Url>, there: u64) {
        let session = self.opened();
        session.offset = there;
        if let Some(place) = place {
            session.place = place;
        }
        if there > self.best {
            self.best = there;
            self.patience.progressed();
        }
    }

    /// Lets some time pass before another try, unless there were enough.
    async fn failed(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.remote.client().bear(&mut self.patience, error).await
    }

    /// Ends the session, if there is one; whatever comes of that, it isn't used any more.
    async fn abandon(&mut self) {
        if let Some(session) = self.session.take() {
            session.end(self.remote, self.asking).await;
        }
    }

    fn client(&self) -> &'a Client {
        self.remote.client()
    }

    fn bodies(&self) -> Bodies {
        self.remote.known().bodies()
    }

    fn learn(&self, lesson: impl FnOnce(&mut Bodies)) {
        self.remote.known().learn_of_bodies(lesson);
    }
}

/// What is dropped under way is given up like anything else, only that nobody waits for it.
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let (Some(session), Ok(runtime)) = (self.session.take(), Handle::try_current()) {
            let (remote, home) = (self.remote.clone(), self.asking.home.clone());
            runtime.spawn(async move { session.end(&remote, &remote.asking(Access::Push, &home)).await });
        }
    }
}
