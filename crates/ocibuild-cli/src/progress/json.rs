//! Events as JSON, an object a line: `docs/progress.md` is the promise.

use std::time::Duration;

use ocibuild_core::Event;
use serde::Serialize;
use serde_json::{Value, json};

/// The version of all lines: a field may be added within it, none changed or taken away.
pub(crate) const VERSION: u64 = 1;

/// Writes the line of an event of the library.
pub(crate) fn event(event: &Event) -> String {
    line(json!(event))
}

/// Writes the line of a warning.
pub(crate) fn warning(message: &str, hint: Option<&str>) -> String {
    line(json!({ "event": "warning", "message": message, "hint": hint }))
}

/// Writes the line of the summary.
pub(crate) fn summary(summary: &impl Serialize) -> String {
    named("summary", summary)
}

/// Writes the line of an event of the command line's own.
pub(crate) fn named(event: &str, fields: &impl Serialize) -> String {
    let mut value = json!(fields);
    value["event"] = json!(event);
    line(value)
}

/// Writes the line of the error that ends a run; `steps` are those that failed, if that is why.
pub(crate) fn error(
    message: &str,
    causes: &[String],
    hint: Option<&str>,
    exit_code: u8,
    steps: Option<&Value>,
) -> String {
    let mut value = json!({
        "event": "error",
        "message": message,
        "causes": causes,
        "hint": hint,
        "exit_code": exit_code,
    });
    if let Some(steps) = steps {
        value["steps"] = steps.clone();
    }
    line(value)
}

/// Seconds, with what is below them.
pub(crate) fn seconds(time: Duration) -> f64 {
    // Microseconds are enough, and don't show how floating-point numbers are made.
    time.as_micros() as f64 / 1e6
}

fn line(mut value: Value) -> String {
    value["version"] = json!(VERSION);
    value.to_string()
}
