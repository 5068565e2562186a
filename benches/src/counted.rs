//! A server on the loopback address, reached through a port at which requests are counted.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::error::{Error, io_error};

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1: requests.
    Http,
    /// Redis: commands.
    Redis,
}

/// Passes all on, and counts.
#[derive(Debug)]
pub struct Counted {
    /// The port to connect to.
    pub port: u16,
    requests: Arc<AtomicU64>,
}

impl Counted {
    /// Stands before the server at a port, as long as this process lives.
    ///
    /// # Errors
    /// If there is no port to listen at.
    pub fn before(server: u16, speech: Speech) -> Result<Self, Error> {
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            Ok((listener.local_addr()?.port(), listener))
        };
        let (port, listener) = listen().map_err(io_error("listen at", Path::new("127.0.0.1")))?;
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || connect(&client, server, speech, &counter));
            }
        });
        Ok(Self { port, requests })
    }

    /// The number of requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Passes on what both say until one has no more to say; whoever is gone then sees it by that.
fn connect(client: &TcpStream, server: u16, speech: Speech, counter: &AtomicU64) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &server, &mut &*client);
            let _ = client.shutdown(Shutdown::Write);
        });
        let passed = match speech {
            Speech::Http => pass_http(client, &server, counter),
            Speech::Redis => pass_redis(client, &server, counter),
        };
        let _ = server.shutdown(Shutdown::Write);
        passed
    })
}

/// What ends a request's first line; bodies here are compressed, and don't have it.
const VERSION: &[u8] = b" HTTP/1.1\r\n";

fn pass_http(mut from: impl Read, mut to: impl Write, counter: &AtomicU64) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    // The end of what was there before, which a line may have begun in.
    let mut kept = 0;
    loop {
        let count = from.read(&mut bytes[kept..])?;
        if count == 0 {
            return Ok(());
        }
        let end = kept + count;
        to.write_all(&bytes[kept..end])?;
        let found = bytes[..end].windows(VERSION.len()).filter(|window| *window == VERSION).count();
        counter.fetch_add(found as u64, Ordering::Relaxed);
        let next = end.min(VERSION.len() - 1);
        bytes.copy_within(end - next..end, 0);
        kept = next;
    }
}

/// Every command is an array of strings
/// ([RESP](https://redis.io/docs/latest/develop/reference/protocol-spec/)).
fn pass_redis(from: impl Read, to: impl Write, counter: &AtomicU64) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            return to.flush();
        }
        to.write_all(&line)?;
        match line.split_first() {
            Some((b'*', _)) => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Some((b'$', length)) => {
                let length = String::from_utf8_lossy(length).trim().parse::<u64>();
                let length = length.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
                io::copy(&mut from.by_ref().take(length + 2), &mut to)?;
            }
            _ => {}
        }
        if from.buffer().is_empty() {
            to.flush()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_wherever_they_are_cut() {
        struct Bites<'a>(&'a [u8], usize);
        impl Read for Bites<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(self.0.len()).min(buffer.len());
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let http = b"GET /a HTTP/1.1\r\nhost: b\r\n\r\nPUT /c HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc";
        let redis = b"*2\r\n$3\r\nGET\r\n$4\r\n*1\r\n\r\n*1\r\n$4\r\nPING\r\n";
        for bite in 1..=redis.len() {
            let (requests, mut out) = (AtomicU64::new(0), Vec::new());
            pass_http(Bites(http, bite), &mut out, &requests).unwrap();
            assert_eq!((requests.into_inner(), &out[..]), (2, &http[..]), "{bite}");
            let (commands, mut out) = (AtomicU64::new(0), Vec::new());
            pass_redis(Bites(redis, bite), &mut out, &commands).unwrap();
            assert_eq!((commands.into_inner(), &out[..]), (2, &redis[..]), "{bite}");
        }
    }
}
