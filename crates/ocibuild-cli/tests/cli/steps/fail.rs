//! Steps that fail, hang, or are stopped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_testkit::run;
use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::bench::Bench;
use crate::steps::project;

/// What a failure came to, without what is another each time.
fn verdict(errors: &str) -> String {
    let start = errors.find("error: ").expect("it failed");
    let lines = errors[start..].lines().map(|line| match line.strip_prefix("  log: ") {
        Some(log) => {
            assert!(Path::new(log).is_file(), "{log}");
            "  log: LOG"
        }
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_failure_says_where_for_whom_and_what_was_said_last() {
    let bench = project();
    bench.write("src/main", "bye\n");
    let spec = crate::steps::SPEC
        .replace("copy = [", "copy = [{ step = \"check\", from = \"report\", to = \"/report\" }, ");
    let check = "[steps.check]\nrun = \"seq 30; exit 4\"\ninputs = []\nneeds = [\"compile\"]\noutputs = [\"report\"]\n\n";
    let after = "[steps.after]\nrun = \"true\"\ninputs = []\nneeds = [\"check\"]\noutputs = [\"x\"]\n\n";
    let spec = spec.replace("[layers.app]", &format!("{check}{after}[layers.app]"));
    let spec = spec.replace("copy = [", "copy = [{ step = \"after\", from = \"x\", to = \"/x\" }, ");
    bench.write("ocibuild.toml", spec);
    let output = bench.run(&["build"]).expect_code(7);
    let numbers: String = (11..=30).map(|number| format!("    | {number}\n")).collect();
    let expected = format!(
        "error: ocibuild.toml:21:8: step `check` failed: exit code 4\n  21 | [steps.check]\n     |        ^^^^^\n  \
         needed by: image `service` → layer `app` → step `check`\n  its last lines:\n{numbers}  log: LOG\n  \
         not run, for want of it: `after`"
    );
    assert_eq!(verdict(&output.errors()), expected);
    assert!(!bench.path("service.oci").exists());
    // Nothing of it is recorded: it runs again.
    assert!(bench.run(&["build"]).expect_code(7).errors().contains("check   | 30"));
}

#[test]
fn with_keep_going_all_failures_are_told() {
    let bench = project();
    bench.write("src/main", "bye\n");
    let spec = crate::steps::SPEC.replace(
        "[layers.app]",
        "[steps.lint]\nrun = [\"no-such-linter\", \"--all\"]\ninputs = []\n\n[layers.app]",
    );
    bench.write("ocibuild.toml", spec);
    let output = bench.run(&["run", "lint", "test", "-k", "--jobs", "1"]).expect_code(7);
    let told = verdict(&output.errors());
    assert!(
        told.starts_with(
            "error: ocibuild.toml:21:8: step `lint` failed: there is no program `no-such-linter`"
        ),
        "{told}"
    );
    assert!(told.contains("  hint: install it, or see to it that `PATH` has its directory"), "{told}");
    assert!(told.contains("\nerror: ocibuild.toml:16:8: step `test` failed: exit code 3\n"), "{told}");
    assert!(told.contains("  its last line:\n    | no greeting\n"), "{told}");
    // Without it, what comes first ends it.
    let output = bench.run(&["run", "lint", "test", "--jobs", "1"]).expect_code(7);
    assert!(!output.errors().contains("step `test` failed"), "{}", output.errors());
}

#[test]
fn programs_are_told_of_failures_in_fields() {
    let bench = project();
    bench.write("src/main", "bye\n");
    let output = bench.run(&["run", "test", "--progress", "json", "-q"]).expect_code(7);
    let error: Value = serde_json::from_str(&output.errors()).unwrap();
    let failed = &error["steps"]["failed"][0];
    assert_eq!((failed["step"].as_str(), failed["exit_code"].as_i64()), (Some("test"), Some(3)));
    assert_eq!(failed["tail"][0], "no greeting");
    assert!(Path::new(failed["log"].as_str().unwrap()).is_file());
}

#[test]
fn what_isnt_made_and_what_takes_too_long_is_told_with_what_to_do() {
    let cases = [
        ("run = \"mkdir out; touch out/a\"\noutputs = [\"out/b\"]", "it made no `out/b`", "`out` has `a`"),
        ("run = \"sleep 20\"\ntimeout = \"100ms\"", "not done after 100 ms", "more time with `timeout`"),
        ("run = \"kill -9 $$\"", "killed by signal 9 (SIGKILL)", "for want of memory"),
        ("run = \"nonesuch\"", "exit code 127", "the programs in `PATH`"),
        ("run = \"true\"\nsecrets = [{ id = \"token\", env = \"NO_SUCH\" }]", "`token`", "optional = true"),
    ];
    for (step, reason, hint) in cases {
        let bench = Bench::with_spec(&format!("version = 1\n[steps.a]\ninputs = []\n{step}\n"));
        let errors = bench.run(&["run", "a"]).expect_code(7).errors();
        assert!(errors.contains("step `a` failed: ") && errors.contains(reason), "{errors}");
        assert!(errors.lines().any(|line| line.starts_with("  hint: ") && line.contains(hint)), "{errors}");
    }
    let bench = Bench::with_spec("version = 1\n[steps.a]\ninputs = [\"src\"]\nrun = \"true\"\n");
    let errors = bench.run(&["run", "a"]).expect_code(3).errors();
    assert!(errors.contains("`src` doesn't exist"), "{errors}");
}

#[test]
fn what_a_layer_misses_of_a_step_is_told_as_the_step_has_it() {
    for (from, hint) in [
        ("out/mian", "did you mean `out/main`? paths are relative to the directory of step `a`"),
        ("out/x/y", "paths are relative to the directory of step `a`, where `out` has `main`"),
    ] {
        let bench = Bench::with_spec(&format!(
            "version = 1\n[steps.a]\ninputs = []\noutputs = [\"out\"]\nrun = \"mkdir out; echo > out/main\"\n\
             [layers.l]\ncopy = [{{ step = \"a\", from = \"{from}\", to = \"/\" }}]\n\
             [images.i]\nbase = \"scratch\"\nplatforms = [\"linux/amd64\"]\nlayers = [\"l\"]\n"
        ));
        let errors = bench.run(&["build"]).expect_code(3).errors();
        assert!(errors.contains(&format!("`{from}` doesn't exist")), "{errors}");
        assert!(errors.trim_end().ends_with(&format!("\n  hint: {hint}")), "{errors}");
    }
}

#[test]
fn a_signal_ends_whole_groups_of_processes_at_once() {
    // What a command leaves running in the background, deaf to what asks it to stop, goes as well.
    let step = "version = 1\n[steps.a]\ninputs = []\nrun = \"\"\"\ntrap '' TERM INT\nsleep 1234 &\necho $! $$\nwait\nsleep 1234\n\"\"\"\n";
    for signal in ["INT", "TERM"] {
        let bench = Bench::with_spec(step);
        let mut command = bench.command(&["run", "a"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("a | ")).unwrap();
        let pids: Vec<String> = line["a | ".len()..].split_whitespace().map(str::to_owned).collect();
        run(Command::new("kill").args(["-s", signal, &child.id().to_string()]));
        let asked = Instant::now();
        let status = child.wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(130), "after SIG{signal}");
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_data_eq!(rest.last().unwrap(), str!["error: interrupted; nothing was left half-written"]);
        assert_eq!(pids.len(), 2);
        for pid in pids {
            let mut left = 50;
            while is_alive(&pid) && left > 0 {
                thread::sleep(Duration::from_millis(10));
                left -= 1;
            }
            assert!(left > 0, "{pid} goes on");
        }
    }
}

/// Tells whether a process is there that isn't a zombie.
fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
