//! Hostile and odd bases: what the table in `testdata/README.md` says of each is what happens, in
//! little memory, with everything outside untouched.
//!
//! The images are made here; each is built on by a process of its own, which is this program again.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "all of this is test")]

mod cases;
mod kit;
mod readers;
mod tar;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ocibuild_core::base::{Base, ListedKind, Listing, ListingLimits};
use ocibuild_core::copy::CopyOptions;
use ocibuild_core::layout::Layout;
use ocibuild_core::{Builder, Cancel, ImageSpec, LayerSpec, Platform};

use kit::Kit;

/// Names the variable with the directory of a case, in the process that builds on it.
const CASE: &str = "OCIBUILD_HOSTILE_CASE";
/// Names the variable with what that process does: `list` or `build`.
const STEP: &str = "OCIBUILD_HOSTILE_STEP";
/// What no case may need more of, in KiB: the whole process, whose program alone is 20 MiB, as it is
/// unoptimised here.
const MEMORY: u64 = 64 << 10;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/README.md");

/// What the table says of a case.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// There is an error that says this.
    Refused(String),
    /// It is taken, and this is its listing.
    Holds(Vec<String>),
    /// It is taken, and this is the length of its listing.
    Counts(usize),
}

/// Reads the rows below the heading `Hostile bases`: names and outcomes.
fn table() -> Vec<(String, Outcome)> {
    let text = fs::read_to_string(README).unwrap();
    let text = text.split_once("\n## Hostile bases\n").unwrap().1;
    let text = text.split_once("\n## ").map_or(text, |(section, _)| section);
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, _, outcome, _] = cells[..] else { panic!("{row}") };
        (name.trim_matches('`').to_owned(), parse(outcome).unwrap_or_else(|| panic!("{row}")))
    })
    .collect()
}

/// ``refused: `WORDS` ``, ``holds `f a`, `d b` ``, `holds nothing`, `holds N entries`.
fn parse(outcome: &str) -> Option<Outcome> {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    if let Some(words) = outcome.strip_prefix("refused: ") {
        return quoted(words).into_iter().next().map(Outcome::Refused);
    }
    let held = outcome.strip_prefix("holds ")?;
    if held == "nothing" {
        return Some(Outcome::Holds(Vec::new()));
    }
    match held.split_once(" entries") {
        Some((number, "")) => number.replace(',', "").parse().ok().map(Outcome::Counts),
        _ => Some(Outcome::Holds(quoted(held))),
    }
}

/// What a process said of a case.
struct Report {
    error: Option<String>,
    count: usize,
    entries: Vec<String>,
    peak: u64,
}

impl Report {
    /// Says how it isn't what the table says.
    fn differs(&self, expected: &Outcome) -> Option<String> {
        let same = match (&self.error, expected) {
            (Some(error), Outcome::Refused(words)) => error.contains(words.as_str()),
            (None, Outcome::Holds(entries)) => self.entries == *entries,
            (None, Outcome::Counts(count)) => self.count == *count,
            _ => false,
        };
        let found = self.error.clone().unwrap_or_else(|| {
            let entries: Vec<String> =
                self.entries.iter().take(20).map(|entry| format!("`{entry}`")).collect();
            format!("holds {} entries: {}", self.count, entries.join(", "))
        });
        (!same).then(|| format!("{expected:?}, but {found}"))
    }
}

#[test]
fn every_case_is_what_the_table_says() {
    if let (Some(case), Some(step)) = (variable(CASE), variable(STEP)) {
        return in_a_process_of_its_own(Path::new(&case), &step);
    }
    let (table, cases) = (table(), cases::cases());
    let named: Vec<&str> = table.iter().map(|(name, _)| name.as_str()).collect();
    let made: Vec<&str> = cases.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, made, "the table and the cases aren't the same");
    check(|name| !is_large(name));
}

#[test]
fn a_million_entries_are_what_the_table_says() {
    #[expect(clippy::disallowed_methods, reason = "the test command sets it where nothing may be skipped")]
    let all = std::env::var_os(ocibuild_testkit::ALL).is_some();
    if !all {
        let why = "millions of entries take a minute, `cargo xtask test` takes it";
        return ocibuild_testkit::skip(ocibuild_testkit::this_function!(), why);
    }
    check(is_large);
}

fn is_large(name: &str) -> bool {
    name.contains("million")
}

/// Demands of cases what the table says, and prints what memory they took.
fn check(which: impl Fn(&str) -> bool) {
    let table = table();
    let cases: Vec<_> = cases::cases().into_iter().zip(table).filter(|((name, _), _)| which(name)).collect();
    let (next, faults, peaks) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some((index, ((name, make), (_, outcome)))) = next_of(&next, &cases) {
            let report = run(name, *make);
            let mut faults = faults.lock().unwrap();
            faults.extend(report.differs(outcome).map(|fault| format!("{name}: {fault}")));
            if report.peak >= MEMORY {
                faults.push(format!("{name}: {} KiB at its peak", report.peak));
            }
            peaks.lock().unwrap().insert(index, (*name, report.peak));
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let peaks = peaks.into_inner().unwrap();
    for (name, peak) in peaks.values() {
        println!("{name:30} {:6.1} MiB", *peak as f64 / 1024.0);
    }
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(peaks.len(), cases.len());
}

fn next_of<'a, T>(next: &AtomicUsize, all: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    all.get(index).map(|one| (index, one))
}

/// Makes a case's image, lets a process build on it, and demands that nothing else was touched.
fn run(name: &str, make: cases::Make) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let case = directory.path().join("case");
    let outside = directory.path().join("outside");
    fs::create_dir_all(case.join("root")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("sentinel"), "untouched").unwrap();
    make(Kit::new(&case.join("base"), &outside));
    let before = files(directory.path(), &case);
    let [listed, built] = ["list", "build"].map(|step| process(&case, step, &outside));
    // From the second build on a record answers for the listing.
    let again = built.error.is_none().then(|| process(&case, "build", &outside));
    let untouched = before == files(directory.path(), &case);
    assert!(untouched, "{name}: something outside of the cache and the output was written");
    assert_eq!(fs::read_to_string(outside.join("sentinel")).unwrap(), "untouched");
    let fault = again.as_ref().and_then(|again| again.error.clone());
    assert_eq!(fault, None, "{name}: the second build is another");
    assert!(listed.error.is_none() || built.error.is_some(), "{name}: it is built on, but can't be listed");
    let peak = listed.peak.max(built.peak).max(again.map_or(0, |again| again.peak));
    Report { error: listed.error.or(built.error), peak, ..listed }
}

/// Takes a step with a case, in a process of its own.
fn process(case: &Path, step: &str, outside: &Path) -> Report {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "every_case_is_what_the_table_says", "--nocapture", "--test-threads=1"]);
    command.env(CASE, case).env(STEP, step).current_dir(case.join("root"));
    let output = command.output().unwrap();
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {text}{log}", case.display());
    report(&text, outside)
}

/// All files but those of the cache and the output, with what would change if they were written.
fn files(directory: &Path, case: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            pending.extend(entries.filter(|path| *path != case.join("cache") && *path != case.join("out")));
        }
        // The case's own directory gets the two that may be written to.
        if path != case {
            let stamp = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len());
            found.insert(path, stamp);
        }
    }
    found
}

fn report(text: &str, outside: &Path) -> Report {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    // Absolute paths of this machine are told by a word.
    let outside = outside.to_str().unwrap().trim_start_matches('/');
    let entries = text.lines().filter_map(|line| line.strip_prefix("ENTRY "));
    let on_the_way =
        |entry: &&str| entry.strip_prefix("d ").is_some_and(|path| outside.starts_with(&format!("{path}/")));
    let entries = entries.filter(|entry| !on_the_way(entry)).map(|entry| entry.replace(outside, "OUTSIDE"));
    Report {
        error: line("ERROR "),
        count: line("COUNT ").map_or(0, |count| count.parse().unwrap()),
        entries: entries.collect(),
        peak: line("PEAK ").unwrap().parse().unwrap(),
    }
}

/// Takes a step with a case where a test has started this program again for it, and tells of it.
fn in_a_process_of_its_own(case: &Path, step: &OsStr) {
    let result = match step.as_encoded_bytes() {
        b"list" => listed(case),
        _ => built(case).map(|()| (0, Vec::new())),
    };
    let mut report = String::from("\n");
    match result {
        Ok((count, entries)) => {
            writeln!(report, "COUNT {count}").unwrap();
            entries.iter().for_each(|entry| writeln!(report, "ENTRY {entry}").unwrap());
        }
        Err(error) => writeln!(report, "ERROR {}", chain(&*error).replace('\n', " ")).unwrap(),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{report}PEAK {}", peak.trim().trim_end_matches(" kB"));
}

#[expect(clippy::disallowed_methods, reason = "so a process is told its case")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

type Failure = Box<dyn std::error::Error>;

/// Lists the base; entries beyond the first hundred are counted alone.
fn listed(case: &Path) -> Result<(usize, Vec<String>), Failure> {
    let layout = Layout::open(case.join("base"))?;
    let base = Base::open(&layout, &layout.sole()?, Some(&Platform::linux_amd64()))?;
    let listing = Listing::read(&layout, &base, &ListingLimits::default(), &Cancel::new())?;
    let entries = listing.entries(b"").skip(1).take(100).map(|(path, listed)| {
        let kind = match listed.kind {
            ListedKind::Directory => 'd',
            ListedKind::File { .. } => 'f',
            ListedKind::Symlink { .. } => 'l',
            _ => 'o',
        };
        format!("{kind} {}", path.escape_ascii())
    });
    Ok((listing.len(), entries.collect()))
}

/// Builds an image on the base, in a layout.
fn built(case: &Path) -> Result<(), Failure> {
    let base = case.join("base").to_str().unwrap().to_owned();
    let layer = LayerSpec::named("app").content("/app/hello", "hello\n");
    let image = ImageSpec::scratch(Platform::linux_amd64()).base_layout(base).layer(layer);
    let built = Builder::new(case.join("root"), case.join("cache")).threads(2).build(&image)?;
    let out = Layout::open_or_create(case.join("out"))?;
    built.write_layout(&built.images, &out, &CopyOptions::default())?;
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
