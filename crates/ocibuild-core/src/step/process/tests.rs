//! Commands, run for real.

use super::streams::MAX_LINE;
use super::*;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Process {
    let path = OsString::from("/usr/local/bin:/usr/bin:/bin");
    Process {
        argv: ["sh", "-euc", script].map(OsString::from).to_vec(),
        environment: [(OsString::from("PATH"), path)].into(),
        directory: "/".into(),
        timeout: Some(LONG),
        masker: Masker::default(),
    }
}

/// What it wrote to either stream, line by line, and how it ended.
fn run(process: &Process) -> (Vec<(Stream, String)>, Ending) {
    let lines = Mutex::new(Vec::new());
    let take = |stream, line: &[u8]| {
        lines.lock().unwrap().push((stream, String::from_utf8_lossy(line).into_owned()));
    };
    let ending = process.run(&Cancel::new(), &take).unwrap();
    (lines.into_inner().unwrap(), ending)
}

fn said(script: &str) -> String {
    let (lines, ending) = run(&shell(script));
    assert_eq!(ending, Ending::Exited(0), "{lines:?}");
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

fn error(process: &Process) -> ProcessError {
    process.run(&Cancel::new(), &|_, _| {}).unwrap_err()
}

/// Runs what says a number and then stays, stops it, and returns how long that took and how it
/// ended; nothing may be left of the process of that number.
fn stop(script: &str) -> (Duration, Ending) {
    let (cancel, number) = (Cancel::new(), Mutex::new(None));
    let asked = Mutex::new(Instant::now());
    let take = |_, line: &[u8]| {
        *number.lock().unwrap() = str::from_utf8(line).unwrap().parse().ok();
        *asked.lock().unwrap() = Instant::now();
        cancel.cancel();
    };
    let ending = shell(script).run(&cancel, &take).unwrap();
    let took = asked.lock().unwrap().elapsed();
    let number = number.lock().unwrap().expect("it said a number");
    assert!(is_gone(number), "{number} is still there");
    (took, ending)
}

/// Whether a process is gone, or dead and not yet waited for by whoever inherited it.
fn is_gone(number: i32) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        match std::fs::read_to_string(format!("/proc/{number}/stat")) {
            Ok(stat) if !stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']) => {
                thread::sleep(Duration::from_millis(5));
            }
            _ => return true,
        }
    }
    false
}

#[test]
fn a_command_has_only_what_it_is_given() {
    let mut process = shell("pwd; env; cat");
    process.directory = "/usr".into();
    process.environment.insert("GREETING".into(), "hello".into());
    let lines: Vec<String> = run(&process).0.into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines[0], "/usr");
    // The shell's own.
    let own = ["PWD=", "SHLVL=", "_=", "OLDPWD="];
    let rest: Vec<&String> =
        lines[1..].iter().filter(|line| !own.iter().any(|own| line.starts_with(own))).collect();
    assert!(rest.iter().all(|line| line.starts_with("PATH=") || *line == "GREETING=hello"), "{rest:?}");
    assert_eq!(rest.len(), 2);
}

#[test]
fn streams_are_told_apart_and_cut_into_lines() {
    let (lines, ending) = run(&shell("echo one; echo two >&2; printf 'three\\r\\n\\nfour'; exit 3"));
    assert_eq!(ending, Ending::Exited(3));
    let of = |wanted| -> Vec<&str> {
        lines.iter().filter(|(stream, _)| *stream == wanted).map(|(_, line)| &**line).collect()
    };
    assert_eq!(of(Stream::Stdout), ["one", "three", "", "four"]);
    assert_eq!(of(Stream::Stderr), ["two"]);
}

#[test]
fn an_end_by_a_signal_is_told() {
    assert_eq!(run(&shell("kill -9 $$")).1, Ending::Signalled(9));
}

#[test]
fn a_long_line_is_cut_and_its_secrets_are_not() {
    let mut process =
        shell("head -c 65533 /dev/zero | tr '\\0' .; printf hunter2; head -c 200000 /dev/zero | tr '\\0' ,");
    process.masker = Masker::new(["hunter2"]).unwrap();
    let (lines, _) = run(&process);
    assert!(lines.iter().all(|(_, line)| line.len() <= MAX_LINE + 100));
    let whole: String = lines.into_iter().map(|(_, line)| line).collect();
    assert!(whole == ".".repeat(65533) + "***" + &",".repeat(200_000), "{} bytes", whole.len());
}

#[test]
fn much_is_written_and_all_is_read() {
    let (lines, ending) = run(&shell("seq 100000; seq 100000 >&2"));
    assert_eq!((lines.len(), ending), (200_000, Ending::Exited(0)));
    let errors: Vec<&(Stream, String)> = lines.iter().filter(|(s, _)| *s == Stream::Stderr).collect();
    assert_eq!(errors[99_999].1, "100000");
}

#[test]
fn descriptors_of_others_are_not_inherited() {
    // Unlike what Rust opens, a copy by this call isn't marked to be closed.
    let leaky = rustix::io::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
    let numbers = said("for fd in /proc/self/fd/*; do echo ${fd##*/}; done");
    let leaky = leaky.as_raw_fd();
    assert!(!numbers.lines().any(|number| number == leaky.to_string()), "{leaky} is among {numbers}");
}

#[test]
fn no_terminal_can_be_reached() {
    // A session of its own, led by itself, without a terminal.
    let shown = said("cut -d' ' -f5,6,7 /proc/$$/stat; echo $$; (: < /dev/tty) 2>&1 || echo none");
    let lines: Vec<&str> = shown.lines().collect();
    let (stat, pid) = (lines[0], lines[1]);
    assert_eq!(stat, format!("{pid} {pid} 0"));
    assert_eq!(lines.last(), Some(&"none"));
}

#[test]
fn the_time_is_bounded() {
    let mut process = shell("echo begun; sleep 100");
    process.timeout = Some(Duration::from_millis(300));
    let began = Instant::now();
    let (lines, ending) = run(&process);
    assert_eq!(ending, Ending::TimedOut(Duration::from_millis(300)));
    assert_eq!(lines.len(), 1);
    assert!(began.elapsed() < Duration::from_millis(1300));
}

#[test]
fn a_command_ends_when_it_is_cancelled() {
    let (took, ending) = stop("echo $$; sleep 100");
    assert_eq!(ending, Ending::Cancelled);
    assert!(took < Duration::from_millis(900), "{took:?}");
}

#[test]
fn a_command_may_clean_up_when_it_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let script = format!("trap 'echo done > {}; exit 0' TERM; echo $$; sleep 100 & wait", mark.display());
    assert_eq!(stop(&script).1, Ending::Cancelled);
    assert_eq!(std::fs::read_to_string(mark).unwrap(), "done\n");
}

#[test]
fn who_does_not_listen_is_killed_after_a_second() {
    let (took, ending) = stop("trap '' TERM INT HUP; echo $$; while :; do sleep 1; done");
    assert_eq!(ending, Ending::Cancelled);
    assert!(took >= GRACE && took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn what_was_started_in_the_group_ends_too() {
    let (took, _) = stop("trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $!; wait");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // Stopped, so it hears of nothing.
    let (took, _) = stop("sh -c 'echo $$; kill -STOP $$' ");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn what_is_left_behind_ends_with_the_command() {
    let began = Instant::now();
    let number: i32 = said("sleep 100 & echo $!").trim().parse().unwrap();
    assert!(is_gone(number));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn nobody_is_waited_for_who_is_out_of_reach() {
    let began = Instant::now();
    // It holds both streams open, in a session of its own, until the test ends it.
    let number = said("setsid sh -c 'echo $$; exec sleep 20' & sleep 0.3").trim().parse().unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
    kill_process(Pid::from_raw(number).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_program_that_cannot_be_run_is_explained() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("plain", "", 0o644);
    write("script", "#!/nowhere/bin/ruby -w\n", 0o755);
    let with = |program: &str| {
        let mut process = shell("");
        process.argv = vec![program.into()];
        process.directory = directory.path().to_owned();
        process.environment.insert("PATH".into(), "/usr/nowhere:tools".into());
        error(&process).to_string()
    };
    let root = directory.path().display();
    assert_eq!(with("gcc-99"), "there is no program `gcc-99` in the command's `PATH`, `/usr/nowhere:tools`");
    assert_eq!(with("./absent"), "there is no program `./absent`");
    assert_eq!(
        with("./plain"),
        format!("`{root}/./plain` cannot be executed: it is not marked as executable")
    );
    assert_eq!(
        with("./script"),
        format!(
            "`{root}/./script` cannot be executed: its first line wants `/nowhere/bin/ruby`, which is not there"
        )
    );
    assert_eq!(with(""), "the command is empty");
    let mut process = shell("true");
    process.directory = directory.path().join("absent");
    assert!(matches!(error(&process), ProcessError::Directory { .. }));
}

#[test]
fn programs_are_found_below_the_directory_they_run_in() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("tools")).unwrap();
    std::os::unix::fs::symlink("/bin/echo", directory.path().join("tools/say")).unwrap();
    let mut process = shell("");
    process.argv = vec!["say".into(), "hello".into()];
    process.directory = directory.path().to_owned();
    process.environment.insert("PATH".into(), "tools".into());
    assert_eq!(run(&process).0, [(Stream::Stdout, "hello".to_owned())]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_with_secrets_leaves_no_core_dump() {
    let script = "sleep 0.2; grep 'core file' /proc/self/limits";
    let secret = Process { masker: Masker::new(["hunter2"]).unwrap(), ..shell(script) };
    let limits = |process: &Process| -> Vec<String> {
        run(process).0[0].1.split_whitespace().skip(4).take(2).map(str::to_owned).collect()
    };
    assert_eq!(limits(&secret), ["0", "0"]);
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let own = own.lines().find(|line| line.contains("core file")).unwrap();
    assert_eq!(limits(&shell(script)), own.split_whitespace().skip(4).take(2).collect::<Vec<_>>());
}
