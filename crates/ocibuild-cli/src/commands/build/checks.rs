//! What the checks found: told to people, and written for programs.

mod sarif;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ocibuild_core::checks::{Finding, fails};
use ocibuild_core::inspect::Severity;
use ocibuild_core::plan::PlannedChecks;
use ocibuild_core::spec::{Fault, Sources};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{file, parse};

/// The version of the form for programs: a field may be added within it, none changed or taken away.
const VERSION: u32 = 1;

/// The flag that names the file.
pub(super) const OUTPUT: &str = "--checks-output";

const HEADING: &str = "Checks";

/// How images are checked, and where it is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChecksFlags {
    /// Check nothing of what is in the images: neither programs nor secrets nor sizes
    #[arg(long, help_heading = HEADING)]
    no_checks: bool,

    /// Write what the checks find to this file, also where they stop the build
    #[arg(long, value_name = "FILE", value_parser = parse::result_file(), help_heading = HEADING, conflicts_with = "no_checks")]
    checks_output: Option<PathBuf>,

    /// The form of that file
    #[arg(long, value_enum, value_name = "FORM", default_value = "text", help_heading = HEADING, requires = "checks_output")]
    checks_format: ChecksFormat,
}

/// A form of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ChecksFormat {
    /// For people; may change
    Text,
    /// For programs; fields are only ever added
    Json,
    /// SARIF 2.1.0, which code hosts show beside a change
    Sarif,
}

impl ChecksFlags {
    /// Lets the flags overrule the spec.
    pub(super) fn apply(&self, checks: &mut PlannedChecks) {
        checks.is_off |= self.no_checks;
    }

    /// The file that is written.
    pub(super) fn path(&self) -> Option<&std::path::Path> {
        self.checks_output.as_deref()
    }

    /// Writes what was found, if that is asked for.
    ///
    /// # Errors
    /// [`Failure::Result`] if it can't be written.
    pub(super) fn write(
        &self,
        findings: &[Finding],
        checks: &PlannedChecks,
        sources: Option<&Sources>,
    ) -> Result<(), Failure> {
        let Some(path) = &self.checks_output else { return Ok(()) };
        let text = match self.checks_format {
            ChecksFormat::Text => findings.iter().map(|finding| line(finding, sources)).collect(),
            ChecksFormat::Json => format!("{:#}\n", document(findings, checks, sources)),
            ChecksFormat::Sarif => format!("{:#}\n", sarif::log(findings, sources)),
        };
        file::write(path, text.as_bytes()).map_err(|source| Failure::Result {
            what: OUTPUT,
            path: path.clone(),
            source,
            is_built: false,
        })
    }
}

/// The findings that people are told: what is allowed isn't, nor what is only worth knowing.
pub(crate) fn told(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|finding| finding.allowed.is_none() && finding.severity >= Severity::Warning)
}

/// A finding as a fault, with its place.
pub(crate) fn fault(finding: &Finding) -> Fault {
    // Of what a layer does in an image the spec's line tells the layer alone.
    let image = match (finding.span, &finding.image, &finding.layer) {
        (Some(_), Some(image), Some(_)) => format!("{}: ", in_image(image, finding)),
        _ => String::new(),
    };
    let message = format!("{image}{} ({})", finding.message, finding.id);
    let fault = Fault::new(message, finding.span).within(place(finding));
    finding.hint.iter().fold(fault, Fault::hint)
}

fn in_image(image: &str, finding: &Finding) -> String {
    match &finding.platform {
        Some(platform) => format!("image `{image}` ({platform})"),
        None => format!("image `{image}`"),
    }
}

/// Where it is found, in words.
fn place(finding: &Finding) -> String {
    let image = finding.image.as_ref().map(|image| in_image(image, finding));
    let layer = finding.layer.as_ref().map(|layer| format!("layer `{layer}`"));
    image.into_iter().chain(layer).collect::<Vec<_>>().join(", ")
}

/// A finding for people.
fn line(finding: &Finding, sources: Option<&Sources>) -> String {
    let allowed = finding.allowed.as_ref().map(|reason| format!(", allowed: {reason}")).unwrap_or_default();
    let severity = format!("{}{allowed}: ", finding.severity.name());
    format!("{severity}{}", rendered(finding, sources))
}

/// A finding with its place in the spec, or in words, and its hint.
pub(crate) fn rendered(finding: &Finding, sources: Option<&Sources>) -> String {
    let fault = fault(finding);
    if let Some(sources) = sources {
        return fault.render(sources);
    }
    let place = if fault.place.is_empty() { String::new() } else { format!("{}: ", fault.place) };
    let hint = fault.hint.iter().map(|hint| format!("  hint: {hint}\n")).collect::<String>();
    format!("{place}{}\n{hint}", fault.message)
}

fn document(findings: &[Finding], checks: &PlannedChecks, sources: Option<&Sources>) -> Value {
    let one = |finding: &Finding| {
        let at = finding.span.zip(sources).map(|(span, sources)| sources.position(span));
        json!({
            "id": finding.id,
            "severity": finding.severity,
            "image": finding.image,
            "platform": finding.platform,
            "layer": finding.layer,
            "path": finding.path,
            "line": finding.line,
            "message": finding.message,
            "hint": finding.hint,
            "allowed": finding.allowed,
            "spec": at.map(|at| json!({ "file": at.file, "line": at.line, "column": at.column })),
        })
    };
    json!({
        "version": VERSION,
        "sound": !fails(&checks.policy, findings),
        "findings": findings.iter().map(one).collect::<Vec<_>>(),
    })
}
