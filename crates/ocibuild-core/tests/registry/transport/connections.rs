//! Connections that end when they shouldn't.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ocibuild_core::blob::{Sink, Source};
use ocibuild_core::registry::{Registry, RegistryError};
use ocibuild_serve::ServeOptions;

use super::{Bench, Told, fault};
use crate::{layer, login, noise, options, repository};

/// A server that hands each connection to a function, with how many there were before.
fn serve(each: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let each = Arc::new(each);
    thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let each = Arc::clone(&each);
            thread::spawn(move || each(stream.unwrap(), turn));
        }
    });
    host
}

/// Reads the head of a request, and returns its first line and the length of its body; nothing if
/// there is no request.
fn head(reader: &mut BufReader<&TcpStream>) -> Option<(String, u64)> {
    let mut lines = reader.lines().map_while(Result::ok);
    let first = lines.next()?;
    let fields = lines.take_while(|line| !line.is_empty()).map(|line| line.to_ascii_lowercase());
    let length = fields.filter_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).last();
    Some((first, length.unwrap_or_default()))
}

fn reply(mut stream: &TcpStream, status: &str, headers: &str) {
    // A client that went away is what some of these tests are about.
    drop(stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n").as_bytes()));
}

#[test]
fn idle_connections_that_a_proxy_closes_are_no_fault() {
    let mut serving = ServeOptions::default();
    serving.idle_timeout = Duration::from_millis(40);
    let (bench, told) = (Bench::with(serving), Told::default());
    let repository = bench.connect(&Registry::new(told.options()));
    for turn in 0..12 {
        assert!(!repository.exists(&layer(b"one").0).unwrap());
        // Some fall together with the closing.
        thread::sleep(Duration::from_millis(37 + turn));
    }
    assert!(told.reasons().len() <= 2, "{:?}", told.reasons());
    thread::sleep(Duration::from_millis(100));
    let before = told.reasons().len();
    let (one, content) = layer(&noise(1_000_000));
    repository.push(&one, &content).unwrap();
    assert_eq!(told.reasons().len(), before, "{:?}", told.reasons());
}

#[test]
fn a_connection_that_is_closed_just_when_it_is_used_is_no_fault() {
    // Each takes one request, and closes when the next comes.
    let host = serve(|stream, _| {
        let mut reader = BufReader::new(&stream);
        if head(&mut reader).is_some() {
            reply(&stream, "404 Not Found", "");
            // Reads the next one, and drops it with the connection.
            head(&mut reader);
        }
    });
    let repository = Registry::new(options()).repository(&repository(&host, "team/app"));
    for _ in 0..5 {
        assert!(!repository.exists(&layer(b"one").0).unwrap());
    }
}

#[test]
fn what_is_no_http_is_soon_given_up_on() {
    // As a server that speaks TLS does: it reads what it takes for a greeting, and says that it isn't.
    let host = serve(|mut stream, _| {
        drop(stream.read(&mut [0; 1 << 10]));
        drop(stream.write_all(b"\x15\x03\x01\x00\x02\x02\x46"));
    });
    let told = Told::default();
    let repository = Registry::new(told.options()).repository(&repository(&host, "team/app"));
    let error = fault(repository.exists(&layer(b"one").0).unwrap_err());
    assert!(matches!(error.last_try(), RegistryError::Broken { .. }), "{error:?}");
    assert_eq!(told.reasons().len(), 3, "{:?}", told.reasons());
}

/// A registry that answers an upload before it read any of it, and closes.
fn hasty(status: &'static str, headers: &'static str, times: usize) -> String {
    let puts = AtomicUsize::new(0);
    serve(move |stream, _| {
        let mut reader = BufReader::new(&stream);
        while let Some((line, mut rest)) = head(&mut reader) {
            match line.split(' ').next().unwrap() {
                "HEAD" | "GET" => reply(&stream, "404 Not Found", ""),
                "POST" => reply(&stream, "202 Accepted", "Location: /upload\r\n"),
                "PUT" | "PATCH" if puts.fetch_add(1, Ordering::SeqCst) < times => {
                    reply(&stream, status, headers);
                    // Closed with bytes unread: a reset follows.
                    return;
                }
                _ => {
                    let mut buffer = vec![0; 1 << 16];
                    while rest > 0 {
                        let count = reader.read(&mut buffer).unwrap_or_default();
                        rest = if count == 0 { 0 } else { rest - count as u64 };
                    }
                    reply(&stream, "201 Created", "");
                }
            }
        }
    })
}

#[test]
fn an_answer_in_the_middle_of_a_body_is_heard() {
    for turn in 0..5 {
        let host = hasty("413 Too Large", "Connection: close\r\n", usize::MAX);
        let repository = Registry::new(options()).repository(&repository(&host, "team/app"));
        let (one, content) = layer(&noise(8_000_000));
        let error = fault(repository.push(&one, &content).unwrap_err());
        let is_heard = matches!(error.last_try(), RegistryError::BodyLimit { .. });
        assert!(is_heard, "{turn}: {error:?}");
    }
}

#[test]
fn a_refusal_in_the_middle_of_a_body_is_no_end() {
    let host = hasty("503 Busy", "Connection: close\r\nRetry-After: 0\r\n", 3);
    let told = Told::default();
    let repository = Registry::new(told.options()).repository(&repository(&host, "team/app"));
    let (one, content) = layer(&noise(8_000_000));
    repository.push(&one, &content).unwrap();
    assert_eq!(told.reasons().len(), 3);
}

#[test]
fn a_challenge_in_the_middle_of_a_body_is_answered_with_all_of_it() {
    let host = hasty("401 Who", "Connection: close\r\nWWW-Authenticate: Basic realm=\"r\"\r\n", 1);
    let repository = Registry::new(login("me", "hidden")).repository(&repository(&host, "team/app"));
    let (one, content) = layer(&noise(8_000_000));
    repository.push(&one, &content).unwrap();
}
