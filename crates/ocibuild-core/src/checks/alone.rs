//! What a layer shows by itself, before its bytes go anywhere.

use crate::checks::finding::{Draft, Findings};
use crate::inspect::{Hit, Inspected, Inspection, Severity, rule};
use crate::spec::{Located, Size};

/// A layer that is there.
#[derive(Debug, Clone, Copy)]
pub struct LayerView<'a> {
    /// Its label.
    pub label: &'a str,
    /// What was found in its files, if anybody looked.
    pub inspection: Option<&'a Inspection>,
    /// The bytes of its blobs.
    pub size: u64,
    /// How many it may have.
    pub max_size: Option<Located<Size>>,
    /// Whether a copy of it lets programs for other machines through.
    pub lets_foreign: bool,
}

/// The largest paths of layers, with their sizes in bytes: what is told of what is too large.
pub type Biggest<'a> = dyn Fn() -> Vec<(String, u64)> + 'a;

/// Where things that look like secrets are mostly somebody's tests or documentation.
const HARMLESS: [&str; 18] = [
    "node_modules",
    "site-packages",
    "dist-packages",
    "vendor",
    "test",
    "tests",
    "__tests__",
    "testdata",
    "test-data",
    "fixtures",
    "__fixtures__",
    "examples",
    "example",
    "doc",
    "docs",
    "spec",
    "bench",
    "benches",
];

/// Tells whether a path leads into tests, documentation, or what a package manager installed.
fn is_harmless(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.split('/').any(|name| HARMLESS.contains(&name))
        || path.starts_with("usr/share/")
        || name.starts_with("README")
        || name.ends_with(".md")
}

/// Judges a layer by itself.
pub fn alone<'a>(layer: LayerView<'a>, biggest: &Biggest<'_>, findings: &mut Findings<'a>) {
    findings.in_layer(Some(layer.label));
    if let Some(inspection) = layer.inspection {
        secrets(inspection, findings);
        permissions(inspection, findings);
        if inspection.is_partial {
            findings.add(Draft {
                id: "contents-unknown",
                message: format!("layer `{}` has more programs than are kept in mind", layer.label),
                hint: Some("of some it isn't known whether they start; several layers have room".to_owned()),
                ..Draft::default()
            });
        }
    } else {
        findings.add(Draft {
            id: "contents-unknown",
            message: format!("nobody looked at the files of layer `{}`, which is reused", layer.label),
            hint: Some(
                "a build with `--no-cache` or `--verify-cache` does; what was found is kept in cache \
                 repositories (`--cache-to`), not in images"
                    .to_owned(),
            ),
            ..Draft::default()
        });
    }
    if let Some(most) = layer.max_size.filter(|most| layer.size > most.value.0) {
        let (size, limit) = (Size(layer.size), most.value);
        findings.add(Draft {
            id: "layer-too-large",
            message: format!("layer `{}` has {size}, more than its `max-size` of {limit}", layer.label),
            hint: Some(super::budget::listed(&biggest())),
            span: most.span,
            ..Draft::default()
        });
    }
    findings.in_layer(None);
}

fn secrets(inspection: &Inspection, findings: &mut Findings<'_>) {
    for file in &inspection.files {
        let at_most = is_harmless(&file.path).then_some(Severity::Note);
        for hit in file.secrets.iter().filter(|hit| hit.is_at(file.path.as_bytes())) {
            let title = rule(&hit.id).map_or("a secret", |rule| rule.title);
            let line = hit.line.map(|line| format!(":{line}")).unwrap_or_default();
            let begin = if hit.begin.is_empty() { String::new() } else { format!(" (`{}…`)", hit.begin) };
            findings.add(Draft {
                id: &hit.id,
                at_most: at_most.or_else(|| embedded(file, hit)),
                path: Some(&file.path),
                line: hit.line,
                message: format!("there is {title} in `/{}{line}`{begin}", file.path),
                hint: Some(format!(
                    "whoever has the image has it: take it out, and let a new one take its place; if it is none: \
                     `allow = [{{ id = \"{}\", path = \"{}\", reason = \"…\" }}]` in `[checks]`",
                    hit.id, file.path
                )),
                ..Draft::default()
            });
        }
    }
}

/// How bad a private key in a program is at most. Nobody keeps theirs in a library: what stands there is
/// for its own tests, and anybody has it. A program may have been given a file with one.
fn embedded(file: &Inspected, hit: &Hit) -> Option<Severity> {
    let elf = file.elf.as_ref().filter(|_| hit.id == "secret-private-key")?;
    let is_library = elf.soname.is_some() || file.path.ends_with(".so");
    Some(if is_library { Severity::Note } else { Severity::Warning })
}

fn permissions(inspection: &Inspection, findings: &mut Findings<'_>) {
    for path in &inspection.writable {
        findings.add(Draft {
            id: "world-writable",
            path: Some(path),
            message: format!("anybody may write to `/{path}`"),
            hint: Some("set `mode`, or leave `mode` out of `preserve`".to_owned()),
            ..Draft::default()
        });
    }
    for path in &inspection.setuid {
        findings.add(Draft {
            id: "setuid",
            path: Some(path),
            message: format!("`/{path}` runs with the rights of its owner or group, whoever starts it"),
            hint: Some("set `mode`, or say with `allow` in `[checks]` why it has to".to_owned()),
            ..Draft::default()
        });
    }
}
