//! A config, field by field, in words.

use std::collections::BTreeMap;

use ocibuild_core::oci::{Config, Healthcheck};
use serde_json::json;

use crate::commands::inspect::image::Image;

/// A field and its values.
pub(super) type Row = (&'static str, Vec<String>);

/// The fields that are set.
pub(super) fn rows(image: &Image) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some((config, _)) = &image.config {
        of_container(&mut rows, config.config.as_ref().unwrap_or(&Config::default()));
        rows.push(("created", config.created.iter().cloned().collect()));
        rows.push(("author", config.author.iter().cloned().collect()));
    }
    rows.push(("annotations", pairs(&image.manifest.annotations)));
    rows.push(("manifest", vec![image.descriptor.digest.to_string()]));
    rows.push(("config", vec![image.manifest.config.digest.to_string()]));
    rows.retain(|(_, values)| values.iter().any(|value| !value.is_empty()));
    rows
}

fn of_container(rows: &mut Vec<Row>, config: &Config) {
    let words = |words: &Option<Vec<String>>| words.iter().map(|words| json!(words).to_string()).collect();
    let text = |text: &Option<String>| text.iter().cloned().collect();
    rows.push(("entrypoint", words(&config.entrypoint)));
    rows.push(("cmd", words(&config.cmd)));
    rows.push(("user", text(&config.user)));
    rows.push(("workdir", text(&config.working_dir)));
    rows.push(("env", config.env.clone().unwrap_or_default()));
    rows.push(("ports", config.exposed_ports.iter().flat_map(BTreeMap::keys).cloned().collect()));
    rows.push(("volumes", config.volumes.iter().flat_map(BTreeMap::keys).cloned().collect()));
    rows.push(("labels", pairs(config.labels.as_ref().unwrap_or(&BTreeMap::new()))));
    rows.push(("healthcheck", config.healthcheck.iter().flat_map(healthcheck).collect()));
    rows.push(("stop signal", text(&config.stop_signal)));
    rows.push(("stop timeout", config.stop_timeout.iter().map(|seconds| format!("{seconds} s")).collect()));
    rows.push(("shell", words(&config.shell)));
    rows.push(("on build", config.on_build.clone().unwrap_or_default()));
    rows.push(("other", config.other.iter().map(|(name, value)| format!("{name}: {value}")).collect()));
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<String> {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn healthcheck(check: &Healthcheck) -> Vec<String> {
    let seconds = |nanoseconds: u64| format!("{} s", nanoseconds as f64 / 1e9);
    let times = [
        ("interval", check.interval),
        ("timeout", check.timeout),
        ("start period", check.start_period),
        ("start interval", check.start_interval),
    ];
    let times = times.into_iter().filter(|(_, time)| *time > 0);
    let mut values = vec![json!(check.test).to_string()];
    values.extend(times.map(|(name, time)| format!("{name} {}", seconds(time))));
    if check.retries != 0 {
        values.push(format!("retries {}", check.retries));
    }
    values
}
