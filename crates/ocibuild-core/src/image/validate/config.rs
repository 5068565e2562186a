//! Configs.

use serde_json::{Map, Value};

use crate::image::validate::manifest::annotations;
use crate::image::validate::member::{Object, document};
use crate::image::validate::{Report, Violation, syntax};
use crate::oci::is_time;

const CONFIG: &str = "config.md#properties";

/// Judges an image's config by its bytes alone.
#[must_use]
pub fn check_config(bytes: &[u8]) -> Vec<Violation> {
    let mut report = Report::default();
    if let Some(members) = document(bytes, CONFIG, &mut report) {
        let config = Object { members: &members, path: "", section: CONFIG };
        about(config, &mut report);
        rootfs(config, &mut report);
        history(config, &mut report);
        if let Some(members) = config.object("config", &mut report) {
            execution(Object { members, path: ".config", section: CONFIG }, &mut report);
        }
    }
    report.violations
}

fn about(config: Object<'_>, report: &mut Report) {
    for name in ["architecture", "os"] {
        config.require(name, report);
        config.check_text(name, |text| !text.is_empty(), "name", report);
    }
    for name in ["author", "variant", "os.version"] {
        config.text(name, report);
    }
    config.check_list("os.features", |_| true, "feature", report);
    config.check_text("created", is_time, "RFC 3339 time", report);
}

fn rootfs(config: Object<'_>, report: &mut Report) {
    config.require("rootfs", report);
    let Some(members) = config.object("rootfs", report) else { return };
    let rootfs = Object { members, path: ".rootfs", section: CONFIG };
    rootfs.require("type", report);
    rootfs.check_text(
        "type",
        |kind| kind == "layers",
        "type of root file system: it must be `layers`",
        report,
    );
    rootfs.require("diff_ids", report);
    rootfs.check_list("diff_ids", syntax::is_digest, "digest", report);
}

fn history(config: Object<'_>, report: &mut Report) {
    for (index, entry) in config.list("history", report).into_iter().flatten().enumerate() {
        let path = format!(".history[{index}]");
        let Some(members) = entry.as_object() else {
            report.add(CONFIG, path, "it should be an object");
            continue;
        };
        let entry = Object { members, path: &path, section: CONFIG };
        entry.check_text("created", is_time, "RFC 3339 time", report);
        for name in ["author", "created_by", "comment"] {
            entry.text(name, report);
        }
        if entry.get("empty_layer").is_some_and(|value| !value.is_boolean()) {
            entry.fault("empty_layer", "it should be true or false", report);
        }
    }
}

/// Checks the object that says how a container of the image runs.
fn execution(config: Object<'_>, report: &mut Report) {
    for name in ["User", "WorkingDir"] {
        config.text(name, report);
    }
    for name in ["Entrypoint", "Cmd", "Shell"] {
        config.check_list(name, |_| true, "argument", report);
    }
    config.check_list("OnBuild", |line| !line.trim().is_empty(), "instruction", report);
    if config.get("StopTimeout").is_some_and(|seconds| !seconds.is_i64() && !seconds.is_u64()) {
        config.fault("StopTimeout", "it should be a whole number of seconds", report);
    }
    if let Some(members) = config.object("Healthcheck", report) {
        health(Object { members, path: ".config.Healthcheck", section: CONFIG }, report);
    }
    let is_variable = |text: &str| text.split_once('=').is_some_and(|(name, _)| !name.is_empty());
    config.check_list("Env", is_variable, "`NAME=value`", report);
    config.check_text("StopSignal", is_signal, "signal", report);
    annotations(config, "Labels", report);
    for name in ["ExposedPorts", "Volumes"] {
        if let Some(members) = config.object(name, report) {
            set(config, name, members, report);
        }
    }
}

/// Checks how the health is checked, by docker's rules: the specification only reserves the name.
fn health(check: Object<'_>, report: &mut Report) {
    check.check_list("Test", |_| true, "argument", report);
    let kind = check.get("Test").and_then(|test| test.get(0)).and_then(Value::as_str);
    if kind.is_some_and(|kind| !["", "NONE", "CMD", "CMD-SHELL"].contains(&kind)) {
        check.fault("Test[0]", "it must be `CMD`, `CMD-SHELL` or `NONE`", report);
    }
    for name in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
        let is_time = |time: &Value| time.as_i64().is_some_and(|time| time == 0 || time >= 1_000_000);
        if check.get(name).is_some_and(|time| !is_time(time)) {
            check.fault(name, "it should be nanoseconds, 1ms or more, or 0", report);
        }
    }
    if check.get("Retries").is_some_and(|retries| retries.as_i64().is_none_or(|retries| retries < 0)) {
        check.fault("Retries", "it should be a whole number that isn't negative", report);
    }
}

/// Checks an object that stands for a set: its values are empty objects.
fn set(config: Object<'_>, name: &str, members: &Map<String, Value>, report: &mut Report) {
    for (key, value) in members {
        if !value.as_object().is_some_and(Map::is_empty) {
            config.fault(&format!("{name}.{key}"), "its value should be an empty object", report);
        }
        if name == "ExposedPorts" && !syntax::is_port(key) {
            config.fault(&format!("{name}.{key}"), "it is no port like `80/tcp`", report);
        }
    }
}

/// Tells whether the text names a signal: `SIGTERM`, `SIGRTMIN+3`, or a number.
fn is_signal(text: &str) -> bool {
    let word = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"+-".contains(&b));
    word && !text.is_empty()
}
