//! A proxy before a registry: it writes down every request with the origin it was sent to, changes
//! answers as the test says, and speaks http and https on the same port.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `scheme://host:port`, by what the client calls it.
    pub(crate) origin: String,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What was answered; 0 where nothing was.
    pub(crate) status: u16,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    /// All that was sent, to look for secrets in.
    pub(crate) fn text(&self) -> String {
        let head: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{} {}\r\n{head}\r\n{}", self.method, self.path, String::from_utf8_lossy(&self.body))
    }
}

/// An answer, on its way back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: vec![("Content-Length".to_owned(), "0".to_owned())], body: Vec::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let is_it = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
    headers.iter().find(is_it).map(|(_, value)| value.as_str())
}

/// What happens to requests and answers; by default nothing.
pub(crate) trait Rules: Send + Sync {
    /// Answers in the registry's place.
    fn before(&self, _: &Seen) -> Option<Reply> {
        None
    }

    /// After how many bytes of its body a request breaks off.
    fn cut(&self, _: &Seen) -> Option<usize> {
        None
    }

    /// Whether the answer is lost, after the registry has done what it was asked.
    fn loses(&self, _: &Seen) -> bool {
        false
    }

    /// What the registry is shown instead of the client's own `Authorization`.
    fn authorization(&self, seen: &Seen) -> Option<String> {
        seen.header("authorization").map(str::to_owned)
    }

    /// Changes the answer.
    fn after(&self, _: &Seen, _: &mut Reply) {}
}

impl Rules for () {}

/// Addresses that are listened on, with all that came there.
pub(crate) struct Front {
    listeners: Vec<TcpListener>,
    tls: Option<Arc<ServerConfig>>,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Front {
    /// Takes any port of 127.0.0.1, the same of 127.0.0.2, and another of 127.0.0.1.
    pub(crate) fn bind(tls: Option<Arc<ServerConfig>>) -> Self {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            // Somebody may have the port at the other address.
            let Ok(second) = TcpListener::bind(("127.0.0.2", first.local_addr().unwrap().port())) else {
                continue;
            };
            let listeners = vec![first, second, TcpListener::bind("127.0.0.1:0").unwrap()];
            return Self { listeners, tls, log: Arc::default() };
        }
    }

    pub(crate) fn address(&self, number: usize) -> SocketAddr {
        self.listeners[number].local_addr().unwrap()
    }

    /// Begins to forward; the threads end with the test's process.
    pub(crate) fn run(&self, upstream: SocketAddr, rules: Arc<dyn Rules>) {
        for listener in &self.listeners {
            let listener = listener.try_clone().unwrap();
            let (tls, log, rules) = (self.tls.clone(), Arc::clone(&self.log), Arc::clone(&rules));
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (tls, log, rules) = (tls.clone(), Arc::clone(&log), Arc::clone(&rules));
                    let connection = Connection { upstream, rules, log };
                    // A client that goes away is the test's intention.
                    thread::spawn(move || drop(connection.serve(stream, tls)));
                }
            });
        }
    }

    /// All that was asked, in the order in which the requests came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

struct Connection {
    upstream: SocketAddr,
    rules: Arc<dyn Rules>,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Connection {
    fn serve(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut first = [0];
        if stream.peek(&mut first)? == 0 {
            return Ok(());
        }
        let own = stream.try_clone()?;
        // What a TLS handshake begins with.
        let is_secure = first == [0x16];
        let client: Box<dyn Stream> = match (is_secure, tls) {
            (false, _) => Box::new(stream),
            (true, None) => return Ok(()),
            (true, Some(tls)) => {
                let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, stream))
            }
        };
        let mut reader = BufReader::new(client);
        // Whatever ends it ends it for the client.
        while self.exchange(&mut reader, is_secure).unwrap_or(false) {}
        drop(reader);
        own.shutdown(Shutdown::Both)
    }

    /// One request; tells whether another may come.
    fn exchange(&self, reader: &mut BufReader<Box<dyn Stream>>, is_secure: bool) -> io::Result<bool> {
        let (line, headers) = head(reader)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let scheme = if is_secure { "https" } else { "http" };
        let origin = format!("{scheme}://{}", find(&headers, "host").unwrap_or_default());
        let mut seen = Seen { origin, method, path, headers, body: Vec::new(), status: 0 };
        let length: u64 = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
        let number = {
            let mut log = self.log.lock().unwrap();
            log.push(seen.clone());
            log.len() - 1
        };
        let cut = self.rules.cut(&seen).map(|cut| cut as u64).filter(|cut| *cut < length);
        reader.by_ref().take(cut.unwrap_or(length)).read_to_end(&mut seen.body)?;
        self.log.lock().unwrap()[number].body.clone_from(&seen.body);
        let reply = match (self.rules.before(&seen), cut) {
            (Some(reply), _) => reply,
            (None, Some(_)) => {
                self.send(&seen)?;
                return Ok(false);
            }
            (None, None) => self.ask(&seen)?,
        };
        if self.rules.loses(&seen) {
            return Ok(false);
        }
        self.log.lock().unwrap()[number].status = reply.status;
        write(&mut **reader.get_mut(), &seen, &reply)?;
        Ok(seen.method == "HEAD" || reply.status == 204 || reply.header("content-length").is_some())
    }

    fn send(&self, seen: &Seen) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.upstream)?;
        let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", seen.method, seen.path);
        let is_own =
            |name: &str| ["connection", "authorization"].iter().any(|own| name.eq_ignore_ascii_case(own));
        for (name, value) in seen.headers.iter().filter(|(name, _)| !is_own(name)) {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(authorization) = self.rules.authorization(seen) {
            text += &format!("Authorization: {authorization}\r\n");
        }
        stream.write_all(format!("{text}\r\n").as_bytes())?;
        // A registry that answers early may not take all of it.
        let _ = stream.write_all(&seen.body);
        Ok(stream)
    }

    fn ask(&self, seen: &Seen) -> io::Result<Reply> {
        let mut reader = BufReader::new(self.send(seen)?);
        let (line, headers) = head(&mut reader)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        let mut reply = Reply { status, headers, body: Vec::new() };
        reader.read_to_end(&mut reply.body)?;
        self.rules.after(seen, &mut reply);
        Ok(reply)
    }
}

fn head(reader: &mut impl BufRead) -> io::Result<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let first = if lines.is_empty() { String::new() } else { lines.remove(0) };
    let pairs = lines.iter().filter_map(|line| line.split_once(':'));
    Ok((first, pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()))
}

fn write(client: &mut dyn Stream, seen: &Seen, reply: &Reply) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (name, value) in &reply.headers {
        if !name.eq_ignore_ascii_case("connection") {
            text += &format!("{name}: {value}\r\n");
        }
    }
    client.write_all(format!("{text}\r\n").as_bytes())?;
    if seen.method != "HEAD" {
        client.write_all(&reply.body)?;
    }
    client.flush()
}
