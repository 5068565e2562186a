//! Findings, and what a policy makes of them.

use serde::Serialize;

use crate::inspect::Severity;
use crate::spec::{Checks, Span};

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Which rule it breaks: see [`RULES`](crate::inspect::RULES).
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// The image it is in, if it is a matter of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The platform it is in, if it isn't in all of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The label of the layer it is in, if it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The path it is at, from the image's root, without a leading `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The line of that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Why it is let through, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// Where the spec has what it follows from.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// Where something is found.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Place<'a> {
    /// The image.
    pub image: Option<&'a str>,
    /// The platform, where it matters.
    pub platform: Option<&'a str>,
    /// The layer's label.
    pub layer: Option<&'a str>,
    /// Of a layer that is judged by itself, the images that have it.
    pub images: &'a [&'a str],
}

/// Tells whether a build fails for what was found.
#[must_use]
pub fn fails(policy: &Checks, findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.allowed.is_none() && policy.fails(finding.severity))
}

/// Collects findings by a policy.
#[derive(Debug)]
pub struct Findings<'a> {
    policy: &'a Checks,
    place: Place<'a>,
    all: Vec<Finding>,
}

/// What is found, before it is judged.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    pub(super) id: &'a str,
    /// It is no worse than this, whatever the policy says of its kind.
    pub(super) at_most: Option<Severity>,
    /// It is so bad, unless the policy says something of its kind.
    pub(super) by_default: Option<Severity>,
    pub(super) path: Option<&'a str>,
    pub(super) line: Option<u64>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) span: Option<Span>,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(policy: &'a Checks, place: Place<'a>) -> Self {
        Self { policy, place, all: Vec::new() }
    }

    /// Says in which layer is what comes.
    pub(super) fn in_layer(&mut self, layer: Option<&'a str>) {
        self.place.layer = layer;
    }

    pub(super) fn add(&mut self, draft: Draft<'_>) {
        let Some(severity) = self.policy.severity(draft.id) else { return };
        let severity = draft.by_default.filter(|_| !self.policy.says(draft.id)).unwrap_or(severity);
        let severity = draft.at_most.map_or(severity, |most| severity.min(most));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let Place { image, platform, layer, .. } = self.place;
        let mut finding = Finding {
            id: draft.id.to_owned(),
            severity,
            image: owned(image),
            platform: owned(platform),
            layer: owned(layer),
            path: owned(draft.path),
            line: draft.line,
            message: draft.message,
            hint: draft.hint,
            allowed: None,
            span: draft.span,
        };
        finding.allowed = self.allowed(&finding);
        self.all.push(finding);
    }

    fn allowed(&self, finding: &Finding) -> Option<String> {
        let group = crate::inspect::rule(&finding.id).map(|rule| rule.group);
        let path = finding.path.as_deref().map(|path| path.trim_start_matches('/'));
        let fits = |allowed: &&crate::spec::Allowed| {
            let is_meant = allowed.id.value == finding.id || Some(&*allowed.id.value) == group;
            let is_there = allowed
                .path
                .as_ref()
                .is_none_or(|pattern| path.is_some_and(|path| pattern.covers(path.as_bytes())));
            is_meant && is_there
        };
        let fitting: Vec<&crate::spec::Allowed> = self.policy.allow.iter().filter(fits).collect();
        let of = |image: Option<&str>| {
            let is_in = |allowed: &&&crate::spec::Allowed| {
                allowed.image.as_ref().is_none_or(|named| Some(&*named.value) == image)
            };
            fitting.iter().find(is_in).map(|allowed| allowed.reason.value.clone())
        };
        // What a layer shows by itself is in all images that have it.
        let images = self.place.images;
        let reasons: Option<Vec<String>> = images.iter().map(|image| of(Some(image))).collect();
        of(finding.image.as_deref()).or_else(|| reasons?.into_iter().next())
    }

    /// How much was found.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Forgets what was found last.
    pub(super) fn truncate(&mut self, length: usize) {
        self.all.truncate(length);
    }

    /// Returns what was found.
    #[must_use]
    pub fn finish(self) -> Vec<Finding> {
        self.all
    }
}
