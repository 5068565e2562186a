//! How two configs differ, field by field. Layers are told elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A field, or a member of one, that differs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// The field, as in `config.Env`.
    pub(super) field: String,
    /// The member: a variable's name, a label's.
    pub(super) member: Option<String>,
    /// In the first image, if it has it.
    pub(super) before: Option<Value>,
    /// In the second image, if it has it.
    pub(super) after: Option<Value>,
}

/// Compares two configs as they stand, with all that isn't known here. A field that is null is as
/// good as none.
pub(super) fn changes(before: &[u8], after: &[u8]) -> Vec<Change> {
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    names.into_iter().flat_map(|name| change(name, before.get(name), after.get(name))).collect()
}

fn fields(bytes: &[u8]) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let top: Map<String, Value> = serde_json::from_slice(bytes).unwrap_or_default();
    for (name, value) in top {
        match value {
            Value::Object(config) if name == "config" => {
                all.extend(config.into_iter().map(|(name, value)| (format!("config.{name}"), value)));
            }
            _ if name == "rootfs" => {}
            value => drop(all.insert(name, value)),
        }
    }
    all.retain(|_, value| !value.is_null());
    all
}

fn change(field: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    if before == after {
        return Vec::new();
    }
    let members = (members(field, before), members(field, after));
    if let (Some(before), Some(after)) = members {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let change = |name: &String| {
            let (before, after) = (before.get(name).cloned(), after.get(name).cloned());
            let (field, member) = (field.to_owned(), Some(name.clone()));
            (before != after).then_some(Change { field, member, before, after })
        };
        let changes: Vec<Change> = names.into_iter().filter_map(change).collect();
        // What differs in nothing but its order is told whole.
        if !changes.is_empty() {
            return changes;
        }
    }
    let (field, before, after) = (field.to_owned(), before.cloned(), after.cloned());
    vec![Change { field, member: None, before, after }]
}

/// The members of a field that is a map, or a list that stands for one.
fn members(field: &str, value: Option<&Value>) -> Option<BTreeMap<String, Value>> {
    match value {
        None => Some(BTreeMap::new()),
        Some(Value::Object(map)) if field != "config.Healthcheck" => {
            Some(map.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        Some(Value::Array(list)) if field == "config.Env" => {
            let variable = |word: &Value| {
                let (name, value) = word.as_str()?.split_once('=')?;
                Some((name.to_owned(), Value::from(value)))
            };
            list.iter().map(variable).collect()
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(before: &str, after: &str) -> Vec<String> {
        let text = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let line = |Change { field, member, before, after }| {
            format!("{field} {} {} {}", member.unwrap_or_default(), text(before), text(after))
        };
        changes(before.as_bytes(), after.as_bytes()).into_iter().map(line).collect()
    }

    #[test]
    fn each_field_is_compared_by_its_members() {
        let before = r#"{"os":"linux","rootfs":1,"config":{"Env":["A=1","B=2"],"Cmd":["x"],"User":null,
            "Labels":{"a":"1"}}}"#;
        let after = r#"{"os":"linux","rootfs":2,"created":"now","config":{"Env":["B=3","A=1","C="],
            "Cmd":["y"],"Labels":{"a":"1"},"X":{"k":1}}}"#;
        let expected = [
            r#"config.Cmd  ["x"] ["y"]"#,
            r#"config.Env B "2" "3""#,
            r#"config.Env C - """#,
            "config.X k - 1",
            r#"created  - "now""#,
        ];
        assert_eq!(show(before, after), expected);
        assert!(show(before, before).is_empty());
        let order = show(r#"{"config":{"Env":["A=1","B=2"]}}"#, r#"{"config":{"Env":["B=2","A=1"]}}"#);
        assert_eq!(order, [r#"config.Env  ["A=1","B=2"] ["B=2","A=1"]"#]);
    }
}
