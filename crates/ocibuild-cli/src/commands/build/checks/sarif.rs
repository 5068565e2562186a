//! Findings as [SARIF 2.1.0](https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).

use std::collections::BTreeMap;

use ocibuild_core::checks::Finding;
use ocibuild_core::inspect::{RULES, Rule};
use ocibuild_core::spec::Sources;
use serde_json::{Value, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Makes the log of one run.
pub(super) fn log(findings: &[Finding], sources: Option<&Sources>) -> Value {
    let mut prints = BTreeMap::new();
    let result = |finding| result(finding, fingerprint(finding, &mut prints), sources);
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ocibuild",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": RULES.iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "defaultConfiguration": { "level": rule.severity.name() },
        "properties": { "tags": [rule.group] },
    })
}

fn result(finding: &Finding, fingerprint: String, sources: Option<&Sources>) -> Value {
    let hint = finding.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    let mut value = json!({
        "ruleId": finding.id,
        "level": finding.severity.name(),
        "message": { "text": format!("{}{hint}", finding.message) },
        "locations": [location(finding, sources)],
        "partialFingerprints": { "finding/v2": fingerprint },
    });
    if let Some(index) = RULES.iter().position(|rule| rule.id == finding.id) {
        value["ruleIndex"] = json!(index);
    }
    if let Some(reason) = &finding.allowed {
        value["suppressions"] = json!([{ "kind": "external", "justification": reason }]);
    }
    value
}

/// Where it is: in the spec, as what is in an image is in no file of the repository; and in the image, by
/// words.
fn location(finding: &Finding, sources: Option<&Sources>) -> Value {
    let name = name(finding);
    let mut location = json!({ "logicalLocations": [{ "fullyQualifiedName": name, "kind": "resource" }] });
    if let Some(sources) = sources {
        let at = finding.span.map(|span| sources.position(span));
        let file = at.map_or(sources.name(), |at| at.file);
        let (line, column) = at.map_or((1, 1), |at| (at.line, at.column));
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": line, "startColumn": column },
        });
    }
    location
}

/// What it is in: image, platform, layer, path.
fn name(finding: &Finding) -> String {
    let parts = [&finding.image, &finding.platform, &finding.layer, &finding.path];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    if parts.is_empty() { finding.id.clone() } else { parts.join(":") }
}

/// What a viewer knows a finding by from one run to the next: what it is and what it is in. Where that is
/// the same of several, they are counted, as their lines change with what stands before them.
fn fingerprint(finding: &Finding, prints: &mut BTreeMap<String, u32>) -> String {
    let Finding { image, platform, layer, path, .. } = finding;
    let parts = [("image", image), ("platform", platform), ("layer", layer), ("path", path)];
    let parts = parts.into_iter().filter_map(|(name, part)| Some(format!(":{name}={}", part.as_ref()?)));
    let print = format!("{}{}", finding.id, parts.collect::<String>());
    let count = prints.entry(print.clone()).and_modify(|count| *count += 1).or_insert(1);
    if *count == 1 { print } else { format!("{print}#{count}") }
}

/// A path as a relative or absolute reference.
fn uri(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    let encoded: String = path.bytes().map(encode).collect();
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_references() {
        assert_eq!(uri("deploy/ocibuild.toml"), "deploy/ocibuild.toml");
        assert_eq!(uri("/a b/ü"), "file:///a%20b/%C3%BC");
    }
}
