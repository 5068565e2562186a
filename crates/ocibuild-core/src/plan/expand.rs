//! Filling in variables for one platform, with all faults kept.

use std::collections::BTreeMap;

use crate::oci::Platform;
use crate::spec::{Fault, Located, Segment, Template, ValueError, Vars};

/// Fills in variables for one platform.
pub(super) struct Expander<'a> {
    vars: &'a Vars,
    /// `None` where it is for any.
    platform: Option<Platform>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(vars: &'a Vars, platform: &Platform) -> Self {
        Self { vars, platform: Some(platform.clone()), faults: Vec::new() }
    }

    /// Fills in what is the same for all platforms.
    pub(super) fn any(vars: &'a Vars) -> Self {
        Self { vars, platform: None, faults: Vec::new() }
    }

    /// Returns the text, or notes the fault at the template's place.
    pub(super) fn text(&mut self, template: &Located<Template>) -> Option<String> {
        let Some(platform) = &self.platform else { return self.text_for_any(template) };
        match template.value.expand(&self.vars.lookup(platform)) {
            Ok(text) => Some(text),
            Err(error) => {
                let hint = "give it a value in `[vars]`, or in `[vars.\"os/arch\"]`";
                self.faults.push(Fault::new(error.to_string(), template.span).hint(hint));
                None
            }
        }
    }

    fn text_for_any(&mut self, template: &Located<Template>) -> Option<String> {
        let hint = "leave it out, or run the step for each platform with `platforms = \"each\"`";
        let mut text = String::new();
        for segment in template.segments() {
            let message = match segment {
                Segment::Text(part) => {
                    text.push_str(part);
                    continue;
                }
                Segment::Var(name) => match self.vars.plain_value(name) {
                    Some(value) => {
                        text.push_str(value);
                        continue;
                    }
                    None => format!("variable `{name}` has values only for single platforms"),
                },
                Segment::Os | Segment::Arch | Segment::Variant => {
                    "the step is for any platform, so names of one mean nothing".to_owned()
                }
            };
            self.faults.push(Fault::new(message, template.span).hint(hint));
            return None;
        }
        Some(text)
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
