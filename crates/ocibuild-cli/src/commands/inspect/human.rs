//! An image, shown to people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use ocibuild_core::Descriptor;
use ocibuild_core::cache::Naming;
use ocibuild_core::oci::{Config, Healthcheck};

use crate::commands::inspect::image::{Image, Inspection};
use crate::text;

/// The width of the column of names.
const WIDTH: usize = 12;

/// Shows all of it. What steers a terminal is shown as `�`.
pub(super) fn show(inspection: &Inspection) -> String {
    let mut page = Page::default();
    page.heading(&inspection.name);
    page.field("digest", inspection.root.digest);
    page.field("type", &inspection.root.media_type);
    page.field("size", text::bytes(inspection.size));
    page.map("annotations", &inspection.annotations);
    for image in &inspection.images {
        show_image(&mut page, image, inspection);
    }
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, text: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}{}", clean(text));
    }

    fn field(&mut self, name: &str, value: impl ToString) {
        let _ = writeln!(self.text, "  {name:WIDTH$} {}", clean(&value.to_string()));
    }

    fn optional(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.field(name, value);
        }
    }

    /// Several values, the first beside the name.
    fn list(&mut self, name: &str, values: impl IntoIterator<Item = impl ToString>) {
        for (index, value) in values.into_iter().enumerate() {
            self.field(if index == 0 { name } else { "" }, value);
        }
    }

    fn map(&mut self, name: &str, values: &BTreeMap<String, String>) {
        self.list(name, values.iter().map(|(key, value)| format!("{key}={value}")));
    }
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn show_image(page: &mut Page, image: &Image, inspection: &Inspection) {
    let platform = image.platform().map_or("no platform".to_owned(), |platform| platform.to_string());
    page.heading(&platform);
    if inspection.images.len() > 1 {
        page.field("digest", image.descriptor.digest);
        page.field("size", text::bytes(image.size()));
    }
    if let Some(kind) = &image.manifest.artifact_type {
        page.field("artifact", kind);
    }
    if let Some((config, _)) = &image.config {
        page.optional("created", config.created.as_ref());
        page.optional("author", config.author.as_ref());
        show_config(page, config.config.as_ref().unwrap_or(&Config::default()));
    }
    page.map("annotations", &image.manifest.annotations);
    show_layers(page, image, inspection);
}

fn show_config(page: &mut Page, config: &Config) {
    let words =
        |words: &Option<Vec<String>>| words.as_ref().map(|words| serde_json::json!(words).to_string());
    page.optional("entrypoint", words(&config.entrypoint).as_ref());
    page.optional("cmd", words(&config.cmd).as_ref());
    page.optional("user", config.user.as_ref());
    page.optional("workdir", config.working_dir.as_ref());
    page.list("env", config.env.iter().flatten());
    page.list("ports", config.exposed_ports.iter().flat_map(BTreeMap::keys));
    page.list("volumes", config.volumes.iter().flat_map(BTreeMap::keys));
    page.map("labels", config.labels.as_ref().unwrap_or(&BTreeMap::new()));
    page.optional("stop signal", config.stop_signal.as_ref());
    page.optional("stop timeout", config.stop_timeout.map(|seconds| format!("{seconds} s")).as_ref());
    if let Some(check) = &config.healthcheck {
        page.field("healthcheck", serde_json::json!(check.test));
        page.optional("", Some(&rhythm(check)));
    }
    page.optional("shell", words(&config.shell).as_ref());
    page.list("on build", config.on_build.iter().flatten());
}

/// When a healthcheck is run, and what counts: what isn't said is the runtime's.
fn rhythm(check: &Healthcheck) -> String {
    let times = [
        ("interval", check.interval),
        ("timeout", check.timeout),
        ("start-period", check.start_period),
        ("start-interval", check.start_interval),
    ];
    let given = times.into_iter().filter(|(_, nanos)| *nanos > 0);
    let mut parts: Vec<String> =
        given.map(|(name, nanos)| format!("{name} {:?}", Duration::from_nanos(nanos))).collect();
    if check.retries > 0 {
        parts.push(format!("retries {}", check.retries));
    }
    parts.join(", ")
}

fn show_layers(page: &mut Page, image: &Image, inspection: &Inspection) {
    let config = image.config.as_ref().map(|(config, _)| config);
    for (index, layer) in image.manifest.layers.iter().enumerate() {
        // The number by which `ls` and `diff` call it.
        page.field(
            &format!("layer {}", index + 1),
            format!("{:>8}  {}", text::bytes(layer.size), layer.digest),
        );
        page.field("", format!("{:>8}  {}", "type", layer.media_type));
        if let Some(size) = inspection.tar_size(layer) {
            page.field("", format!("{:>8}  {}", "tar", text::bytes(size)));
        }
        if let Some(diff_id) = config.and_then(|config| config.rootfs.diff_ids.get(index)) {
            page.field("", format!("{:>8}  {diff_id}", "diff_id"));
        }
        if let Some(records) = records(inspection, layer) {
            page.field("", format!("{:>8}  {records}", "cached"));
        }
        let by = image.history(index).and_then(|history| history.created_by.as_ref());
        if let Some(by) = by.filter(|by| !by.is_empty()) {
            page.field("", format!("{:>8}  {by}", "by"));
        }
    }
}

/// What the cache finds a layer by, each with the beginnings of the keys that `cache ls` has.
fn records(inspection: &Inspection, layer: &Descriptor) -> Option<String> {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let keys: Vec<(String, String)> = inspection.known.get(&layer.digest)?.iter().map(by).collect();
    for (by, key) in &keys {
        groups.entry(by.clone()).or_default().push(key);
    }
    let groups = groups.into_iter().map(|(by, keys)| format!("by {by} ({})", keys.join(", ")));
    Some(groups.collect::<Vec<_>>().join(", "))
}

fn by(naming: &Naming) -> (String, String) {
    let by = match &naming.materials[..] {
        [] => "content".to_owned(),
        names => names.join(" and "),
    };
    (by, text::short(&naming.key.hex()).to_owned())
}
