//! `ocibuild watch`.

mod watched;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde_json::json;

use crate::commands::build::{BuildFlags, Job};
use crate::failure::Failure;
use crate::options::Options;
use crate::progress::Reporter;
use crate::signals::Stop;
use crate::{source, text, verdict};

use watched::Seen;
pub(crate) use watched::Watched;

/// Build again whenever something changes that images are made of
///
/// Takes what `build` takes, and builds at once. Then looks at the spec and the files it extends, the
/// lock, the sources of copies, lockfiles, and the inputs of steps, and builds again once they change. A
/// build under way is stopped for that, with all that its steps started; what was finished is in the cache
/// by then. A build that fails is told, and the next change is waited for.
///
/// It looks several times a second, on any file system. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// The images to build; all of the spec's if none is named
    #[arg(value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    images: Vec<String>,

    #[command(flatten)]
    flags: BuildFlags,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild watch
  ocibuild watch api --keep-going
  ocibuild watch -t localhost:5000/app:dev --push";

/// How often is looked, where looking takes next to no time.
const INTERVAL: Duration = Duration::from_millis(200);
/// Looking takes this part of the time at most.
const SHARE: u32 = 10;
/// How long nothing more must change before a build begins: editors and checkouts write in several goes.
const QUIET: Duration = Duration::from_millis(100);
/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(20);
/// As many paths that changed are named.
const NAMED: usize = 3;

/// Builds again and again.
///
/// # Errors
/// [`Failure::Interrupted`] in the end; others if nothing can be watched.
pub(crate) fn run(args: WatchArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    loop {
        let job = Job::resolve(args.images.clone(), args.flags.clone(), options, reporter);
        let watched = match &job {
            Ok(job) => job.watched(),
            // What is said of it may be mended in the file alone.
            Err(failure) => match args.flags.spec_file() {
                Some(file) if is_of_spec(failure) => Watched::file(&file),
                _ => return job.map(drop),
            },
        };
        let changed = round(job, &watched, &stop, reporter)?;
        tell(&changed, reporter);
    }
}

/// Tells whether another text of the spec may mend it.
fn is_of_spec(failure: &Failure) -> bool {
    matches!(failure, Failure::Spec { .. } | Failure::UnknownImage { .. } | Failure::Lock { .. })
}

/// Builds once, and waits for a change. Returns what changed.
fn round(
    job: Result<Job<'_>, Failure>,
    watched: &Watched,
    stop: &Stop,
    reporter: &Reporter,
) -> Result<Vec<PathBuf>, Failure> {
    let part = stop.part();
    let before = watched.look();
    thread::scope(|scope| {
        let build = scope.spawn(|| {
            let done = job.and_then(|job| job.run_until(&part));
            match done {
                Err(Failure::Interrupted) => {}
                Err(failure) => reporter.fail(&verdict::of(&failure)),
                Ok(()) => {}
            }
            if !part.is_halted() {
                let files = before.len();
                let text = format!("watching {}; Ctrl-C ends it", text::count(files, "file"));
                reporter.tell(&text, "watching", &json!({ "files": files }));
            }
        });
        let changed = wait(watched, &before, stop);
        part.halt();
        // A thread that panicked has told so.
        let _ = build.join();
        changed.ok_or(Failure::Interrupted)
    })
}

/// Waits until something is otherwise, and stays as it is. Returns nothing if a signal came first.
fn wait(watched: &Watched, before: &Seen, stop: &Stop) -> Option<Vec<PathBuf>> {
    let mut interval = INTERVAL;
    loop {
        pause(interval, stop)?;
        let start = Instant::now();
        let mut now = watched.look();
        interval = INTERVAL.max(start.elapsed() * SHARE);
        if now == *before {
            continue;
        }
        loop {
            pause(QUIET, stop)?;
            let then = watched.look();
            if then == now {
                break;
            }
            now = then;
        }
        let changed = Watched::differences(before, &now);
        // It may have been undone.
        if !changed.is_empty() {
            return Some(changed);
        }
    }
}

fn pause(length: Duration, stop: &Stop) -> Option<()> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        if stop.is_signalled() {
            return None;
        }
        thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
    }
    (!stop.is_signalled()).then_some(())
}

fn tell(changed: &[PathBuf], reporter: &Reporter) {
    let shown: Vec<String> =
        changed.iter().take(NAMED).map(|path| crate::names::escape_rest(&shown(path))).collect();
    let more = match changed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text = format!("\nchanged: {}{more}", shown.join(", "));
    reporter.clear();
    reporter.tell(&text, "changed", &json!({ "paths": shown, "count": changed.len() }));
}

/// A path as one would write it.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

impl BuildFlags {
    /// The spec file, if there is one to watch.
    fn spec_file(&self) -> Option<PathBuf> {
        Some(self.file.clone().unwrap_or_else(|| PathBuf::from(source::DEFAULT_FILE)))
    }
}
