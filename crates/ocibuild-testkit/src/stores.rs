//! Object stores: Debian's `redis-server`, and `s3s-fs`, an S3 server over a directory. Each test
//! starts its own, which ends with it; what they keep can be looked at and spoiled.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::skip::{Missing, is_executable, tool};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(30);

/// A store that runs.
pub trait Store {
    /// What it is, for people.
    fn name(&self) -> &'static str;
    /// Its address for ocibuild, with a prefix.
    fn address(&self, prefix: &str) -> String;
    /// The variables with its credentials.
    fn credentials(&self) -> Vec<(&'static str, String)>;
    /// The names of its objects, in order.
    fn objects(&self) -> Vec<String>;
    /// Reads an object.
    fn read(&self, name: &str) -> Vec<u8>;
    /// Writes an object.
    fn write(&self, name: &str, bytes: &[u8]);
    /// Removes an object.
    fn remove(&self, name: &str);
    /// Ends the server; nobody answers at its address any more.
    fn stop(&mut self);
}

/// A server's process.
#[derive(Debug)]
struct Server(Child);

impl Server {
    #[track_caller]
    fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Self(child.unwrap_or_else(|error| panic!("can't start {command:?}: {error}")));
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.0.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && started.elapsed() < START, "{command:?} doesn't answer: {ended:?}");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    listener.local_addr().expect("it is bound").port()
}

/// `redis-server`, with a password.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: u16,
    _home: TempDir,
}

const PASSWORD: &str = "pass:word@/";

impl Redis {
    /// Starts one that keeps all in memory.
    #[track_caller]
    pub fn start() -> Result<Self, Missing> {
        let program = tool("redis-server")?;
        let home = tempfile::tempdir().expect("there is room for a directory");
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--requirepass", PASSWORD]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(home.path());
        Ok(Self { server: Server::start(&mut command, port), port, _home: home })
    }

    /// Sends one command, and returns its answer: of a list its parts.
    #[track_caller]
    fn ask(&self, words: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("redis answers");
        for words in [&[b"AUTH", PASSWORD.as_bytes()], words] {
            let mut request = format!("*{}\r\n", words.len()).into_bytes();
            for word in words {
                request.extend(format!("${}\r\n", word.len()).bytes().chain(word.iter().copied()));
                request.extend(b"\r\n");
            }
            stream.write_all(&request).expect("redis takes a command");
        }
        let mut answers = BufReader::new(stream);
        assert_eq!(answer(&mut answers), [b"OK".to_vec()]);
        answer(&mut answers)
    }
}

/// Reads an answer ([RESP](https://redis.io/docs/latest/develop/reference/protocol-spec/)).
#[track_caller]
fn answer(from: &mut BufReader<TcpStream>) -> Vec<Vec<u8>> {
    let mut line = String::new();
    from.read_line(&mut line).expect("redis answers");
    let (kind, rest) = line.trim_end().split_at(1);
    let count = || rest.parse::<usize>().expect("a length");
    match kind {
        "+" | ":" => vec![rest.as_bytes().to_vec()],
        "$" => {
            let mut bytes = vec![0; count() + 2];
            from.read_exact(&mut bytes).expect("redis sends all of it");
            bytes.truncate(count());
            vec![bytes]
        }
        "*" => (0..count()).flat_map(|_| answer(from)).collect(),
        _ => panic!("redis says {line:?}"),
    }
}

impl Store for Redis {
    fn name(&self) -> &'static str {
        "redis-server"
    }

    fn address(&self, prefix: &str) -> String {
        format!("redis://127.0.0.1:{}/{prefix}", self.port)
    }

    fn credentials(&self) -> Vec<(&'static str, String)> {
        vec![("REDIS_PASSWORD", PASSWORD.to_owned())]
    }

    fn objects(&self) -> Vec<String> {
        let keys = self.ask(&[b"KEYS", b"*"]);
        let mut names: Vec<String> =
            keys.into_iter().map(|key| String::from_utf8(key).expect("names are text")).collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Vec<u8> {
        self.ask(&[b"GET", name.as_bytes()]).remove(0)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        self.ask(&[b"SET", name.as_bytes(), bytes]);
    }

    fn remove(&self, name: &str) {
        self.ask(&[b"DEL", name.as_bytes()]);
    }

    fn stop(&mut self) {
        self.server.stop();
    }
}

/// `s3s-fs`, with one bucket.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    port: u16,
    home: TempDir,
}

/// Names the variable with the S3 server's program, where `cargo xtask test` built it.
pub const S3_SERVER: &str = "OCIBUILD_TEST_S3_SERVER";

const BUCKET: &str = "caches";
const KEY: [&str; 2] = ["tester", "secret/key+"];

impl S3 {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Result<Self, Missing> {
        let program = s3_server()?;
        let home = tempfile::tempdir().expect("there is room for a directory");
        fs::create_dir(home.path().join(BUCKET)).expect("a bucket is a directory");
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--access-key", KEY[0], "--secret-key", KEY[1]]).arg(home.path());
        Ok(Self { server: Server::start(&mut command, port), port, home })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(BUCKET).join(name)
    }
}

fn s3_server() -> Result<PathBuf, Missing> {
    let named = env::var_os(S3_SERVER).map(PathBuf::from);
    match named.filter(|path| is_executable(path)) {
        Some(path) => Ok(path),
        None => tool("s3s-fs").map_err(|_| {
            let part = "the program `s3s-fs` (`cargo xtask test` builds it";
            Missing::new(format!("{part}, `{S3_SERVER}` names another)"))
        }),
    }
}

fn files_below(directory: &Path, names: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files_below(&path, names),
            path => names.push(path),
        }
    }
}

impl Store for S3 {
    fn name(&self) -> &'static str {
        "s3s-fs"
    }

    fn address(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}", self.port)
    }

    fn credentials(&self) -> Vec<(&'static str, String)> {
        let [id, secret] = KEY.map(str::to_owned);
        vec![("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]
    }

    fn objects(&self) -> Vec<String> {
        let bucket = self.path("");
        let mut paths = Vec::new();
        files_below(&bucket, &mut paths);
        let name = |path: &PathBuf| path.strip_prefix(&bucket).ok()?.to_str().map(str::to_owned);
        let mut names: Vec<String> = paths.iter().filter_map(name).collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("the object is there")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("the object can be written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("the object is there");
    }

    fn stop(&mut self) {
        self.server.stop();
    }
}
