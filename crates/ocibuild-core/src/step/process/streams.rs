//! What a command writes, cut into lines and masked.
//!
//! One thread listens to both streams, and never waits where it couldn't look up in between: somebody
//! may hold a stream open who has long nothing to do with the command.

use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdout};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::event::Stream;
use crate::step::mask::Masker;
use crate::step::process::TICK;

/// How long streams are waited for after the command and its group are gone: somebody out of reach
/// may hold them open.
const DRAIN: Duration = Duration::from_millis(200);
/// Longer lines are handed on in parts of about as many bytes, so that no secret is cut.
pub(super) const MAX_LINE: usize = 64 << 10;

/// What a command writes, cut into lines.
pub(super) struct Streams<'a> {
    open: Vec<Reader>,
    masker: &'a Masker,
    line: &'a (dyn Fn(Stream, &[u8]) + Sync),
    chunk: Vec<u8>,
    /// How long the next wait is when there is nothing to listen to.
    idle: Duration,
}

struct Reader {
    stream: Stream,
    pipe: Pipe,
    /// The beginning of a line whose end wasn't seen yet.
    begun: Vec<u8>,
}

enum Pipe {
    Stdout(ChildStdout),
    Stderr(ChildStderr),
}

impl Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout(pipe) => pipe.as_fd(),
            Self::Stderr(pipe) => pipe.as_fd(),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(pipe) => pipe.read(bytes),
            Self::Stderr(pipe) => pipe.read(bytes),
        }
    }
}

impl<'a> Streams<'a> {
    pub(super) fn new(
        child: &mut Child,
        masker: &'a Masker,
        line: &'a (dyn Fn(Stream, &[u8]) + Sync),
    ) -> Self {
        let stdout = child.stdout.take().map(|pipe| (Stream::Stdout, Pipe::Stdout(pipe)));
        let stderr = child.stderr.take().map(|pipe| (Stream::Stderr, Pipe::Stderr(pipe)));
        let pipes = [stdout, stderr].into_iter().flatten();
        let open = pipes.map(|(stream, pipe)| Reader { stream, pipe, begun: Vec::new() }).collect();
        Self { open, masker, line, chunk: vec![0; MAX_LINE], idle: Duration::from_millis(1) }
    }

    /// Waits until something is written, at most as long as told, and hands on the lines.
    pub(super) fn listen(&mut self, wait: Duration) -> io::Result<()> {
        if self.open.is_empty() {
            // It has closed both, mostly because it is about to end.
            thread::sleep(self.idle);
            self.idle = (self.idle * 2).min(wait);
            return Ok(());
        }
        let ready = self.ready(wait)?;
        for at in (0..self.open.len()).rev().filter(|at| ready[*at]) {
            self.read(at)?;
        }
        Ok(())
    }

    fn ready(&self, wait: Duration) -> io::Result<Vec<bool>> {
        let mut polled: Vec<PollFd<'_>> = self
            .open
            .iter()
            .map(|reader| PollFd::from_borrowed_fd(reader.pipe.as_fd(), PollFlags::IN))
            .collect();
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut polled, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(polled.iter().map(|polled| !polled.revents().is_empty()).collect())
    }

    fn read(&mut self, at: usize) -> io::Result<()> {
        let reader = &mut self.open[at];
        let length = match reader.pipe.read(&mut self.chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            length => length?,
        };
        match length {
            0 => {
                let reader = self.open.remove(at);
                self.finish(reader);
            }
            length => reader.take(&self.chunk[..length], self.masker, self.line),
        }
        Ok(())
    }

    /// Hands on what was written and not read yet, without waiting for who is out of reach.
    pub(super) fn drain(mut self) -> io::Result<()> {
        let began = Instant::now();
        while !self.open.is_empty() && began.elapsed() < DRAIN {
            self.listen(TICK)?;
        }
        for reader in std::mem::take(&mut self.open) {
            self.finish(reader);
        }
        Ok(())
    }

    /// Hands on a last line that has no end.
    fn finish(&self, reader: Reader) {
        if !reader.begun.is_empty() {
            hand_on(reader.stream, &reader.begun, self.masker, self.line);
        }
    }
}

impl Reader {
    fn take(&mut self, bytes: &[u8], masker: &Masker, line: &(dyn Fn(Stream, &[u8]) + Sync)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&rest[..end]);
            self.shorten(masker, line);
            hand_on(self.stream, &self.begun, masker, line);
            self.begun.clear();
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        self.shorten(masker, line);
    }

    /// Hands on the beginning of a line that is too long.
    fn shorten(&mut self, masker: &Masker, line: &(dyn Fn(Stream, &[u8]) + Sync)) {
        while self.begun.len() > MAX_LINE {
            let Some(cut) = masker.cut(&self.begun, MAX_LINE) else { return };
            hand_on(self.stream, &self.begun[..cut], masker, line);
            self.begun.drain(..cut);
        }
    }
}

fn hand_on(stream: Stream, bytes: &[u8], masker: &Masker, line: &(dyn Fn(Stream, &[u8]) + Sync)) {
    line(stream, &masker.mask(bytes.strip_suffix(b"\r").unwrap_or(bytes)));
}
