//! A service in a container of docker's.

use ocibuild_testkit::{Docker, Missing, Output, run, run_any, tool};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long a service may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A container that runs, without a network but its own loopback device; it goes with this value.
#[derive(Debug)]
pub(crate) struct Service<'a> {
    docker: &'a Docker,
    image: &'a str,
    id: String,
    nsenter: PathBuf,
}

/// Finds what it takes to ask a service in a network of its own.
pub(crate) fn visitor() -> Result<PathBuf, Missing> {
    ocibuild_testkit::skip::root()?;
    tool("bash")?;
    tool("nsenter")
}

impl<'a> Service<'a> {
    /// Starts an image as it is, and waits until it answers at the port.
    #[track_caller]
    pub(crate) fn start(docker: &'a Docker, image: &'a str, nsenter: PathBuf, port: u16) -> Self {
        let id = run(docker.command().args(["run", "--detach", "--network=none", image])).text();
        let service = Self { docker, image, id, nsenter };
        let until = Instant::now() + PATIENCE;
        while service.try_ask(port, "/health").code != Some(0) {
            assert!(Instant::now() < until, "the service doesn't answer: {}", service.log());
            thread::sleep(Duration::from_millis(50));
        }
        service
    }

    /// Asks from the outside, and gives the body of the answer.
    #[track_caller]
    pub(crate) fn ask(&self, port: u16, path: &str) -> String {
        let answer = self.try_ask(port, path).expect_code(0).text();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 "), "{answer}");
        body.to_owned()
    }

    /// A shell in the container's network, but not in its files: there is none.
    fn try_ask(&self, port: u16, path: &str) -> Output {
        let network = format!("--net=/proc/{}/ns/net", self.state("{{.State.Pid}}"));
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}
            printf 'GET {path} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3
            cat <&3"
        );
        run_any(Command::new(&self.nsenter).args([&network, "bash", "-euc", &script]))
    }

    /// Demands that the image's own check finds the service well.
    #[track_caller]
    pub(crate) fn check_health(&self) {
        let config = &self.docker.inspect(self.image)["Config"];
        let test: Vec<String> = serde_json::from_value(config["Healthcheck"]["Test"].clone()).unwrap();
        assert_eq!(test[0], "CMD", "the image has a check that needs no shell");
        run(self.docker.command().args(["exec", &self.id]).args(&test[1..]));
    }

    /// Stops it, and demands that it ends by itself and well.
    #[track_caller]
    pub(crate) fn stop(self) {
        run(self.docker.command().args(["stop", "--time=20", &self.id]));
        assert_eq!(self.state("{{.State.ExitCode}}"), "0", "{}", self.log());
        let log = self.log();
        assert!(format!("{}{}", log.text(), log.errors()).ends_with("stopped"), "{log}");
    }

    fn state(&self, what: &str) -> String {
        run(self.docker.command().args(["inspect", "--format", what, &self.id])).text()
    }

    fn log(&self) -> Output {
        run(self.docker.command().args(["logs", &self.id]))
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.docker.command().args(["rm", "--force", &self.id]).output();
    }
}
