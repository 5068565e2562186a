//! `ocibuild watch`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ocibuild_testkit::run;

use crate::bench::Bench;
use crate::steps::project;

/// As long as a line may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(bench: &Bench) -> Self {
        let mut command = bench.command(&["watch"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let said = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line; returns those up to it.
    #[track_caller]
    fn until(&self, start: &str) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("`{start}` doesn't come: {all:#?}"));
            all.push(line);
            if all.last().is_some_and(|line| line.starts_with(start)) {
                return all;
            }
        }
    }

    fn stop(mut self) -> Duration {
        run(Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]));
        let asked = Instant::now();
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
        asked.elapsed()
    }
}

#[test]
fn what_changes_is_built_again_and_what_fails_is_told() {
    let bench = project();
    let watch = Watch::start(&bench);
    watch.until("watching ");
    bench.write("src/more", "more\n");
    let said = watch.until("watching ");
    assert!(said.contains(&"changed: src/more".to_owned()), "{said:#?}");
    assert!(said.contains(&"compile | compiling".to_owned()), "{said:#?}");
    assert!(!said.contains(&"install | installing".to_owned()), "{said:#?}");
    bench.write("ocibuild.toml", "version = 1\nnonsense\n");
    let said = watch.until("watching ");
    assert!(said.iter().any(|line| line.starts_with("error: ocibuild.toml:2:")), "{said:#?}");
    bench.write("ocibuild.toml", crate::steps::SPEC);
    let said = watch.until("watching ");
    assert!(said.iter().any(|line| line.starts_with("layer app: reused")), "{said:#?}");
    assert!(watch.stop() < Duration::from_secs(2));
}

#[test]
fn a_change_stops_the_build_under_way() {
    let bench = project();
    let spec = crate::steps::SPEC.replace("cat src/*", "grep -q slow src/main && sleep 600; cat src/*");
    bench.write("ocibuild.toml", spec);
    bench.write("src/main", "slow\n");
    let watch = Watch::start(&bench);
    watch.until("compile | compiling");
    bench.write("src/main", "quick\n");
    let said = watch.until("watching ");
    assert!(said.contains(&"changed: src/main".to_owned()), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("step compile: ran")), "{said:#?}");
    assert!(watch.stop() < Duration::from_secs(2));
}
