//! Steps that failed: why, on whose behalf, what they wrote last, and what wasn't run for it.

use std::fmt::Write as _;

use ocibuild_core::build::{SkippedStep, StepFailure, StepFailures, StepFault};
use ocibuild_core::layer::LayerError;
use ocibuild_core::spec::Fault;
use ocibuild_core::step::ToolError;
use serde_json::{Value, json};

use crate::exit;
use crate::failure::BuildFailure;
use crate::progress::shown;
use crate::verdict::{Verdict, chain, layer};

/// As many of the last lines are told; the log has all.
const LINES: usize = 20;

/// Judges steps that failed. Of several each has its own hint.
pub(super) fn judge(failures: &StepFailures, build: &BuildFailure) -> Verdict {
    let code = failures.failed.iter().map(|failure| code(&failure.fault)).max().unwrap_or(exit::STEP);
    let mut message = String::new();
    for failure in &failures.failed {
        if !message.is_empty() {
            message.push_str("\nerror: ");
        }
        message.push_str(&told(failure, build));
        message.push_str(&skipped(failure, &failures.skipped));
        let hint = hint(&failure.fault, build).filter(|_| failures.failed.len() > 1);
        let _ = hint.map(|hint| writeln!(message, "  hint: {hint}"));
    }
    let hint = match &failures.failed[..] {
        [only] => hint(&only.fault, build),
        _ => None,
    };
    Verdict { steps: Some(to_json(failures, build)), ..Verdict::new(code, message).hint(hint) }
}

/// A command that fails is one thing, files that can't be read are another.
fn code(fault: &StepFault) -> u8 {
    match fault {
        StepFault::Inputs(_) | StepFault::Changed | StepFault::Outputs(_) | StepFault::Tree(_) => exit::FILES,
        StepFault::Directory(_) => exit::CACHE,
        _ => exit::STEP,
    }
}

/// What happened, with the place in the spec, who wanted the step, and the end of its log.
fn told(failure: &StepFailure, build: &BuildFailure) -> String {
    let headline = headline(failure);
    let mut text = match (failure.span, &build.file) {
        (Some(span), Some(file)) => Fault::new(headline, Some(span)).render(file),
        _ => format!("{headline}\n"),
    };
    if failure.way.len() > 1 {
        let _ = writeln!(text, "  needed by: {}", failure.way.join(" → "));
    }
    let left_out = failure.tail.len().saturating_sub(LINES);
    if !failure.tail.is_empty() {
        let which = if left_out > 0 || failure.tail.len() > 1 { "its last lines" } else { "its last line" };
        let _ = writeln!(text, "  {which}:");
        for line in &failure.tail[left_out..] {
            let _ = writeln!(text, "{}", format!("    | {}", shown(line, false)).trim_end());
        }
    }
    let _ = failure.log.as_ref().map(|log| writeln!(text, "  log: {}", log.display()));
    text
}

fn headline(failure: &StepFailure) -> String {
    format!("step `{}` failed: {}", failure.step, reason(&failure.fault))
}

fn reason(fault: &StepFault) -> String {
    let text = chain(fault).join(": ");
    match fault {
        StepFault::Exit(_) => text,
        StepFault::Signal(number) => match name(*number) {
            Some(name) => format!("{text} ({name})"),
            None => text,
        },
        _ => text,
    }
}

/// The names of signals that have one number on all systems.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

fn skipped(failure: &StepFailure, all: &[SkippedStep]) -> String {
    let own = all.iter().filter(|skipped| skipped.because == failure.step);
    let own: Vec<String> = own.map(|skipped| format!("`{}`", skipped.step)).collect();
    match own.is_empty() {
        true => String::new(),
        false => format!("  not run, for want of it: {}\n", own.join(", ")),
    }
}

fn hint(fault: &StepFault, build: &BuildFailure) -> Option<String> {
    match fault {
        StepFault::Exit(127) => Some(
            "a shell says so of a program that isn't there: a command sees its inputs, the outputs of its \
             needs, and the programs in `PATH`"
                .to_owned(),
        ),
        StepFault::Signal(9) => {
            Some("where nobody killed it, the system did: it does so for want of memory".to_owned())
        }
        StepFault::TimedOut(_) => {
            Some("give it more time with `timeout`, or see in its log what it waits for".to_owned())
        }
        StepFault::Disturbed => Some(
            "run it again: what it made then is in the cache. A process may be left that writes to it: have the \
             command end what it starts, or give the step a `sandbox`, which ends all of it"
                .to_owned(),
        ),
        StepFault::Changed => Some("wait for what writes to them, or stop it, and run it again".to_owned()),
        StepFault::NoOutput { nearby, path, .. } => Some(not_made(path, nearby)),
        StepFault::LinkAsOutput { .. } => Some("name what it leads to among the outputs".to_owned()),
        StepFault::Inputs(fault) => input(fault, build),
        StepFault::Run(fault) => fault.remedy().map(str::to_owned),
        StepFault::Tool(ToolError::Process { source, .. }) => source.remedy().map(str::to_owned),
        StepFault::Tool(_) => Some("`tools` are commands that print which version they are".to_owned()),
        StepFault::Directory(_) => {
            let cache = build.cache.display();
            Some(format!(
                "steps have their directories in the cache directory, `{cache}`: check that it may be written to"
            ))
        }
        _ => None,
    }
}

fn not_made(path: &str, nearby: &[String]) -> String {
    let place = match path.rsplit_once('/') {
        Some((parent, _)) => format!("`{parent}`"),
        None => "its directory".to_owned(),
    };
    let there = match nearby.is_empty() {
        true => format!("there is nothing in {place}"),
        false => format!("{place} has `{}`", nearby.join("`, `")),
    };
    format!("{there}; outputs count from the root, whatever `workdir` is")
}

fn input(fault: &LayerError, build: &BuildFailure) -> Option<String> {
    match fault {
        LayerError::Missing { nearby, .. } => {
            let missing = layer::missing(nearby, &build.root);
            Some(format!("{missing}; what another step makes comes by `needs`"))
        }
        LayerError::Empty { .. } => Some("no file matches: mend the pattern, or leave it out".to_owned()),
        fault => layer::judge(fault, &build.root).1.filter(|hint| !hint.contains("on the copy")),
    }
}

/// The same for programs.
fn to_json(failures: &StepFailures, build: &BuildFailure) -> Value {
    let failed = failures.failed.iter().map(|failure| {
        json!({
            "step": failure.step,
            "reason": reason(&failure.fault),
            "exit_code": match failure.fault { StepFault::Exit(code) => Some(code), _ => None },
            "way": failure.way,
            "tail": failure.tail,
            "log": failure.log,
            "hint": hint(&failure.fault, build),
        })
    });
    let skipped = failures.skipped.iter();
    let skipped = skipped.map(|skipped| json!({ "step": skipped.step, "because": skipped.because }));
    json!({ "failed": failed.collect::<Vec<_>>(), "skipped": skipped.collect::<Vec<_>>() })
}
