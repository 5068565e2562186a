//! One image and its config.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{env, literal, unique, unique_templates};
use crate::oci::{Platform, annotation};
use crate::spec::log::Log;
use crate::spec::suggest::closest;
use crate::spec::{
    Annotations, Base, Config, Fault, Healthcheck, Image, Inherit, Located, Scope, Spec, check,
};

/// The most layers runtimes can mount over each other.
const MAX_LAYERS: usize = 127;

pub(super) fn image(image: &Image, spec: &Spec, log: &mut Log) {
    log.accept(check::name(&image.name), image.name.span);
    match &image.base.value {
        Base::Layout { dir } => literal(dir, check::layout, log),
        Base::Remote { reference } => literal(reference, |text| check::base(text).map(|_| ()), log),
        Base::Scratch | Base::Builtin { .. } => {}
    }
    layers(image, spec, log);
    platforms(&image.platforms, log);
    for tag in &image.tags {
        literal(tag, |text| check::tag(text).map(|_| ()), log);
    }
    unique_templates(&image.tags, "tag is listed twice", log);
    for (key, _) in image.annotations.all().chain(&image.config.labels) {
        log.accept(check::label_key(key), key.span);
    }
    annotations(&image.annotations, log);
    if let Inherit::Only(fields) = &image.inherit {
        let mut seen = BTreeSet::new();
        for field in fields.iter().filter(|field| !seen.insert(field.value)) {
            log.report(Fault::new(format!("field `{}` is listed twice", field.value), field.span));
        }
    }
    config(&image.config, log);
}

fn annotations(annotations: &Annotations, log: &mut Log) {
    for scope in std::iter::once(None).chain(Scope::ALL.map(Some)) {
        unique(annotations.of(scope).iter().map(|(key, _)| key), "annotation", "is set", log);
    }
    for (key, value) in annotations.all() {
        if let Some(text) = value.as_literal() {
            log.accept(check::annotation(key, text), value.span);
        }
        reserved(key, log);
    }
}

/// Warns of keys that the specification keeps for itself.
fn reserved(key: &Located<String>, log: &mut Log) {
    let Some(name) = key.strip_prefix(annotation::PREFIX) else { return };
    if annotation::PREDEFINED.contains(&name) {
        return;
    }
    let fault = Fault::new(
        format!("the specification reserves `{}…` and has no `{}`", annotation::PREFIX, name.escape_debug()),
        key.span,
    );
    log.warn(match closest(name, annotation::PREDEFINED) {
        Some(known) => fault.hint(format!("did you mean `{}{known}`?", annotation::PREFIX)),
        None => fault.hint("put the name of a domain of your own before it"),
    });
}

fn layers(image: &Image, spec: &Spec, log: &mut Log) {
    if image.layers.len() > MAX_LAYERS {
        let message = format!("{} layers can't be run: {MAX_LAYERS} are the limit", image.layers.len());
        log.report(Fault::new(message, image.layers.get(MAX_LAYERS).and_then(|name| name.span)));
    }
    unique(image.layers.iter(), "layer", "is listed", log);
    let known: BTreeSet<&str> = spec.layers.iter().map(|layer| layer.name.value.as_str()).collect();
    for name in image.layers.iter().filter(|name| !known.contains(name.value.as_str())) {
        let fault = Fault::new(format!("unknown layer `{}`", name.value.escape_debug()), name.span);
        let likely = log.likely(name, known.iter().copied());
        log.absent(match likely {
            Some(known) => fault.hint(format!("did you mean `{known}`?")),
            None => fault.hint(format!("define it: `[layers.{}]`", name.value.escape_debug())),
        });
    }
}

/// The architectures Go knows, by whose names platforms go.
const ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64le", "riscv64",
    "s390x", "wasm",
];

fn platforms(platforms: &[Located<Platform>], log: &mut Log) {
    let mut seen = BTreeSet::new();
    for platform in platforms {
        let mut plain = platform.value.clone();
        // The variant that goes without saying.
        plain.variant = plain.variant.filter(|variant| (&*plain.architecture, &**variant) != ("arm64", "v8"));
        if !seen.insert(plain) {
            log.report(Fault::new(format!("platform {} is listed twice", platform.value), platform.span));
        }
        let word = |name: &str, known: &[&str], what: &str, log: &mut Log| {
            if !known.contains(&name) {
                let fault = Fault::new(format!("`{name}` is not a known {what}"), platform.span);
                log.warn(match closest(name, known.iter().copied()) {
                    Some(known) => fault.hint(format!("did you mean `{known}`?")),
                    None => fault,
                });
            }
        };
        word(&platform.architecture, &ARCHITECTURES, "architecture", log);
        word(&platform.os, &["linux"], "operating system of images", log);
    }
}

fn config(config: &Config, log: &mut Log) {
    let commands = config.entrypoint.iter().chain(&config.cmd).chain(&config.shell);
    for command in commands.chain(config.healthcheck.iter().map(|check| &check.test)) {
        for argument in &command.value {
            log.accept(check::c_string(argument), command.span);
            not_expanded(argument, command, log);
        }
    }
    for (name, value) in &config.env {
        log.accept(check::env_name(name), name.span);
        literal(value, check::c_string, log);
    }
    unique(config.env.iter().map(|(name, _)| name), "variable", "is set", log);
    env::references(&config.env).for_each(|warning| log.warn(warning));
    unique(config.labels.iter().map(|(key, _)| key), "label", "is set", log);
    if let Some(user) = &config.user {
        log.accept(check::user(user), user.span);
    }
    for directory in config.workdir.iter().chain(&config.volumes) {
        literal(directory, check::image_directory, log);
    }
    if let Some(signal) = &config.stop_signal {
        log.accept(check::stop_signal(signal), signal.span);
    }
    if let Some(time) = &config.stop_timeout {
        log.accept(check::stop_timeout(time.value), time.span);
    }
    for trigger in &config.on_build {
        log.accept(check::trigger(trigger), trigger.span);
        not_expanded(trigger, trigger, log);
    }
    ports(config, log);
    if let Some(healthcheck) = &config.healthcheck {
        log.within("healthcheck", |log| health(healthcheck, log));
    }
}

/// Warns of names in braces where they have no meaning.
fn not_expanded<T>(text: &str, place: &Located<T>, log: &mut Log) {
    let names = [("{os}", "{os}"), ("{arch}", "{arch}"), ("{variant}", "{variant}"), ("{var.", "{var.…}")];
    let found = names.iter().find(|(start, _)| text.contains(start));
    if let Some((_, name)) = found.filter(|_| place.span.is_some()) {
        let hint = "names in braces mean something only in paths, tags, labels, annotations, env and content";
        log.warn(Fault::new(format!("`{name}` stays as it is here"), place.span).hint(hint));
    }
}

fn ports(config: &Config, log: &mut Log) {
    let mut seen = BTreeSet::new();
    for port in &config.expose {
        if !seen.insert(port.value) {
            log.report(Fault::new(format!("port {} is listed twice", port.value), port.span));
        }
    }
}

/// The shortest time runtimes accept. They take zero for "not given", which is said by leaving it
/// out.
const SHORTEST: Duration = Duration::from_millis(1);

fn health(health: &Healthcheck, log: &mut Log) {
    log.accept(check::health_test(&health.test), health.test.span);
    let times = [&health.interval, &health.timeout, &health.start_period, &health.start_interval];
    for time in times.into_iter().flatten().filter(|time| time.value < SHORTEST) {
        let fault = Fault::new("a healthcheck's times are 1ms or more", time.span);
        log.report(fault.hint("leave it out for the runtime's default"));
    }
    if let Some(time) = health.start_interval.filter(|_| health.start_period.is_none()) {
        let fault = Fault::new("`start-interval` means nothing without `start-period`", time.span);
        log.warn(fault.hint("add the time it has to start: `start-period = \"30s\"`"));
    }
    if let Some(retries) = health.retries.filter(|retries| retries.value == 0) {
        let fault = Fault::new("`retries` should be 1 or more", retries.span);
        log.report(fault.hint("leave it out for the runtime's default"));
    }
}
