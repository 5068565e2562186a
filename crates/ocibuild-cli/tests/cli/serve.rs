//! A layout served as a registry.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_testkit::run;
use serde_json::Value;

use crate::bench::{Bench, SPEC};

/// A server, which is killed if it doesn't end before.
struct Served {
    child: Child,
    address: String,
    said: BufReader<ChildStderr>,
}

impl Served {
    fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let mut command = bench.command(&[&["serve"], arguments].concat());
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        Self { child, address: address.trim_end().to_owned(), said }
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Ends it by Ctrl-C, and gives what it said.
    fn stop(mut self) -> String {
        run(Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]));
        let begun = Instant::now();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let mut said = String::new();
        self.said.read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_pushed_lies_in_the_layout_and_is_pulled_again() {
    let bench = Bench::with_spec(SPEC);
    let digest = bench.digest(&["--output", "type=oci,dest=my.oci"]);
    let name = bench.ok(&["inspect", "--format", "json", "my.oci"]).json()["descriptor"]["digest"].clone();
    assert_eq!(name, digest.as_str());
    let served = Served::start(&bench, &["-v", "my.oci"]);
    // What the layout has under a plain name is served under the directory's.
    let index: Value =
        serde_json::from_slice(&std::fs::read(bench.path("my.oci/index.json")).unwrap()).unwrap();
    let plain = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].clone();
    bench.valid(&served.image(&format!("my:{}", plain.as_str().unwrap())));
    let pushed = served.image("team/api:1");
    assert!(bench.digest(&["--push", "-t", &pushed]).ends_with(&digest));
    bench.valid(&pushed);
    bench.valid("oci:my.oci:team/api:1");
    let address = served.address.clone();
    let said = served.stop();
    let first = said.lines().next().unwrap();
    assert_eq!(first, format!("serving my.oci at http://{address}"));
    assert!(said.contains(&format!("PUT /v2/team/api/manifests/{digest}: 201, ")), "{said}");
    assert!(said.contains("HEAD /v2/my/manifests/"), "{said}");
}

#[test]
fn programs_are_told_in_json() {
    let bench = Bench::new();
    let served = Served::start(&bench, &["-v", "--progress", "json", "new.oci"]);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    let address = served.address.clone();
    let said = served.stop();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [begun, served] = &lines[..] else { panic!("{said}") };
    assert_eq!((&begun["event"], &begun["repository"]), (&"serving".into(), &"new".into()));
    assert_eq!(begun["url"], format!("http://{address}"));
    assert_eq!((&served["event"], &served["path"]), (&"served".into(), &"/v2/".into()));
    assert_eq!((&served["status"], &served["version"]), (&200.into(), &1.into()));
}

#[test]
fn what_fails_for_a_reason_of_its_own_is_told_unasked() {
    let bench = Bench::new();
    let served = Served::start(&bench, &["new.oci"]);
    // Where a file is, no upload can be begun.
    std::fs::write(bench.path("new.oci/.ocibuild-serve/uploads"), "").unwrap();
    for request in ["POST /v2/app/blobs/uploads/", "HEAD /v2/app/manifests/1"] {
        let mut stream = TcpStream::connect(&served.address).unwrap();
        let request =
            format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
    }
    let said = served.stop();
    let lines: Vec<&str> = said.lines().skip(1).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("POST /v2/app/blobs/uploads/: 5"), "{said}");
}

#[test]
fn what_is_read_only_stays_as_it_is() {
    let bench = Bench::with_spec(SPEC);
    bench.digest(&["--output", "type=oci,dest=my.oci"]);
    let before = std::fs::read_dir(bench.path("my.oci")).unwrap().count();
    let served = Served::start(&bench, &["--read-only", "my.oci"]);
    let refused = bench.run(&["build", "--push", "-t", &served.image("my:2")]);
    assert!(refused.code == Some(4) && refused.errors().contains("read-only"), "{refused}");
    assert_eq!(std::fs::read_dir(bench.path("my.oci")).unwrap().count(), before);
}

#[test]
fn what_can_not_be_served_is_told() {
    let bench = Bench::with_spec(SPEC);
    let foreign = bench.run(&["serve", "."]).expect_code(3);
    assert!(foreign.errors().contains("it is not an OCI layout"), "{foreign}");
    let absent = bench.run(&["serve", "--read-only", "nowhere"]).expect_code(3);
    assert!(absent.errors().contains("there is no such directory"), "{absent}");
    let address = bench.run(&["serve", "--listen", "here", "x"]).expect_code(2);
    assert!(address.errors().contains("no address to listen on"), "{address}");
    let served = Served::start(&bench, &["my.oci"]);
    let busy = bench.run(&["serve", "my.oci"]).expect_code(3);
    assert!(busy.errors().contains("`my.oci` is being served already"), "{busy}");
    let taken = bench.run(&["serve", "--listen", &served.address, "other.oci"]).expect_code(1);
    assert!(taken.errors().contains("choose another port"), "{taken}");
}

#[test]
fn whoever_opens_it_to_others_is_warned() {
    let bench = Bench::new();
    let mut served = Served::start(&bench, &["--listen", "0.0.0.0:0", "my.oci"]);
    let mut line = String::new();
    served.said.read_line(&mut line).unwrap();
    assert_eq!(
        line,
        "warning: `0.0.0.0` is no loopback address: whoever reaches it can pull, push and delete, without a login\n"
    );
}

/// Waits until a push ends, and tells whether it went well. It isn't waited for what tries on though
/// the server is dead.
fn ends(mut push: Child, is_dead: &AtomicBool) -> bool {
    loop {
        if let Some(status) = push.try_wait().unwrap() {
            return status.success();
        }
        if is_dead.load(Ordering::SeqCst) {
            let _ = push.kill();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills the server while images are pushed, again and again.
#[test]
fn a_kill_in_the_midst_of_pushes_leaves_whole_images_and_a_registry_that_starts() {
    let bench = Bench::new();
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    for number in 0..3 {
        let bytes: Vec<u8> = (0..2 << 20).map(|_| noise()).collect();
        bench.write(&format!("much{number}"), bytes);
    }
    let (pushed, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 0..3_u64 {
        let mut served = Served::start(&bench, &["my.oci"]);
        let is_dead = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..3 {
                let (address, is_dead, bench) = (&served.address, &is_dead, &bench);
                let (pushed, failed) = (&pushed, &failed);
                scope.spawn(move || {
                    for time in 0.. {
                        // Another image each time, with a layer that is there and one that isn't.
                        let inline = format!("n={round}.{time}");
                        let copy = format!("much{number}:/much");
                        let tag = format!("{address}/team/api{number}:{}", time % 2);
                        let arguments = ["build", "--push", "--compression", "none", "--copy", &copy];
                        let mut command = bench.command(&arguments);
                        command
                            .args(["--env", &inline, "-t", &tag])
                            .stdout(Stdio::null())
                            .stderr(Stdio::null());
                        let is_done = ends(command.spawn().unwrap(), is_dead);
                        let counter = if is_done { pushed } else { failed };
                        counter.fetch_add(1, Ordering::SeqCst);
                        if is_dead.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                });
            }
            thread::sleep(Duration::from_millis(250 + 130 * round));
            served.child.kill().unwrap();
            served.child.wait().unwrap();
            is_dead.store(true, Ordering::SeqCst);
        });
        let index: Value =
            serde_json::from_slice(&std::fs::read(bench.path("my.oci/index.json")).unwrap()).unwrap();
        for entry in index["manifests"].as_array().unwrap() {
            let name = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
            bench.valid(&format!("oci:my.oci:{name}"));
        }
    }
    let served = Served::start(&bench, &["my.oci"]);
    bench.ok(&["build", "--push", "--copy", "much0:/much", "-t", &served.image("team/api0:last")]);
    bench.valid(&served.image("team/api0:last"));
    let counts = (pushed.into_inner(), failed.into_inner());
    assert!(counts.0 > 0 && counts.1 > 0, "neither all nor nothing: {counts:?}");
}
