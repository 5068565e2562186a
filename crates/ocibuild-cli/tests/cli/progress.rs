//! `--progress json`: JSON lines, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ocibuild_core::event::{LayerOutcome, Stream, Transfer, Warning};
use ocibuild_core::{Digest, Event};
use ocibuild_testkit::{Output, require, run, run_any, tool};
use serde_json::Value;

use crate::bench::{Bench, SPEC};

const DOCUMENTATION: &str = include_str!("../../../../docs/progress.md");
const SOURCE: &str = include_str!("../../../ocibuild-core/src/event.rs");

/// One of each event.
fn samples() -> Vec<Event> {
    let (layer, place) = (String::from("app"), String::from("there"));
    let (digest, size, bytes) = (Digest::of(b""), 1, 2);
    let step = || "compile".to_owned();
    vec![
        Event::LayerStarted { layer: layer.clone() },
        Event::LayerWalked { layer: layer.clone(), entries: 3, bytes },
        Event::LayerProgress { layer: layer.clone(), bytes },
        Event::LayerTaken { layer: layer.clone(), bytes },
        Event::LayerFinished {
            layer,
            digest,
            size,
            outcome: LayerOutcome::Reused,
            elapsed: Duration::from_micros(1_234_567),
        },
        Event::StepStarted { step: step(), attempt: 1 },
        Event::StepOutput { step: step(), stream: Stream::Stderr, line: "a line".to_owned() },
        Event::StepRetry { step: step(), reason: "exit code 1".to_owned() },
        Event::StepFinished { step: step(), outcome: LayerOutcome::Built, elapsed: Duration::ZERO },
        Event::StepRestored { step: step(), size, elapsed: Duration::ZERO },
        Event::StepFailed { step: step(), reason: "exit code 1".to_owned(), elapsed: Duration::ZERO },
        Event::StepSkipped { step: "bundle".to_owned(), because: step() },
        Event::PushStarted { place: place.clone(), digest, size },
        Event::PushProgress { digest, bytes },
        Event::PushFinished { place, digest, size, transfer: Transfer::Mounted },
        Event::Request {
            method: "HEAD".to_owned(),
            url: "http://r.io/v2/".to_owned(),
            status: None,
            elapsed: Duration::from_millis(5),
        },
        Event::Retry {
            method: "PUT".to_owned(),
            url: "http://r.io/v2/".to_owned(),
            digest: None,
            reason: "503 Service Unavailable".to_owned(),
            wait: Duration::from_millis(1500),
        },
        Event::Warning(Warning::new("mind the gap").hint("step over it")),
    ]
}

/// The variants, as the source has them: one that is added has to come into the samples.
fn variants() -> BTreeSet<String> {
    let body = SOURCE.split_once("pub enum Event {").unwrap().1.split_once("\n}").unwrap().0;
    let names =
        body.lines().filter(|line| line.starts_with("    ") && line.as_bytes()[4].is_ascii_uppercase());
    names
        .map(|line| {
            kebab(line.trim().trim_end_matches(|c: char| !c.is_alphabetic()).split('(').next().unwrap())
        })
        .collect()
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(c.to_lowercase());
    }
    text
}

/// The line of the documentation that is about an event.
#[track_caller]
fn documented(event: &str) -> &'static str {
    let row = DOCUMENTATION.lines().find(|line| line.starts_with(&format!("| `{event}` |")));
    row.unwrap_or_else(|| panic!("docs/progress.md doesn't know `{event}`"))
}

#[track_caller]
fn check(value: &Value) {
    let object = value.as_object().expect("a line is an object");
    let row = documented(value["event"].as_str().expect("a line has an event"));
    for field in object.keys().filter(|field| !matches!(field.as_str(), "event" | "version")) {
        assert!(row.contains(&format!("`{field}`")), "docs/progress.md doesn't know `{field}` of {value}");
    }
}

#[track_caller]
fn lines(output: &Output) -> Vec<Value> {
    let text = output.errors();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("`{line}` is no JSON")))
        .collect();
    for line in &lines {
        assert_eq!(line["version"], 1, "{line}");
        check(line);
    }
    lines
}

#[test]
fn every_event_has_a_form_and_is_documented() {
    let values: Vec<Value> =
        samples().iter().map(|event| serde_json::to_value(event).expect("an event has a form")).collect();
    values.iter().for_each(check);
    let names: BTreeSet<String> =
        values.iter().map(|value| value["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, variants(), "the samples aren't one of each event");
    assert_eq!(values[4]["cache"], "local");
    assert_eq!(values[4]["seconds"], 1.234_567);
    assert_eq!(values[14]["transfer"], "mounted");
}

#[test]
fn a_build_is_told_in_lines() {
    let bench = Bench::with_spec(SPEC);
    let output = bench.ok(&["build", "--progress", "json"]);
    let lines = lines(&output);
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(names[..2], ["layer-started", "layer-walked"], "{names:?}");
    let summary = lines.last().unwrap();
    assert_eq!(
        (summary["event"].as_str(), summary["images"][0].as_str()),
        (Some("summary"), Some(output.text().as_str()))
    );
    assert_eq!(summary["layers"]["count"], 1);
    let finished = lines.iter().find(|line| line["event"] == "layer-finished").unwrap();
    assert_eq!((finished["layer"].as_str(), finished["cache"].as_str()), (Some("app"), Some("built")));
}

#[test]
fn failures_are_told_in_a_line() {
    let bench = Bench::with_spec(&SPEC.replace("\"hello\"", "\"hallo\""));
    for (words, code) in [
        (&["build", "--progress", "json"][..], 3),
        (&["--progress=json", "build", "nope"], 2),
        (&["build", "--progress", "json", "--nope"], 2),
        (&["build", "--progress", "json", "-q", "-v"], 2),
        (&["inspect", "--progress", "json", "nope"], 3),
    ] {
        let output = bench.run(words).expect_code(code);
        let lines = lines(&output);
        let last = lines.last().expect("it is told");
        assert_eq!((last["event"].as_str(), last["exit_code"].as_i64()), (Some("error"), Some(code.into())));
        assert!(!last["message"].as_str().unwrap().starts_with("error"), "{last}");
    }
    let output = run_any(bench.command(&["build"]).env("OCIBUILD_PROGRESS", "json")).expect_code(3);
    let all = lines(&output);
    assert!(all.last().unwrap()["hint"].as_str().unwrap().contains("relative to the root"));
}

#[test]
fn quiet_leaves_the_error_alone() {
    let bench = Bench::with_spec(SPEC);
    assert_eq!(bench.ok(&["build", "-q", "--progress", "json"]).errors(), "");
    bench.tree.remove("work/hello");
    let output = bench.run(&["build", "-q", "--progress", "json"]).expect_code(3);
    assert_eq!(lines(&output).len(), 1);
}

#[test]
fn an_archive_on_standard_output_leaves_only_json_on_standard_error() {
    let bench = Bench::with_spec(SPEC);
    let words = ["build", "--progress", "json", "-t", "app:1", "--output", "type=oci-archive,dest=-"];
    let output = bench.ok(&words);
    let all = lines(&output);
    assert!(all.last().unwrap()["images"][0].as_str().unwrap().starts_with("docker.io/library/app@sha256:"));
}

/// What a terminal of so many columns is sent while the program runs, in pieces between jumps of the
/// cursor, without colours.
pub(crate) fn shown(bench: &Bench, script: &Path, columns: u16, words: &str) -> Vec<String> {
    let line = format!("stty cols {columns} rows 24; exec {} {words}", env!("CARGO_BIN_EXE_ocibuild"));
    let mut command = Command::new(script);
    command.args(["-qec", &line, "/dev/null"]).current_dir(bench.path(""));
    command.env("OCIBUILD_CACHE_DIR", bench.tree.join("cache")).env("TERM", "xterm").env_remove("NO_COLOR");
    let text = String::from_utf8(run(&mut command).stdout).unwrap();
    let mut pieces = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        let end = match letter {
            '\u{1b}' if rest.next_if_eq(&'[').is_some() => rest.find(|letter| letter.is_ascii_alphabetic()),
            '\r' | '\n' => Some(letter),
            letter => {
                pieces.last_mut().unwrap().push(letter);
                continue;
            }
        };
        if end != Some('m') {
            pieces.push(String::new());
        }
    }
    pieces
}

#[test]
fn bars_fit_into_terminals_of_any_width() {
    let script = require!(tool("script"));
    let (long, short) = ("a-layer-with-a-name-that-is-longer-than-a-narrow-terminal", "short");
    let layer = |name| format!("[layers.{name}]\ncopy = [{{ from = \"big\", to = \"/{name}\" }}]\n");
    let image = format!("[images.app]\nlayers = [\"{long}\", \"{short}\"]\n");
    let bench = Bench::with_spec(&format!("version = 1\n{}{}{image}", layer(long), layer(short)));
    bench.write("big", vec![b'x'; 24 << 20]);
    for columns in [40, 80, 200] {
        let words = "build --no-cache --output type=oci,dest=out";
        let pieces = shown(&bench, &script, columns, words);
        // A piece may hold several lines, filled up with blanks to the width.
        let bars = pieces.iter().filter(|piece| piece.starts_with("layer ") && piece.contains("/25.17 MB"));
        let mut count = 0;
        for row in bars.flat_map(|bars| {
            let letters: Vec<char> = bars.chars().collect();
            letters.chunks(columns.into()).map(|row| row.iter().collect::<String>()).collect::<Vec<_>>()
        }) {
            let row = row.trim_end();
            assert!(
                row.starts_with("layer a-layer-w") || row.starts_with("layer short "),
                "{columns}: `{row}`"
            );
            assert!(row.contains("looking for files") || row.contains("/25.17 MB"), "{columns}: `{row}`");
            let glyphs = row.chars().filter(|letter| "█░".contains(*letter)).count();
            let least = if columns < 80 || row.contains("looking") { 0 } else { 10 };
            assert!(glyphs >= least, "{columns}: `{row}`");
            count += 1;
        }
        assert!(count > 2, "{columns}: {pieces:?}");
    }
}
