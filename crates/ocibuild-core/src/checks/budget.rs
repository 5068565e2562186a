//! What images may have at most.

use crate::checks::alone::Biggest;
use crate::checks::finding::{Draft, Findings};
use crate::plan::ImageLimits;
use crate::spec::Size;

/// As many paths are named.
const NAMED: usize = 10;

/// What an image has.
#[derive(Debug, Clone, Copy)]
pub struct BudgetView<'a> {
    /// Its name.
    pub image: &'a str,
    /// The bytes of its layers, compressed, those of the base included.
    pub size: u64,
    /// How many of these are the base's.
    pub base_size: u64,
    /// The number of its layers, those of the base included.
    pub layers: usize,
    /// What it may have.
    pub limits: &'a ImageLimits,
}

/// Judges the size of an image.
pub fn budgets(view: BudgetView<'_>, biggest: &Biggest<'_>, findings: &mut Findings<'_>) {
    let BudgetView { image, size, base_size, layers, limits } = view;
    if let Some(most) = limits.max_size.filter(|most| size > most.value.0) {
        let base = match base_size {
            0 => String::new(),
            base => format!(" ({} of them the base's)", Size(base)),
        };
        findings.add(Draft {
            id: "image-too-large",
            message: format!(
                "image `{image}` has {}{base}, more than its `max-size` of {}",
                Size(size),
                most.value
            ),
            hint: Some(listed(&biggest())),
            span: most.span,
            ..Draft::default()
        });
    }
    if let Some(most) = limits.max_layers.filter(|most| layers > most.value as usize) {
        findings.add(Draft {
            id: "image-too-many-layers",
            message: format!(
                "image `{image}` has {layers} layers, more than its `max-layers` of {}",
                most.value
            ),
            hint: Some("join layers, or split fewer".to_owned()),
            span: most.span,
            ..Draft::default()
        });
    }
}

/// Says where most bytes are.
pub(super) fn listed(biggest: &[(String, u64)]) -> String {
    let name = |(path, size): &(String, u64)| format!("`/{path}` ({})", Size(*size));
    match biggest {
        [] => "raise it, or leave files out".to_owned(),
        all => {
            let names: Vec<String> = all.iter().take(NAMED).map(name).collect();
            format!("the largest files, uncompressed, are {}", names.join(", "))
        }
    }
}
