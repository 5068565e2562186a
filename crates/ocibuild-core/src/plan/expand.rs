//! Filling in variables for one platform, with all faults kept.

use std::collections::BTreeMap;

use crate::oci::Platform;
use crate::spec::{Fault, Located, Template, ValueError, Vars};

/// Fills in variables for one platform.
pub(super) struct Expander<'a> {
    vars: &'a Vars,
    platform: Platform,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(vars: &'a Vars, platform: &Platform) -> Self {
        Self { vars, platform: platform.clone(), faults: Vec::new() }
    }

    /// Returns the text, or notes the fault at the template's place.
    pub(super) fn text(&mut self, template: &Located<Template>) -> Option<String> {
        match template.value.expand(&self.vars.lookup(&self.platform)) {
            Ok(text) => Some(text),
            Err(error) => {
                let hint = "give it a value in `[vars]`, or in `[vars.\"os/arch\"]`";
                self.faults.push(Fault::new(error.to_string(), template.span).hint(hint));
                None
            }
        }
    }

    /// Returns the text if it passes a check; else notes the fault.
    pub(super) fn checked(
        &mut self,
        template: &Located<Template>,
        check: impl FnOnce(&str) -> Result<(), ValueError>,
    ) -> Option<String> {
        let text = self.text(template)?;
        match check(&text) {
            Ok(()) => Some(text),
            Err(error) => {
                self.faults.push(Fault::of(error, template.span));
                None
            }
        }
    }

    pub(super) fn map(&mut self, pairs: &[(Located<String>, Located<Template>)]) -> BTreeMap<String, String> {
        let pair = |(name, value): &(Located<String>, Located<Template>)| {
            Some((name.value.clone(), self.text(value)?))
        };
        pairs.iter().filter_map(pair).collect()
    }
}
