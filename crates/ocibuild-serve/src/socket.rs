//! A connection's socket: closed when nothing happens on it, and reset where a test wants that.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What the handling of requests tells the socket.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    reset: AtomicBool,
    busy: AtomicUsize,
}

impl Wire {
    /// Has the connection end with a reset once it is dropped.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }

    /// Says that a request is under way as long as the value lives.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(Arc::clone(self))
    }
}

#[derive(Debug)]
pub(crate) struct Busy(Arc<Wire>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Socket {
    stream: TcpStream,
    wire: Arc<Wire>,
    idle: Duration,
    stall: Duration,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Between requests the connection is closed after `idle`; a reply that nobody takes is given up
    /// after `stall`.
    pub(crate) fn new(stream: TcpStream, wire: Arc<Wire>, idle: Duration, stall: Duration) -> Self {
        Self { stream, wire, idle, stall, reading: None, writing: None }
    }

    fn after_write(&mut self, cx: &mut Context<'_>, is_pending: bool) -> Poll<io::Error> {
        if !is_pending {
            self.writing = None;
            return Poll::Pending;
        }
        let stall = self.stall;
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            this.reading = None;
            return Poll::Ready(result);
        }
        if this.wire.busy.load(Ordering::SeqCst) > 0 {
            this.reading = None;
            return Poll::Pending;
        }
        let idle = this.idle;
        let timer = this.reading.get_or_insert_with(|| Box::pin(sleep(idle)));
        // As if the client had gone: the connection is closed in good order.
        timer.as_mut().poll(cx).map(Ok)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match self.after_write(cx, result.is_pending()) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => result,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        match self.after_write(cx, result.is_pending()) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => result,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.wire.reset.load(Ordering::SeqCst) {
            // Without it the client sees an end instead of a reset, which is as bad.
            let _ = self.stream.set_zero_linger();
        }
    }
}
