//! The registries and the docker daemon that the tests share.

use crate::Result;
use crate::interrupt::Interrupt;
use crate::programs::{find, signal_group, succeeds};
use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a service may take until it answers.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end when asked, before it is killed.
const STOP: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) const USER: &str = "tester";
/// Holds a colon, where user and password are parted in basic authentication.
pub(crate) const PASSWORD: &str = "pass:word";
/// That user and password, as `htpasswd -B` writes them: bcrypt is all the registry reads.
const HTPASSWD: &str = "tester:$2b$04$Raz8MM1BarFKvyocb1I4GeeCE3tUmxSgPZr/Gb204Wg/tgfCm/SwS\n";

/// A running service; dropped, it is stopped, with everything it started.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Host and port, or an address for `DOCKER_HOST`.
    pub(crate) address: String,
}

impl Service {
    fn start(name: &'static str, home: &Path, command: &mut Command) -> Result<Self> {
        let log = home.join("log");
        let file = File::create(&log)?;
        let child = command
            .current_dir(home)
            .process_group(0) // to be stopped as a whole, and not by the terminal's Ctrl-C
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("can't start {name}: {error}"))?;
        Ok(Self { name, child, log, address: String::new() })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `address` finds the service's address; an error with its log if it never does.
    fn wait_for(mut self, interrupt: &Interrupt, address: impl Fn(&Self) -> Option<String>) -> Result<Self> {
        let started = Instant::now();
        while started.elapsed() < START && !interrupt.asked() {
            if let Some(address) = address(&self) {
                self.address = address;
                return Ok(self);
            }
            if self.child.try_wait()?.is_some() {
                break;
            }
            thread::sleep(PAUSE);
        }
        Err(format!("{} doesn't answer; its log:\n{}", self.name, self.log()).into())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        signal_group("TERM", self.child.id());
        let asked = Instant::now();
        while asked.elapsed() < STOP && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(PAUSE);
        }
        signal_group("KILL", self.child.id());
        let _ = self.child.wait();
    }
}

/// Starts a registry below `home`, on a port that the kernel picks.
pub(crate) fn registry(home: &Path, password: bool, interrupt: &Interrupt) -> Result<Service> {
    let program = find("docker-registry").ok_or("`docker-registry` isn't installed")?;
    fs::create_dir_all(home)?;
    fs::write(home.join("config.yml"), registry_config(home, password))?;
    fs::write(home.join("htpasswd"), HTPASSWD)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(home.join("config.yml"));
    Service::start("docker-registry", home, &mut command)?.wait_for(interrupt, |service| {
        let log = service.log();
        let (_, after) = log.split_once("listening on ")?;
        let address = after.split(|c: char| c == '"' || c.is_whitespace()).next()?;
        TcpStream::connect(address).ok().map(|_| address.to_owned())
    })
}

fn registry_config(home: &Path, password: bool) -> String {
    let home = home.display();
    let auth = if password {
        format!("auth: {{ htpasswd: {{ realm: tests, path: \"{home}/htpasswd\" }} }}\n")
    } else {
        String::new()
    };
    format!(
        "version: 0.1\n\
         log: {{ level: info, accesslog: {{ disabled: true }} }}\n\
         storage: {{ filesystem: {{ rootdirectory: \"{home}/data\" }}, delete: {{ enabled: true }} }}\n\
         http: {{ addr: \"127.0.0.1:0\" }}\n\
         {auth}"
    )
}

/// Starts a docker daemon that shares nothing with another: no directory, no bridge, no packet
/// filter rules.
pub(crate) fn docker(home: &Path, interrupt: &Interrupt) -> Result<Service> {
    let program = find("dockerd").ok_or("`dockerd` isn't installed")?;
    fs::create_dir_all(home)?;
    fs::write(home.join("daemon.json"), "{}")?;
    let address = format!("unix://{}/socket", home.display());
    let mut command = Command::new(program);
    for (option, name) in [
        ("--config-file", "daemon.json"),
        ("--data-root", "data"),
        ("--exec-root", "run"),
        ("--pidfile", "pid"),
    ] {
        command.arg(option).arg(home.join(name));
    }
    command.args(["--host", &address, "--iptables=false", "--bridge=none"]);
    Service::start("dockerd", home, &mut command)?
        .wait_for(interrupt, |_| docker_answers(&address).then(|| address.clone()))
}

/// The socket of the containerd that this daemon starts for itself.
pub(crate) fn containerd(home: &Path) -> PathBuf {
    home.join("run/containerd/containerd.sock")
}

fn docker_answers(address: &str) -> bool {
    // A newer client than Debian's may stand ahead in `PATH` and refuse its daemon.
    let debian = Path::new("/usr/bin/docker");
    let client = if debian.exists() { debian } else { Path::new("docker") };
    succeeds(Command::new(client).arg("version").env("DOCKER_HOST", address))
}
