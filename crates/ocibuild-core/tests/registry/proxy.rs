//! Proxies that bring everything to one address and note what they are asked for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The first line of what was asked, and the `Proxy-Authorization`.
type Line = (String, Option<String>);

/// A proxy that notes the first lines and the `Proxy-Authorization` of what it is asked, and brings
/// everything to one address.
pub(crate) struct Proxy {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Line>>>,
}

impl Proxy {
    pub(crate) fn start(target: &str, wanted: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, target) = (Arc::clone(&asked), target.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, target) = (Arc::clone(&log), target.clone());
                thread::spawn(move || serve(&stream.unwrap(), &log, &target, wanted));
            }
        });
        Self { host, asked }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(line, _)| line.clone()).collect()
    }
}

fn serve(mut stream: &TcpStream, log: &Mutex<Vec<Line>>, target: &str, wanted: Option<&str>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let shown = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    let first = head.remove(0);
    log.lock().unwrap().push((first.clone(), shown.clone()));
    if wanted.is_some() && shown.as_deref() != wanted {
        stream.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
        return None;
    }
    let mut upstream = TcpStream::connect(target).ok()?;
    if first.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
        let (mut back, mut forth) = (upstream.try_clone().ok()?, stream.try_clone().ok()?);
        thread::spawn(move || std::io::copy(&mut back, &mut forth));
    } else {
        let mut words = first.split(' ');
        let (method, url) = (words.next()?, words.next()?);
        let path = url.strip_prefix("http://")?.split_once('/')?.1;
        let head = format!("{method} /{path} HTTP/1.1\r\n{}\r\n\r\n", head.join("\r\n"));
        upstream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).ok()?;
        stream.write_all(&answer).ok()?;
        return None;
    }
    std::io::copy(&mut reader, &mut upstream).ok().map(drop)
}

/// A proxy by SOCKS 5 without a password; gives its address, and the places it is asked for.
pub(crate) fn start_socks(target: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, target) = (Arc::clone(&asked), target.to_owned());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (log, target) = (Arc::clone(&log), target.clone());
            thread::spawn(move || serve_socks(stream.unwrap(), &log, &target));
        }
    });
    (host, asked)
}

/// [RFC 1928](https://www.rfc-editor.org/rfc/rfc1928)
fn serve_socks(mut stream: TcpStream, log: &Mutex<Vec<String>>, target: &str) -> Option<()> {
    let mut take = |count: usize| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let count = take(2)?[1];
    take(count.into())?;
    stream.write_all(&[5, 0]).ok()?;
    let mut take = |count: usize| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let head = take(5)?;
    assert_eq!(head[..4], [5, 1, 0, 3], "a connection to a name");
    let name = String::from_utf8(take(head[4].into())?).unwrap();
    let port = take(2)?;
    log.lock().unwrap().push(format!("{name}:{}", u16::from_be_bytes([port[0], port[1]])));
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    let mut upstream = TcpStream::connect(target).ok()?;
    let (mut back, mut forth) = (upstream.try_clone().ok()?, stream.try_clone().ok()?);
    thread::spawn(move || std::io::copy(&mut back, &mut forth));
    std::io::copy(&mut stream, &mut upstream).ok().map(drop)
}
