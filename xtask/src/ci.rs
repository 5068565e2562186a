//! `cargo xtask ci`: all that has to hold before a change is taken.

use crate::counts::Counts;
use crate::fuzz::Search;
use crate::interrupt::Interrupt;
use crate::programs::{cargo, run};
use crate::{Result, fixtures, fuzz, test, tools};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// How long each fuzz target runs here: enough to go through its seeds and a little beyond.
const FUZZ_SECONDS: u64 = 20;

/// Runs every part, though one before it failed; the last line printed holds the tests' counts.
pub(crate) fn main(root: &Path) -> Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let mut report = Report::new(&interrupt);
    report.part("format", || {
        run(cargo(root).args(["fmt", "--all", "--check"]))?;
        run(cargo(root).args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
    });
    report.part("clippy", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-Dwarnings"];
        run(cargo(root).args(arguments))
    });
    report.part("library without its features", || {
        run(cargo(root).args(["check", "--package", "ocibuild-core", "--no-default-features"]))
    });
    report.part("program without object stores", || {
        run(cargo(root).args(["check", "--package", "ocibuild-cli"]))
    });
    let mut counts = Counts::default();
    counts.blame(); // until they ran
    report.part("tests", || {
        counts = test::tests(root, &[], &interrupt)?;
        if counts.failed == 0 { Ok(()) } else { Err("tests failed".into()) }
    });
    // After the tests, whose set-up installs the assemblers.
    report.part("fixtures", || Ok(fixtures::remake(root, true)?));
    report.part("fuzzing", || {
        fuzz::targets(root, &[], Search::Same(FUZZ_SECONDS), &interrupt)?;
        // Only now there is the compiler that the fuzzer is built with.
        let arguments = ["clippy", "--manifest-path", "fuzz/Cargo.toml", "--all-targets"];
        run(cargo(root).args(arguments).args(["--target-dir", "target/fuzz", "--", "-Dwarnings"]))
    });
    report.part("docs", || {
        let arguments = ["doc", "--no-deps", "--workspace"];
        run(cargo(root).args(arguments).env("RUSTDOCFLAGS", "-Dwarnings"))
    });
    report.part("licences and bans", || dependencies(root));
    interrupt.check()?;
    print!("{}", report.text);
    println!("{counts}");
    Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How each part went, and how long it took.
struct Report<'a> {
    interrupt: &'a Interrupt,
    text: String,
    is_good: bool,
}

impl<'a> Report<'a> {
    fn new(interrupt: &'a Interrupt) -> Self {
        Self { interrupt, text: String::new(), is_good: true }
    }

    fn part(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        if self.interrupt.asked() {
            return;
        }
        println!("=== {name}");
        let started = Instant::now();
        let outcome = work();
        let seconds = started.elapsed().as_secs_f64();
        let word = match &outcome {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("FAILED: {error}"),
        };
        println!("=== {name}: {word} ({seconds:.1} s)");
        self.text += &format!("{seconds:7.1} s  {name}: {word}\n");
        self.is_good &= outcome.is_ok();
    }
}

/// Judges the dependency graph by `deny.toml`.
///
/// Not its advisories: their database changes without a change of ours.
fn dependencies(root: &Path) -> Result<()> {
    let cargo_deny = tools::CARGO_DENY.built(root)?;
    let checks = ["--config", "deny.toml", "check", "bans", "licenses", "sources"];
    // The fuzz targets are a workspace of their own, judged by the same rules.
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = Command::new(&cargo_deny);
        run(check.current_dir(root).args(["--manifest-path", manifest]).args(checks))?;
    }
    Ok(())
}
