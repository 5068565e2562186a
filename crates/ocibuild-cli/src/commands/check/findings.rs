//! What was found, and how it is told.

use std::collections::BTreeSet;

use ocibuild_core::plan::Plan;
use ocibuild_core::spec::{Fault, Sources, Span, SpecError};
use serde_json::{Value, json};

use crate::exit;
use crate::failure::Failure;
use crate::progress::Reporter;
use crate::text::{self, count};

/// The version of the form for programs: a field may be added within it, none changed or taken
/// away.
const VERSION: u32 = 1;

/// A spec that can be planned.
pub(super) struct Sound {
    pub(super) plan: Plan,
    /// The names of the steps that were looked at; one for several platforms counts once.
    pub(super) steps: BTreeSet<String>,
}

/// What is wrong with a spec, or worth a warning.
pub(super) struct Findings {
    file: Sources,
    faults: Vec<Fault>,
    omitted: usize,
    warnings: Vec<Fault>,
    code: u8,
}

impl Findings {
    /// Nothing yet.
    pub(super) fn new(file: Sources) -> Self {
        Self { file, faults: Vec::new(), omitted: 0, warnings: Vec::new(), code: exit::SUCCESS }
    }

    /// The faults of a spec.
    pub(super) fn of_spec(file: Sources, error: SpecError) -> Self {
        Self { faults: error.faults, omitted: error.omitted, code: exit::USAGE, ..Self::new(file) }
    }

    pub(super) fn warn(self, warnings: Vec<Fault>) -> Self {
        Self { warnings, ..self }
    }

    /// Adds a fault with the exit code it has by itself: of several the lowest counts, by which a
    /// faulty spec comes first.
    pub(super) fn add(&mut self, (code, fault): (u8, Fault)) {
        let is_first = self.faults.is_empty();
        self.faults.push(fault);
        self.code = if is_first { code } else { self.code.min(code) };
    }

    /// Tells people.
    ///
    /// # Errors
    /// [`Failure::Faulty`] if there are faults.
    pub(super) fn tell(self, sound: Option<&Sound>, reporter: &Reporter) -> Result<(), Failure> {
        for warning in &self.warnings {
            reporter.warn_text(&warning.render(&self.file));
        }
        if self.faults.is_empty() {
            let what = sound.map(summary).unwrap_or_default();
            return text::print(&format!("{}: {what}ok\n", self.file.name()));
        }
        let mut error = SpecError::new(self.faults);
        error.omitted += self.omitted;
        Err(Failure::Faulty { error, file: self.file, code: self.code })
    }

    /// Tells programs, by one document.
    ///
    /// # Errors
    /// [`Failure::Told`] if there are faults.
    pub(super) fn print(self, sound: Option<&Sound>) -> Result<(), Failure> {
        let faults = SpecError::new(self.faults.clone()).faults;
        let finding = |(severity, fault)| self.to_json(severity, fault);
        let faults = faults.iter().map(|fault| ("error", fault));
        let findings = faults.chain(self.warnings.iter().map(|warning| ("warning", warning)));
        let document = json!({
            "version": VERSION,
            "file": self.file.name(),
            "sound": self.faults.is_empty(),
            "images": sound.map(|Sound { plan, .. }| plan.images.iter().map(|image| image.name.as_str()).collect::<Vec<_>>()),
            "layers": sound.map(|Sound { plan, .. }| layers(plan).into_iter().collect::<Vec<_>>()),
            "steps": sound.map(|Sound { steps, .. }| steps),
            "findings": findings.map(finding).collect::<Vec<_>>(),
            "omitted": self.omitted,
        });
        text::print(&format!("{document:#}\n"))?;
        if self.faults.is_empty() { Ok(()) } else { Err(Failure::Told { code: self.code }) }
    }

    fn to_json(&self, severity: &str, fault: &Fault) -> Value {
        let place = fault.span.map(|span| self.file.position(span));
        let end = fault.span.map(|span| self.file.position(Span { start: span.end, end: span.end }));
        let message = match (fault.span, fault.place.as_str()) {
            (None, place) if !place.is_empty() => format!("{place}: {}", fault.message),
            _ => fault.message.clone(),
        };
        json!({
            "severity": severity,
            "file": place.map_or(self.file.name(), |place| place.file),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "end_line": end.map(|end| end.line),
            "end_column": end.map(|end| end.column),
            "message": message,
            "hint": fault.hint,
        })
    }
}

/// The names of the layers that the spec has; one for several platforms counts once.
fn layers(plan: &Plan) -> BTreeSet<&str> {
    plan.own_layers().map(|index| plan.layers[index].name.as_str()).collect()
}

fn summary(Sound { plan, steps }: &Sound) -> String {
    let steps = match steps.len() {
        0 => String::new(),
        steps => format!("{}, ", count(steps, "step")),
    };
    format!("{}, {}, {steps}", count(plan.images.len(), "image"), count(layers(plan).len(), "layer"))
}
