use super::*;
use crate::event::Stream;
use ocibuild_testkit::{require, tool};
use std::fs;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const FREE: Wants = Wants { network: true, sandbox: false };
const QUIET: Wants = Wants { network: false, sandbox: false };
const WALLED: Wants = Wants { network: true, sandbox: true };
const ALONE: Wants = Wants { network: false, sandbox: true };

/// A home, a checkout in it, and the room of a step.
struct House {
    root: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["home/checkout", "home/tools/bin", "home/tools/lib", "home/sdk", "cache/work"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        for file in ["home/secret", "home/checkout/input", "home/tools/lib/data", "home/sdk/header"] {
            fs::write(root.path().join(file), file).unwrap();
        }
        Self { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn shell(&self, script: &str) -> Process {
        let path = format!("{PATH}:{}", self.at("home/tools/bin").display());
        Process {
            argv: ["sh", "-euc", script].map(OsString::from).to_vec(),
            environment: [
                ("PATH".into(), path.into()),
                ("H".into(), self.at("home").into()),
                ("SDK".into(), self.at("home/sdk").into()),
            ]
            .into(),
            directory: self.at("cache/work"),
            timeout: Some(Duration::from_secs(60)),
            ..Process::default()
        }
    }

    /// Runs a script as wanted; what it said, and how it ended.
    fn run(&self, confinement: &Confinement, wants: Wants, script: &str) -> (String, Ending) {
        let (home, checkout, cache) = (self.at("home"), self.at("home/checkout"), self.at("cache"));
        let work = self.at("cache/work");
        let rooms = Rooms {
            writable: vec![&work],
            readable: Vec::new(),
            home: Some(&home),
            hidden: vec![&checkout, &cache],
        };
        let mut process = self.shell(script);
        confinement.confine(&mut process, wants, &rooms).unwrap();
        let said = Mutex::new(String::new());
        let take = |_: Stream, line: &[u8]| {
            *said.lock().unwrap() += &(String::from_utf8_lossy(line).into_owned() + "\n");
        };
        let ending = process.run(&Cancel::new(), &take).unwrap();
        (said.into_inner().unwrap(), ending)
    }

    fn said(&self, confinement: &Confinement, wants: Wants, script: &str) -> String {
        let (said, ending) = self.run(confinement, wants, script);
        assert_eq!(ending, Ending::Exited(0), "{said}");
        said
    }
}

/// A `PATH` with some programs alone.
fn only(directory: &Path, programs: &[&str]) -> OsString {
    for program in programs {
        let found = find(OsStr::new(program), OsStr::new(PATH), Path::new("/")).unwrap();
        std::os::unix::fs::symlink(found, directory.join(program)).unwrap();
    }
    directory.into()
}

/// Networks that a command has, by the names of their interfaces.
const NETWORKS: &str = "tail -n +3 /proc/net/dev | sed 's/ *//; s/:.*//'";

#[test]
fn a_command_that_wants_nothing_runs_as_it_is() {
    let house = House::new();
    let mut process = house.shell("true");
    let before = process.argv.clone();
    Confinement::new("").confine(&mut process, FREE, &Rooms::default()).unwrap();
    assert_eq!(process.argv, before);
}

#[test]
fn bubblewrap_keeps_the_network_away() {
    require!(tool("bwrap"));
    let (house, confinement) = (House::new(), Confinement::new(PATH));
    for wants in [QUIET, ALONE] {
        assert_eq!(house.said(&confinement, wants, NETWORKS), "lo\n");
    }
    // The rest of the host is as it was.
    let script = "cat \"$H/checkout/input\"; echo made > \"$H/checkout/output\"";
    assert_eq!(house.said(&confinement, QUIET, script), "home/checkout/input\n");
    assert_eq!(fs::read_to_string(house.at("home/checkout/output")).unwrap(), "made\n");
}

#[test]
fn unshare_keeps_the_network_away_as_well() {
    let (house, programs) = (House::new(), tempfile::tempdir().unwrap());
    let confinement = Confinement::new(only(programs.path(), &["unshare", "sh", "ip"]));
    let script = format!("{NETWORKS}; id -u; cat /sys/class/net/lo/flags 2>/dev/null || :");
    let said = house.said(&confinement, QUIET, &script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["lo", &rustix::process::geteuid().as_raw().to_string()]);
}

#[test]
fn a_sandbox_shows_what_it_is_given_and_the_system() {
    require!(tool("bwrap"));
    let (house, confinement) = (House::new(), Confinement::new(PATH));
    fs::write(house.at("cache/other"), "other").unwrap();
    let script = "cat \"$H/tools/lib/data\"; cat \"$SDK/header\"; ls -A \"$H\" \"$H/../cache\" | grep . ";
    let said = house.said(&confinement, WALLED, script);
    assert!(said.starts_with("home/tools/lib/datahome/sdk/header"), "{said}");
    for hidden in ["secret", "checkout", "other"] {
        assert!(!said.contains(hidden), "{hidden} in {said}");
    }
}

#[test]
fn a_sandbox_is_written_in_its_room_alone() {
    require!(tool("bwrap"));
    let (house, confinement) = (House::new(), Confinement::new(PATH));
    let script = "echo made > made; chmod 640 made
        for place in /usr /etc / \"$SDK\"; do ! touch \"$place/x\" 2>/dev/null || echo \"$place\"; done
        touch /tmp/x /dev/null; mount --bind /tmp /usr 2>/dev/null && echo mounted; pwd";
    let said = house.said(&confinement, ALONE, script);
    assert_eq!(said, format!("{}\n", house.at("cache/work").display()));
    assert_eq!(fs::read_to_string(house.at("cache/work/made")).unwrap(), "made\n");
}

#[test]
fn a_sandbox_sees_and_leaves_no_processes() {
    require!(tool("bwrap"));
    let (house, confinement) = (House::new(), Confinement::new(PATH));
    let said = house.said(
        &confinement,
        WALLED,
        "ls -d /proc/[0-9]* | wc -l; setsid sh -c 'while :; do date > mark; sleep 0.05; done' > /dev/null 2>&1 & sleep 0.2",
    );
    assert!(said.trim().parse::<u32>().unwrap() < 10, "{said}");
    let mark = house.at("cache/work/mark");
    assert!(mark.exists());
    fs::remove_file(&mark).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(!mark.exists());
}

#[test]
fn a_command_in_a_sandbox_ends_as_it_does_outside() {
    require!(tool("bwrap"));
    let (house, confinement) = (House::new(), Confinement::new(PATH));
    assert_eq!(house.run(&confinement, ALONE, "exit 3").1, Ending::Exited(3));
    assert_eq!(house.run(&confinement, ALONE, "kill -9 $$").1, Ending::Exited(137));
    let mut process = house.shell("trap '' TERM; while :; do sleep 1; done");
    process.timeout = Some(Duration::from_millis(300));
    let work = house.at("cache/work");
    let rooms = Rooms { writable: vec![&work], ..Rooms::default() };
    confinement.confine(&mut process, ALONE, &rooms).unwrap();
    let began = std::time::Instant::now();
    assert!(matches!(process.run(&Cancel::new(), &|_, _| {}).unwrap(), Ending::TimedOut(_)));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn what_is_missing_is_told_before_anything_runs() {
    let (house, programs) = (House::new(), tempfile::tempdir().unwrap());
    let told = |confinement: &Confinement, wants| {
        let error = confinement.confine(&mut house.shell("true"), wants, &Rooms::default()).unwrap_err();
        (error.to_string(), error.remedy())
    };
    let none = Confinement::new("/nowhere");
    let remedy = Some("install bubblewrap: `apt-get install bubblewrap`");
    assert_eq!(
        told(&none, WALLED),
        ("`sandbox = true` needs bubblewrap (`bwrap`), which is not in `PATH`".to_owned(), remedy)
    );
    assert_eq!(
        told(&none, QUIET),
        (
            "`network = false` needs bubblewrap (`bwrap`) or `unshare` of util-linux, which is not in `PATH`"
                .to_owned(),
            remedy
        )
    );
    let script = "printf '#!/bin/sh\\necho no luck >&2\\nexit 1\\n' > \"$0\" && chmod 755 \"$0\"";
    let bwrap = programs.path().join("bwrap");
    assert!(std::process::Command::new("sh").args(["-c", script]).arg(&bwrap).status().unwrap().success());
    let refused = Confinement::new(programs.path());
    for wants in [WALLED, ALONE] {
        assert_eq!(told(&refused, wants).0, "`sandbox = true` cannot be had here: no luck");
    }
    let mut process = house.shell("");
    process.argv = vec!["gcc-99".into()];
    let error = none.confine(&mut process, WALLED, &Rooms::default()).unwrap_err();
    assert!(matches!(error, SandboxError::Process(ProcessError::Unknown { .. })));
}
