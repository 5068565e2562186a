//! A Redis that is connected to before its client is: that takes six seconds to find that nobody is
//! there, and goes on for as long as it may where a password is wrong.

use std::time::Duration;

use opendal_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::access::Access;

/// Whom to connect to, and what to say first.
#[derive(Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
    /// Its request for entry, if it wants one; by TLS, its client makes it.
    greeting: Option<Vec<u8>>,
}

/// How long it is waited before each repetition: all in all less than a connection may take.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];

/// How answers begin that may be others in a moment.
const PASSING: &[&str] =
    &["LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "ERR max number of clients"];

/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256;

impl Server {
    pub(crate) fn new(host: &str, port: u16, is_secure: bool, access: &Access) -> Self {
        let password = access.variable("REDIS_PASSWORD").filter(|_| !is_secure);
        let greeting = password.map(|password| greeting(access.variable("REDIS_USERNAME"), password));
        Self { host: host.to_owned(), port, greeting }
    }

    /// Finds out whether somebody is there and lets this run in; what may pass is asked again.
    pub(crate) async fn connect(self) -> Result<()> {
        for pause in PAUSES {
            match self.clone().attempt().await {
                Err(fault) if fault.is_temporary() => tokio::time::sleep(pause).await,
                answer => return answer,
            }
        }
        self.attempt().await
    }

    async fn attempt(self) -> Result<()> {
        let Self { host, port, greeting } = self;
        let fault = |error| {
            let message = format!("no connection to {host}:{port}");
            Error::new(ErrorKind::Unexpected, message).set_source(error)
        };
        let address = host.trim_matches(['[', ']']).to_owned();
        let mut stream = TcpStream::connect((address, port)).await.map_err(fault)?;
        let Some(greeting) = greeting else { return Ok(()) };
        stream.write_all(&greeting).await.map_err(fault)?;
        let (mut answer, mut stream) = (Vec::new(), stream.take(MAX_ANSWER));
        while !answer.contains(&b'\n') {
            if stream.read_buf(&mut answer).await.map_err(fault)? == 0 {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        match answer.trim_end().strip_prefix('-') {
            Some(said) => Err(refusal(said)),
            None => Ok(()),
        }
    }
}

/// What a no means: of whoever asks, or of the server as it is just now.
fn refusal(said: &str) -> Error {
    let is_about_entry =
        said.starts_with("ERR") && ["AUTH", "password"].iter().any(|word| said.contains(word));
    let kind = if is_about_entry { ErrorKind::PermissionDenied } else { ErrorKind::Unexpected };
    Error::new(kind, said).with_temporary(PASSING.iter().any(|word| said.starts_with(word)))
}

/// [`AUTH`](https://redis.io/docs/latest/commands/auth/), as Redis is told commands.
fn greeting(name: Option<&str>, password: &str) -> Vec<u8> {
    let words: Vec<&str> = ["AUTH"].into_iter().chain(name).chain([password]).collect();
    let mut greeting = format!("*{}\r\n", words.len());
    for word in words {
        greeting.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    greeting.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_has_lengths_in_bytes() {
        assert_eq!(greeting(None, "ä"), "*2\r\n$4\r\nAUTH\r\n$2\r\nä\r\n".as_bytes());
        assert_eq!(greeting(Some("me"), "x"), b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$1\r\nx\r\n");
    }
}
