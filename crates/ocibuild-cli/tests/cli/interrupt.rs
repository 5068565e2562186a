//! Ctrl-C and SIGTERM: at once, and nothing half-written.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use ocibuild_testkit::run;
use snapbox::{assert_data_eq, file};

use crate::bench::Bench;

/// As long as a run may take to end: 2 seconds is what is promised. Without optimisation a block that
/// is being compressed takes many times as long as with it.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });

/// Files that take seconds to compress.
fn with_much_to_do() -> Bench {
    let bench = Bench::new();
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b"abcdefgh"[(state >> 61) as usize]
    };
    let block: Vec<u8> = (0..8 << 20).map(|_| noise()).collect();
    for number in 0..24 {
        bench.write(&format!("much/{number}"), &block);
    }
    bench
}

/// Starts a run, and gives what it says from when it compresses.
fn start(bench: &Bench) -> (Child, BufReader<ChildStderr>) {
    let arguments = ["build", "-v", "--copy", "much:/much", "--compression", "gzip:3", "--threads", "1"];
    let outputs = ["--output", "type=oci,dest=layout", "--output", "type=oci-archive,dest=archive.tar"];
    let mut command = bench.command(&[&arguments[..], &outputs].concat());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its files are known: from now on it compresses.
    let (mut said, mut line) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    said.read_line(&mut line).unwrap();
    assert!(line.contains("to compress"), "{line}");
    (child, said)
}

fn files_below(bench: &Bench, directory: &str) -> usize {
    let entries = bench.tree.join(directory).read_dir();
    entries.map_or(0, |entries| entries.flatten().filter(|entry| entry.path().is_file()).count())
}

#[test]
fn a_signal_ends_the_run_and_leaves_nothing_behind() {
    let bench = with_much_to_do();
    for signal in ["INT", "TERM"] {
        let (mut child, mut said) = start(&bench);
        run(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        let asked = Instant::now();
        let status = child.wait().unwrap();
        assert!(asked.elapsed() < PATIENCE, "it took {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(130), "after SIG{signal}");
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        assert_data_eq!(text, file!["snapshots/interrupted.txt"].raw());
        assert_eq!(bench.names(), ["hello", "much"]);
        assert_eq!(files_below(&bench, "cache/tmp"), 0);
    }
}
