//! As much of HTTP as a greeting needs.

use crate::config::Config;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A peer that says nothing, or doesn't listen, is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// A head of a request may have so many bytes.
const HEAD: u64 = 8192;

/// Reads one request of a connection and answers it.
pub fn answer(connection: TcpStream, config: &Config) {
    // Who went away in between is nobody to tell an error.
    let _ = try_answer(&connection, config);
}

fn try_answer(connection: &TcpStream, config: &Config) -> io::Result<()> {
    be_patient(connection)?;
    let (status, body) = match first_line(connection)?.split(' ').collect::<Vec<_>>()[..] {
        ["GET", "/", _] => ("200 OK", config.greeting.as_str()),
        ["GET", "/health", _] => ("200 OK", "ok"),
        ["GET", _, _] => ("404 Not Found", "there is nothing here"),
        [_, _, _] => ("405 Method Not Allowed", "only GET is understood"),
        _ => ("400 Bad Request", "that is no request"),
    };
    let length = body.len() + 1;
    write!(
        &mut &*connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}\n"
    )
}

/// Asks the service on this machine whether it is well.
pub fn check_health(port: u16) -> io::Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    be_patient(&connection)?;
    connection.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let line = first_line(&connection)?;
    if line.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("the service answers `{line}`")))
}

fn be_patient(connection: &TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))
}

/// Reads a head up to its end, the empty line, and gives its first line.
fn first_line(connection: &TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(connection.take(HEAD)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first)
}
