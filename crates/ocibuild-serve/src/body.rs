//! Bodies: read from the client piece by piece, sent to it from a file piece by piece; neither is
//! ever held in memory as a whole, but for manifests.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::faults::Plan;
use crate::record::{Ending, Entry};
use crate::socket::{Busy, Wire};

/// How much of a file is read at once, in bytes.
const PIECE: u64 = 128 << 10;

/// How long a client may take for its next bytes.
const STALL: Duration = Duration::from_secs(60);

/// What is read of a body that nobody wants, so that the client sees the answer.
const MAX_DRAINED: u64 = 64 << 20;
const MAX_DRAINING: Duration = Duration::from_secs(5);

/// How long bytes before a reset have to leave.
const BEFORE_RESET: Duration = Duration::from_millis(30);

/// The connection is of no more use; nobody is told, as nobody is there or it is meant to be so.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection broke")
    }
}

impl std::error::Error for Broken {}

/// Waits for the first of two; nothing is returned if it is the second.
pub(crate) async fn before<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => second.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// What the client sends.
pub(crate) struct Inflow {
    body: Incoming,
    entry: Arc<Entry>,
    wire: Arc<Wire>,
    received: u64,
    reset_at: Option<u64>,
    pace: Option<u64>,
}

impl Inflow {
    pub(crate) fn new(body: Incoming, entry: &Arc<Entry>, wire: &Arc<Wire>, plan: &Plan) -> Self {
        let (entry, wire) = (Arc::clone(entry), Arc::clone(wire));
        Self { body, entry, wire, received: 0, reset_at: plan.reset_request, pace: plan.pace }
    }

    /// Gives the next bytes; there are none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.reset_at == Some(self.received) {
            self.wire.reset();
            return Err(Broken);
        }
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let Some(frame) = before(frame, sleep(STALL)).await.ok_or(Broken)? else { return Ok(None) };
            let Ok(mut bytes) = frame.map_err(|_| Broken)?.into_data() else { continue };
            if let Some(at) = self.reset_at {
                bytes.truncate(usize::try_from(at - self.received).unwrap_or(usize::MAX));
            }
            self.received += bytes.len() as u64;
            self.entry.add_received(bytes.len() as u64);
            if let Some(pace) = self.pace {
                sleep(time_for(bytes.len() as u64, pace)).await;
            }
            if !bytes.is_empty() || self.reset_at == Some(self.received) {
                return Ok(Some(bytes));
            }
        }
    }

    /// Reads on, so that a client that only writes comes to see the answer.
    pub(crate) async fn drain(&mut self) -> Result<(), Broken> {
        if self.body.is_end_stream() {
            return Ok(());
        }
        let reading = async {
            let end = self.received + MAX_DRAINED;
            while self.received < end && self.next().await?.is_some() {}
            Ok(())
        };
        before(reading, sleep(MAX_DRAINING)).await.unwrap_or(Ok(()))
    }
}

fn time_for(bytes: u64, pace: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / pace.max(1) as f64)
}

/// What is in an answer.
#[derive(Debug, Default)]
pub(crate) enum Content {
    #[default]
    Nothing,
    Bytes(Bytes),
    /// As many bytes of a file, from where it stands.
    File(File, u64),
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// Gives the next bytes, at most as many.
    fn take(&mut self, most: u64) -> std::io::Result<Option<Bytes>> {
        match self {
            Self::Nothing => Ok(None),
            Self::Bytes(bytes) if bytes.is_empty() => Ok(None),
            Self::Bytes(bytes) => {
                let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
                Ok(Some(bytes.split_to(most)))
            }
            Self::File(_, 0) => Ok(None),
            Self::File(file, left) => {
                let mut piece = vec![0; usize::try_from(most.min(*left)).unwrap_or(usize::MAX)];
                // A file that ends early breaks the connection: the length was told.
                file.read_exact(&mut piece)?;
                *left -= piece.len() as u64;
                Ok(Some(Bytes::from(piece)))
            }
        }
    }
}

/// What is sent to the client.
pub(crate) struct Outflow {
    content: Content,
    ending: Ending,
    wire: Arc<Wire>,
    _busy: Busy,
    sent: u64,
    reset_at: Option<u64>,
    pace: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Outflow {
    pub(crate) fn new(content: Content, ending: Ending, wire: Arc<Wire>, busy: Busy, plan: &Plan) -> Self {
        let (reset_at, pace) = (plan.reset_response, plan.pace);
        Self { content, ending, wire, _busy: busy, sent: 0, reset_at, pace, pause: None }
    }
}

impl Body for Outflow {
    type Data = Bytes;
    type Error = std::io::Error;

    /// Reads from the disk within the poll: each connection has a thread of its own.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = &mut *self;
        if this.reset_at.is_some_and(|at| this.sent >= at) && this.pause.is_none() {
            this.wire.reset();
            this.pause = Some(Box::pin(sleep(BEFORE_RESET)));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
            if this.reset_at.is_some_and(|at| this.sent >= at) {
                return Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())));
            }
        }
        let mut most = this.pace.map_or(PIECE, |pace| (pace / 20).clamp(1, PIECE));
        if let Some(at) = this.reset_at {
            most = most.min(at - this.sent);
        }
        let Some(bytes) = this.content.take(most)? else { return Poll::Ready(None) };
        this.sent += bytes.len() as u64;
        this.ending.entry.add_sent(bytes.len() as u64);
        this.pause = this.pace.map(|pace| Box::pin(sleep(time_for(bytes.len() as u64, pace))));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.content.len() == 0 && self.reset_at.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.len())
    }
}
