//! Members of JSON objects: that they are there, and of the right type. A `null` is none.

use serde_json::{Map, Value};

use crate::base::duplicate_key;
use crate::image::validate::Report;
use crate::oci::MAX_MANIFEST_SIZE;

/// An object that is looked at: where it is, and which section speaks of it.
#[derive(Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) members: &'a Map<String, Value>,
    pub(super) path: &'a str,
    pub(super) section: &'static str,
}

/// Reads a document that has to be one object, in which no key stands twice.
pub(super) fn document(
    bytes: &[u8],
    section: &'static str,
    report: &mut Report,
) -> Option<Map<String, Value>> {
    if bytes.len() as u64 > MAX_MANIFEST_SIZE {
        report.add(section, "", format!("it is larger than {MAX_MANIFEST_SIZE} bytes"));
        return None;
    }
    if let Some(path) = duplicate_key(bytes) {
        report.add(section, path, "the key stands twice in one object");
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => return Some(members),
        Ok(_) => report.add(section, "", "it is JSON, but no object"),
        Err(error) => report.add(section, "", format!("it is no JSON: {error}")),
    }
    None
}

impl<'a> Object<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Returns the path of a member.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    pub(super) fn fault(&self, name: &str, message: &str, report: &mut Report) {
        report.add(self.section, self.at(name), message);
    }

    pub(super) fn require(&self, name: &str, report: &mut Report) {
        if self.get(name).is_none() {
            self.fault(name, "it is required", report);
        }
    }

    /// Returns a text, if it is there; notes if it is something else.
    pub(super) fn text(&self, name: &str, report: &mut Report) -> Option<&'a str> {
        self.typed(name, Value::as_str, "it should be a string", report)
    }

    pub(super) fn list(&self, name: &str, report: &mut Report) -> Option<&'a Vec<Value>> {
        self.typed(name, Value::as_array, "it should be a list", report)
    }

    pub(super) fn object(&self, name: &str, report: &mut Report) -> Option<&'a Map<String, Value>> {
        self.typed(name, Value::as_object, "it should be an object", report)
    }

    /// Checks a text by its grammar, if it is there.
    pub(super) fn check_text(&self, name: &str, is: fn(&str) -> bool, what: &str, report: &mut Report) {
        if let Some(text) = self.text(name, report).filter(|text| !is(text)) {
            self.fault(name, &format!("`{}` is no {what}", shorten(text)), report);
        }
    }

    /// Checks a list of texts by their grammar, if it is there.
    pub(super) fn check_list(&self, name: &str, is: fn(&str) -> bool, what: &str, report: &mut Report) {
        for (index, item) in self.list(name, report).into_iter().flatten().enumerate() {
            let path = format!("{name}[{index}]");
            match item.as_str() {
                None => self.fault(&path, "it should be a string", report),
                Some(text) if !is(text) => {
                    self.fault(&path, &format!("`{}` is no {what}", shorten(text)), report);
                }
                Some(_) => {}
            }
        }
    }

    fn typed<T: ?Sized>(
        &self,
        name: &str,
        as_type: fn(&'a Value) -> Option<&'a T>,
        message: &str,
        report: &mut Report,
    ) -> Option<&'a T> {
        let value = self.get(name)?;
        let typed = as_type(value);
        if typed.is_none() {
            self.fault(name, message, report);
        }
        typed
    }
}

/// Returns as much of a text as a message should hold.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}
