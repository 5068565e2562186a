//! A plain HTTP client, and images small enough to write down.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use ocibuild_core::Digest;
use ocibuild_core::oci::{Descriptor, Manifest, MediaType, to_json};
use ocibuild_serve::{Running, ServeOptions, Server};

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.headers.iter().find(is_it).map(|(_, value)| value.as_str())
    }

    /// The codes of its errors.
    pub(crate) fn codes(&self) -> Vec<String> {
        let errors = self.json()["errors"].take();
        let codes = errors.as_array().into_iter().flatten();
        codes.map(|error| error["code"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A server over a directory that goes with it.
pub(crate) struct Bench {
    pub(crate) server: Option<Running>,
    pub(crate) directory: tempfile::TempDir,
    options: ServeOptions,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(ServeOptions::default())
    }

    pub(crate) fn with(options: ServeOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = Self { server: None, directory, options };
        bench.restart();
        bench
    }

    /// The layout.
    pub(crate) fn layout(&self) -> PathBuf {
        self.directory.path().join("api.oci")
    }

    pub(crate) fn restart(&mut self) {
        self.server = None;
        self.server = Some(Server::start(self.layout(), self.options.clone()).unwrap());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Reply {
        self.send(method, path, &[], b"")
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_send(method, path, headers, body).unwrap()
    }

    pub(crate) fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply> {
        let mut connection = self.connect();
        connection.send(method, path, headers, body)?;
        connection.reply(method)
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::new(self.address())
    }

    /// Puts a blob into a repository.
    pub(crate) fn push_blob(&self, name: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(MediaType::LAYER, bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", descriptor.digest);
        let reply = self.send("POST", &path, &[], bytes);
        assert_eq!(reply.status, 201, "{reply:?}");
        descriptor
    }

    /// Puts an image into a repository, and gives its manifest.
    pub(crate) fn push_image(&self, name: &str, tag: &str) -> (Vec<u8>, Descriptor) {
        let manifest = self.image(name, &format!("layer of {tag}"));
        let bytes = to_json(&manifest);
        let reply = self.put_manifest(name, tag, &bytes);
        assert_eq!(reply.status, 201, "{reply:?}");
        let descriptor = Descriptor::of(MediaType::MANIFEST, &bytes);
        (bytes, descriptor)
    }

    /// Puts an image's blobs into a repository, and makes its manifest.
    pub(crate) fn image(&self, name: &str, content: &str) -> Manifest {
        let mut config = self.push_blob(name, b"{}");
        config.media_type = MediaType::CONFIG;
        Manifest::new(config, vec![self.push_blob(name, content.as_bytes())])
    }

    pub(crate) fn put_manifest(&self, name: &str, reference: &str, bytes: &[u8]) -> Reply {
        let kind = MediaType::MANIFEST;
        let kind = [("Content-Type", kind.as_str())];
        self.send("PUT", &format!("/v2/{name}/manifests/{reference}"), &kind, bytes)
    }

    /// Begins an upload, and gives its address.
    pub(crate) fn begin(&self, name: &str) -> String {
        let reply = self.ask("POST", &format!("/v2/{name}/blobs/uploads/"));
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.header("location").unwrap().to_owned()
    }
}

/// With what writing failed by: a reset is told once, to whoever writes or reads first.
pub(crate) struct Connection(BufReader<TcpStream>, Option<io::Error>);

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream), None)
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let host = self.0.get_ref().peer_addr()?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.write(format!("{head}\r\n").as_bytes())?;
        // A server that answers early may not take all of it.
        self.1 = self.write(body).err();
        Ok(())
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(self.1.take().unwrap_or(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    pub(crate) fn reply(&mut self, method: &str) -> io::Result<Reply> {
        let status = self.line()?.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        if method != "HEAD" && status != 304 && status != 204 {
            reply.body = vec![0; length];
            self.0.read_exact(&mut reply.body)?;
        }
        Ok(reply)
    }

    /// Whether the other side closed the connection, in whatever way.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(self.0.read(&mut [0]), Ok(1..))
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

/// Bytes that don't repeat, the same in every run.
pub(crate) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}
