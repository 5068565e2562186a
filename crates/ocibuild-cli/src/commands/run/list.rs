//! The steps of a spec, in a table.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ocibuild_core::spec::{Layer, Run, Segment, Spec, Step, Template};

const HEADINGS: [&str; 4] = ["STEP", "RUNS", "NEEDS", "USED BY"];

/// As much of a command is shown.
const MOST: usize = 44;

/// Lists the steps of a spec, in its order.
pub(super) fn list(spec: &Spec) -> String {
    if spec.steps.is_empty() {
        return "the spec has no steps: a step is a table `[steps.NAME]` with `run`\n".to_owned();
    }
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(spec.steps.iter().map(|step| row(spec, step)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let [name, runs, needs] = [width(0), width(1), width(2)];
    let mut out = String::new();
    for [a, b, c, d] in &rows {
        let line = format!("{a:name$}  {b:runs$}  {c:needs$}  {d}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn row(spec: &Spec, step: &Step) -> [String; 4] {
    let needs: Vec<&str> = step.needs.iter().map(|need| need.value.as_str()).collect();
    let needs = if needs.is_empty() { "-".to_owned() } else { needs.join(", ") };
    [step.name.value.clone(), shortened(&command(&step.run.value)), needs, users(spec, step)]
}

fn command(run: &Run) -> String {
    match run {
        Run::Arguments(words) => {
            let words: Vec<String> = words.iter().map(|word| written(&word.value)).collect();
            words.join(" ")
        }
        Run::Script(script) => {
            let script = written(script);
            let mut lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
            let first = lines.next().unwrap_or_default().to_owned();
            if lines.next().is_some() { format!("{first} …") } else { first }
        }
        _ => String::new(),
    }
}

/// A text as the spec has it.
fn written(template: &Template) -> String {
    let segments = template.segments().iter().map(|segment| match segment {
        Segment::Text(text) => text.clone(),
        Segment::Os => "{os}".to_owned(),
        Segment::Arch => "{arch}".to_owned(),
        Segment::Variant => "{variant}".to_owned(),
        Segment::Var(name) => format!("{{{name}}}"),
        _ => "…".to_owned(),
    });
    segments.collect()
}

fn shortened(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    match text.chars().count() > MOST {
        true => format!("{}…", text.chars().take(MOST - 1).collect::<String>().trim_end_matches(" …")),
        false => text,
    }
}

/// The layers and steps that want what it makes.
fn users(spec: &Spec, step: &Step) -> String {
    let layers = spec.layers.iter().filter(|layer| copies(layer, step));
    let layers = layers.map(|layer| format!("layer {}", layer.name.value));
    let needs = |other: &&Step| other.needs.iter().any(|need| need.value == step.name.value);
    let steps = spec.steps.iter().filter(needs).map(|other| format!("step {}", other.name.value));
    let all: BTreeSet<String> = layers.chain(steps).collect();
    if all.is_empty() { "-".to_owned() } else { all.into_iter().collect::<Vec<_>>().join(", ") }
}

fn copies(layer: &Layer, step: &Step) -> bool {
    layer.steps().any(|name| name.value == step.name.value)
}
