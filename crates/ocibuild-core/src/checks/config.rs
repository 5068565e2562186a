//! What an image's config and base say.

use crate::checks::finding::{Draft, Findings};
use crate::spec::Span;

/// How an image is run, and what it stands on.
#[derive(Debug, Clone, Copy)]
pub struct ConfigView<'a> {
    /// Its user, with what it inherits.
    pub user: Option<&'a str>,
    /// Where the spec has the user, or the image.
    pub user_span: Option<Span>,
    /// Its base, if that is a tag of a registry which nothing pins.
    pub mutable_base: Option<&'a str>,
    /// Where the spec has it.
    pub base_span: Option<Span>,
}

/// Judges the config of an image.
pub fn config(view: ConfigView<'_>, findings: &mut Findings<'_>) {
    let user = view.user.unwrap_or_default();
    let name = user.split_once(':').map_or(user, |(name, _)| name);
    if matches!(name, "" | "0" | "root") {
        findings.add(Draft {
            id: "root-user",
            message: "the program runs as root".to_owned(),
            hint: Some("set `user`, such as `user = \"65532:65532\"`".to_owned()),
            span: view.user_span,
            ..Draft::default()
        });
    }
    if let Some(base) = view.mutable_base {
        findings.add(Draft {
            id: "mutable-base",
            message: format!("the base `{base}` may be another image tomorrow"),
            hint: Some("`ocibuild lock` pins it, or a digest does: `NAME:TAG@sha256:…`".to_owned()),
            span: view.base_span,
            ..Draft::default()
        });
    }
}
