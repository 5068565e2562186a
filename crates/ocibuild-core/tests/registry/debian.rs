//! The registry that Debian packages as `docker-registry`: one that the test command has started,
//! or one of our own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// A registry that is up.
pub(crate) struct Debian {
    /// Host and port.
    pub(crate) host: String,
    started: Option<(Child, tempfile::TempDir)>,
}

impl Debian {
    /// Uses a registry that is up already.
    pub(crate) fn named(host: String) -> Self {
        Self { host, started: None }
    }

    /// Starts a registry; the function gives the lines of its `http:` section, and whatever
    /// follows that.
    pub(crate) fn start(configuration: impl FnOnce(&Path) -> String) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            skipped(PROGRAM);
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let file = directory.path().join("config.yml");
        let (data, rest) = (directory.path().join("data"), configuration(directory.path()));
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{rest}",
            data.display()
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(PROGRAM);
        let command = command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let mut registry = Self { host, started: Some((command.spawn().unwrap(), directory)) };
        registry.wait();
        Some(registry)
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&self.host).is_err() {
            let ended = self.started.as_mut().and_then(|(child, _)| child.try_wait().unwrap());
            assert!(ended.is_none() && Instant::now() < until, "{PROGRAM} doesn't start: {ended:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.started {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Says loudly that a test could not be run.
pub(crate) fn skipped(what: &str) {
    eprintln!("SKIPPED: `{what}` is not there; this test has tested nothing");
}
