//! What is made of what is found in images, planned: by the names of images and layers.

use std::collections::BTreeMap;

use crate::spec::{Checks, Located, Size, Span, Spec};

/// What is made of what is found in images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedChecks {
    /// What the spec says of findings.
    pub policy: Checks,
    /// What images may have at most, by their names.
    pub images: BTreeMap<String, ImageLimits>,
    /// How large layers may be, by their names.
    pub layers: BTreeMap<String, Located<Size>>,
    /// Where the spec has layers, by their names.
    pub places: BTreeMap<String, Span>,
    /// Whether nothing is made of it in this run.
    pub is_off: bool,
}

/// What an image may have at most, and where the spec has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLimits {
    /// How large its layers may be together.
    pub max_size: Option<Located<Size>>,
    /// How many layers it may have.
    pub max_layers: Option<Located<u32>>,
    /// Whether its programs may need neither a loader nor libraries.
    pub is_static: Option<Located<bool>>,
    /// Where its base is named.
    pub base: Option<Span>,
    /// Where it is.
    pub span: Option<Span>,
}

impl PlannedChecks {
    pub(super) fn of(spec: &Spec) -> Self {
        let image = |image: &crate::spec::Image| {
            let limits = ImageLimits {
                max_size: image.max_size,
                max_layers: image.max_layers,
                is_static: image.is_static,
                base: image.base.span,
                span: image.name.span,
            };
            (image.name.value.clone(), limits)
        };
        let layer = |layer: &crate::spec::Layer| Some((layer.name.value.clone(), layer.max_size?));
        let place = |layer: &crate::spec::Layer| Some((layer.name.value.clone(), layer.name.span?));
        Self {
            policy: spec.checks.clone(),
            images: spec.images.iter().map(image).collect(),
            layers: spec.layers.iter().filter_map(layer).collect(),
            places: spec.layers.iter().filter_map(place).collect(),
            is_off: false,
        }
    }

    /// Tells whether images are judged.
    #[must_use]
    pub fn judges(&self) -> bool {
        !self.is_off
    }
}
