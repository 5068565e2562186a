//! Debian's docker-registry on the loopback address: what it was asked, and what came to lie in it.
//!
//! Both are read where they are, from its log and its files, so that nothing stands between it and
//! the programs that are measured, and no program's own figures are relied on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, io_error};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// What a registry writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Nothing: it costs the registry least.
    Nothing,
    /// Each request.
    Requests,
}

/// A running registry; dropped, it ends.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    home: PathBuf,
    /// Host and port.
    pub address: String,
}

/// What a registry has of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The layers' digests and sizes, bottom first.
    pub layers: Vec<(String, u64)>,
    /// The sizes of config and manifest.
    pub rest: u64,
}

impl Image {
    /// The sizes of all its blobs and its manifest.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.rest + self.layers.iter().map(|(_, size)| size).sum::<u64>()
    }

    /// The sizes of the layers that `other` has as well.
    #[must_use]
    pub fn shared(&self, other: &Image) -> u64 {
        let shared = self.layers.iter().filter(|layer| other.layers.contains(layer));
        shared.map(|(_, size)| size).sum()
    }
}

impl Registry {
    /// Says whether there is the program.
    #[must_use]
    pub fn is_installed() -> bool {
        Path::new(PROGRAM).exists()
    }

    /// Starts an empty registry that keeps what it gets in `home`, which is made.
    ///
    /// # Errors
    /// If it isn't installed, or doesn't answer within ten seconds.
    pub fn start(home: &Path, log: Log) -> Result<Self, Error> {
        fs::create_dir_all(home).map_err(io_error("create", home))?;
        let address = free_address().map_err(io_error("listen on the loopback address for", home))?;
        let (config, log_file) = (home.join("config.yml"), home.join("log"));
        fs::write(&config, text(home, &address, log)).map_err(io_error("write", &config))?;
        let file = File::create(&log_file).map_err(io_error("write", &log_file))?;
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
        let child = command.spawn().map_err(|source| Error::Start { program: PROGRAM.to_owned(), source })?;
        let registry = Self { child, home: home.to_owned(), address };
        for _ in 0..500 {
            if TcpStream::connect(&registry.address).is_ok() {
                return Ok(registry);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(Error::Failed { command: PROGRAM.to_owned(), status: "no answer in ten seconds".to_owned() })
    }

    /// The number of requests since it was started, if it writes them down.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn requests(&self) -> Result<u64, Error> {
        // The line of a request is written a moment after its answer.
        thread::sleep(Duration::from_millis(50));
        let log = self.home.join("log");
        let text = fs::read_to_string(&log).map_err(io_error("read", &log))?;
        Ok(text.lines().filter(|line| line.contains("] \"") && line.contains(" HTTP/1.1\" ")).count() as u64)
    }

    /// The digests and sizes of all that lies in it, manifests included.
    ///
    /// # Errors
    /// If its files can't be read.
    pub fn blobs(&self) -> Result<BTreeMap<String, u64>, Error> {
        let root = self.home.join("data/docker/registry/v2/blobs/sha256");
        let mut blobs = BTreeMap::new();
        for prefix in names(&root)? {
            for digest in names(&root.join(&prefix))? {
                let file = root.join(&prefix).join(&digest).join("data");
                let metadata = fs::metadata(&file).map_err(io_error("stat", &file))?;
                blobs.insert(format!("sha256:{digest}"), metadata.len());
            }
        }
        Ok(blobs)
    }

    /// The image that a tag means.
    ///
    /// # Errors
    /// If there is none, or its manifest isn't one.
    pub fn image(&self, repository: &str, tag: &str) -> Result<Image, Error> {
        let root = self.home.join("data/docker/registry/v2");
        let link = root.join(format!("repositories/{repository}/_manifests/tags/{tag}/current/link"));
        let digest = fs::read_to_string(&link).map_err(io_error("read", &link))?;
        let hex = digest.trim().trim_start_matches("sha256:");
        let file = root.join("blobs/sha256").join(hex.get(..2).unwrap_or_default()).join(hex).join("data");
        let bytes = fs::read(&file).map_err(io_error("read", &file))?;
        parse(&bytes).ok_or(Error::Unsound { path: file, reason: "it is no image's manifest".to_owned() })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(manifest: &[u8]) -> Option<Image> {
    let value: Value = serde_json::from_slice(manifest).ok()?;
    let layers = value["layers"].as_array()?.iter().map(|layer| {
        let digest = layer["digest"].as_str()?.to_owned();
        Some((digest, layer["size"].as_u64()?))
    });
    let layers = layers.collect::<Option<_>>()?;
    Some(Image { layers, rest: manifest.len() as u64 + value["config"]["size"].as_u64()? })
}

fn free_address() -> io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn text(home: &Path, address: &str, log: Log) -> String {
    let disabled = log == Log::Nothing;
    format!(
        "version: 0.1\n\
         log: {{ level: error, accesslog: {{ disabled: {disabled} }} }}\n\
         storage: {{ filesystem: {{ rootdirectory: \"{}/data\" }} }}\n\
         http: {{ addr: \"{address}\" }}\n",
        home.display()
    )
}

/// What a directory holds; nothing where there is none.
fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", directory))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(io_error("list", directory))?;
        Ok(entry.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::{Image, parse};

    #[test]
    fn a_manifest_says_what_an_image_weighs() {
        let text = r#"{"config":{"size":5},"layers":[{"digest":"sha256:a","size":7}]}"#;
        let image = parse(text.as_bytes()).unwrap();
        assert_eq!(image.layers, [("sha256:a".to_owned(), 7)]);
        assert_eq!(image.bytes(), 12 + text.len() as u64);
        assert_eq!(parse(b"{\"manifests\":[]}"), None);
    }

    #[test]
    fn layers_are_shared_by_digest() {
        let layers = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 3)).collect();
        let (old, new) =
            (Image { layers: layers(&["a", "b"]), rest: 1 }, Image { layers: layers(&["b", "c"]), rest: 1 });
        assert_eq!(new.shared(&old), 3);
        assert_eq!(new.shared(&Image::default()), 0);
    }
}
