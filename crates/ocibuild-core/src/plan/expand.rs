//! Filling in variables for one platform, with all faults kept.

use std::collections::BTreeMap;

use crate::oci::Platform;
use crate::spec::{Fault, Located, Lookup, Template, ValueError, Vars};

/// Fills in variables for one platform.
pub(super) struct Expander<'a> {
    lookup: Box<dyn Fn(&Template) -> Result<String, Fault> + 'a>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(vars: &'a Vars, platform: &Platform) -> Self {
        let platform = platform.clone();
        let lookup = move |template: &Template| {
            let lookup: Lookup<'_> = vars.lookup(&platform);
            template.expand(&lookup).map_err(|error| Fault::new(error.to_string(), None))
        };
        Self { lookup: Box::new(lookup), faults: Vec::new() }
    }

    /// Returns the text, or notes the fault at the template's place.
    pub(super) fn text(&mut self, template: &Located<Template>) -> Option<String> {
        match (self.lookup)(&template.value) {
            Ok(text) => Some(text),
            Err(fault) => {
                let hint = "give it a value in `[vars]`, or in `[vars.\"os/arch\"]`";
                self.faults.push(Fault { span: template.span, ..fault }.hint(hint));
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
